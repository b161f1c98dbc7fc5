"""Fit one model, and search for its hyperparameters.

The training loop, optimizer and learning rate schedule, random transforms, checkpoints, and the
search with its trials. Everything random in an epoch follows from the seed and the epoch alone, so
a killed training resumes bit for bit.
"""
