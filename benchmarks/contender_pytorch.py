"""Train as PyTorch's tutorials do, but with tensors in memory that are indexed by batch."""

import math
from collections.abc import Callable

import torch
from torch import nn

from benchmarks import workloads
from benchmarks.workloads import (
    DENSE_UNITS,
    DROPOUT,
    FILTERS,
    HIDDEN_UNITS,
    LEARNING_RATE,
    Workload,
)


def train(work: Workload, on_epoch: Callable[[], None]) -> None:
    """Train for two epochs."""
    torch.set_num_threads(workloads.THREADS)
    images = torch.from_numpy(work.images.reshape(-1, *work.shape)).permute(0, 3, 1, 2)
    images = images.contiguous().float() / 255
    labels = torch.from_numpy(work.labels).long()
    model = {"mlp": mlp, "cnn": cnn}[work.model](work.shape, work.classes)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    model.train()
    for _ in range(2):
        right = total = torch.zeros(())
        for batch in torch.randperm(len(images)).split(work.batch_size):
            optimizer.zero_grad()
            logits = model(images[batch])
            loss = nn.functional.cross_entropy(logits, labels[batch])
            loss.backward()
            optimizer.step()
            total = total + loss.detach() * len(batch)
            right = right + (logits.detach().argmax(1) == labels[batch]).sum()
        float(total), float(right)
        on_epoch()


def mlp(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return dense layers with dropout."""
    stack: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for units in HIDDEN_UNITS:
        stack += [nn.Linear(size, units), nn.ReLU(), nn.Dropout(DROPOUT)]
        size = units
    return nn.Sequential(*stack, nn.Linear(size, classes))


def cnn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return convolutions, the first two pooled, and a dense layer."""
    stack: list[nn.Module] = []
    channels = shape[2]
    height, width = workloads.blocks(*shape[:2])[-1]
    for block, filters in enumerate(FILTERS, 1):
        stack += [nn.Conv2d(channels, filters, 3), nn.ReLU()]
        if block < len(FILTERS):
            stack.append(nn.MaxPool2d(2))
        channels = filters
    return nn.Sequential(
        *stack,
        nn.Flatten(),
        nn.Linear(height * width * channels, DENSE_UNITS),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(DENSE_UNITS, classes),
    )


if __name__ == "__main__":
    workloads.measure(train)
