"""`python -m benchmarks refit`: how long the recommended head takes to learn a task once the features are there.

Beside it stands scikit-learn's linear discriminant analysis, refitted on the features of all images so far, one copy
each: what keeping all features would cost. Features are made up; that changes no cost.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from benchmarks.growth_measures import made_up_vectors
from benchmarks.report import Bar, bar_table, cells, check_writable, shown_number, table
from benchmarks.timing import Call, Spread, Stopwatch, interleaved
from dynammo.errors import UserError
from dynammo.handlers.analytic_head import make_head
from dynammo.heads.analytic import ClassStatistics, add_classes, choose
from dynammo.heads.cross_validation import fit_with_folds
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json

__all__ = ["SIZES", "Refit", "Size", "benchmark_refit", "compare", "measure_refit"]


@dataclass(frozen=True)
class Size:
    """A task.

    Attributes:
        images: of the new classes.
        copies: rows of features of each image.
        classes: new ones.
        known: classes before them.
        known_images: images of those.
        seconds: that it may take.
        features: of each row.
    """

    images: int
    copies: int
    classes: int
    known: int
    known_images: int
    seconds: float
    features: int = 2048


@dataclass(frozen=True)
class Refit:
    """Seconds by the clock, and of all cores together."""

    wall: Spread
    cores: Spread


SIZES = {
    "derm8, its second task": Size(400, 6, 2, 2, 400, seconds=1.0),
    "10,000 x 2,048 in 20 classes": Size(10_000, 1, 20, 0, 0, seconds=3.0),
}
OURS, REFERENCE = "analytic, the shrinkage chosen by five folds", "scikit-learn LDA (lsqr, auto), refitted"

Timed = Mapping[str, Mapping[str, Refit]]


def benchmark_refit(repeats: int = 5, json_file: Path | None = None, sizes: Mapping[str, Size] = SIZES) -> None:
    """Measure, print, and write the figures to `json_file`.

    Raises:
        UserError: no repeats, or a file that cannot be written, before measuring.
    """
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; give --repeats a whole number from 1.")
    check_writable(json_file)
    say = Console(stderr=True, highlight=False).print
    origin = provenance.origin()
    found: dict[str, dict[str, Refit]] = {}
    for name, size in sizes.items():
        say(name)
        found[name] = measure_refit(size, repeats)
    _print(found, sizes, repeats, origin["machine"])
    if json_file is not None:
        figures = {name: {who: asdict(one) for who, one in rows.items()} for name, rows in found.items()}
        settings = {
            "repeats": repeats, "threads": torch.get_num_threads(),
            "sizes": {name: asdict(size) for name, size in sizes.items()},
        }  # fmt: skip
        bars = [asdict(bar) for bar in compare(found, sizes)]
        write_json(json_file, {"seconds": figures, "bars": bars, "settings": settings, **origin})


def measure_refit(size: Size, repeats: int) -> dict[str, Refit]:
    """Both contenders, interleaved."""
    features, labels = _rows(size.images, size.copies, size.classes, size.features)
    known = ClassStatistics.empty(size.features)
    every, classes = features[:, 0], labels
    if size.known:
        before, seen = _rows(size.known_images, size.copies, size.known, size.features)
        known = add_classes(known, before, seen)
        labels = labels + size.known
        every, classes = torch.cat([before[:, 0], every]), torch.cat([seen, labels])
    calls = {
        OURS: partial(_learn, known, features, labels),
        REFERENCE: partial(_refit, every.numpy(), classes.numpy()),
    }
    return _timed(calls, repeats)


def compare(found: Timed, sizes: Mapping[str, Size] = SIZES) -> list[Bar]:
    """What a task may take."""
    return [Bar.at_most(sizes[name].seconds, name, rows[OURS].wall.median) for name, rows in found.items()]


def _rows(images: int, copies: int, classes: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, C, F), copies near one another, and labels (N,)."""
    rows, labels = made_up_vectors(images, size, classes)
    noise = torch.randn(images, copies, size, generator=torch.Generator().manual_seed(copies))
    return rows[:, None] + 0.3 * noise, labels


def _learn(known: ClassStatistics, features: torch.Tensor, labels: torch.Tensor) -> None:
    """All that learning a task computes from its features: statistics, shrinkage and temperature, the head."""
    fitted = fit_with_folds(known, features, labels, "lda", keep_scatters=True)
    make_head(fitted.statistics, "lda", *choose(fitted.losses))


def _refit(features: object, labels: object) -> None:
    LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features, labels)


def _timed(calls: Mapping[str, Call], repeats: int) -> dict[str, Refit]:
    watches: dict[str, list[Stopwatch]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in interleaved(list(calls), turn):
            watch = Stopwatch()
            with watch:
                calls[name]()
            watches[name].append(watch)
    return {
        name: Refit(Spread.of([watch.wall for watch in of_call]), Spread.of([watch.cores for watch in of_call]))
        for name, of_call in watches.items()
    }


def _print(found: Timed, sizes: Mapping[str, Size], repeats: int, machine: str) -> None:
    console = Console(highlight=False)
    words = f"seconds, median of {repeats}, {torch.get_num_threads()} threads ({machine})"
    made = table(words, "", "", "seconds", "range", "core seconds", "range", words=2)
    for name, rows in found.items():
        for who, one in rows.items():
            made.add_row(name, who, *cells(one.wall), *cells(one.cores))
    console.print(made)
    console.print(bar_table("seconds from features to head", compare(found, sizes), number=shown_number))
