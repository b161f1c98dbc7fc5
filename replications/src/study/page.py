"""The replications' page: every published number and claim beside what was measured."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.hyperparameters import per_layer
from sidebyside.config.parameters import Transforms
from sidebyside.config.search_space import searched_hyperparameters
from sidebyside.evaluation.intervals import mean_with_interval
from sidebyside.reporting import formatting, page
from sidebyside.reporting.page import Block, Bullets, Figure, Section, Table, Terms, Text
from sidebyside.workflow.progress import duration
from study import findings as findings
from study import hypothesis_tests
from study.findings import Number, is_row, printed
from study.plan import PER_CLASS, Claim, Lowest, Plan, PrintedModel, Published
from study.results import Found, Measured

NOTHING = "–"
LAYERS = {"dropout": "hidden_units", "block_dropout": "filters", "kernel_size": "filters"}
CLASS_METRICS = dict(zip(PER_CLASS, ("precision", "recall", "F1"), strict=True))
METRICS = {  # what a document may print, or a claim be about → as the page calls it
    "train_loss": "loss on the training data",
    "train_accuracy": "accuracy on the training data",
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "fit_accuracy": "training accuracy",
    "fit_loss": "training loss",
    "parameters": "parameters",
    "gap": "generalisation gap",
    "epochs": "epochs",
    "val_loss_changes": "change of the validation loss",
    **{f"macro_{metric}": f"macro {label}" for metric, label in CLASS_METRICS.items()},
    **{
        f"{metric}.{name}": f"{label} of {name}"
        for metric, label in CLASS_METRICS.items()
        for name in CLASS_NAMES
    },
}


@dataclass(frozen=True, eq=False)
class Content:
    """Everything the page tells."""

    plan: Plan  # of what has run
    missing: Sequence[str]  # stages that have not
    models: Mapping[str, Measured]
    searches: Mapping[str, Found]
    counts: Mapping[str, Sequence[int]]  # split → images per class
    transforms: Transforms  # by which the new images of the augmented data are made
    seconds: Mapping[str, float]  # system → what its searches and trainings took
    whole: float | None  # seconds of the last run of everything, from nothing; None: never
    processors: Sequence[str]
    figures: Mapping[str, bytes]  # path beside the page → PNG


def render(content: Content) -> tuple[str, str]:
    """Return the page as (HTML, Markdown)."""
    title = "Five published systems, rebuilt"
    sections = [
        Section("summary", "In short", _summary(content)),
        *(
            Section(f"system-{name}", f"{name}. {system.title}", _system(content, name))
            for name, system in content.plan.systems.items()
        ),
        Section("data", "Data", _data(content)),
        Section("time", "Run time", _time(content)),
        Section("terms", "How to read the tables", [_terms(content)]),
    ]
    return page.html(title, sections, content.figures), page.markdown(title, sections)


def summary(content: Content) -> dict[str, Any]:
    """Return the page's short version, for the README."""
    return {
        "systems": _systems(content),
        "missing": list(content.missing),
        "seconds": content.whole and round(content.whole),
    }


def _systems(content: Content) -> dict[str, Any]:
    """Return system → what came out."""
    found: dict[str, Any] = {}
    for name, system in content.plan.systems.items():
        of_system = (content.plan, content.models, name)
        numbers = [one.standing for one in findings.counted(*of_system)]
        classes = [one.standing for one in findings.class_numbers(*of_system)]
        claims = [one.outcome.verdict for one in findings.claims(*of_system)]
        found[name] = {
            "title": system.title,
            "models": sum(part.system == name for part in content.plan.trained.values()),
            "searches": sum(part.system == name for part in content.plan.searches.values()),
            "published": {verdict: numbers.count(verdict) for verdict in findings.STANDINGS},
            "classes": {verdict: classes.count(verdict) for verdict in findings.STANDINGS},
            "claims": {verdict: claims.count(verdict) for verdict in findings.OUTCOMES},
            "seconds": round(content.seconds[name]),
        }
    return found


