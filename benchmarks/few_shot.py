"""`python -m benchmarks few_shot`: how well classes are told apart that have but a few training images.

Two questions. A new disease: the classes of the last task have n images, all others all of theirs. A new field: every
class has n images, all learnt at once. Images are drawn at random, the same ones for every classifier.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sklearn
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.frozen import Frozen, check_names, check_sets, draw, extract, of_tasks, orders, read_record
from benchmarks.learners import PENALTY, Learner, Refitted
from benchmarks.material import SETS
from benchmarks.peers import CONTENDERS, Contender, recall, shown, spread
from benchmarks.report import check_writable, table
from dynammo.data.tasks import TaskSequence
from dynammo.runs.plots import save_figure
from dynammo.runtime import provenance
from dynammo.runtime.files import write_atomically, write_json
from dynammo.runtime.terminal import Terminal

__all__ = ["IMAGES", "LEARNERS", "benchmark_few_shot", "few_shot_figure", "new_disease", "new_field"]

IMAGES = (1, 2, 5, 10, 20)
LEARNERS = ("light", "analytic", "logistic regression, features of light", "logistic regression")
"""Names of `benchmarks.peers.CONTENDERS`."""
MEASURES = {
    "all_classes": "a new disease: recall of all classes", "new_classes": "a new disease: recall of the new classes",
    "every_class_few": "a new field: recall of all classes",
}  # fmt: skip
# of the colour-blind safe palette of Okabe and Ito; markers tell the lines apart in grey print
STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "-"), ("#009E73", "^", "--"), ("#CC79A7", "D", ":"))

Recalls = dict[str, list[float]]


def benchmark_few_shot(
    json_file: Path | None = None,
    features: Path | None = None,
    plot: Path | None = None,
    draws: int = 2,
    sets: Sequence[str] = (),
    names: Sequence[str] = (),
) -> None:
    """Measure, print, and write the figures to `json_file` and the picture to `plot`.

    Args:
        json_file: where to, if anywhere; rows of other sets and learners that it holds stay.
        features: folder that keeps features from one benchmark to the next, see `benchmarks.frozen.extract`.
        plot: a PNG file, if any.
        draws: of the images of a new disease in each class order; those of a new field are drawn once for each order.
        sets: names of benchmark sets, none for all.
        names: of `LEARNERS`, none for all.

    Raises:
        UserError: no benchmark sets, a name that is unknown, or a file that cannot be written.
    """
    for file in (json_file, plot):
        check_writable(file)
    check_sets(sets or SETS)
    check_names("method", names, LEARNERS)
    origin, record = provenance.origin(), read_record(json_file)
    origin["versions"]["scikit-learn"] = sklearn.__version__
    say = Terminal(stderr=True).print
    found: dict[str, dict[str, dict[str, Any]]] = record.get("sets", {})
    for name in sets or SETS:
        rows = found.setdefault(name, {})
        for words in names or LEARNERS:
            say(f"{name}: {words}")
            contender = CONTENDERS[words]
            frozen = extract(name, contender.features, features)
            rows[words] = {"recall": _measure(name, contender, frozen, draws), "draws": draws, **origin}
            found[name] = {key: rows[key] for key in LEARNERS if key in rows}
            if json_file is not None:
                write_json(json_file, {"sets": found, "images": IMAGES, "penalty": PENALTY})
        _print(name, found[name])
    if plot is not None:
        write_atomically(plot, lambda file: save_figure(few_shot_figure(found), file))


def new_disease(
    contender: Contender, frozen: Frozen, tasks: TaskSequence, images: Sequence[int], draws: Sequence[int]
) -> dict[int, dict[str, list[float]]]:
    """Mean recall in percent of all classes and of those of the last task, by number of its training images.

    Args:
        contender: whose learner learns.
        frozen: features of the set.
        tasks: the class order; classes of all tasks but the last have all their images.
        images: numbers of images of each class of the last task.
        draws: seeds of the draws, one value for each.
    """
    ordered, knows = frozen.ordered(tasks), contender.make()
    parts = list(of_tasks(ordered, tasks))
    task, features, labels = parts[-1]
    if len(parts) > 1:
        _learn_all(knows, [(known, those) for _, known, those in parts[:-1]])
    found = {}
    for number in images:
        rows: dict[str, list[float]] = {"all_classes": [], "new_classes": []}
        for seed in draws:
            learner, kept = copy.copy(knows), draw(labels, number, seed, task.labels)
            learner.learn(features[kept], labels[kept])
            rows["all_classes"].append(recall(learner, ordered, range(task.seen), task.seen))
            rows["new_classes"].append(recall(learner, ordered, task.labels, task.seen))
        found[number] = rows
    return found


def new_field(contender: Contender, frozen: Frozen, images: Sequence[int], seed: int) -> dict[int, float]:
    """Mean recall in percent of all classes, learnt at once, by number of training images of every class."""
    classes, found = range(len(frozen.classes)), {}
    for number in images:
        kept, learner = draw(frozen.labels, number, seed, classes), contender.make()
        learner.learn(frozen.train[kept], frozen.labels[kept])
        found[number] = recall(learner, frozen, classes, len(classes))
    return found


def few_shot_figure(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Every measure (rows) on every set (columns) against the number of images."""
    figure = Figure(figsize=(11, 8.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(MEASURES), len(found), sharex=True, squeeze=False)
    for row, (measure, title) in zip(grid, MEASURES.items(), strict=True):
        for axes, (name, learners) in zip(row, found.items(), strict=True):
            for words, values in learners.items():
                colour, marker, line = STYLES[LEARNERS.index(words)]
                numbers = [int(number) for number in values["recall"][measure]]
                means = [one["mean"] for one in values["recall"][measure].values()]
                axes.plot(numbers, means, line, color=colour, marker=marker, label=words, markersize=5, lw=1.6)
            axes.set_xscale("log")
            axes.set_xticks(numbers, [str(number) for number in numbers])
            axes.minorticks_off()
            axes.set_ylim(0, 100)
            axes.set_title(f"{name}, {title}", fontsize=8.5)
            axes.grid(color="0.9")
            axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("training images n")
    for row in grid:
        row[0].set_ylabel("percent")
    grid[0][0].legend(loc="lower right", fontsize=8, frameon=False)
    return figure


def _measure(name: str, contender: Contender, frozen: Frozen, draws: int) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[int, list[float]]] = {measure: {n: [] for n in IMAGES} for measure in MEASURES}
    for seed, how in orders(name).items():
        tasks = TaskSequence(frozen.classes, **how)
        seeds = [1000 * seed + turn for turn in range(draws)]
        for number, rows in new_disease(contender, frozen, tasks, IMAGES, seeds).items():
            for measure, row in rows.items():
                values[measure][number] += row
        for number, one in new_field(contender, frozen, IMAGES, seed).items():
            values["every_class_few"][number].append(one)
    return {measure: {str(n): spread(row) for n, row in rows.items()} for measure, rows in values.items()}


def _learn_all(learner: Learner, parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Learn tasks one by one; who keeps all features gets them at once, for only the last refit counts."""
    if isinstance(learner, Refitted):
        features, labels = zip(*parts, strict=True)
        parts = [(torch.cat(features), torch.cat(labels))]
    for of_task in parts:
        learner.learn(*of_task)


def _print(name: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    for measure, title in MEASURES.items():
        made = table(f"{name}, {title}, %", "method", *(f"n {number}" for number in IMAGES), padding=(0, 1, 0, 0))
        for words, values in found.items():
            cells = (shown(values["recall"][measure][str(number)]).replace(" ", "") for number in IMAGES)
            made.add_row(words, *cells)
        Terminal().print(made)
