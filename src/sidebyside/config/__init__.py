"""params.yaml, hyperparameters, search spaces, paths, and the schema of every file a stage reads.

Everything here is checked before anything is trained: an unknown key, a wrong type or an impossible
value is one line that names the key, the value and what is allowed.
"""
