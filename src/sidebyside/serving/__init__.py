"""Predict the class of a picture, and serve a registered model behind a guard."""
