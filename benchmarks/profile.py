"""Where the time of a training step goes, kernel by kernel, by TensorFlow's own profiler.

The second epoch of what `training.py` measures of this project is profiled, at the default batch
sizes, with one kernel at a time, so that each has all threads. Of the products of each layer it is
told how near they come to the rate of a large matrix product.

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

from benchmarks import contender_fashion, isolated, machine
from benchmarks.training import DEFAULT_BATCH_SIZE, IMAGES
from benchmarks.workloads import ROOT, Workload
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.data.npz import read_split
from sidebyside.workflow import command

PRODUCTS = "matrix products and convolutions"
# The first pattern that the name of a kernel's operation matches says what it is for.
KINDS: Mapping[str, str] = {
    r"MatMul|Conv2D": PRODUCTS,
    r"ApplyAdam": "Adam",
    r"Random": "random numbers",
    r"Pool": "pooling",
    r"Relu": "ReLU",
    r"Bias": "biases",
    r"SelectV2|GreaterEqual|Bitcast|^Mul$": "dropout masks",
    r"Softmax|Xent|ArgMax|OneHot|Sum|Mean": "loss and accuracy",
    r"Cast": "conversions of type",  # of images, and of masks to what they are multiplied with
    r"Gather|Rescaling|Reshape|Transpose": "images",
}
REST = "rest"
OUTER = r"Call$|While$|If$"  # operations whose time is that of the kernels they run


class Kernel(NamedTuple):
    """A kernel of a training step."""

    node: str  # its place in the graph, with the name of the layer
    operation: str


def main() -> None:
    """Profile both networks and write the results."""
    command.parser(__doc__).parse_args()
    rate = isolated.measure("matrix_product")
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    split = read_split(Paths(ROOT).split("train"))
    result: dict[str, Any] = {
        "machine": machine.described(),
        "matrix_product_gflops": rate / 1e9,
        "models": {},
    }
    for model, size in DEFAULT_BATCH_SIZE.items():
        images = IMAGES[model]
        work = Workload(model, size, split.images[:images], split.labels[:images])
        found = profiled(work)
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


def profiled(work: Workload) -> dict[Kernel, float]:
    """Return kernel → seconds, of the second epoch of a training."""
    with tempfile.TemporaryDirectory() as folder:
        epochs = 0

        def on_epoch() -> None:
            nonlocal epochs
            import tensorflow as tf  # noqa: PLC0415 (TensorFlow has to be configured first)

            epochs += 1
            if epochs == 1:
                tf.profiler.experimental.start(folder)
            else:
                tf.profiler.experimental.stop()

        contender_fashion.train(work, on_epoch)
        (trace,) = Path(folder).rglob("*.xplane.pb")
        return kernels(trace.read_bytes())


def kernels(trace: bytes) -> dict[Kernel, float]:
    """Return kernel → seconds, from a trace as the profiler writes it."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2  # noqa: PLC0415 (likewise)

    space = xplane_pb2.XSpace()
    space.ParseFromString(trace)
    found = defaultdict[Kernel, float](float)
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # A kernel's event is named `node:operation`; `$file:line` are Python's frames.
                name = plane.event_metadata[event.metadata_id].name
                named = re.fullmatch(r"([\w/.-]+):(_?[A-Z]\w+)", name)
                if named and not re.search(OUTER, named[2]):
                    found[Kernel(*named.groups())] += event.duration_ps / 1e12
    return found


def shares(found: Mapping[Kernel, float]) -> dict[str, float]:
    """Return what kernels are for → share of the time of all, the largest first."""
    seconds = defaultdict[str, float](float)
    for kernel, taken in found.items():
        seconds[kind(kernel.operation)] += taken
    whole = sum(found.values())
    ranked = sorted(seconds, key=lambda name: seconds[name], reverse=True)
    return {name: seconds[name] / whole for name in ranked}


def layers(
    work: Workload, found: Mapping[Kernel, float]
) -> dict[str, dict[str, tuple[int, float]]]:
    """Return layer → direction → operations and seconds of its products in an epoch.

    Directions are `forward` and `backward`; the latter has twice the operations, but for the first
    layer, whose inputs need no gradient.
    """
    import keras  # noqa: PLC0415 (TensorFlow has to be configured first)

    from sidebyside.models import architectures  # noqa: PLC0415 (likewise)

    model = architectures.build(work.model, contender_fashion.record_of(work), 1)
    operations = {
        layer.name: len(work.images) * architectures.flops(keras.Model(layer.input, layer.output))
        for layer in model.layers
        if hasattr(layer, "kernel")
    }
    seconds = {name: {"forward": 0.0, "backward": 0.0} for name in operations}
    for kernel, taken in found.items():
        # With what follows it in one kernel, a layer has its name: hidden_1_relu_1/Relu.
        named = [name for name in operations if re.search(rf"/{name}(_[a-z]+)?_\d+/", kernel.node)]
        if named and kind(kernel.operation) == PRODUCTS:
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


def kind(operation: str) -> str:
    """Return what an operation is for."""
    return next((name for pattern, name in KINDS.items() if re.search(pattern, operation)), REST)


if __name__ == "__main__":
    command.run(main)