def _summary(content: Content) -> list[Block]:
    plan, told = content.plan, _systems(content)
    runs = sum(len(part.seeds) for part in plan.trained.values())
    trials = sum(len(one.trials) for one in content.searches.values())
    numbers, classes, claims = (
        {verdict: sum(one[what][verdict] for one in told.values()) for verdict in outcomes}
        for what, outcomes in (
            ("published", findings.STANDINGS),
            ("classes", findings.STANDINGS),
            ("claims", findings.OUTCOMES),
        )
    )
    systems = [(plan, content.models, name) for name in plan.systems]
    counted = [one for system in systems for one in findings.counted(*system)]
    chance = _outside_by_chance(counted)
    other_images = sum(one.metric.startswith("val_") for one in counted)
    chance_of_classes = _outside_by_chance(
        one for system in systems for one in findings.class_numbers(*system)
    )
    tested = [one for system in systems for one in findings.claims(*system)]
    sizes = [one.size for one in tested if one.size is not None]
    corrected = hypothesis_tests.corrected([one.outcome for one in tested], plan.confidence)
    left_out = ", ".join(f"`{stage}`" for stage in content.missing)
    blocks: list[Block] = [
        Bullets(
            [
                *(
                    [
                        "Not run yet as `params.yaml` has it, left out with the claims about it:"
                        f" {left_out}."
                    ]
                    if left_out
                    else []
                ),
                f"{len(plan.trained)} models of {len(plan.systems)} published systems were trained"
                f" {runs} times, and {len(plan.searches)} searches and sweeps with {trials} trials"
                " were run, all by one pipeline on the same split of the data.",
                f"A published loss or accuracy was held against several trainings of the model it"
                f" is printed of {sum(numbers.values())} times: it lies **{numbers['inside']}**"
                f" times inside our range, is better than all of ours {numbers['better']} times and"
                f" worse {numbers['worse']} times. The rows of the grid, trained once each, are not"
                " among them.",
                f"By chance alone about {chance:.0f} of these {len(counted)} would not lie"
                " inside, as many better as worse: one more training of the same model lies outside"
                " the range of n with a probability of 2/(n + 1), less where digits were rounded"
                f" away, and more for the {other_images} that are of other validation images than"
                " ours. Several are of one model, or one number printed of several, and go"
                " together.",
                f"Of {sum(classes.values())} precisions, recalls and F1 scores of single classes,"
                " and their means, printed with two digits,"
                f" {classes['inside']} lie inside, {classes['better']} are better and"
                f" {classes['worse']} worse. By chance up to {chance_of_classes:.0f} would lie"
                " outside, as many better as worse.",
                f"Of {sum(claims.values())} claims that can be tested, **{claims['held']}** held,"
                f" {claims['undecided']} could not be decided and of {claims['opposite']} the"
                " opposite was found. By chance about"
                f" {len(tested) * (1 - plan.confidence):.0f} of so many would be decided where no"
                " model differs; corrected for their number (Holm),"
                f" {corrected.count('held')} held and of {corrected.count('opposite')} the opposite"
                " was found. Several may be read off the same models. What is tested is"
                f" the direction; of {len(sizes)} sizes that are printed with a claim, the interval"
                f" of ours holds {sizes.count(findings.INSIDE)}.",
            ]
        ),
        Table(
            "What came out, system by system: of the published losses and accuracies those that lie"
            " inside our range, are better or are worse, and of the claims those that held, are"
            " undecided or whose opposite was found.",
            ["System", "Models", "Searches", *findings.STANDINGS, *findings.OUTCOMES, "Minutes"],
            [
                [
                    f"{name}. {one['title']}",
                    str(one["models"]),
                    str(one["searches"]),
                    *(str(one["published"][verdict]) for verdict in findings.STANDINGS),
                    *(str(one["claims"][verdict]) for verdict in findings.OUTCOMES),
                    _minutes(one["seconds"]),
                ]
                for name, one in told.items()
            ],
        ),
        _figure(
            content,
            "figures/accuracy.png",
            "Test accuracy of every model, measured seed by seed, beside the published one",
            "Every final model: each seed of ours, and the published accuracy if one is printed.",
        ),
    ]
    return blocks


def _outside_by_chance(held: Iterable[Number]) -> float:
    """Return how many numbers would lie outside our range if they came from a model like ours.

    Of n + 1 trainings alike each is the lowest, or the highest, once in n + 1 times.
    """
    return sum(2 / (one.compared.seeds + 1) for one in held)


