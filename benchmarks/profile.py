"""Profile a training step kernel by kernel with TensorFlow's profiler.

The profile covers the second epoch of the trainings of this project that `training.py` times, at
the default batch sizes. Kernels run one at a time, so that each has all threads. The rates of each
layer's matrix products and convolutions are compared with that of a large matrix product.

Reads:  data/processed/train.npz
Writes: reports/benchmarks/profile.json
"""

import math
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import contender_sidebyside, isolated, machine
from benchmarks.training import DEFAULT_BATCH_SIZE, SHARE
from benchmarks.workloads import ROOT, Workload
from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.data.npz import read_split
from sidebyside.workflow import command

PRODUCTS = "matrix products and convolutions"
# Pattern of an operation's name → category; the first that matches counts.
CATEGORIES: Mapping[str, str] = {
    r"MatMul|Conv2D": PRODUCTS,
    r"ApplyAdam": "Adam",
    r"Random": "random numbers",
    r"Pool": "pooling",
    r"Relu": "ReLU",
    r"Bias": "biases",
    r"SelectV2|GreaterEqual|Bitcast|^Mul$": "dropout masks",
    r"Softmax|Xent|ArgMax|OneHot|Sum|Mean": "loss and accuracy",
    r"Cast": "conversions of type",  # of images and of dropout masks
    r"Gather|Rescaling|Reshape|Transpose": "images",
}
REST = "rest"
OUTER = r"Call$|While$|If$"  # operations that run other kernels, whose time they include


class Kernel(NamedTuple):
    """A kernel of a training step."""

    node: str  # path in the graph, which contains the layer's name
    operation: str


def main() -> None:
    """Profile both networks and write the results."""
    command.parser(__doc__).parse_args()
    rate = isolated.measure("matrix_product")
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    paths = Paths(ROOT)
    dataset = read_dataset(paths.dataset)
    split = read_split(paths.split("train"), dataset)
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "matrix_product_gflops": rate / 1e9,
        "models": {},
    }
    for model, size in DEFAULT_BATCH_SIZE.items():
        images = len(split) // SHARE[model]
        train = (split.images[:images], split.labels[:images])
        work = Workload(model, size, *train, dataset.classes)
        found = profile(work)
        steps = math.ceil(images / size)
        result["models"][model] = {
            "batch_size": size,
            "milliseconds_of_kernels_per_step": 1000 * sum(found.values()) / steps,
            "shares": shares(found),
            "layers": {
                layer: {
                    direction: {
                        "milliseconds_per_step": 1000 * seconds / steps,
                        "share_of_matrix_product": operations / seconds / rate,
                    }
                    for direction, (operations, seconds) in directions.items()
                }
                for layer, directions in layers(work, found).items()
            },
        }
        print(model, result["models"][model], flush=True)
    write_json(Paths(ROOT).report("benchmarks") / "profile.json", result)


def profile(work: Workload) -> dict[Kernel, float]:
    """Return the seconds that each kernel takes in the second epoch of a training."""
    with tempfile.TemporaryDirectory() as folder:
        epochs = 0

        def on_epoch() -> None:
            nonlocal epochs
            import tensorflow as tf

            epochs += 1
            if epochs == 1:
                tf.profiler.experimental.start(folder)
            else:
                tf.profiler.experimental.stop()

        contender_sidebyside.train(work, on_epoch)
        (trace,) = Path(folder).rglob("*.xplane.pb")
        return kernels(trace.read_bytes())


def kernels(trace: bytes) -> dict[Kernel, float]:
    """Return the seconds of each kernel in a trace, an XSpace protocol buffer."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(trace)
    found = defaultdict[Kernel, float](float)
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # Events of kernels are named `node:operation`, those of Python frames `$file:line`.
                name = plane.event_metadata[event.metadata_id].name
                named = re.fullmatch(r"([\w/.-]+):(_?[A-Z]\w+)", name)
                if named and not re.search(OUTER, named[2]):
                    found[Kernel(*named.groups())] += event.duration_ps / 1e12
    return found


def shares(found: Mapping[Kernel, float]) -> dict[str, float]:
    """Return each category's share of the time of all kernels, the largest first."""
    seconds = defaultdict[str, float](float)
    for kernel, taken in found.items():
        seconds[category(kernel.operation)] += taken
    whole = sum(found.values())
    ranked = sorted(seconds, key=lambda name: seconds[name], reverse=True)
    return {name: seconds[name] / whole for name in ranked}


def layers(
    work: Workload, found: Mapping[Kernel, float]
) -> dict[str, dict[str, tuple[int, float]]]:
    """Return operations and seconds of each layer's products in an epoch, by direction.

    The directions are `forward` and `backward`. Backward takes twice the operations, except in the
    first layer, whose inputs need no gradient.
    """
    import keras

    from sidebyside.models import architectures

    record = contender_sidebyside.record_of(work)
    dataset = contender_sidebyside.dataset_of(work)
    model = architectures.build(work.model, record, dataset, 1)
    operations = {
        layer.name: len(work.images) * architectures.flops(keras.Model(layer.input, layer.output))
        for layer in model.layers
        if hasattr(layer, "kernel")
    }
    seconds = {name: {"forward": 0.0, "backward": 0.0} for name in operations}
    for kernel, taken in found.items():
        # A kernel that fuses a layer with its activation is named after both: hidden_1_relu_1/Relu.
        named = [name for name in operations if re.search(rf"/{name}(_[a-z]+)?_\d+/", kernel.node)]
        if named and category(kernel.operation) == PRODUCTS:
            direction = "backward" if "gradient_tape" in kernel.node else "forward"
            seconds[named[0]][direction] += taken
    first = next(iter(operations))
    return {
        name: {
            "forward": (count, seconds[name]["forward"]),
            "backward": (count * (1 if name == first else 2), seconds[name]["backward"]),
        }
        for name, count in operations.items()
    }


def category(operation: str) -> str:
    """Return the category of an operation."""
    return next(
        (name for pattern, name in CATEGORIES.items() if re.search(pattern, operation)), REST
    )


if __name__ == "__main__":
    command.run(main)
