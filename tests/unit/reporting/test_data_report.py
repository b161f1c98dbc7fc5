import numpy as np

from sidebyside.data import near_duplicates
from sidebyside.data.near_duplicates import NearDuplicate
from sidebyside.data.pictures import Kind, Unreadable
from sidebyside.data.raw_data import PictureSources
from sidebyside.data.splits import Split
from sidebyside.reporting import data_report
from sidebyside.reporting.data_report import Content, closest_pairs, images
from tests.support.datasets import dataset

SPLITS = {
    name: Split(np.arange(4, dtype=np.uint8).reshape(4, 1, 1) + 10 * number, labels)
    for number, (name, labels) in enumerate(
        dict.fromkeys(("train", "val", "test"), np.array([0, 1, 0, 1], np.uint8)).items()
    )
}
FOUND = [
    NearDuplicate("train", 3, "train", 0, 0.01, same_label=False),
    NearDuplicate("train", 3, "test", 1, 0.1, same_label=True),
    NearDuplicate("val", 2, "train", 1, 0.02, same_label=False),
    NearDuplicate("test", 1, "train", 3, 0.1, same_label=True),
    NearDuplicate("test", 1, "val", 0, 0.12, same_label=False),
    NearDuplicate("test", 2, "test", 3, 0.0, same_label=False),
]
SOURCES = PictureSources(
    train=(),
    test=(),
    kinds=[Kind("JPEG", "RGB", False, 1200, 10, 90, 20, 20)],
    unreadable=[Unreadable("a.png", "own/a.png is damaged: x")],
)


def content(
    classes: int = 2,
    sources: PictureSources | None = None,
    *,
    leaked: int = 1,
    grouped: bool = False,
) -> Content:
    names = tuple(f"class {number}" for number in range(classes))
    counts = {
        split: {name: number + 1 for number, name in enumerate(names)}
        for split in ("train", "val", "test")
    }
    pixels = {"mean": 1.0, "standard_deviation": 2.0, "background": 0.5}
    return Content(
        dataset=dataset(class_names=names),
        counts=counts,
        summary={
            "splits": {split: {"pixels": pixels} for split in counts},
            "duplicates": near_duplicates.count([], list(counts)),
            "near_duplicates": {"pairs": near_duplicates.count(FOUND, list(counts))},
        },
        leaked=leaked,
        pairs=closest_pairs(FOUND, SPLITS, ["a", "b"], {}),
        sources=sources,
        grouped=grouped,
        figures=dict.fromkeys(("samples.png", "near_duplicates.png"), bytes(24)),
    )


def markdown(content: Content) -> str:
    return data_report.render(content)[1]


def test_pairs_across_splits_are_listed_once_the_closest_first() -> None:
    pairs = closest_pairs(FOUND, SPLITS, ["a", "b"], {})
    assert [(pair.splits, pair.images, pair.distance) for pair in pairs] == [
        (("train", "val"), (1, 2), 0.02),
        (("train", "test"), (3, 1), 0.1),
        (("val", "test"), (0, 1), 0.12),
    ]
    assert pairs[0].classes == ("b", "a")
    assert [one.item() for one in images(pairs[0], SPLITS)] == [1, 12]


def test_images_keep_their_colours_in_dark_mode() -> None:
    html = data_report.render(content())[0]
    assert html.count('<figure class="images">') == html.count("<figure") == 2


def test_pairs_of_pictures_have_their_files() -> None:
    files = {name: [f"{name}\n{index}.png" for index in range(4)] for name in SPLITS}
    pairs = closest_pairs(FOUND, SPLITS, ["a", "b"], files)
    assert pairs[0].files == (r"train\n1.png", r"val\n2.png")


def test_test_images_with_near_duplicates_elsewhere_are_counted_once() -> None:
    assert near_duplicates.count_leaked(FOUND) == 1
    assert near_duplicates.count_leaked([]) == 0


def test_the_report_warns_of_near_duplicates_across_splits_and_names_the_key() -> None:
    assert "**Near duplicates cross the splits**: 1 test image (33.33 %)" in markdown(content())
    assert "dataset.group" not in markdown(content())
    own = markdown(content(sources=SOURCES))
    assert "name the group in `dataset.group` in `params.yaml`" in own
    grouped = markdown(content(sources=SOURCES, grouped=True))
    assert "The present `dataset.group` in `params.yaml` does not keep" in grouped
    clean = markdown(content(leaked=0))
    assert "No test image has a near duplicate" in clean


def test_the_report_lists_source_files_and_those_that_were_skipped() -> None:
    report = markdown(content(sources=SOURCES))
    assert "| JPEG | RGB | no | 1,200 | 10–90 | 20 |" in report
    assert "1 picture could not be read and was skipped" in report
    assert "own/a.png is damaged: x" in report
    assert "Source files" not in markdown(content())


def test_the_table_of_classes_stays_short_for_many_classes() -> None:
    report = markdown(content(200))
    rows = [line for line in report.splitlines() if line.startswith("| class ")]
    assert len(rows) == 1 + data_report.SHOWN_CLASSES
    assert rows[1].startswith("| class 199 | 200 | 200 | 200 |")
    assert rows[-1].startswith("| class 0 | 1 |")
    assert "the largest and the smallest of 200 classes" in report
    assert "| class 1 | 2 | 2 | 2 | 66.67 % |" in markdown(content())
