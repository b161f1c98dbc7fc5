import shutil
from pathlib import Path

import pytest

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from tools.readme import TABLES
from tools.tables.markdown import label, table
from tools.tables.results import expected

PROJECT = Paths(Path(__file__).resolve().parents[3])


def test_numbers_are_right_aligned() -> None:
    assert table(["model", "accuracy"], [["mlp", "0.9"]]).splitlines()[1] == "| --- | ---: |"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("mlp", "MLP"),
        ("cnn-augmented", "CNN, augmented data"),
        ("vit-original", "vit, original data"),
    ],
)
def test_a_label_spells_out_a_models_name(model: str, words: str) -> None:
    assert label(model) == words


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("experiments", r"metrics\.json is missing"),
        ("systems", r"replications/summary\.json is missing: run `make replications`"),
        ("determinism", r"benchmarks/determinism\.json is missing: run `make benchmark`"),
        ("durations", "no run has been recorded: run `make record`"),
    ],
)
def test_a_missing_result_is_named_with_its_command(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        TABLES[name](Paths(tmp_path))


def test_a_header_that_cannot_be_filled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: its header lacks “# expected”"):
        expected("seed: 1\n", PROJECT)
    with pytest.raises(UserError, match="no run has been recorded: run `make record`"):
        expected("# expected # /expected", Paths(tmp_path))
    write_json(tmp_path / "reports/run.json", {"runs": {}})
    with pytest.raises(UserError, match="no run has been recorded: run `make record`"):
        expected("# expected # /expected", Paths(tmp_path))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A copy of the results, without those of other seeds."""
    shutil.copytree(PROJECT.report(""), tmp_path / "reports")
    shutil.copy(PROJECT.params, tmp_path)
    (tmp_path / "reports/reference/metrics.json").unlink(missing_ok=True)
    return Paths(tmp_path)


def test_a_single_seed_has_no_spread(paths: Paths) -> None:
    assert TABLES["seeds"](paths).startswith("Spread unknown: each model has one seed.")
    rows = TABLES["results"](paths).splitlines()[2:]
    assert all("| – | 1 |" in row for row in rows)


def test_other_seeds_are_included_in_the_spread(paths: Paths) -> None:
    other = {
        part: read_json(paths.report("train") / "mlp-original-1/model.json")[part]
        for part in ("data_sha256", "settings")
    }
    recorded = read_json(paths.report("evaluate") / "metrics.json")["mlp-original"]
    accuracy = {"accuracy": recorded["test"]["accuracy"] - 0.02}
    entry = {"val": accuracy, "test": accuracy, "made_from": other}
    write_json(paths.report("reference") / "metrics.json", {"mlp-original-2": entry})
    first, second = TABLES["seeds"](paths).splitlines()[2:4]
    assert first.startswith("| mlp-original | 2 | 0.")
    assert second.startswith("| mlp-augmented | 1 | 0.")
    first, second = TABLES["results"](paths).splitlines()[2:4]
    assert "± 0.0141 | 2 |" in first
    assert "| – | 1 |" in second


def test_an_experiment_is_listed_once_it_has_run(paths: Paths) -> None:
    metrics = read_json(paths.report("evaluate") / "metrics.json")
    write_json(paths.report("thorough") / "metrics.json", {"cnn-original": metrics["cnn-original"]})
    text = TABLES["experiments"](paths)
    assert "| `make thorough` | cnn-original | 0." in text
    shutil.rmtree(paths.report("thorough"))
    assert "`make thorough`" in TABLES["experiments"](paths).rpartition("Not run yet: ")[2]


def test_the_run_on_mnist_has_scores_and_what_each_search_chose(paths: Paths) -> None:
    shutil.rmtree(paths.report("mnist"), ignore_errors=True)
    assert TABLES["mnist"](paths) == "Not run yet: `make mnist`."
    shutil.copytree(paths.report("tune"), paths.report("mnist") / "tune")
    shutil.copy(paths.report("evaluate") / "metrics.json", paths.report("mnist"))
    values = read_json(paths.hyperparameters("cnn"))
    scores, chosen = TABLES["mnist"](paths).split("\n\n")
    assert scores.splitlines()[2].startswith("| MLP, original data | 0.")
    assert f"`learning_rate` {values['learning_rate']}" in chosen.splitlines()[2]


def test_computing_times_are_summed_by_system(tmp_path: Path) -> None:
    counts = {"published": {"inside": 1, "better": 0}, "claims": {"held": 2}}
    system = {"title": "Grid", "models": 2, "searches": 1, **counts}
    summary = {"systems": {"1": system, "11": system}, "missing": ["train@11-b"]}
    write_json(tmp_path / "replications/summary.json", summary)
    provenance = {
        **{f"train@1-{name}": {"seconds": 60.0} for name in ("a", "b")},
        "search@1-a": {"seconds": None},
        "winner@11-a": {"seconds": 1.0},
        "everything": {"seconds": 7200.0, "machine": {"name": "AMD EPYC"}},
    }
    write_json(tmp_path / "replications/provenance.json", provenance)
    header, _, first, second, *rest = TABLES["systems"](Paths(tmp_path)).splitlines()
    assert "| published value: inside / better | claims: held |" in header
    assert first == "| 1. Grid | 2 | 1 | 1 / 0 | 2 | 2 min 00 s |"
    assert second.endswith("| 1 s |")
    assert "took 2 h 00 min (AMD EPYC)." in rest[1]
    assert rest[3] == "Not run yet: `train@11-b`."
