"""Image classifiers on Fashion-MNIST: data, models, training, evaluation and tracking.

Import the modules you need; importing the package itself loads nothing.
"""