def _system(content: Content, system: str) -> list[Block]:
    described = content.plan.systems[system]
    blocks: list[Block] = [
        Text(f"Document: {described.document}. Where it is silent or contradicts itself:"),
        Bullets(described.choices),
    ]
    blocks += _trained(content, system)
    blocks.append(_numbers(content, system))
    blocks += _where(content, system)
    blocks += _class_table(content, system)
    blocks += _grid(content, system)
    blocks += _epochs(content, system)
    blocks += _claim_table(content, system)
    blocks += _search_table(content, system)
    blocks += _system_figures(content, system)
    return blocks


def _trained(content: Content, system: str) -> list[Block]:
    """Tell what the models are; the rows of the grid say it in their table."""
    rows, ended = [], []
    for name, part in content.plan.trained.items():
        if part.system != system or is_row(name):
            continue
        one = content.models[name]
        h, epochs = one.settings, one.metrics["epochs"]
        most = f"{h['epochs']}"
        if h["patience"] < h["epochs"]:
            most += f", patience {h['patience']} ({METRICS[h['monitor']]})"
            if last := sum(ran == h["epochs"] for ran in epochs):
                ended.append(f"{part.what} ({last} of {len(epochs)})")
        rows.append(
            [
                part.what,
                name,
                _layers(h),
                _dropout(h),
                f"{h['optimizer']} {h['learning_rate']:g}" + f", L2 {h['l2']:g}" * bool(h["l2"]),
                f"{h['batch_size']}",
                most,
                _range("epochs", min(epochs), max(epochs)),
                _range("epochs", min(one.best_epochs), max(one.best_epochs)),
                one.processor,
            ]
        )
    if not rows:
        return []
    blocks: list[Block] = [
        Table(
            "What was trained, and for how long.",
            [
                *("Model", "Name", "Layers", "Dropout", "Optimizer", "Batch", "Most epochs"),
                *("Epochs", "Kept epoch", "Processor"),
            ],
            rows,
            text_columns=5,
        )
    ]
    if ended:
        blocks.append(
            Text(
                "Stopped by the most epochs they may have, and not by their patience, so that more"
                f" might have changed them (trainings): {'; '.join(ended)}."
            )
        )
    return blocks


def _layers(h: Mapping[str, Any]) -> str:
    if "hidden_units" in h:
        return "-".join(map(str, h["hidden_units"]))
    kernels = per_layer(h["kernel_size"], len(h["filters"]))
    size = "/".join(f"{kernel}×{kernel}" for kernel in dict.fromkeys(kernels))
    dense = f", dense {h['dense_units']}" if h["dense_units"] else ""
    return f"{'-'.join(map(str, h['filters']))} filters of {size}, {h['padding']} padding{dense}"


def _dropout(h: Mapping[str, Any]) -> str:
    if "hidden_units" in h:
        input_, hidden = [h["input_dropout"]], per_layer(h["dropout"], len(h["hidden_units"]))
        told = {"input": input_, "hidden": hidden}
    else:
        block, hidden = per_layer(h["block_dropout"], len(h["filters"])), per_layer(h["dropout"], 1)
        told = {"block": block, "hidden": hidden}
    texts = [f"{where} {_rates(rates)}" for where, rates in told.items() if any(rates)]
    return ", ".join(texts) or NOTHING


def _rates(rates: Sequence[float]) -> str:
    """Return one rate for all layers, or those of the layers in their order."""
    shown = {*rates} if len({*rates}) == 1 else rates
    return "/".join(f"{rate:g}" for rate in shown)


def _numbers(content: Content, system: str) -> Table:
    rows = [
        [
            content.plan.trained[one.model].what,
            METRICS[one.metric],
            _lies(one),
            one.compared.published,
            _mean(one.metric, one.compared.mean, one.compared.deviation),
            _signed(one.metric, one.compared.difference),
            _range(one.metric, one.compared.low, one.compared.high),
            str(one.compared.seeds),
        ]
        for one in findings.numbers(content.plan, content.models, system)
    ]
    for name, part in content.plan.trained.items():
        if part.system != system or part.published:
            continue
        for metric in ("test_accuracy", "val_accuracy"):
            values = content.models[name].metrics[metric]
            spread = mean_with_interval(values, content.plan.confidence)
            rows.append(
                [
                    part.what,
                    METRICS[metric],
                    *(NOTHING, NOTHING),
                    _mean(metric, spread.mean, spread.deviation),
                    NOTHING,
                    _range(metric, min(values), max(values)),
                    str(len(values)),
                ]
            )
    return Table(
        "Published and measured.",
        [
            *("Model", "Metric", "Published lies", "Published"),
            *("Mean ± sd", "Difference", "Range", "n"),
        ],
        rows,
        text_columns=3,
    )


