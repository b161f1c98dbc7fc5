"""Read data/raw, in any format, as images to distribute over the splits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sidebyside.config.dataset import MAX_CLASSES, Dataset, SplitSummary
from sidebyside.config.dataset_description import BuiltIn, Description, OwnData
from sidebyside.config.validation import explain
from sidebyside.core.errors import UserError
from sidebyside.data import class_names, idx, npz_arrays, pictures
from sidebyside.data.memory import MemoryShortageError, require_memory
from sidebyside.data.picture_files import list_pictures
from sidebyside.data.splits import Split, select, split_digest


@dataclass(frozen=True)
class PictureSources:
    """The picture files that the images come from."""

    train: Sequence[str]  # path of each image of `train`
    test: Sequence[str]
    kinds: Sequence[pictures.Kind]
    unreadable: Sequence[pictures.Unreadable]


@dataclass(frozen=True, eq=False)
class RawData:
    """The images of a data set before they are split."""

    train: Split  # to distribute over train and val, and test if there is none
    test: Split | None
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None = None  # [N] of `train`: a group stays within one split
    sources: PictureSources | None = None


def read_raw(folder: Path, description: BuiltIn | OwnData) -> RawData:
    """Return the content of data/raw.

    Raises:
        UserError: a file is missing, damaged or too large for the memory, or its content does not
            match the description.
    """
    if isinstance(description, BuiltIn):
        try:
            for file in description.files:
                if not (folder / file.name).is_file():
                    raise UserError(f"{folder / file.name} is missing")
            return _checked(_read(folder, description), description)
        except MemoryShortageError:
            raise
        except UserError as error:
            raise UserError(f"{error}: run `dvc repro download`") from None
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: run `dvc repro download`")
    return _checked(_read(folder, description), description)


def describe(
    description: BuiltIn | OwnData, class_names: tuple[str, ...], splits: dict[str, Split]
) -> Dataset:
    """Return the record of a data set.

    Raises:
        UserError: its images are too small or too large, or differ between splits.
    """
    _, height, width, *channels = splits["train"].images.shape
    for name, split in splits.items():
        if split.images.shape[1:] != splits["train"].images.shape[1:]:
            raise UserError(
                f"images of {name} are {_shape(split)}, but those of train are"
                f" {_shape(splits['train'])}"
            )
    if channels and description.preparation == "trim":
        raise UserError(
            "params.yaml: dataset.resize: trim is for grey images, but these have colour: choose"
            " stretch, pad or crop"
        )
    try:
        return Dataset(
            name=description.name,
            title=description.title,
            height=height,
            width=width,
            channels=3 if channels else 1,
            class_names=class_names,
            mirror=description.mirror,
            preparation=description.preparation,
            margin=description.margin,
            augmented_classes=description.augmented_classes,
            licence=description.licence,
            source=description.source,
            citation=description.citation,
            splits={
                name: SplitSummary(images=len(split), sha256=split_digest(split))
                for name, split in splits.items()
            },
        )
    except ValidationError as error:
        raise UserError(f"{description.title}: {explain(error)}") from None


def _shape(split: Split) -> str:
    return "×".join(map(str, split.images.shape[1:]))


def _read(folder: Path, description: BuiltIn | OwnData) -> RawData:
    if description.format == "csv":
        assert isinstance(description, BuiltIn)  # noqa: S101 (own data have no such format)
        return _read_csv(folder, description)
    if description.format == "idx":
        return _read_idx(folder, description)
    if description.format == "npz":
        return _read_npz(folder, description)
    return _read_pictures(folder, description)


def _read_csv(folder: Path, description: BuiltIn) -> RawData:
    """Read rows of pixels and the label, as in scikit-learn's digits."""
    path = folder / description.files[0].name
    try:
        table = np.loadtxt(path, np.int64, delimiter=",", ndmin=2)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    pixels = (table[:, :-1] * 255 + description.maximum // 2) // description.maximum
    images = pixels.reshape(-1, description.height, description.width).astype(np.uint8)
    labels = _labels(table[:, -1], description.class_names, path.name)
    return RawData(Split(images, labels), None, description.class_names)


def _read_idx(folder: Path, description: BuiltIn | OwnData) -> RawData:
    files = _idx_files(folder)
    arrays = {}
    for split in ("train", "test"):
        given = {kind: files.get((split, kind), []) for kind in ("images", "labels")}
        if split == "test" and not any(given.values()):
            continue
        for kind, paths in given.items():
            if len(paths) != 1:
                found = f"several: {', '.join(path.name for path in paths)}" if paths else "none"
                raise UserError(
                    f"{_place(folder, description)} must have one IDX file of {split} {kind} (a"
                    f" name with “{split}”{' or “t10k”' if split == 'test' else ''} and “{kind}”),"
                    f" but has {found}"
                )
        (images,), (labels,) = given["images"], given["labels"]
        shown = _shown(labels, folder, description)
        arrays[split] = (
            _idx_images(images, _shown(images, folder, description), description),
            idx.read_labels(labels, shown, description.labels),
            _shown(images, folder, description),
            shown,
        )
    every = [part[1] for part in arrays.values()]
    names = _class_names(folder, description, every, description.labels.first)
    return _from_arrays(arrays, names)


def _idx_images(path: Path, name: str, description: BuiltIn | OwnData) -> NDArray[np.uint8]:
    images = idx.read_images(path, name, transposed=description.transposed)
    _, *shape = images.shape
    if isinstance(description, BuiltIn) and shape != [description.height, description.width]:
        raise UserError(
            f"{name}: images are {'×'.join(map(str, shape))} pixels, expected"
            f" {description.height}×{description.width}"
        )
    return images


def _read_npz(folder: Path, description: BuiltIn | OwnData) -> RawData:
    files = sorted(folder.glob("*.npz"))
    if len(files) != 1:
        raise UserError(
            f"{_place(folder, description)} must have one .npz file, but has"
            f" {', '.join(file.name for file in files) or 'none'}"
        )
    shown = _shown(files[0], folder, description)
    read = npz_arrays.read_arrays(files[0], shown)
    arrays = {
        split: (
            *(read[f"x_{split}"], read[f"y_{split}"]),
            *(f"{shown}: x_{split}", f"{shown}: y_{split}"),
        )
        for split in ("train", "test")
        if f"x_{split}" in read
    }
    names = _class_names(folder, description, [part[1] for part in arrays.values()], 0)
    return _from_arrays(arrays, names)


def _read_pictures(folder: Path, description: BuiltIn | OwnData) -> RawData:
    assert isinstance(description, OwnData)  # noqa: S101 (no built-in data set has this format)
    skip = description.unreadable == "skip"
    files = list_pictures(folder, description)
    given = description.class_names
    given = _read_names(folder, description, given) if isinstance(given, str) else given
    names = class_names.of_pictures(files, description.path, given)
    size = description.size or pictures.find_size(folder, description.path, files, skip=skip)
    shape = pictures.Shape(*size, channels=description.channels or 3)
    require_memory(len(files) * math.prod(shape), "the data set")
    assert description.preparation != "trim"  # noqa: S101 (not for pictures)
    read = pictures.read(folder, description.path, files, shape, description.preparation, skip=skip)
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number[file.label] for file in read.files], np.uint8)
    every, tested = Split(read.images, labels), np.array([file.test for file in read.files])
    groups = None
    if description.group:
        of_file = [file.group for file in read.files if not file.test]
        groups = np.unique(np.array(of_file, object), return_inverse=True)[1].astype(np.int64)
    sources = PictureSources(
        train=[file.file for file in read.files if not file.test],
        test=[file.file for file in read.files if file.test],
        kinds=pictures.count_kinds(read.headers),
        unreadable=read.unreadable,
    )
    given_test = select(every, tested) if sources.test else None
    return RawData(select(every, ~tested), given_test, names, groups, sources)


