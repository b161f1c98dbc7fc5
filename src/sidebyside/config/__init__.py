"""params.yaml, hyperparameters, search spaces, paths, and the schemas of files that stages read.

All of it is validated before training starts. An unknown key, a wrong type or an invalid value is
reported in one line with the key, the value and the allowed values.
"""