def _where(content: Content, system: str) -> list[Block]:
    """Tell where models and numbers stand; those of the grid and of classes say it in tables."""
    found = []
    for name, part in content.plan.trained.items():
        if part.system != system or is_row(name):
            continue
        told = [f"its hyperparameters: {part.place}"] if isinstance(part, PrintedModel) else []
        numbers = [one.place for one in part.published if not _classes(one)]
        told += [f"its numbers: {', '.join(numbers)}"] if numbers else []
        if told:
            found.append(f"{part.what}; {'; '.join(told)}.")
    return [Text("Where the document prints them:"), Bullets(found)] if found else []


def _class_table(content: Content, system: str) -> list[Block]:
    found: dict[str, dict[str, list[Number]]] = {}  # model → class → one per metric
    for one in findings.class_numbers(content.plan, content.models, system):
        found.setdefault(one.model, {}).setdefault(one.label, []).append(one)
    blocks: list[Block] = []
    for name, classes in found.items():
        part = content.plan.models[name]
        where = next(one.place for one in part.published if _classes(one))
        metrics = [one.metric for one in classes[CLASS_NAMES[0]]]
        blocks.append(
            Table(
                f"Class by class, published, measured (mean ± sd), their difference, and where the"
                f" published value lies: {part.what} ({where}; n = {len(part.seeds)}).",
                [
                    "Class",
                    *(
                        cell
                        for m in metrics
                        for cell in (CLASS_METRICS[m], "measured", "difference", "lies")
                    ),
                ],
                [
                    [
                        label,
                        *(
                            text
                            for one in of_class
                            for text in (
                                one.compared.published,
                                _mean(one.metric, one.compared.mean, one.compared.deviation),
                                _signed(one.metric, one.compared.difference),
                                _lies(one),
                            )
                        ),
                    ]
                    for label, of_class in classes.items()
                ],
            )
        )
    return blocks


def _classes(published: Published) -> bool:
    return any(metric in published.values for metric in PER_CLASS)


def _grid(content: Content, system: str) -> list[Block]:
    blocks: list[Block] = []
    rows_of: dict[int, list[str]] = {}
    for name, part in content.plan.models.items():
        if part.system == system and is_row(name):
            rows_of.setdefault(len(part.hyperparameters["hidden_units"]), []).append(name)
    for layers, names in rows_of.items():
        theirs = [float(printed(content.plan.models[name])["test_accuracy"]) for name in names]
        ours = [content.models[name].metrics["test_accuracy"][0] for name in names]
        both = hypothesis_tests.agreement(theirs, ours)
        best = [
            " and ".join(
                _row(content.plan.models[name])
                for name, value in zip(names, values, strict=True)
                if value == max(values)
            )
            for values in (theirs, ours)
        ]
        (place,) = {content.plan.models[name].place for name in names}
        blocks += [
            _grid_table(
                content,
                names,
                f"The grid with {layers} hidden layers, a training per row (the document's table"
                f" is in section {place}). Test accuracies: rank"
                f" correlation {both.rank_correlation:.2f}, mean difference"
                f" {both.mean_difference:+.4f}, largest {both.largest_difference:.4f}; the highest"
                f" published is that of {best[0]}, the highest measured of {best[1]}. Rows"
                " that are no further apart than seeds of one model are in no order.",
                findings.ROW_ACCURACIES,
                ("epochs",),
            ),
            _grid_table(
                content,
                names,
                f"The same with {layers} hidden layers: the losses.",
                findings.ROW_LOSSES,
            ),
        ]
    rows = [name for names in rows_of.values() for name in names]
    processors = sorted({content.models[name].processor for name in rows})
    if rows:
        blocks.append(Text(f"Processors of the rows: {', '.join(processors)}."))
    return [*blocks, *_ended(content, rows)]


