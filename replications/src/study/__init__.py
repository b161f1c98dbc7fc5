"""Replicate five published systems: plan, trainings, tracking, and `comparison` with the page."""
