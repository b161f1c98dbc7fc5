"""Classify a picture file, and serve a registered model with checked requests."""
