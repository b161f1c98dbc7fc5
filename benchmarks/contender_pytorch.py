"""Train as PyTorch's tutorials do, but with tensors in memory that are indexed by batch."""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks import workloads
from benchmarks.workloads import (
    CLASSES,
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
    images = torch.from_numpy(work.images).float()[:, None] / 255
    labels = torch.from_numpy(work.labels).long()
    model = {"mlp": mlp, "cnn": cnn}[work.model]()
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


def mlp() -> nn.Module:
    """Return dense layers with dropout."""
    stack: list[nn.Module] = [nn.Flatten()]
    size = 28 * 28
    for units in HIDDEN_UNITS:
        stack += [nn.Linear(size, units), nn.ReLU(), nn.Dropout(DROPOUT)]
        size = units
    return nn.Sequential(*stack, nn.Linear(size, CLASSES))


def cnn() -> nn.Module:
    """Return convolutions, the first two pooled, and a dense layer."""
    stack: list[nn.Module] = []
    channels = 1
    for block, filters in enumerate(FILTERS, 1):
        stack += [nn.Conv2d(channels, filters, 3), nn.ReLU()]
        if block < len(FILTERS):
            stack.append(nn.MaxPool2d(2))
        channels = filters
    return nn.Sequential(
        *stack,
        nn.Flatten(),
        nn.Linear(9 * channels, DENSE_UNITS),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(DENSE_UNITS, CLASSES),
    )


if __name__ == "__main__":
    workloads.measure(train)
