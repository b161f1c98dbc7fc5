"""The benchmarks compare equal work and count it correctly."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks import (
    contender_keras,
    contender_sidebyside,
    figures,
    isolated,
    overheads,
    profile,
    training,
    workloads,
)
from sidebyside.config.hyperparameters import parse_hyperparameters
from sidebyside.config.parameters import read_parameters
from sidebyside.core import files
from sidebyside.data import npz
from sidebyside.evaluation import metrics
from sidebyside.models import architectures, inference, saving, tensorflow_setup
from sidebyside.reporting import data_plots
from sidebyside.tracking.run import Run
from sidebyside.training import checkpoint, loop, step
from tests.support.datasets import dataset

MACHINE = {"cores": 2, "processor": "a processor"}
SHAPE = (28, 28, 1)
PNG = b"\x89PNG\r\n"


@pytest.mark.parametrize("model", workloads.MODELS)
def test_contenders_train_the_same_network(model: str) -> None:
    settings = contender_sidebyside.COMMON | contender_sidebyside.MODELS[model] | {"batch_size": 32}
    record = parse_hyperparameters(model, settings, "benchmark")
    own = architectures.build(model, record, dataset(), 1)
    other = {"mlp": contender_keras.mlp, "cnn": contender_keras.cnn}[model](SHAPE, 10)
    assert own.count_params() == other.count_params() == {"mlp": 567_434, "cnn": 241_546}[model]
    dropouts = [[layer.rate for layer in m.layers if hasattr(layer, "rate")] for m in (own, other)]
    assert dropouts[0] == dropouts[1] != []
    assert architectures.flops(own) == workloads.forward(model, SHAPE, 10)


@pytest.mark.parametrize("model", workloads.MODELS)
def test_contenders_train_on_images_of_any_shape(model: str) -> None:
    shape = (32, 48, 3)
    network = {"mlp": contender_keras.mlp, "cnn": contender_keras.cnn}[model](shape, 7)
    assert network.output_shape == (None, 7)
    assert architectures.flops(network) == workloads.forward(model, shape, 7)
    work = workloads.Workload(model, 2, np.zeros((2, *shape), np.uint8), np.zeros(2, np.uint8), 7)
    assert work.shape == shape


@pytest.mark.parametrize("model", workloads.MODELS)
def test_the_default_batch_size_is_measured(model: str) -> None:
    space = read_parameters(workloads.ROOT / "params.yaml").tune.models[model]
    assert training.DEFAULT_BATCH_SIZE[model] == space["batch_size"]
    assert training.DEFAULT_BATCH_SIZE[model] in training.BATCH_SIZES[model]


def test_the_backward_pass_counts_as_two_forward_passes() -> None:
    assert workloads.operations("mlp", 48_000, SHAPE, 10) == pytest.approx(163e9, rel=0.01)
    assert workloads.operations("cnn", 48_000, SHAPE, 10) == pytest.approx(932e9, rel=0.01)


def test_medians_are_compared_with_this_project_and_with_the_limit() -> None:
    times = {training.OWN: [2.0, 1.0, 9.0], "PyTorch": [4.0, 5.0, 3.0]}
    operations = 10**9
    rate = operations / 1.0  # an epoch in a second
    found = training.summary(operations, times, [rate, 9 * rate, rate / 9])
    assert found["medians"] == {training.OWN: 2.0, "PyTorch": 4.0}
    assert found["times_faster"] == {"PyTorch": 2.0}
    assert found["share_of_matrix_product"] == 0.5


def sample(stack: str, count: int, script: str = "train.py mlp", thread: int = 7) -> str:
    process = f'process 5:"/bin/sh /a/bin/dvc repro";process 7:"python pipeline/{script}"'
    return f"{process};thread ({thread}): MainThread;{stack} {count}"


def waiting(count: int, thread: int = 5) -> str:
    process = 'process 5:"/bin/sh /a/bin/dvc repro"'
    return f"{process};thread ({thread}): MainThread;wait (subprocess.py:1) {count}"


def frame(function: Callable[..., Any]) -> str:
    """Return a function's frame as py-spy writes it, with the path below src/."""
    file = inspect.getsourcefile(inspect.unwrap(function)) or ""
    return f"{function.__name__} (src/{file.rpartition('/src/')[2]}:9)"


MAIN = "<module> (train.py:1);main (train.py:9)"
TRAIN = f"{MAIN};{frame(loop.train)}"
BATCHES = frame(inference.predict_in_batches)


