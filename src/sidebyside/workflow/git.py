"""Ask git about a checkout, and refuse one that git does not read.

`python -m sidebyside.workflow.git` runs before the environment is installed, so this module needs
only the standard library, of any Python that is still in use.
"""

import subprocess
import sys
from pathlib import Path

from sidebyside.core.errors import UserError


def run(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a git command in a checkout and return its status and output.

    Raises:
        OSError: git is not installed.
    """
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(
        command,
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",  # of file names
        check=False,
    )


def ask(root: Path, *arguments: str) -> "str | None":
    """Return the output of a git command without its last line end.

    None without git or if the command fails.
    """
    try:
        done = run(root, *arguments)
    except OSError:
        return None
    return None if done.returncode else done.stdout.removesuffix("\n")


def check(root: Path) -> None:
    """Refuse a repository that git does not read, such as one that belongs to another user.

    Its commit would be recorded as unknown. A folder outside any repository passes.

    Raises:
        UserError: the message is that of git, which names the cure.
    """
    if ask(root, "rev-parse", "--git-dir") is not None:
        return
    if any((folder / ".git").exists() for folder in (root, *root.resolve().parents)):
        try:
            reason = " ".join(run(root, "rev-parse", "--git-dir").stderr.split())
        except OSError:
            return  # without git, the commit is unknown
        raise UserError(f"git does not read the repository of {root}: {reason}")


def commit(root: Path) -> "str | None":
    """Return the commit of the pipeline at `root`: 40 hexadecimal digits, or None without one."""
    # In a larger repository, the project may be untracked: its dvc.yaml must be in the commit.
    found = ask(root, "rev-parse", "HEAD", "HEAD:./dvc.yaml")
    return found.split()[0] if found else None


def require_commit(root: Path) -> None:
    """Refuse a folder without a commit, such as an unpacked source archive.

    Raises:
        UserError: there is no git, no repository that it reads, or no commit in it.
    """
    try:
        run(root, "--version")
    except OSError:
        raise UserError("git is not installed: every result records its commit") from None
    check(root)
    if commit(root) is None:
        create = "" if ask(root, "rev-parse", "--git-dir") else "git init && "
        cure = f'{create}git add . && git commit --message "Import"'
        raise UserError(f"{root} is not in a git commit, which results record: run `{cure}`")


def project(root: Path) -> Path:
    """Return the folder of the project that contains the pipeline at `root`.

    It is the outermost folder with a dvc.yaml in the repository: the repository's top or, in a
    larger repository, a folder below it. Outside a repository it is `root`.
    """
    top = ask(root, "rev-parse", "--show-toplevel")
    if top is None:
        return root
    above = [folder for folder in root.resolve().parents if folder.is_relative_to(top)]
    return next((folder for folder in reversed(above) if (folder / "dvc.yaml").is_file()), root)


if __name__ == "__main__":
    try:
        require_commit(Path.cwd())
    except UserError as error:
        sys.exit(f"git: error: {error}")
