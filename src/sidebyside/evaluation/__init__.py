"""Scores, confidence intervals, calibration, paired tests, and selection of the best model."""