def test_two_kinds_alternate_and_have_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([1.0, 5.0, 3.0, 4.0, 2.0, 9.0])
    asked: list[tuple[object, ...]] = []

    def measure(*arguments: object) -> float:
        asked.append(arguments)
        return next(seconds)

    monkeypatch.setattr(isolated, "measure", measure)
    found = isolated.alternate("determinism", "mlp", ("one", "other"), 3)
    assert asked == 3 * [("determinism", "--once", "mlp", kind) for kind in ("one", "other")]
    assert found["seconds"] == {"one": [1.0, 3.0, 2.0], "other": [5.0, 4.0, 9.0]}
    assert found["medians"] == {"one": 2.0, "other": 5.0}


def test_a_sample_counts_for_its_innermost_frame_with_a_category() -> None:
    configure = frame(tensorflow_setup.configure)
    writing = f"{frame(checkpoint.save_checkpoint)};{frame(files.write_bytes)}"
    found = overheads.by_stage(
        [
            sample(f"{MAIN};{configure};_load (<frozen importlib>:1)", 40),
            sample(f"{TRAIN};__call__ (tensorflow/python/eager/polymorphic_function.py:1)", 100),
            sample(f"{TRAIN};{frame(inference.loss_and_accuracy)};numpy (ops.py:1)", 15),
            sample(f"{TRAIN};{frame(inference.loss_and_accuracy)};{BATCHES}", 5),
            sample(f"{TRAIN};{writing}", 10),
            sample(f"{TRAIN};report (train.py:3);{frame(Run.log_metrics)}", 6),
            sample(TRAIN, 1000, thread=8),  # another thread of the same process
            sample(TRAIN, 1000, script="train.py cnn").replace("pipeline/train.py", "other.py"),
            sample(f"{MAIN};{frame(data_plots.samples)}", 4, script="preprocess.py"),
            sample("f (other.py:1)", 2, script="preprocess.py"),
            sample(f"{frame(inference.predict_probabilities)};{BATCHES}", 8, script="evaluate.py"),
            waiting(200),
            waiting(50),
            waiting(1000, thread=6),  # another thread of `dvc`
        ],
        seconds=12.5,
    )
    assert found == {
        "preprocess": {"figures and report": 0.2, "rest": 0.1},
        "train": {
            "training steps": 5.0,
            "imports": 2.0,
            "validation": 1.0,
            "saving": 0.5,
            "logging": 0.3,
        },
        "evaluate": {"prediction": 0.4},
        "dvc": {"rest": 3.0},
    }


@pytest.mark.parametrize(
    ("function", "category"),
    [
        (architectures.build, "building the model"),
        (npz.read_split, "data"),
        (metrics.compute_scores, "scores"),
        (saving.save_model, "saving"),
        (step.step_function, overheads.REST),
    ],
)
def test_the_category_of_a_frame_depends_on_its_module(
    function: Callable[..., Any], category: str
) -> None:
    assert overheads.category(["main (x.py:1)", frame(function), "f (numpy/x.py:1)"]) == category


def test_figures_are_reproducible_png_files() -> None:
    case = {"model": "mlp", "batch_size": 32, "medians": {training.OWN: 1.0, "PyTorch": 2.0}}
    cases = [case, case | {"batch_size": 64}, case | {"model": "cnn"}]
    assert figures.training({"machine": MACHINE, "cases": cases}).startswith(PNG)
    rows = [{"factor": f, "mib": f, "seconds": f, "peak_memory_mib": 500 + f} for f in (1, 10)]
    store = {"runs": 9, "empty": {"open a run": 0.1}, "full": {"open a run": 0.2}}
    result = {"machine": MACHINE, "data": {"mlp": rows, "cnn": rows}, "store": store}
    picture = figures.growth(result)
    assert picture.startswith(PNG)
    assert picture == figures.growth(result)


def test_the_reference_line_of_memory_spans_the_longest_curve() -> None:
    rows = [{"factor": f, "mib": f, "seconds": f, "peak_memory_mib": f} for f in (1, 10)]
    few = [{**row, "mib": row["mib"] / 9} for row in rows]
    store = {"runs": 9, "empty": {"open a run": 0.1}, "full": {"open a run": 0.2}}
    draw: Any = inspect.unwrap(figures.growth)
    drawn = draw({"machine": MACHINE, "data": {"mlp": rows, "cnn": few}, "store": store})
    assert drawn.get_suptitle() == "2 cores (a processor)"
    (line,) = (line for line in drawn.axes[1].lines if line.get_label() == "pixels added")
    assert list(line.get_xdata()) == [0, 9]