def _grid_table(
    content: Content,
    names: Sequence[str],
    caption: str,
    metrics: Sequence[str],
    measured_alone: Sequence[str] = (),
) -> Table:
    """Return rows of the grid, published beside measured.

    Args:
        content: of the page.
        names: of the rows' models.
        caption: of the table.
        metrics: that are compared.
        measured_alone: metrics that the document does not print.
    """
    rows = []
    for name in names:
        part, measured = content.plan.models[name], content.models[name].metrics
        theirs = printed(part)
        cells = [_row(part)]
        for metric in metrics:
            value = measured[metric][0]  # of its only seed
            difference = _signed(metric, value - float(theirs[metric]))
            cells += [theirs[metric], _number(metric, value), difference]
        rows.append([*cells, *(_number(metric, measured[metric][0]) for metric in measured_alone)])
    columns = [
        header
        for metric in metrics
        for header in (f"{METRICS[metric]}, published", "measured", "difference")
    ]
    return Table(caption, ["Row", *columns, *(METRICS[metric] for metric in measured_alone)], rows)


def _row(part: PrintedModel) -> str:
    """Return by what a row of the grid differs from others."""
    h = part.hyperparameters
    return f"{h['optimizer']} {h['learning_rate']:g}, batch {h['batch_size']}"


def _ended(content: Content, rows: Sequence[str]) -> list[Block]:
    """Name the rows of the grid that no patience stopped."""
    parts = {name: content.plan.models[name] for name in rows}
    ended = [
        f"{part.what}, {_row(part)}"
        for name, part in parts.items()
        if content.models[name].metrics["epochs"][0] == part.training.epochs
    ]
    if not ended:
        return []
    return [
        Text(
            "Ended at the most epochs they may have, and not by their patience, so that more might"
            f" have changed them: {'; '.join(ended)}."
        )
    ]


def _epochs(content: Content, system: str) -> list[Block]:
    """Hold the grid's losses of the best and of the last epoch against the published ones."""
    distances: dict[str, list[float]] = {}
    for name, part in content.plan.models.items():
        if part.system != system or not is_row(name):
            continue
        theirs = printed(part)
        (history,) = content.models[name].histories.values()  # a row has one seed
        best = history["val_loss"].index(min(history["val_loss"]))
        for metric, column in (("fit_loss", "loss"), ("val_loss", "val_loss")):
            for epoch, place in (("best", best), ("last", -1)):
                distance = abs(history[column][place] - float(theirs[metric]))
                distances.setdefault(f"{epoch} {metric}", []).append(distance)
    if not distances:
        return []
    mean = {what: f"{sum(values) / len(values):.3f}" for what, values in distances.items()}
    return [
        Text(
            "The grid's losses differ from the published ones by"
            f" {mean['last fit_loss']} (training) and {mean['last val_loss']} (validation) on"
            " average if the last epoch is taken, by"
            f" {mean['best fit_loss']} and {mean['best val_loss']} if it is the one with the least"
            " validation loss."
        )
    ]


def _claim_table(content: Content, system: str) -> list[Block]:
    rows, tested = [], []
    for test in findings.claims(content.plan, content.models, system):
        claim, one = test.claim, test.outcome
        interval = (
            NOTHING
            if math.isnan(one.interval.low)
            else " … ".join(_signed(claim.metric, end) for end in one.interval)
        )
        size = test.by or NOTHING
        if test.size is not None:
            size += f" ({test.size})"
        rows.append(
            [
                claim.text,
                one.verdict,
                _signed(claim.metric, one.difference),
                interval,
                NOTHING if math.isnan(one.p_value) else f"{one.p_value:.3g}",
                size,
            ]
        )
        tested.append(f"{claim.text} ({claim.place}): {_tested(claim, content.plan)}.")
    if not rows:
        return []
    level = formatting.level(content.plan.confidence)
    return [
        Table(
            "What the document says in words, and whether it held.",
            ["Claim", "Verdict", "Difference", f"{level} interval", "p", "Printed difference"],
            rows,
            text_columns=2,
        ),
        Text("Where each claim is printed, and what was tested:"),
        Bullets(tested),
    ]


def _tested(claim: Claim | Lowest, plan: Plan) -> str:
    """Return what was tested of a claim."""
    if isinstance(claim, Claim):
        first, second = (plan.trained[name].what for name in (claim.first, claim.second))
        return f"{METRICS[claim.metric]} of “{first}” {claim.direction} than of “{second}”"
    return (
        f"{CLASS_METRICS[claim.metric]} of {' and '.join(claim.classes)} lower than of every other"
        f" class, of “{plan.trained[claim.model].what}”"
    )


