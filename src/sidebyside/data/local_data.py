"""The user's own data in data/local: copy them to data/raw, or say why they are not used."""

import filecmp
import os
import shlex
import shutil
import stat
from pathlib import Path, PurePosixPath

from sidebyside.config.dataset_description import BUILT_IN_NAMES, FOLDER, BuiltIn, OwnData, builtin
from sidebyside.core.errors import UserError, printable
from sidebyside.core.files import is_ignored
from sidebyside.data import idx
from sidebyside.data.archives import SourceError, max_archive_size, verify
from sidebyside.data.picture_files import is_skipped, list_pictures

Listing = dict[Path, tuple[int, int]]  # path below the data → size in bytes, time of change in ns
MAX_SHOWN = 3  # names in a note


def copy_local(description: OwnData, root: Path, target: Path) -> str:
    """Replace `target` by a copy of the user's data; return their number of files and bytes.

    `target` stays as it is if it has the same content already, or if the copy fails.

    Args:
        description: says where the data are.
        root: the checkout.
        target: data/raw.

    Raises:
        UserError: the data are missing, empty, behind a link, changed while they were copied, or
            contain a link that leads outside, or something else than files and folders; or they
            are pictures in folders or a table that are not a data set.
    """
    _refuse_links(description, root)
    source = root / description.path
    base = source if source.is_dir() else source.parent
    before = _listing(description, source, base)
    if description.format == "pictures":
        list_pictures(source, description)  # an empty folder would not be copied
    text = f"{len(before):,} files, {sum(size for size, _ in before.values()):,} bytes"
    if _is_copy(before, base, target):
        return text
    new, old = (target.with_name(f".{target.name}.{part}.tmp") for part in ("new", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        for name in before:
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / name, new / name)
        copied = {name: (new / name).stat().st_size for name in before}
        sizes = {name: size for name, (size, _) in before.items()}
        if _listing(description, source, base) != before or copied != sizes:
            raise _changed(description)
        if target.exists():
            target.rename(old)
        new.rename(target)
    except FileNotFoundError:
        raise _changed(description) from None
    finally:
        if not target.exists() and old.exists():
            old.rename(target)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return text


def is_link_to_original(link: Path) -> bool:
    """Return whether a link leads to the same entry of another checkout's data/local.

    A copy of a checkout, made for an experiment for example, has such links.
    """
    target = link.readlink()
    return (
        link.exists()
        and target.is_absolute()
        and target.parts[-3:] == (*PurePosixPath(FOLDER).parts, link.name)
        and (target.parents[2] / "dvc.yaml").is_file()
        and (not target.is_symlink() or is_link_to_original(target))
    )


def unused_note(description: BuiltIn, root: Path) -> str | None:
    """Return a line that names content of data/local that the data set does not use, or None.

    Raises:
        UserError: a file has the name of a published one, and is a valid IDX file of other data.
    """
    folder = root / FOLDER
    published = {file.name: file for name in BUILT_IN_NAMES for file in builtin(name).files}
    used = {name for file in description.files for name in (file.name, f"{file.name}.gz")}
    unused = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.name == "README.md" or is_ignored(entry.name) or entry.name in BUILT_IN_NAMES:
            continue
        if entry.name not in used:
            if entry.name.removesuffix(".gz") not in published:
                unused.append(entry.name)
        elif other := _other_content(entry, description):
            unused.append(f"{entry.name} ({other})")
    if not unused:
        return None
    shown = ", ".join(unused[:MAX_SHOWN]) + (", …" if len(unused) > MAX_SHOWN else "")
    return printable(
        f"note: {FOLDER}: {shown} not used by `dataset: {description.name}` in params.yaml:"
        " see docs/data.md"
    )


def _other_content(path: Path, description: BuiltIn) -> str | None:
    """Return the title of the other data set whose file this is, or None if it may be used.

    Raises:
        UserError: the file is valid, but of no built-in data set.
    """
    largest = max(max_archive_size(file) for name in BUILT_IN_NAMES for file in builtin(name).files)
    try:
        if not path.is_file() or path.stat().st_size > largest:
            return None
        content = path.read_bytes()
    except OSError:  # `fetch` reports it
        return None
    for name in (description.name, *BUILT_IN_NAMES):
        for file in builtin(name).files:
            try:
                verify(content, path.name, file, [])
            except SourceError:
                continue
            return None if name == description.name else builtin(name).title
    if idx.is_complete(content):
        raise UserError(
            f"{FOLDER}/{path.name} is a valid IDX file, but not of {description.title}: to use your"
            f" own data, move them to a folder below {FOLDER} and describe them under `dataset` in"
            " params.yaml (docs/data.md)"
        )
    return None


def _refuse_links(description: OwnData, root: Path) -> None:
    """Refuse a folder that is a link: DVC does not notice changes behind it.

    It does notice them if data/local itself is a link, or a file.

    Raises:
        UserError: the folder of the data, or one that contains it, is a link.
    """
    path = root / FOLDER
    for part in PurePosixPath(description.path).relative_to(FOLDER).parts:
        path /= part
        if path.is_symlink() and not path.is_file() and not is_link_to_original(path):
            name = path.relative_to(root).as_posix()
            shown, target = shlex.quote(name), path.resolve()
            if not target.exists():
                raise UserError(
                    f"{name} is a link to {target}, which is missing: remove the link with"
                    f" `rm {shown}`, and put the data there"
                )
            raise UserError(
                f"{name} is a link, and DVC does not notice changes behind it: replace it by a"
                f" copy with `rm {shown} && cp -r {shlex.quote(str(target))} {shown}`"
            )


def _listing(description: OwnData, source: Path, base: Path) -> Listing:
    """Return the files to copy, without those that file managers and editors write."""
    if not source.exists():
        raise UserError(
            f"params.yaml: dataset.path: {description.path} does not exist: put the data there"
            " (docs/data.md)"
        )
    listing: Listing = {}
    if source.is_dir():
        for folder, folders, names in os.walk(source, onerror=_raise):
            folders[:] = [name for name in folders if not is_skipped(name)]
            for name in (*folders, *(name for name in names if not is_skipped(name))):
                path = Path(folder) / name
                if name in folders and not path.is_symlink():
                    continue
                listing[path.relative_to(base)] = _state(path, source, description)
    else:
        listing[source.relative_to(base)] = _state(source, source, description)
        if isinstance(description.class_names, str):
            names_file = base / description.class_names
            if names_file.is_file():
                listing[names_file.relative_to(base)] = _state(names_file, base, description)
    if not listing:
        raise UserError(f"{description.path} contains no files: put the data there (docs/data.md)")
    return listing


def _state(path: Path, source: Path, description: OwnData) -> tuple[int, int]:
    """Return the size and the time of change of a file.

    Raises:
        UserError: it is not a file, or a link to a folder or out of the data.
    """
    shown = printable(f"{description.path}/{path.relative_to(source)}")
    if path.is_symlink() and path != source:
        inside = path.resolve().is_relative_to(source.resolve())
        if not inside or not path.is_file():
            reason = "a folder" if inside and path.is_dir() else "outside of the data"
            reason = reason if path.exists() else "nothing"
            raise UserError(f"{shown} is a link to {reason}: replace it by a copy")
    try:
        state = path.stat()
    except FileNotFoundError:
        raise _changed(description) from None
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{shown} is not a file or folder: remove it")
    return state.st_size, state.st_mtime_ns


def _is_copy(listing: Listing, base: Path, target: Path) -> bool:
    """Return whether `target` has exactly the listed files with the same content."""
    names = {path.relative_to(target) for path in target.rglob("*") if not path.is_dir()}
    return names == listing.keys() and all(
        filecmp.cmp(base / name, target / name, shallow=False) for name in names
    )


def _raise(error: OSError) -> None:
    raise error


def _changed(description: OwnData) -> UserError:
    return UserError(
        f"{description.path} changed while it was copied: run the same command again when nothing"
        " writes to it"
    )