def _idx_files(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """Return (train or test, images or labels) → the files whose names say so."""
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = path.name.lower()
        kind = next((kind for kind in ("images", "labels") if kind in name), None)
        if kind is not None and path.is_file():
            split = "test" if "t10k" in name or "test" in name else "train"
            found.setdefault((split, kind), []).append(path)
    return found


def _from_arrays(
    arrays: dict[str, tuple[NDArray[Any], NDArray[np.int64], str, str]], names: tuple[str, ...]
) -> RawData:
    splits = {}
    for split, (images, labels, images_name, labels_name) in arrays.items():
        if len(images) != len(labels):
            raise UserError(
                f"{images_name} contains {len(images)} images,"
                f" but {labels_name} contains {len(labels)} labels"
            )
        if not len(images):
            raise UserError(f"{images_name} contains no images")
        splits[split] = Split(images, _labels(labels, names, labels_name))
    require_memory(sum(split.images.nbytes for split in splits.values()), "the data set")
    return RawData(splits["train"], splits.get("test"), names)


def _labels(labels: NDArray[np.int64], names: Sequence[str], file: str) -> NDArray[np.uint8]:
    outside = (labels < 0) | (labels >= len(names))
    if outside.any():
        first = int(np.argmax(outside))
        raise UserError(
            f"{file}: label {labels[first]} at {first} is outside 0–{len(names) - 1}, the"
            f" {len(names)} classes"
        )
    return labels.astype(np.uint8)


def _class_names(
    folder: Path, description: BuiltIn | OwnData, labels: Sequence[NDArray[np.int64]], first: int
) -> tuple[str, ...]:
    """Return the names given in the description or in a file, or else the labels themselves."""
    given = description.class_names
    if isinstance(given, tuple):
        return given
    if given is not None:
        return _read_names(folder, description, given)
    largest = max((int(part.max()) for part in labels if len(part)), default=0)
    if largest >= MAX_CLASSES:
        raise UserError(
            f"{_place(folder, description)}: label {largest + first} is too large: at most"
            f" {MAX_CLASSES} classes, counted from dataset.labels.first"
        )
    return tuple(str(label + first) for label in range(max(largest + 1, 2)))


def _read_names(folder: Path, description: Description, file: str) -> tuple[str, ...]:
    return class_names.read_names(folder / file, _shown(folder / file, folder, description))


def _shown(file: Path, folder: Path, description: Description) -> str:
    """Return the path of a file in data/raw as the user knows it."""
    if not isinstance(description, OwnData):
        return file.name
    path = PurePosixPath(description.path)
    is_file = (folder / path.name).is_file()
    return str((path.parent if is_file else path) / file.relative_to(folder))


def _place(folder: Path, description: Description) -> str:
    return description.path if isinstance(description, OwnData) else folder.name


def _checked(raw: RawData, description: BuiltIn | OwnData) -> RawData:
    """Return the data after checking that each class has enough images."""
    if raw.test is not None and description.test_fraction is not None:
        raise UserError(
            "params.yaml: dataset.test: the data have a test split already: remove the key"
        )
    needed = 2 if raw.test is not None else 3
    count = np.bincount(raw.train.labels, minlength=len(raw.class_names))
    for name, images in zip(raw.class_names, count.tolist(), strict=True):
        if images < needed:
            wanted = "train, val and test" if needed == 3 else "train and val"
            hint = ""
            if not images and description.format == "idx" and name == "0":
                hint = " (if labels start at 1, set dataset.labels.first)"
            raise UserError(
                f"class {name!r} has {images or 'no'} image{'s' * (images != 1)}, needs at least"
                f" {needed} for {wanted}: add images or remove the class{hint}"
            )
    if raw.test is not None:
        absent = set(range(len(raw.class_names))) - set(raw.test.labels.tolist())
        if absent:
            raise UserError(
                f"the test split has no image of class {raw.class_names[min(absent)]!r}: add some,"
                " or remove the class"
            )
    return raw