def _search_table(content: Content, system: str) -> list[Block]:
    rows, best_found = [], []
    for name, part in content.plan.searches.items():
        if part.system != system:
            continue
        found = content.searches[name]
        names = searched_hyperparameters(part.ranges())
        objective = part.search.objective
        scores = sorted(float(trial[objective]) for trial in found.trials if trial[objective])
        ranked = scores if objective == "val_loss" else scores[::-1]
        rows.append(
            [
                part.what,
                name,
                part.search.strategy,
                METRICS[objective],
                *(f"{score:.4f}" for score in ranked[:2]),
                *[NOTHING] * (2 - len(ranked)),
                str(len(found.trials)),
                found.processor,
            ]
        )
        told = f"{part.what} ({part.place}): {_values([found.best], names)}"
        models = content.plan.models  # of what has run
        if theirs := [models[one].hyperparameters for one in part.printed if one in models]:
            told += f"; what the document ended with, as rebuilt here: {_values(theirs, names)}"
        best_found.append(f"{told}.")
    if not rows:
        return []
    return [
        Table(
            "Searches and sweeps, each run once.",
            ["Search", "Name", "Strategy", "Score", "Best", "Second best", "Trials", "Processor"],
            rows,
            text_columns=4,
        ),
        Text("Where their spaces are printed, and what they found:"),
        Bullets(best_found),
    ]


