"""Architectures, layers, saving, inference, and the TensorFlow set-up."""