def test_peak_memory_excludes_the_parent_process() -> None:
    large = bytearray(300 * 2**20)
    line = "from benchmarks import isolated; print(isolated.peak_memory())"
    small = subprocess.run(
        [sys.executable, "-c", line],
        cwd=workloads.ROOT,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 0 < float(small) < isolated.peak_memory() - len(large) / 2**20


def trace(*events: tuple[str, float]) -> bytes:
    """Return a trace in the format of TensorFlow's profiler, from names and seconds of events."""
    space = xplane_pb2.XSpace()
    plane = space.planes.add()
    line = plane.lines.add()
    for number, (name, seconds) in enumerate(events, 1):
        plane.event_metadata[number].name = name
        line.events.add(metadata_id=number, duration_ps=round(seconds * 1e12))
    content: bytes = space.SerializeToString()
    return content


def test_the_seconds_of_equal_kernels_are_summed() -> None:
    found = profile.kernels(
        trace(
            ("while/mlp_1/hidden_1_1/MatMul:_FusedMatMul", 2.0),
            ("while/mlp_1/hidden_1_1/MatMul:_FusedMatMul", 1.0),
            ("while/adam/ResourceApplyAdam:ResourceApplyAdam", 0.5),
            ("$training.py:147 train", 9.0),  # Python's
            ("ExecutorState::Process", 9.0),
            ("ThreadpoolListener::StartRegion", 9.0),
        )
    )
    assert found == {
        ("while/mlp_1/hidden_1_1/MatMul", "_FusedMatMul"): 3.0,
        ("while/adam/ResourceApplyAdam", "ResourceApplyAdam"): 0.5,
    }


def test_shares_are_by_category_the_largest_first() -> None:
    found = {
        profile.Kernel("a", "ResourceApplyAdam"): 1.0,
        profile.Kernel("b", "_FusedMatMul"): 2.0,
        profile.Kernel("c", "MatMul"): 1.0,
    }
    assert list(profile.shares(found).items()) == [(profile.PRODUCTS, 0.75), ("Adam", 0.25)]


def test_products_are_assigned_to_layers_and_directions() -> None:
    images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)
    body, gradients = "while/functional_1", "while/gradient_tape/while/functional_1"
    found = {
        profile.Kernel(f"{body}/hidden_1_relu_1/Relu", "_FusedMatMul"): 1.0,
        profile.Kernel(f"{gradients}/hidden_1_1/MatMul/MatMul", "MatMul"): 2.0,
        profile.Kernel(f"{body}/hidden_2_1/MatMul", "MatMul"): 3.0,
        profile.Kernel(f"{gradients}/hidden_2_1/MatMul/MatMul", "MatMul"): 4.0,
        profile.Kernel(f"{gradients}/hidden_2_1/MatMul/MatMul_1", "MatMul"): 5.0,
        profile.Kernel(f"{gradients}/hidden_2_relu_1/ReluGrad", "ReluGrad"): 9.0,
    }
    layers = profile.layers(workloads.Workload("mlp", 2, images, labels, 10), found)
    first, second = 2 * 2 * 784 * 512, 2 * 2 * 512 * 256
    assert list(layers) == ["hidden_1", "hidden_2", "hidden_3", "logits"]
    # The pixels need no gradient.
    assert layers["hidden_1"] == {"forward": (first, 1.0), "backward": (first, 2.0)}
    assert layers["hidden_2"] == {"forward": (second, 3.0), "backward": (2 * second, 9.0)}


def test_operations_that_run_others_are_not_counted() -> None:
    assert not profile.kernels(trace(("PartitionedCall:PartitionedCall", 9.0), ("w:While", 9.0)))


def test_the_category_of_an_operation_depends_on_its_name() -> None:
    names = ("_FusedMatMul", "Conv2DBackpropFilter", "StatelessRandomUniformV2", "Mul", "Foo")
    wanted = [profile.PRODUCTS, profile.PRODUCTS, "random numbers", "dropout masks", profile.REST]
    assert [profile.category(name) for name in names] == wanted


@pytest.mark.slow
@pytest.mark.parametrize("model", workloads.MODELS)
def test_a_real_training_is_profiled(model: str) -> None:
    images, labels = np.zeros((64, 28, 28), np.uint8), np.zeros(64, np.uint8)
    work = workloads.Workload(model, 32, images, labels, 10)
    found = profile.profile(work)
    assert {profile.PRODUCTS, "Adam", "random numbers"} <= profile.shares(found).keys()
    for directions in profile.layers(work, found).values():
        assert all(seconds > 0 for _, seconds in directions.values())