def _values(models: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str:
    """Return the named hyperparameters, of several models what any of them has."""
    return ", ".join(
        f"`{name}` {' or '.join(dict.fromkeys(_used(one, name) for one in models))}"
        for name in names
    )


def _used(values: Mapping[str, Any], key: str) -> str:
    """Return a hyperparameter as JSON, without what a list has beyond the last layer."""
    value, layers = values[key], values.get(LAYERS.get(key, ""))
    if layers and isinstance(value, Sequence):
        value = per_layer(value, len(layers))
    return json.dumps(value)


def _system_figures(content: Content, system: str) -> list[Block]:
    told = {
        "figures/f1.png": ("2", "F1 of each class, measured and published"),
        "figures/sweeps.png": (
            "3",
            "Validation accuracy over dropout, learning rate, batch size and epochs, with and"
            " without L2",
        ),
        "figures/grid.png": ("4", "Published against measured test accuracy of every grid row"),
        "figures/predictions.png": ("4", "Thirty test images with predicted and true classes"),
    }
    for name, part in content.plan.models.items():
        told[f"figures/confusion-{name}.png"] = (part.system, f"Confusion matrix: {part.what}")
        told[f"figures/curves-{name}.png"] = (
            part.system,
            f"Curves with original and augmented data: {part.what}",
        )
        told[f"figures/val-loss-{name}.png"] = (
            part.system,
            f"Validation loss of every seed, after the first epochs, without and with augmented"
            f" data: {part.what}",
        )
    return [
        _figure(content, file, text, f"{text}.")
        for file, (whose, text) in told.items()
        if whose == system and file in content.figures
    ]


def _data(content: Content) -> list[Block]:
    limits = content.transforms
    return [
        Text(
            "Document 4 describes 60,000 training and 10,000 test images of 28 by 28 pixels with"
            " grey values from 0 to 255, evenly distributed over the ten classes; the others say a"
            " part of that. So they are, in every split but the augmented one:"
        ),
        Table(
            "Images of each class.",
            ["Class", *content.counts],
            [
                *(
                    [name, *(f"{counts[place]:,}" for counts in content.counts.values())]
                    for place, name in enumerate(CLASS_NAMES)
                ),
                ["All classes", *(f"{sum(counts):,}" for counts in content.counts.values())],
            ],
        ),
        Text(
            "Of the augmented data the images that are not in train are new: each is one of train"
            f" turned by up to {limits.rotation:g} degrees, scaled by up to {limits.zoom:.0%},"
            f" moved by up to {limits.shift:g} pixels each way, and mirrored with a probability of"
            f" {limits.flip:g}."
        ),
        _figure(
            content,
            "figures/samples.png",
            "Images of each class from the train split",
            "Images of each class, drawn at random from the train split.",
        ),
    ]


def _time(content: Content) -> list[Block]:
    rows = [
        [f"{name}. {content.plan.systems[name].title}", _minutes(seconds)]
        for name, seconds in content.seconds.items()
    ]
    total = sum(content.seconds.values())
    rows.append(["All", _minutes(total)])
    whole = (
        "Not everything has been run at one go, so how long that takes is not measured."
        if content.whole is None
        else f"When everything was last run from nothing, that took {duration(content.whole)},"
        " interruptions left out."
    )
    return [
        Text(
            f"All searches, trainings and scoring together took {duration(total)} on"
            f" {' and '.join(content.processors)}, threads of each process:"
            f" {content.plan.threads}. `make replications` runs two processes at a time; half of"
            f" the sum is {duration(total / 2)}. What DVC does itself, and the start of each"
            f" stage, are not in it. {whole}"
        ),
        Table("Minutes of one process.", ["System", "Minutes"], rows),
    ]


def _terms(content: Content) -> Terms:
    level = formatting.level(content.plan.confidence)
    return Terms(
        [
            ("Published", "As printed; it stands for everything that is rounded to it."),
            (
                "Mean ± sd, Range, n",
                "Of the same model trained from n seeds; sd is the sample's standard deviation.",
            ),
            (
                "Difference",
                "Mean minus published; of a claim, mean of the first model minus mean of the second"
                " (of classes, of the pair that speaks most against the claim), with the confidence"
                " interval of that difference.",
            ),
            (
                "Published lies",
                "Where the published number lies: inside our seeds' range, above it or below it, by"
                " all that is rounded to it; equal, if it is and no seed changes it. One seed has"
                " no range to lie in.",
            ),
            (
                "better, worse",
                "A published number that does not lie inside: better than all of ours if it is an"
                " accuracy, a precision, a recall or an F1 above the range, or a loss below it.",
            ),
            (
                "Name",
                "Of a model in `params.yaml`; its results, seed by seed, are in"
                " `results/models/<name>`, and its stage is `train@<name>`, or `winner@<name>` if a"
                " search of ours found it. A search's are in `results/searches/<name>`.",
            ),
            (
                "Most epochs, Epochs, Kept epoch",
                "How many a model may have and how many without a better score stop it; how many it"
                " had; and the one whose weights were kept, over the seeds.",
            ),
            (
                "Processor",
                "A digest of its instruction sets. The bits of a training differ between"
                " processors; what is expected of it does not.",
            ),
            (
                "held, opposite, undecided",
                "Held: the difference has the direction that is claimed. Opposite: it has the other"
                " one. Undecided: the seeds cannot tell it from none. Two-sided t tests over the"
                f" seeds at a confidence of {level}, Welch's of two models, paired ones of classes"
                " of one model. Of classes every pair of a named and another one is tested, and the"
                " pair shown that speaks most against the claim; if it contradicts the claim, its p"
                " is multiplied by the number of pairs, and its interval is as it was. Claim by"
                " claim, not corrected for the number of claims.",
            ),
            (
                "Printed difference",
                "How large the document says the difference is, which the verdict leaves out;"
                " inside, if what is rounded to it meets the interval.",
            ),
            (
                "training loss, training accuracy",
                "Of the kept epoch, with dropout on, as Keras prints them while it trains.",
            ),
            (
                "validation loss",
                "Ours is that of the kept model, scored as on the test images, where a probability"
                " below 2.2e-16 counts as 2.2e-16. While a model trains the limit is 1.2e-38, so"
                " that in a few trainings the curve is higher at that epoch.",
            ),
            (
                "generalisation gap",
                "Accuracy on what was learned from, without dropout, minus validation accuracy.",
            ),
            (
                "change of the validation loss",
                "Mean size of its step from epoch to epoch, after the fifth epoch.",
            ),
        ]
    )


def _figure(content: Content, file: str, alt: str, caption: str) -> Figure:
    return page.figure(content.figures[file], file, alt, caption)


def _number(metric: str, value: float) -> str:
    if math.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if metric in ("parameters", "epochs") else f"{value:.4f}"


def _mean(metric: str, mean: float, deviation: float) -> str:
    spread = "" if math.isnan(deviation) else f" ± {_number(metric, deviation)}"
    return _number(metric, mean) + spread


def _range(metric: str, low: float, high: float) -> str:
    ends = [low] if low == high else [low, high]
    return " … ".join(_number(metric, end) for end in ends)


def _lies(one: Number) -> str:
    """Return where a published number lies, and what that says of it."""
    verdict = one.compared.verdict
    return verdict if one.standing == verdict else f"{verdict} ({one.standing})"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f}"


def _signed(metric: str, value: float) -> str:
    if metric == "parameters":
        return f"{value:+,.0f}"
    decimals = 6 if metric.endswith("_changes") else 4  # steps are small
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"  # no minus before a zero
