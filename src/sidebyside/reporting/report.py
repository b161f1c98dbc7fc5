"""Results → one report: what stands on the page, section by section."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.paths import ModelName
from sidebyside.data.splits import Split
from sidebyside.evaluation.comparison import Comparison
from sidebyside.evaluation.intervals import Interval, mean_with_interval
from sidebyside.evaluation.metrics import DEFINITIONS, most_confused
from sidebyside.evaluation.results import ModelResult, short_names
from sidebyside.evaluation.selection import best_model
from sidebyside.reporting import formatting, page, plots
from sidebyside.reporting.page import Block, Bullets, Figure, Section, Table, Terms, Text

SHOWN_PREDICTIONS = 30
SHOWN_PAIRS = 10
NOTHING = "–"


@dataclass(frozen=True)
class SearchTable:
    """All trials of one architecture."""

    model: str
    objective: str  # the column that was optimised; the lower the better if it ends in "loss"
    trials: Sequence[Mapping[str, str]]  # column → text, as in the table that tune writes

    def scores(self) -> list[float]:
        """Return the objective of each trial, NaN for a failed one."""
        return [float(trial[self.objective] or math.nan) for trial in self.trials]


@dataclass(frozen=True, eq=False)
class Content:
    """Everything the report tells."""

    results: Sequence[ModelResult]
    comparisons: Sequence[Comparison]
    hyperparameters: Mapping[str, Mapping[str, Any]]  # architecture → its record
    searches: Sequence[SearchTable]
    trial_images: int  # that a trial of these learned from, at most; 0 is all of the train split
    trial_epochs: int  # that it had, at most
    counts: Mapping[str, Sequence[int]]  # split → images per class, in the order of CLASS_NAMES
    confidence: float  # of every interval
    samples: int  # of the bootstrap
    bins: int  # of the calibration
    figures: Mapping[str, bytes]  # path beside the report → PNG


def figures(
    results: Sequence[ModelResult],
    comparisons: Sequence[Comparison],
    histories: Mapping[ModelName, plots.History],
    searches: Sequence[SearchTable],
    test: Split,
) -> dict[str, bytes]:
    """Return every figure of the report: path beside the report → PNG.

    Where there are several seeds, all of them are in the curves and the accuracies and have their
    confusion matrices, the changes of F1 are means over them, and the other figures show the seed
    of the best model.
    """
    named = short_names(result.name for result in results)
    winner = best_model(results)
    shown = _of_seed(results, winner.name.seed)
    drawn = {
        "figures/accuracy.png": plots.accuracy_intervals(
            [named[result.name] for result in results],
            [result.scores["accuracy"] for result in results],
            [result.accuracy_interval.low for result in results],
            [result.accuracy_interval.high for result in results],
            [result.val["accuracy"] for result in results],
        ),
        "figures/reliability.png": plots.reliability(
            {named[result.name]: result.calibration for result in shown}
        ),
        "figures/curves.png": plots.curves(
            {named[name]: history for name, history in histories.items()},
            {named[name]: f"{name.model}-{name.data}" for name in histories},
        ),
        "figures/predictions.png": plots.predictions(
            test.images[:SHOWN_PREDICTIONS],
            winner.labels[:SHOWN_PREDICTIONS],
            winner.predicted[:SHOWN_PREDICTIONS],
            winner.probabilities[:SHOWN_PREDICTIONS],
            f"The first test images, as {named[winner.name]} sees them",
        ),
        "figures/trials.png": plots.trials(
            {search.model: search.scores() for search in searches}, searches[0].objective
        ),
    }
    if comparisons:
        drawn["figures/f1_change.png"] = plots.f1_change(_f1_changes(comparisons))
    for result in results:
        drawn[f"figures/confusion/{named[result.name]}.png"] = plots.confusion_matrix(
            result.confusion, f"{named[result.name]} on the test split"
        )
    return drawn


def render(content: Content) -> tuple[str, str]:
    """Return the report as (HTML, Markdown).

    The HTML holds its figures; the Markdown links to them by their paths in `content.figures`.

    Raises:
        ValueError: there is no result.
    """
    if not content.results:
        raise ValueError("there is no model to report")
    sections = _sections(content)
    title = "Fashion-MNIST: " + " against ".join(
        dict.fromkeys(result.name.model for result in content.results)
    )
    return page.html(title, sections, content.figures), page.markdown(title, sections)


def _sections(content: Content) -> list[Section]:
    sections = [
        Section("summary", "In short", _summary(content)),
        Section("scores", "Scores", _scores(content)),
        Section("comparisons", "Comparisons", _comparisons(content)),
        Section("seeds", "Seeds", _seeds(content)),
        Section("classes", "Classes", _classes(content)),
        Section("confusion", "Confusion", _confusion(content)),
        Section("calibration", "Calibration", _calibration(content)),
        Section("curves", "Training", _curves(content)),
        Section("predictions", "Single images", _predictions(content)),
        Section("hyperparameters", "Hyperparameters", _hyperparameters(content)),
        Section("search", "Search", _search(content)),
        Section("data", "Data", _data(content)),
        Section("definitions", "What the scores mean", [_definitions(content)]),
        Section("limits", "Limits", [Bullets(_limits(content))]),
        Section("files", "Files", [Bullets(_files())]),
    ]
    return [section for section in sections if section.blocks]


def _summary(content: Content) -> list[Block]:
    named = short_names(result.name for result in content.results)
    winner = best_model(content.results)
    level = _level(content)
    sentences = [
        f"**{named[winner.name]}** is the model to use: chosen for its"
        f" {_percent(winner.val['accuracy'])} on the validation split, it gets"
        f" **{_percent(winner.scores['accuracy'])}** of the {len(winner.labels):,} test images"
        f" right ({level} interval {_percents(winner.accuracy_interval)})."
    ]
    for comparison in content.comparisons:
        if winner.name not in (comparison.first, comparison.second):
            continue
        if comparison.first.model == comparison.second.model:
            continue
        gain = comparison if comparison.second == winner.name else _turned(comparison)
        word = "more" if gain.difference >= 0 else "fewer"
        sentences.append(
            f"That is **{abs(100 * gain.difference):.2f} percentage points** {word} than"
            f" {named[gain.first]}, trained on the same data with the same seed"
            f" ({_evidence(gain, content)}): {_verdict(gain, content)}."
            f" {named[winner.name]} alone gets {gain.only_second:,} images right,"
            f" {named[gain.first]} alone {gain.only_first:,}{_over_seeds(gain, content)}."
        )
    augmented = [
        f"of {comparison.first.model} by **{_points(comparison.difference)} points**"
        f" ({_evidence(comparison, content)}: {_verdict(comparison, content)}"
        f"{_over_seeds(comparison, content)})"
        for comparison in content.comparisons
        if comparison.first.model == comparison.second.model
        and comparison.first.seed == winner.name.seed
    ]
    if augmented:
        sentences.append(f"Augmented training data changed the accuracy {_and(augmented)}.")
    shown = _rivals(content, winner)
    for result in shown:
        hardest = min(result.classes, key=lambda one: one.f1)
        confused = [
            f"{pair.true} taken for {pair.predicted} ({pair.images} images,"
            f" {100 * pair.share:.0f} % of the class)"
            for pair in most_confused(result.confusion, 3)
        ]
        if confused:
            sentences.append(
                f"{named[result.name]} fails most on **{hardest.name}** (F1 {hardest.f1:.2f});"
                f" its most frequent errors: {_and(confused)}."
            )
    if len(shown) > 1:
        wrong = np.all([result.predicted != result.labels for result in shown], axis=0)
        both = "both" if len(shown) == 2 else "all of"
        sentences.append(
            f"{int(wrong.sum()):,} images are wrong in {both}"
            f" {_and([named[one.name] for one in shown])}."
        )
    if len({result.name.seed for result in content.results}) == 1:
        sentences.append(
            "Every model was trained once: what another seed would change is not in the intervals."
        )
    sentences.append(f"Names: {'; '.join(_names(content))}.")
    return [Bullets(sentences)]


def _names(content: Content) -> list[str]:
    names = []
    for model in dict.fromkeys(result.name.model for result in content.results):
        what = (RECORDS[model].__doc__ or "").split("\n")[0].split(":")[0].rstrip(".")
        names.append(f"{model} is {what[:1].lower()}{what[1:]}")
    if any(result.name.data == "augmented" for result in content.results):
        names.append(
            "original models learn from the train split alone, augmented ones also from new"
            " images made from it"
        )
    for model, record in content.hyperparameters.items():
        if changes := _image_changes(record):
            names.append(f"while it learns, every {model} sees its images {_and(changes)}")
    if len({result.name.seed for result in content.results}) > 1:
        names.append("the number at the end is the seed")
    return names


def _image_changes(record: Mapping[str, Any]) -> list[str]:
    """Return what training does to every image, at random and anew each time."""
    shift, cutout = record["shift"], record["cutout"]
    told = {
        "mirrored half of the time": record["flip"],
        f"moved by up to {shift} pixel{'s' * (shift != 1)} each way": shift,
        f"with a square of {cutout} pixels a side left out": cutout,
    }
    return [text for text, wanted in told.items() if wanted]


def _rivals(content: Content, winner: ModelResult) -> list[ModelResult]:
    """Return the winner and, of each other architecture, the model of its data and seed."""
    same = (winner.name.data, winner.name.seed)
    others = [
        result
        for result in content.results
        if (result.name.data, result.name.seed) == same and result is not winner
    ]
    return [winner, *others]


def _scores(content: Content) -> list[Block]:
    named = short_names(result.name for result in content.results)
    winner = best_model(content.results)
    names = [
        named[result.name] + (" (chosen)" if result is winner else "") for result in content.results
    ]
    marked = [index for index, result in enumerate(content.results) if result is winner]
    spreads = ("precision", "recall", "f1")
    others = [f"{score}_{average}" for average in ("macro", "weighted") for score in spreads]
    return [
        Text(
            f"Validation and test score stand side by side; the model was chosen on the"
            f" validation accuracy alone. The intervals are {_level(content)} intervals after"
            " Wilson."
        ),
        _figure(
            content,
            "figures/accuracy.png",
            "Test accuracy of each model with its interval: "
            + ", ".join(
                f"{named[result.name]} {_percent(result.scores['accuracy'])}"
                for result in content.results
            )
            + ".",
            "Accuracy on the test split with its interval, and on the validation split.",
        ),
        Table(
            "Accuracy and probabilities. Higher accuracy is better, lower is better of the rest.",
            ("model", "val accuracy", "test accuracy", "interval", "val log_loss",
             "test log_loss", "brier_score", "expected_calibration_error"),
            [
                (
                    name,
                    _share(result.val["accuracy"]),
                    _share(result.scores["accuracy"]),
                    _shares(result.accuracy_interval),
                    _share(result.val["log_loss"]),
                    _share(result.scores["log_loss"]),
                    _share(result.scores["brier_score"]),
                    _share(result.scores["expected_calibration_error"]),
                )
                for name, result in zip(names, content.results, strict=True)
            ],
            marked=marked,
        ),
        Table(
            "Precision, recall and F1 on the test split.",
            ("model", *others),
            [
                (name, *(_share(result.scores[metric]) for metric in others))
                for name, result in zip(names, content.results, strict=True)
            ],
            marked=marked,
        ),
    ]  # fmt: skip


def _comparisons(content: Content) -> list[Block]:
    if not content.comparisons:
        return []
    named = short_names(result.name for result in content.results)
    changes = _f1_changes(content.comparisons)
    several = len(changes) < len(content.comparisons)
    return [
        Text(
            "Two models are compared image by image on the test split. The difference is the"
            f" second's accuracy minus the first's, its {_level(content)} interval from"
            f" {content.samples:,} paired bootstrap samples. The p-value is that of McNemar's exact"
            " test on the images that only one of the two gets right; a difference is called clear"
            f" if p < {1 - content.confidence:.3g}."
        ),
        Table(
            "Difference in test accuracy, in percentage points.",
            ("first", "second", "difference", "interval", "only first right",
             "only second right", "p", "clear"),
            [
                (
                    named[one.first],
                    named[one.second],
                    _points(one.difference),
                    _point_range(one.interval),
                    f"{one.only_first:,}",
                    f"{one.only_second:,}",
                    _p(one.p_value),
                    "yes" if _clear(one, content) else "no",
                )
                for one in content.comparisons
            ],
            text_columns=2,
        ),
        _figure(
            content,
            "figures/f1_change.png",
            "Change of the F1 of each class in each comparison; the table below has the numbers.",
            "Where the change comes from: F1 of each class, second model minus first"
            + (", mean over the seeds." if several else "."),
        ),
        Table(
            "Change of each class's F1, in percentage points"
            + (", mean over the seeds." if several else "."),
            ("class", *changes),
            [
                (name, *(_points(change[index]) for change in changes.values()))
                for index, name in enumerate(CLASS_NAMES)
            ],
        ),
    ]  # fmt: skip


def _seeds(content: Content) -> list[Block]:
    if len({result.name.seed for result in content.results}) < 2:
        return []
    accuracies: dict[str, list[float]] = {}
    for result in content.results:
        group = f"{result.name.model}-{result.name.data}"
        accuracies.setdefault(group, []).append(result.scores["accuracy"])
    differences: dict[str, list[float]] = {}
    for one in content.comparisons:
        differences.setdefault(_pair(one), []).append(one.difference)
    blocks: list[Block] = [
        Text(
            "What a seed changes: the initial weights, the order of the images, dropout and the"
            " random image changes. The split, the augmented images and the hyperparameters are"
            f" the same. Intervals are {_level(content)} t intervals of the mean over the seeds."
        ),
        Table(
            "Test accuracy over the seeds.",
            ("model", "seeds", "mean", "standard deviation", "interval of the mean"),
            [
                (
                    group,
                    str(over.seeds),
                    _share(over.mean),
                    _share(over.deviation),
                    _shares(over.interval),
                )
                for group, values in accuracies.items()
                for over in [mean_with_interval(values, content.confidence)]
            ],
        ),
    ]
    if differences:
        blocks.append(
            Table(
                "Difference in test accuracy over the seeds, in percentage points.",
                ("comparison", "seeds", "mean", "standard deviation", "interval of the mean"),
                [
                    (
                        pair,
                        str(over.seeds),
                        _points(over.mean),
                        f"{100 * over.deviation:.2f}",
                        _point_range(over.interval),
                    )
                    for pair, values in differences.items()
                    for over in [mean_with_interval(values, content.confidence)]
                ],
            )
        )
    return blocks


def _classes(content: Content) -> list[Block]:
    shown = _shown(content)
    named = short_names(result.name for result in content.results)
    hardest = min(range(len(CLASS_NAMES)), key=lambda i: sum(one.classes[i].f1 for one in shown))
    return [
        Table(
            f"F1 of each class{_which(content)}; the hardest class is marked.",
            ("class", "images", *(named[result.name] for result in shown)),
            [
                (
                    name,
                    f"{shown[0].classes[index].support:,}",
                    *(_share(result.classes[index].f1) for result in shown),
                )
                for index, name in enumerate(CLASS_NAMES)
            ],
            marked=(hardest,),
        ),
        Table(
            f"Precision, recall and F1 of each class{_which(content)}.",
            ("model", "class", "precision", "recall", "f1", "images"),
            [
                (
                    named[result.name],
                    one.name,
                    _share(one.precision),
                    _share(one.recall),
                    _share(one.f1),
                    f"{one.support:,}",
                )
                for result in shown
                for one in result.classes
            ],
            text_columns=2,
        ),
    ]


def _confusion(content: Content) -> list[Block]:
    named = short_names(result.name for result in content.results)
    winner = best_model(content.results)
    rows = []
    others = [result for result in _shown(content) if result is not winner]
    for pair in most_confused(winner.confusion, SHOWN_PAIRS):
        place = CLASS_NAMES.index(pair.true), CLASS_NAMES.index(pair.predicted)
        rows.append(
            (
                pair.true,
                pair.predicted,
                str(pair.images),
                f"{100 * pair.share:.1f} %",
                *(str(result.confusion[place]) for result in others),
            )
        )
    matrices = [
        _figure(
            content,
            f"figures/confusion/{named[result.name]}.png",
            f"Confusion matrix of {named[result.name]}: rows are true classes, columns predicted"
            " ones. Most frequent errors: "
            + (
                ", ".join(
                    f"{pair.true} as {pair.predicted} {pair.images}"
                    for pair in most_confused(result.confusion, 3)
                )
                or "none"
            )
            + ".",
            f"{named[result.name]}: images per true and predicted class; coloured by the share of"
            " the true class.",
        )
        for result in _shown(content)
    ]
    return [
        Table(
            f"The most frequent errors of {named[winner.name]}, in test images"
            + (", and how often the other models make them." if others else "."),
            ("true class", "predicted class", named[winner.name], "of the class",
             *(named[result.name] for result in others)),
            rows,
            text_columns=2,
        ),
        *matrices,
    ]  # fmt: skip


def _calibration(content: Content) -> list[Block]:
    named = short_names(result.name for result in content.results)
    winner = best_model(content.results)
    error, right = (winner.scores[key] for key in ("expected_calibration_error", "accuracy"))
    stated = float(winner.probabilities.max(1).mean())
    smoothing = content.hyperparameters[winner.name.model]["label_smoothing"]
    reason = (
        f" Label smoothing ({smoothing:g} here) makes the probabilities a model learns more modest"
        " (Müller et al. 2019)."
        if smoothing and stated < right
        else ""
    )
    return [
        Text(
            "A calibrated model that says 80 % is right in 80 % of such cases. The probabilities"
            f" of {named[winner.name]} are off by {100 * error:.1f} percentage points on average"
            f" (expected calibration error, {content.bins} bins of equal width): it states"
            f" {_percent(stated)} for its predictions in the mean and is right in"
            f" {_percent(right)}, so it is too {'modest' if stated < right else 'sure'}.{reason}"
        ),
        _figure(
            content,
            "figures/reliability.png",
            "Reliability diagram. Expected calibration errors: "
            + ", ".join(
                f"{named[result.name]} {result.scores['expected_calibration_error']:.3f}"
                for result in _shown(content)
            )
            + ".",
            "Above: how often the models are right where they state a probability. Below: how"
            " many images get it.",
        ),
    ]


def _curves(content: Content) -> list[Block]:
    return [
        _figure(
            content,
            "figures/curves.png",
            "Loss and accuracy of every model over the epochs, on training and validation data.",
            "Solid: validation; dashed: training, measured on the images as they are trained on"
            " (changed at random, with dropout), so it may look worse than validation.",
        )
    ]


def _predictions(content: Content) -> list[Block]:
    winner = best_model(content.results)
    number = min(SHOWN_PREDICTIONS, len(winner.labels))
    right = int((winner.predicted[:number] == winner.labels[:number]).sum())
    return [
        _figure(
            content,
            "figures/predictions.png",
            f"The first {number} test images with predicted and true class; {right} are right.",
            f"The first {number} test images, not picked: predicted class with its probability,"
            f" and the true class. Blue ✓ is right, red ✗ is wrong; {right} of {number} are right.",
        )
    ]


def _hyperparameters(content: Content) -> list[Block]:
    records = content.hyperparameters
    searched = {search.model: {*search.trials[0]} for search in content.searches}
    names = dict.fromkeys(name for record in records.values() for name in record)
    return [
        Table(
            "What each architecture was trained with: chosen by the search where it says so, and"
            " fixed before otherwise. `src/sidebyside/config/hyperparameters.py` says what each of"
            " them is.",
            ("hyperparameter", *records),
            [
                (
                    name,
                    *(
                        _value(record[name]) + " (searched)" * (name in searched[model])
                        if name in record
                        else NOTHING
                        for model, record in records.items()
                    ),
                )
                for name in names
            ],
        )
    ]


def _search(content: Content) -> list[Block]:
    blocks: list[Block] = [
        _figure(
            content,
            "figures/trials.png",
            "Objective of every trial: "
            + "; ".join(
                f"{search.model} {len(search.trials)} trials, best {_best_score(search)}"
                for search in content.searches
            )
            + ".",
            "Each dot is a trial, in the order they ran. The search saw the training and"
            " validation splits only.",
        ),
        Text(
            f"A trial learned from {_trial_images(content)} for at most {content.trial_epochs}"
            f" epoch{'s' * (content.trial_epochs != 1)}. The models of this report were then"
            " trained with the hyperparameters of the best trial on all of their data."
        ),
    ]
    for search in content.searches:
        header = list(search.trials[0])
        scores = search.scores()
        target = _best_score(search)
        blocks.append(
            Table(
                f"All trials of {search.model}; the best {search.objective} is marked.",
                header,
                [[_trial_cell(trial[column]) for column in header] for trial in search.trials],
                text_columns=0,
                marked=() if math.isnan(target) else (scores.index(target),),
            )
        )
    return blocks


def _trial_images(content: Content) -> str:
    there = sum(content.counts["train"])
    seen = min(content.trial_images or there, there)
    return f"{seen:,} of the {there:,} training images" if seen < there else "all training images"


def _best_score(search: SearchTable) -> float:
    finished = [score for score in search.scores() if not math.isnan(score)]
    if not finished:
        return math.nan
    return min(finished) if search.objective.endswith("loss") else max(finished)


def _data(content: Content) -> list[Block]:
    counts = content.counts
    rows = [
        (name, *(f"{split[index]:,}" for split in counts.values()))
        for index, name in enumerate(CLASS_NAMES)
    ]
    total = ("all", *(f"{sum(split):,}" for split in counts.values()))
    return [Table("Images per split and class.", ("class", *counts), [*rows, total])]


def _definitions(content: Content) -> Terms:
    level = _level(content)
    return Terms(
        [
            *DEFINITIONS.items(),
            ("interval of an accuracy", f"Wilson's score interval, {level}: how far the accuracy"
             " could be off because the test images are a sample."),
            ("interval of a difference", f"Percentile interval, {level}, of the difference over"
             f" {content.samples:,} resamplings of the test images, the same images for both"
             " models."),
            ("p", "McNemar's exact test, two-sided: the chance of counts at least as unequal as"
             " 'only first right' and 'only second right' if both models were equally good."),
        ]
    )  # fmt: skip


def _limits(content: Content) -> list[str]:
    seeds = len({result.name.seed for result in content.results})
    limits = [
        "Intervals and p-values say how the result could differ on other test images of the same"
        " kind. They do not cover another split into training and validation data.",
        "The p-values are not corrected for the number of comparisons"
        f" ({len(content.comparisons)} here).",
        "The search is small; with more trials or epochs either architecture may gain. The"
        " comparison holds for these budgets.",
        "The test split has been published since 2017 and many choices in the field were made on"
        " it. Results on new photographs may be lower.",
    ]
    if seeds == 1:
        limits.insert(
            1,
            "Every model was trained with one seed. Training again with another seed changes the"
            " accuracy too, so a small clear difference may still be one of luck:"
            " list more seeds in `train.seeds` to see it.",
        )
    return limits


def _files() -> list[str]:
    return [
        "`metrics.json`: every score of every model, validation beside test",
        "`comparisons.json`: every comparison with its change of each class's F1",
        "`per_class.csv`: precision, recall, F1 and number of images per model and class",
        "`confusion.csv`: the confusion matrices as a table",
        "`calibration.csv`: the table behind the reliability diagram",
        "`curves.csv`: every model's history, a row per epoch",
        "`data/predictions`: the probabilities for every test image, to be scored again",
    ]


def _figure(content: Content, file: str, alt: str, caption: str) -> Figure:
    return page.figure(content.figures[file], file, alt, caption)


def _of_seed(results: Iterable[ModelResult], seed: int) -> list[ModelResult]:
    return [result for result in results if result.name.seed == seed]


def _shown(content: Content) -> list[ModelResult]:
    return _of_seed(content.results, best_model(content.results).name.seed)


def _which(content: Content) -> str:
    seed = best_model(content.results).name.seed
    return "" if len(_shown(content)) == len(content.results) else f", models of seed {seed}"


def _pair(one: Comparison) -> str:
    first, second = (f"{name.model}-{name.data}" for name in (one.first, one.second))
    return f"{first} → {second}"


def _f1_changes(comparisons: Iterable[Comparison]) -> dict[str, list[float]]:
    """Return pair → mean over the seeds of the change of each class's F1."""
    changes: dict[str, list[tuple[float, ...]]] = {}
    for one in comparisons:
        changes.setdefault(_pair(one), []).append(one.f1_change)
    return {pair: np.mean(rows, axis=0).tolist() for pair, rows in changes.items()}


