"""Valid hyperparameters of each architecture."""

from typing import Any

COMMON: dict[str, Any] = {
    "activation": "relu",
    "kernel_initializer": "glorot_uniform",
    "dropout": 0.1,
    "batch_norm": True,
    "l2": 0.0,
    "optimizer": "adam",
    "learning_rate": 0.001,
    "schedule": "cosine",
    "warmup_epochs": 1,
    "weight_decay": 0.01,
    "batch_size": 128,
    "label_smoothing": 0.1,
    "flip": True,
    "shift": 1,
    "cutout": 0,
    "weight_averaging": 0.0,
    "precision": "float32",
}
MLP = COMMON | {"hidden_units": [64, 32], "input_dropout": 0.0}
CNN = COMMON | {
    "filters": [8, 16],
    "convolutions": [1, 2],
    "kernel_size": 3,
    "padding": "same",
    "pool_last": False,
    "head": "average",
    "dense_units": 0,
    "block_dropout": 0.0,
}
