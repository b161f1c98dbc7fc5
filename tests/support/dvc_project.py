"""A small DVC project with outputs of every kind: a folder, a cached file, a file in git."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import yaml
from dvc.cli import main as dvc
from dvc.repo import Repo

MODEL, COPY, FOLDER, REPORT = "models/a.keras", "models/copy.keras", "data/raw", "reports/a.json"
STAGES = {
    "download": {
        "cmd": f"mkdir -p {FOLDER} && echo x > {FOLDER}/x && echo y > {FOLDER}/y",
        "outs": [{FOLDER: {"persist": True}}],
    },
    "train": {
        "cmd": f"mkdir -p models reports; cat {FOLDER}/* | tee {MODEL} > {COPY}; echo > {REPORT}",
        "deps": [FOLDER],
        "params": ["seed"],
        "outs": [
            {MODEL: {"persist": True}},
            {COPY: {"persist": True}},
            {REPORT: {"cache": False, "persist": True}},
        ],
    },
}
CONFIG = "[core]\n    analytics = false\n    site_cache_dir = {}\n[cache]\n    type = {}\n"


def new_project(root: Path, link: str = "copy") -> Path:
    """Write a project, run it and commit its results to git.

    Args:
        root: a new folder.
        link: DVC's cache type: copy, hardlink or symlink.
    """
    root.mkdir(parents=True)
    git(root, "init", "--quiet")
    Repo.init(str(root)).close()
    (root / ".dvc/config").write_text(CONFIG.format(root / ".dvc/site", link))
    (root / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n/site\n")
    (root / ".gitignore").write_text("/data/\n/models/\n/.state/\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    (root / "params.yaml").write_text("seed: 1\n")
    with contextlib.chdir(root):
        assert dvc(["repro", "--quiet"]) == 0
    commit(root)
    return root


def copy_project(project: Path, target: Path) -> Path:
    """Copy a project; links within it stay links."""
    shutil.copytree(project, target, symlinks=True)
    shutil.rmtree(target / ".dvc/site")
    config = target / ".dvc/config"
    config.write_text(config.read_text().replace(str(project), str(target)))
    commit(target)
    return target


def stale(root: Path) -> set[str]:
    """Return the stages that `dvc repro` would run."""
    repository = Repo(str(root))
    try:
        return set(repository.status())
    finally:
        repository.close()


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def commit(root: Path) -> None:
    """Commit all files."""
    git(root, "add", "--all")
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
    git(root, *identity, "commit", "--quiet", "--allow-empty", "--message", "state")


def cached(root: Path, file: str) -> Path:
    """Return the object of a file's present content in the DVC cache."""
    from sidebyside.core.files import md5
    from sidebyside.workflow.integrity import object_file

    return object_file(root / ".dvc/cache/files/md5", md5(root / file))


def mend(fault: str) -> None:
    """Run the command that a fault names."""
    command = shlex.split(re.findall(r"`(.+?)`", fault)[-1])
    if command[0] == "dvc":  # DVC takes a second to start
        with contextlib.chdir("."):  # dvc --cd leaves the folder
            assert dvc(command[1:]) == 0
        return
    for each in shlex.join(command).split(" '&&' "):
        subprocess.run(shlex.split(each), check=True, capture_output=True)


def change(path: Path, *, protected: bool = False) -> None:
    """Append a byte to a file, even if it is write-protected."""
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"x")
    if protected:
        path.chmod(0o444)


def cut(path: Path, size: int = 0) -> None:
    """Cut a file, even if it is write-protected."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    os.truncate(path, size)
    path.chmod(mode)
