"""Replicate five published systems: plan, trainings, tracking, and the comparison page."""
