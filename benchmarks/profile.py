"""Where the time of a training step goes, kernel by kernel, by TensorFlow's own profiler.

The second epoch of what `training.py` measures of this project is profiled, at the default batch
sizes. Kernels may run side by side, so what is given is each kind's share of the sum.

Reads:  data/processed/train.npz
Writes: reports/benchmarks/profile.json
"""

import math
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import contender_fashion, machine
from benchmarks.training import DEFAULT_BATCH_SIZE, IMAGES
from benchmarks.workloads import ROOT, Workload

from fashion import command, data
from fashion.files import write_json
from fashion.paths import Paths

# The first pattern that the name of a kernel's operation matches says what it is for.
KINDS: Mapping[str, str] = {
    r"MatMul|Conv2D": "matrix products and convolutions",
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


def main() -> None:
    """Profile both networks and write the results."""
    command.parser(__doc__).parse_args()
    split = data.read_split(Paths(ROOT).split("train"))
    result: dict[str, Any] = {
        "machine": machine.described(),
        "models": {},
    }
    for model, size in DEFAULT_BATCH_SIZE.items():
        images = IMAGES[model]
        work = Workload(model, size, split.images[:images], split.labels[:images])
        found = Counter[str]()
        for operation, seconds in profiled(work).items():
            found[kind(operation)] += seconds
        whole = found.total()
        result["models"][model] = {
            "batch_size": work.batch_size,
            "milliseconds_of_kernels_per_step": 1000 * whole / math.ceil(images / work.batch_size),
            "shares": {name: seconds / whole for name, seconds in found.most_common()},
        }
        print(model, result["models"][model], flush=True)
    write_json(Paths(ROOT).report("benchmarks") / "profile.json", result)


def profiled(work: Workload) -> Counter[str]:
    """Return operation → seconds in its kernels, of the second epoch of a training."""
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


def kernels(trace: bytes) -> Counter[str]:
    """Return operation → seconds in its kernels, from a trace as the profiler writes it."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2  # noqa: PLC0415 (likewise)

    space = xplane_pb2.XSpace()
    space.ParseFromString(trace)
    found = Counter[str]()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                # A kernel's event is named `node:operation`; `$file:line` are Python's frames.
                name = plane.event_metadata[event.metadata_id].name
                named = re.fullmatch(r"[\w/.-]+:(_?[A-Z]\w+)", name)
                if named and not re.search(OUTER, named[1]):
                    found[named[1]] += event.duration_ps / 1e12
    return found


def kind(operation: str) -> str:
    """Return what an operation is for."""
    return next((name for pattern, name in KINDS.items() if re.search(pattern, operation)), REST)


if __name__ == "__main__":
    command.run(main)
