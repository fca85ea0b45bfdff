"""How long analytic heads take to learn cached features; part of `python -m benchmarks training`."""

from dataclasses import dataclass

from benchmarks.growth_measures import made_up_vectors
from benchmarks.timing import Call, Spread, Stopwatch
from dynammo.handlers.analytic_head import make_head
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.heads.cross_validation import fit_with_folds

__all__ = ["FEATURES", "VECTORS", "HeadSeconds", "measure_heads"]

VECTORS, FEATURES, CLASSES, REPEATS = 10_000, 2048, 8, 5


@dataclass(frozen=True)
class HeadSeconds:
    """Seconds to learn 10,000 cached feature vectors, by the clock and of all cores together.

    Attributes:
        given: statistics and head at a given shrinkage.
        chosen: all that a task computes, the choice of the shrinkage included.
    """

    given: tuple[Spread, Spread]
    chosen: tuple[Spread, Spread]


def measure_heads() -> HeadSeconds:
    """Learn made-up feature vectors, a few times over."""
    features, labels = made_up_vectors(VECTORS, FEATURES, CLASSES)
    empty = ClassStatistics.empty(FEATURES)

    def given() -> None:
        make_head(add_classes(empty, features[:, None], labels), "lda", 0.1, 1.0)

    def chosen() -> None:
        fit_with_folds(empty, features[:, None], labels, "lda", keep_scatters=True)

    return HeadSeconds(_seconds(given), _seconds(chosen))


def _seconds(call: Call) -> tuple[Spread, Spread]:
    """By the clock and of all cores together."""
    watches = [Stopwatch() for _ in range(REPEATS)]
    for watch in watches:
        with watch:
            call()
    return Spread.of([watch.wall for watch in watches]), Spread.of([watch.cores for watch in watches])