def _turned(one: Comparison) -> Comparison:
    return Comparison(
        first=one.second,
        second=one.first,
        difference=-one.difference,
        interval=Interval(-one.interval.high, -one.interval.low),
        only_first=one.only_second,
        only_second=one.only_first,
        p_value=one.p_value,
        f1_change=tuple(-change for change in one.f1_change),
    )


def _clear(one: Comparison, content: Content) -> bool:
    return one.p_value < 1 - content.confidence


def _verdict(one: Comparison, content: Content) -> str:
    if not _clear(one, content):
        return "no clear difference"
    return "clearly better" if one.difference > 0 else "clearly worse"


def _evidence(one: Comparison, content: Content) -> str:
    p = _p(one.p_value)
    return (
        f"{_level(content)} interval {_point_range(one.interval)},"
        f" p {p if p.startswith('<') else f'= {p}'}"
    )


def _over_seeds(one: Comparison, content: Content) -> str:
    """Return the mean of the same comparison over all seeds, or nothing if there is one."""
    values = [
        other.difference if _pair(other) == _pair(one) else -other.difference
        for other in content.comparisons
        if _pair(other) in {_pair(one), _pair(_turned(one))}
    ]
    over = mean_with_interval(values, content.confidence)
    if over.seeds < 2:
        return ""
    return (
        f"; mean over {over.seeds} seeds {_points(over.mean)} points,"
        f" {_level(content)} interval {_point_range(over.interval)}"
    )


def _level(content: Content) -> str:
    return formatting.level(content.confidence)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _percents(interval: Interval) -> str:
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def _share(value: float) -> str:
    return f"{value:.4f}"


def _shares(interval: Interval) -> str:
    return f"{_share(interval.low)} to {_share(interval.high)}"


def _points(share: float) -> str:
    text = f"{100 * share:+.2f}"
    return text.replace("-", "−") if float(text) else "0.00"


def _point_range(interval: Interval) -> str:
    return f"{_points(interval.low)} to {_points(interval.high)}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _trial_cell(text: str) -> str:
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text or NOTHING


def _and(words: Sequence[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"
