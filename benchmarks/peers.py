"""`python -m benchmarks peers`: our heads beside scikit-learn's classifiers, refitted on all features, and Avalanche's.

Same images, splits, class orders and frozen features for all. Figures of further libraries are quoted, not rerun.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sklearn
from sklearn.metrics import recall_score

from benchmarks.avalanche_learners import SETTINGS, InAvalanche, at_hand, icarl, replay, streaming_lda
from benchmarks.frozen import Frozen, check_names, check_sets, extract, of_tasks, orders, read_record
from benchmarks.learners import PENALTY, ClosedForm, Learner, Refitted, discriminant, logistic, unbalanced
from benchmarks.material import SETS
from benchmarks.report import check_writable, table
from benchmarks.timing import Stopwatch
from dynammo.data.tasks import TaskSequence
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json
from dynammo.runtime.plain import decimals
from dynammo.runtime.terminal import Terminal

__all__ = [
    "CONTENDERS",
    "QUOTED",
    "Contender",
    "Learnt",
    "benchmark_peers",
    "learn_order",
    "recall",
    "shown",
    "spread",
    "summary",
]


@dataclass(frozen=True)
class Contender:
    """A classifier over features.

    Attributes:
        features: a name of `benchmarks.frozen.METHODS`, whose features it reads.
        make: a learner that knows nothing yet.
    """

    features: str
    make: Callable[[], Learner]


@dataclass(frozen=True)
class Learnt:
    """What learning all tasks of one class order has given.

    Attributes:
        recalls: mean class recall in percent over the classes seen, after every task.
        seconds: that every task took once its features were there, of all cores together.
        state_bytes: that a further task would need, beside the backbone.
        kept: images whose features are among them.
    """

    recalls: tuple[float, ...]
    seconds: tuple[float, ...]
    state_bytes: int
    kept: int


CONTENDERS = {
    "light": Contender("light", ClosedForm),
    "logistic regression, features of light": Contender("light", partial(Refitted, logistic)),
    "logistic regression, unbalanced, features of light": Contender("light", partial(Refitted, unbalanced)),
    "LDA of scikit-learn, features of light": Contender("light", partial(Refitted, discriminant)),
    "Avalanche StreamingLDA": Contender("light", partial(InAvalanche, streaming_lda, 0)),
    "Avalanche replay": Contender("light", partial(InAvalanche, replay, SETTINGS["images"])),
    "Avalanche iCaRL": Contender("light", partial(InAvalanche, icarl, SETTINGS["images"])),
    "analytic": Contender("analytic", ClosedForm),
    "logistic regression": Contender("analytic", partial(Refitted, logistic)),
    "logistic regression, unbalanced": Contender("analytic", partial(Refitted, unbalanced)),
}
"""By name; those of scikit-learn are fitted anew after every task on the features of all images so far."""

QUOTED: tuple[dict[str, Any], ...] = (
    {"name": "PILOT RanPAC, M 1000", "derm8": "62.8 / 48.2", "path11": "87.7 / 76.2", "radio12": "98.0 / 93.0",
     "images_kept": 0},
    {"name": "PILOT FeCAM", "derm8": "54.9 / 41.3", "path11": None, "radio12": "94.8 / 85.7", "images_kept": 0},
    {"name": "PILOT SimpleCIL", "derm8": "55.2 / 40.7", "path11": "78.8 / 67.3", "radio12": "94.8 / 85.7",
     "images_kept": 0},
    {"name": "PyCIL ACIL", "derm8": "59.4 / 43.1", "path11": None, "radio12": None, "images_kept": 0},
)  # fmt: skip
"""Mean class recall average / last in one class order, that of the overlays, on the same frozen ResNet-18 to layer3 at
96 pixels; quoted, not rerun."""


def benchmark_peers(
    json_file: Path | None = None, features: Path | None = None, sets: Sequence[str] = (), names: Sequence[str] = ()
) -> None:
    """Measure, print, and write the figures to `json_file`.

    Args:
        json_file: where to, if anywhere; rows of other sets and contenders that it holds stay.
        features: folder that keeps features from one benchmark to the next, see `benchmarks.frozen.extract`.
        sets: names of benchmark sets, none for all.
        names: of `CONTENDERS`, none for all that are installed.

    Raises:
        UserError: no benchmark sets, a name that is unknown, or a file that cannot be written.
    """
    check_writable(json_file)
    check_sets(sets or SETS)
    check_names("method", names, list(CONTENDERS))
    origin, record = provenance.origin(), read_record(json_file)
    origin["versions"]["scikit-learn"] = sklearn.__version__
    say = Terminal(stderr=True).print
    if at_hand():
        origin["versions"]["avalanche-lib"] = version("avalanche-lib")
    elif not names:
        say("Avalanche is not installed here; its rows stay as they are, make peers measures them")
        names = [name for name in CONTENDERS if not name.startswith("Avalanche")]
    found: dict[str, dict[str, dict[str, Any]]] = record.get("sets", {})
    for name in sets or SETS:
        frozen: dict[str, Frozen] = {}
        rows = found.setdefault(name, {})
        for words in names or CONTENDERS:
            say(f"{name}: {words}")
            contender = CONTENDERS[words]
            of = frozen.setdefault(contender.features, extract(name, contender.features, features))
            learnt = {
                seed: learn_order(contender, of, TaskSequence(of.classes, **how)) for seed, how in orders(name).items()
            }
            rows[words] = {**summary(learnt), "features": of.train.shape[2], "feature_seconds": of.seconds, **origin}
            found[name] = {key: rows[key] for key in CONTENDERS if key in rows}
            if json_file is not None:
                quoted = {"note": "quoted, not rerun; one class order, that of the overlays", "rows": QUOTED}
                write_json(json_file, {"sets": found, "penalty": PENALTY, "avalanche": SETTINGS, "quoted": quoted})
        _print(name, found[name])
    _print_quoted()


def learn_order(contender: Contender, frozen: Frozen, tasks: TaskSequence) -> Learnt:
    """Learn task after task, and classify the test images of all classes seen after each."""
    ordered, learner = frozen.ordered(tasks), contender.make()
    recalls, seconds = [], []
    for task, features, labels in of_tasks(ordered, tasks):
        with Stopwatch() as watch:
            learner.learn(features, labels)
        seconds.append(watch.cores)
        recalls.append(recall(learner, ordered, range(task.seen), task.seen))
    return Learnt(tuple(recalls), tuple(seconds), learner.state_bytes, learner.kept)


def recall(learner: Learner, frozen: Frozen, of: Sequence[int], seen: int) -> float:
    """Mean recall in percent of some of the classes seen, among which all their test images are classified."""
    rows = frozen.test_labels < seen
    found = learner.classify(frozen.test[rows])
    truth = frozen.test_labels[rows]
    return 100 * float(recall_score(truth.numpy(), found.numpy(), labels=list(of), average="macro", zero_division=0))


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation (0 of a single value), and the values."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "deviation": deviation, "values": list(values)}


def summary(learnt: Mapping[int, Learnt]) -> dict[str, Any]:
    """What the table shows of all class orders, by seed."""
    rows = list(learnt.values())
    return {
        "seeds": list(learnt),
        "recall_average": spread([statistics.mean(row.recalls) for row in rows]),
        "recall_last": spread([row.recalls[-1] for row in rows]),
        "seconds_last_task": spread([row.seconds[-1] for row in rows]),
        "seconds_all_tasks": spread([sum(row.seconds) for row in rows]),
        "state_bytes": max(row.state_bytes for row in rows),
        "images_kept": max(row.kept for row in rows),
        "learnt": {str(seed): asdict(row) for seed, row in learnt.items()},
    }


def shown(found: Mapping[str, Any]) -> str:
    """Mean ± standard deviation."""
    return f"{decimals(found['mean'], 1)} ± {decimals(found['deviation'], 1)}"


def _print(name: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    headings = ("method", "average", "last", "core s", "MB", "images")
    made = table(f"{name}: mean class recall in percent", *headings, padding=(0, 1, 0, 0))
    for words, row in found.items():
        recalls = (shown(row[key]).replace(" ", "") for key in ("recall_average", "recall_last"))
        seconds = decimals(row["seconds_last_task"]["mean"], 2)
        made.add_row(words, *recalls, seconds, decimals(row["state_bytes"] / 1e6, 1), str(row["images_kept"]))
    Terminal().print(made)
    Terminal().print(
        "mean ± standard deviation over class orders; core s: the last task; images: whose features are kept"
    )


def _print_quoted() -> None:
    made = table("quoted, not rerun: one class order, average / last", "method", *SETS, "images kept")
    for row in QUOTED:
        made.add_row(row["name"], *(row.get(name) or "-" for name in SETS), str(row["images_kept"]))
    Terminal().print(made)
