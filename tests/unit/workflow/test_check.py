"""Damaged files of DVC and of its outputs: each is named with a command, and the command works."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.workflow import check, provenance
from sidebyside.workflow.check import find_faults
from tests.support.dvc_project import (
    COPY,
    FOLDER,
    MODEL,
    REPORT,
    cached,
    change,
    commit,
    copy_project,
    cut,
    git,
    mend,
    new_project,
    stale,
)

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_project(tmp_path_factory.mktemp("projects") / "original")


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has run, as the working directory."""
    root = copy_project(original, tmp_path / "a project")
    monkeypatch.chdir(root)
    return root


def conflict(path: Path) -> None:
    """Put the markers of a merge conflict around a file's content."""
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}=======\n>>>>>>> other\n")


def test_an_undamaged_project_has_no_faults(project: Path) -> None:
    assert find_faults(project) == []


def databases(root: Path) -> list[Path]:
    """Return DVC's databases of file digests, after DVC has used them."""
    stale(root)
    return sorted((root / ".dvc/site").rglob("*.db"))


def cut_databases(root: Path) -> None:
    for path in databases(root):
        cut(path, 5000)


# Damage → beginning of the fault. Afterwards every stage is up to date without having run again.
RESTORED: dict[str, tuple[Damage, str]] = {
    "empty lock": (lambda root: cut(root / "dvc.lock"), "dvc.lock is damaged"),
    "cut lock": (
        lambda root: cut(root / "dvc.lock", (root / "dvc.lock").stat().st_size - 9),
        "dvc.lock is damaged (its last line is cut off)",
    ),
    "lock cut between lines": (
        lambda root: cut(root / "dvc.lock", (root / "dvc.lock").read_bytes().rindex(b"md5:") - 4),
        "dvc.lock is damaged",
    ),
    "lock in conflict": (
        lambda root: conflict(root / "dvc.lock"),
        "dvc.lock is damaged (dvc.lock has a merge conflict in line 1)",
    ),
    "graph in conflict": (
        lambda root: conflict(root / "dvc.yaml"),
        "dvc.yaml has a merge conflict in line 1: correct it, or ",
    ),
    "parameters in conflict": (
        lambda root: conflict(root / "params.yaml"),
        "params.yaml has a merge conflict in line 1: correct it, or ",
    ),
    "cut graph": (
        lambda root: cut(root / "dvc.yaml", (root / "dvc.yaml").read_bytes().rindex(b":")),
        "dvc.yaml is not valid YAML",
    ),
    "configuration": (
        lambda root: conflict(root / ".dvc/config"),
        ".dvc/config is not a valid configuration of DVC",
    ),
    "local configuration": (
        lambda root: (root / ".dvc/config.local").write_text("[core"),
        ".dvc/config.local is not a valid configuration of DVC",
    ),
    "empty rwlock": (lambda root: cut(root / ".dvc/tmp/rwlock"), ".dvc/tmp/rwlock is damaged"),
    "cut rwlock": (
        lambda root: (root / ".dvc/tmp/rwlock").write_text('{"read": {"'),
        ".dvc/tmp/rwlock is damaged",
    ),
    "database": (
        cut_databases,
        "DVC's database of file digests is damaged",
    ),
    "changed model": (lambda root: change(root / MODEL), f"{MODEL} is not as dvc.lock records it"),
    "changed folder": (
        lambda root: change(root / FOLDER / "x"),
        f"{FOLDER} is not as dvc.lock records it",
    ),
    "file added to a folder": (
        lambda root: (root / FOLDER / "new").write_text("new"),
        f"{FOLDER} is not as dvc.lock records it",
    ),
    "changed report": (
        lambda root: change(root / REPORT),
        f"{REPORT} is not as dvc.lock records it: `git checkout HEAD",
    ),
    "changed object": (lambda root: change(cached(root, MODEL)), ".dvc/cache/"),
    "changed, protected object": (
        lambda root: change(cached(root, MODEL), protected=True),
        ".dvc/cache/",
    ),
    "pipe in the place of a model": (
        lambda root: replace(root / MODEL, os.mkfifo),
        f"{MODEL} is not as dvc.lock records it: `rm -rf {MODEL} && dvc checkout",
    ),
    "pipe in a folder": (
        lambda root: os.mkfifo(root / FOLDER / "pipe"),
        f"{FOLDER} is not as dvc.lock records it: `rm -rf {FOLDER} && dvc checkout",
    ),
    "link to nothing in a folder": (
        lambda root: (root / FOLDER / "link").symlink_to("nothing"),
        f"{FOLDER} is not as dvc.lock records it: `rm -rf {FOLDER} && dvc checkout",
    ),
    "name that is not text in a folder": (
        lambda root: (root / FOLDER / os.fsdecode(b"\xff")).touch(),
        f"{FOLDER} is not as dvc.lock records it: `rm -rf {FOLDER} && dvc checkout",
    ),
    "empty object": (lambda root: cut(cached(root, f"{FOLDER}/x")), ".dvc/cache/"),
}


