"""Clone or copy a checkout, set its parameters, restore or delete its results, run its pipeline."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core import environment
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml, write_json
from sidebyside.execution import process_group
from sidebyside.workflow import command, copies, git
from sidebyside.workflow.graph import LOCK, committed_outputs
from sidebyside.workflow.resume import FOLDER

PLOT_PAGE = ".dvc/plots/page.html"  # written by `make install`, ignored by git
NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")  # of the user; --no-verify skips two of them
SMOKE = "smoke.txt"  # beside this module; one line key=value per parameter of a smoke run


def main() -> None:
    """Copy the working tree of this checkout, without results, into a repository of its own."""
    parser = command.parser(main.__doc__)
    parser.add_argument("target", type=Path, help="folder to create, or below .state to update")
    parser.add_argument(
        "--seeds",
        type=json.loads,
        help="train.seeds of the copy, as a list: [2,3] (default: as here)",
    )
    given = parser.parse_args()
    copy(CHECKOUT, given.target, {"train.seeds": given.seeds} if given.seeds else {})


def clone(root: Path, target: Path) -> Path:
    """Clone the last commit into `target`; return the folder of the project in the clone.

    In a larger repository, the whole repository is cloned.

    Raises:
        UserError: `root` is not in a commit, or git fails.
    """
    git.require_commit(root)
    top = git.ask(root, "rev-parse", "--show-toplevel")
    prefix = git.ask(root, "rev-parse", "--show-prefix") or ""
    done = subprocess.run(["git", *NO_HOOKS, "clone", "--quiet", top or root, target], check=False)
    if done.returncode:
        raise UserError(f"{root} cannot be cloned: see the lines above")
    copies.link_local_data(root, target / prefix)
    return target / prefix


def copy(root: Path, target: Path, values: Mapping[str, Any] | None = None) -> None:
    """Copy the working tree with data/raw, and commit the copy to a repository of its own.

    The copy lacks dvc.lock, so that its run starts from scratch. Files that git ignores stay
    behind, apart from the data and DVC's plot page.

    Args:
        root: the checkout to copy.
        target: folder of the copy.
        values: dotted key of params.yaml → its value in the copy, where it differs.

    Raises:
        UserError: `root` is not in a git commit, git fails in the copy, or `target` has files that
            the copy could replace.
    """
    git.require_commit(root)
    own = target.resolve().is_relative_to((root / FOLDER).resolve())
    if os.path.lexists(target) and not own and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} is not an empty folder: give one that is missing or empty")
    listed = git.ask(root, "ls-files", "-co", "--exclude-standard", "-z") or ""
    names = [name for name in listed.split("\0") if name and Path(name).name != LOCK]
    for name in (*names, PLOT_PAGE):
        file, copied = root / name, target / name
        if file.is_symlink() or file.is_file():  # not a file deleted since the last commit
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.unlink(missing_ok=True)
            shutil.copy2(file, copied, follow_symlinks=False)
    if (raw := Paths(root).raw).is_dir():
        shutil.copytree(raw, Paths(target).raw, dirs_exist_ok=True)
    copies.link_local_data(root, target)
    if values:
        set_parameters(target, values)
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)
    commit_all(target, "copy")


def commit_all(checkout: Path, author: str) -> None:
    """Commit everything in a clone or copy.

    Raises:
        UserError: git fails.
    """
    # The user's hooks and signing settings must not apply to this commit.
    values = (f"user.name={author}", f"user.email={author}@localhost", "commit.gpgsign=false")
    options = [part for value in values for part in ("-c", value)]
    message = ("commit", "--quiet", "--no-verify", "--allow-empty", "--message", author)
    for arguments in (("add", "--all"), (*options, *NO_HOOKS, *message)):
        if subprocess.run(["git", *arguments], cwd=checkout, check=False).returncode:
            raise UserError(f"git cannot commit in {checkout}: see the lines above")


def smoke_parameters() -> dict[str, Any]:
    """Return the small budgets of a smoke run: dotted key of params.yaml → value."""
    file = resources.files("sidebyside.reproducibility").joinpath(SMOKE)
    pairs = (line.split("=", 1) for line in file.read_text(encoding="utf-8").split())
    return {key: json.loads(value) for key, value in pairs}


def set_parameters(checkout: Path, values: Mapping[str, Any]) -> None:
    """Set values of params.yaml by their dotted keys."""
    path = checkout / "params.yaml"
    content = read_yaml(path)
    for key, value in values.items():
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        section[name] = value
    write_json(path, content)  # JSON is a subset of YAML


def delete_results(checkout: Path) -> None:
    """Delete dvc.lock and the outputs in it from a clone, so that a run starts from scratch.

    Raises:
        UserError: dvc.lock of the last commit is damaged.
    """
    for output in committed_outputs(checkout) or ():
        path = checkout / output
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (checkout / LOCK).unlink(missing_ok=True)


def restore_results(checkout: Path, root: Path) -> None:
    """Check out the recorded data and models of a clone from the DVC cache of `root`.

    Outputs that are missing in the cache stay missing.

    Raises:
        UserError: the last commit has no dvc.lock, or a damaged one.
    """
    if not committed_outputs(checkout):
        raise UserError(f"the last commit has no {LOCK}: commit the one that `make repro` writes")
    cache = ["dvc", "config", "--local", "cache.dir", str(cache_folder(root))]
    subprocess.run(cache, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["dvc", "checkout", "--quiet", "--allow-missing"],
        cwd=checkout,
        check=False,  # a missing output is compared by its digest alone
        stderr=subprocess.DEVNULL,
    )


def cache_folder(root: Path) -> Path:
    """Return the folder of a checkout's DVC cache; several checkouts may share it.

    Raises:
        UserError: `dvc cache dir` fails, for example on a damaged configuration.
    """
    command = ["dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"`dvc cache dir` fails: {' '.join(done.stderr.split())}")
    return root / done.stdout.strip()


def reproduce(checkout: Path) -> None:
    """Run `dvc repro` in a checkout.

    Raises:
        UserError: it failed.
    """
    if process_group.call(["dvc", "repro"], checkout, clean_environment()):
        raise UserError("`dvc repro` failed in a clone of the last commit")


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the variables that would redirect a clone."""
    variables = environment.cleaned(os.environ, other_checkout=True)
    variables.pop("MLFLOW_TRACKING_URI", None)  # a clone logs to a store of its own
    return variables


if __name__ == "__main__":
    command.run(main)