@pytest.mark.parametrize("case", RESTORED)
def test_a_damaged_file_is_named_with_a_command_that_restores_it(project: Path, case: str) -> None:
    damage, message = RESTORED[case]
    damage(project)
    (fault,) = find_faults(project)
    assert fault.startswith(message)
    assert "\n" not in fault
    mend(fault)
    assert find_faults(project) == []
    assert stale(project) == set()


def replace(path: Path, create: Damage) -> None:
    """Create something else in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    create(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("/nowhere/at all")


@pytest.mark.parametrize("create", [os.mkdir, os.mkfifo, link_to_nothing])
@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock", "params.yaml", ".dvc/tmp/rwlock"])
def test_what_is_in_the_place_of_a_file_is_moved_away(
    project: Path, name: str, create: Damage
) -> None:
    replace(project / name, create)
    (fault,) = find_faults(project)
    assert fault.startswith(f"{name} is not a file: `mv {name} {name}.damaged")
    mend(fault)
    assert find_faults(project) == []
    assert stale(project) == set()


@pytest.mark.parametrize("name", ["models", "data", ".dvc/cache", ".dvc/tmp", ".state"])
def test_a_folder_on_a_missing_disk_is_found_before_a_stage_runs(project: Path, name: str) -> None:
    replace(project / name, link_to_nothing)
    (fault,) = find_faults(project)
    assert fault.startswith(f"{name} is a link to '/nowhere/at all', which is missing")
    mend(fault)
    assert find_faults(project) == []


@pytest.mark.parametrize(
    "name", ["models", ".dvc/cache", ".dvc/tmp", ".state", ".state/provenance"]
)
def test_a_file_in_the_place_of_a_folder_is_found_before_a_stage_runs(
    project: Path, name: str
) -> None:
    replace(project / name, Path.touch)
    (fault,) = find_faults(project)
    assert fault.startswith(f"{name} is not a folder")
    mend(fault)
    assert find_faults(project) == []


def test_a_project_without_the_folder_of_dvc_is_restored(project: Path) -> None:
    shutil.rmtree(project / ".dvc")
    (fault,) = find_faults(project)
    assert fault.startswith(".dvc is missing")
    mend(fault)
    assert find_faults(project) == []


@pytest.mark.parametrize("content", ["", "text", "stages: []", "stages: {train: null}"])
def test_a_graph_without_stages_is_refused(project: Path, content: str) -> None:
    (project / "dvc.yaml").write_text(content)
    with pytest.raises(UserError, match=r"dvc\.yaml has no stage"):
        find_faults(project)


def remove_cached(root: Path) -> None:
    change(cached(root, MODEL), protected=True)
    for name in (MODEL, COPY):
        (root / name).unlink()


def change_both(root: Path) -> None:
    file = cached(root, MODEL)
    for name in (MODEL, COPY):
        change(root / name)
    change(file, protected=True)


def change_listing(root: Path) -> None:
    (listing,) = (root / ".dvc/cache/files/md5").glob("*/*.dir")
    change(listing, protected=True)


@pytest.mark.parametrize("damage", [remove_cached, change_both, change_listing])
def test_what_no_copy_is_left_of_is_removed_so_that_dvc_creates_it(
    project: Path, damage: Damage
) -> None:
    damage(project)
    faults = find_faults(project)
    assert faults
    for fault in faults:
        assert "again" in fault
        mend(fault)
    assert find_faults(project) == []
    assert stale(project) == {"download" if damage is change_listing else "train"}


@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_a_change_through_a_link_into_the_cache_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    root = new_project(tmp_path / "project", link)
    monkeypatch.chdir(root)
    assert find_faults(root) == []
    change((root / MODEL).resolve(), protected=True)
    for fault in find_faults(root):  # two outputs are linked to the same object
        mend(fault)
    assert find_faults(root) == []
    assert stale(root) == {"train"}


def test_a_cache_on_another_disk_that_dvc_cannot_link_to_is_found(project: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as disk:  # in memory
        if Path(disk).stat().st_dev == project.stat().st_dev:
            pytest.skip("this machine has one file system")
        settings = project / ".dvc/config.local"
        settings.write_text(f"[cache]\n    dir = {disk}\n    type = hardlink\n")
        (fault,) = find_faults(project)
        assert " cannot have a hardlink of a file in DVC's cache, /dev/shm/" in fault
        mend(fault)
        assert find_faults(project) == []


def test_a_damaged_object_that_dvc_has_checked_out_is_found(project: Path) -> None:
    change(cached(project, f"{FOLDER}/x"), protected=True)
    (project / FOLDER / "x").unlink()
    mend("`dvc checkout`")
    assert stale(project) == set()  # DVC takes it for the result
    (fault,) = find_faults(project)
    mend(fault)
    assert find_faults(project) == []
    assert "download" in stale(project)


def test_a_damaged_lock_without_an_intact_one_in_git_is_removed(project: Path) -> None:
    cut(project / "dvc.lock", 60)
    commit(project)
    (fault,) = find_faults(project)
    assert "run all stages again" in fault
    mend(fault)
    assert find_faults(project) == []


def test_a_conflict_of_a_merge_is_restored(project: Path) -> None:
    lock = project / "dvc.lock"
    text = lock.read_text()
    git(project, "checkout", "--quiet", "-b", "other")
    lock.write_text(re.sub(r"size: \d+", "size: 7", text))
    commit(project)
    git(project, "checkout", "--quiet", "-")
    lock.write_text(re.sub(r"size: \d+", "size: 8", text))
    commit(project)
    with pytest.raises(subprocess.CalledProcessError):
        git(project, "merge", "other")
    (fault,) = find_faults(project)
    mend(fault)
    assert find_faults(project) == []


def test_results_of_a_stage_that_dvc_could_not_record_are_not_faults(project: Path) -> None:
    change(project / MODEL)
    provenance.write(project, "train", "key", {}, [project / MODEL])
    assert find_faults(project) == []


def test_results_of_an_interrupted_stage_are_not_faults(project: Path) -> None:
    change(project / MODEL)
    (project / ".state/unfinished").mkdir(parents=True)
    (project / ".state/unfinished/train").touch()
    assert find_faults(project) == []


def test_results_of_another_commit_are_not_faults(project: Path) -> None:
    (project / MODEL).write_text("an earlier model")
    earlier = cached(project, MODEL)
    earlier.parent.mkdir(exist_ok=True)
    shutil.copy(project / MODEL, earlier)
    assert find_faults(project) == []


CAPABILITIES = "-dac_override,-dac_read_search"  # let root write everywhere


def test_a_write_protected_file_is_found_before_a_stage_runs(project: Path) -> None:
    folder = cached(project, MODEL).parent
    (database, *_) = databases(project)
    for path in (project / "dvc.lock", database, folder, project / "models"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", "import sys; from pathlib import Path;"
               "from sidebyside.workflow.check import find_faults;"
               "print(*find_faults(Path.cwd()), sep='\\n')"]  # fmt: skip
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", CAPABILITIES, *command]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    found = set[str]()
    for _ in range(2):  # DVC cannot show where its cache is before its database is writable
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert not done.stderr
        for fault in done.stdout.splitlines():
            assert "write-protected" in fault
            mend(fault)
            found.add(fault.partition(" ")[0])
    assert found >= {"dvc.lock", "models", *map(os.path.relpath, (database, folder))}
    assert find_faults(project) == []


DATASET = "dataset: digits\n"  # the first key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "params.yaml: Input should be a valid dictionary"),
        ("- 1", "params.yaml: Input should be a valid dictionary"),
        ("train: {models: mlp}", "params.yaml: dataset: is missing"),
        (f"{DATASET}seed: 1e999", "params.yaml: seed: Input should be a valid integer, not inf"),
        (f"{DATASET}seed: ١٢", "params.yaml: seed: Input should be a valid integer, not '١٢'"),
        ("a: &a [1]\nseed: &b [*a, *b]", "params.yaml is not valid YAML: a value contains itself"),
        ("seed:\t1", "params.yaml is not valid YAML: found character"),
        ("seed: 1\nseed: 2", 'params.yaml is not valid YAML: found duplicate key "seed"'),
    ],
)
def test_invalid_parameters_are_refused_before_dvc_fills_them_in(
    project: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "params.yaml").write_text(text)
    monkeypatch.setattr(check, "CHECKOUT", project)
    monkeypatch.setattr(sys, "argv", ["check"])
    with pytest.raises(UserError) as caught:
        check.main()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_parameter_file_without_end_is_refused(project: Path) -> None:
    os.truncate(project / "params.yaml", 1 << 40)  # sparse
    (fault,) = find_faults(project)
    assert fault.startswith(f"{project / 'params.yaml'} is larger than 2 MiB: ")
