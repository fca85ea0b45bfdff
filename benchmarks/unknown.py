"""`python -m benchmarks unknown`: how well scores tell images of unknown classes, and whether stated rates are kept.

Half of the classes of a set are known, in five fixed splits. The limit of every score is the one that calls 5 % of the
known training images unknown while their patients are left out; it is then held against test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.material import SETS, shared_folder
from benchmarks.report import Bar, bar_table, check_writable, table
from benchmarks.unknown_features import METHOD, Material, features_of
from benchmarks.unknown_scores import FOLDS, SCORES, Floats, Judged, held_out, scored
from dynammo.errors import UserError
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json
from dynammo.runtime.plain import decimals
from dynammo.runtime.terminal import Terminal
from dynammo.training.metrics import threshold_at

__all__ = ["REFERENCE", "SPLITS", "Told", "benchmark_unknown", "compare", "measure", "split", "summary"]

SPLITS = 5
RATE = 0.05  # of false alarms that is stated
MORE = 3.0  # points of AUROC over today's score that a better one must have in the mean of the sets
KEPT = 2.0  # points that the rate on all test images together may lie from the stated one
TODAY = next(iter(SCORES))
REFERENCE = "maximum probability of a joint logistic regression"


@dataclass(frozen=True)
class Told:
    """What a score tells in one split.

    Attributes:
        auroc: of known against unknown test images, in percent.
        auroc_training: of known training images that were left out against those of the other classes.
        flagged: known test images above the limit.
        known: test images of known classes.
        found: unknown test images above the limit.
        unknown: test images of the other classes.
    """

    auroc: float
    auroc_training: float
    flagged: int
    known: int
    found: int
    unknown: int


def benchmark_unknown(
    sets: Sequence[str] = SETS, json_file: Path | None = None, features: Path | None = None, copies: bool = True
) -> None:
    """Measure, print, and write the figures to `json_file`, after every set.

    Args:
        sets: names of `benchmarks.material.SETS`.
        json_file: where to, if anywhere; sets that it holds already and that are not asked for stay.
        features: a folder where features are kept; None keeps none.
        copies: learn the mirrored and photometric copies of training images too, as the recommended method does.

    Raises:
        UserError: sets or configs that are not at hand.
    """
    check_writable(json_file)
    _check(sets)
    settings = {"splits": SPLITS, "folds": FOLDS, "false_alarm_rate": RATE, "copies": copies}
    result: dict[str, Any] = {**provenance.origin(), **settings, "sets": {}}
    found: dict[str, dict[str, list[Told]]] = {}
    terminal = Terminal()
    for name in sets:
        found[name] = measure(features_of(name, features, copies))
        terminal.print(_table(name, found[name]))
        result["sets"][name] = {score: [asdict(one) for one in told] for score, told in found[name].items()}
        result["bars"] = [asdict(bar) for bar in compare(found)]
        if json_file is not None:
            write_json(json_file, {**result, "summary": summary(found)})
    terminal.print(bar_table("what is expected of a score that takes the place of today's", compare(found)))


def measure(of: Material) -> dict[str, list[Told]]:
    """What every score tells, split by split."""
    told: dict[str, list[Told]] = {name: [] for name in (*SCORES, REFERENCE)}
    for seed in range(SPLITS):
        known = split(len(of.classes), seed)
        place = torch.full((len(of.classes),), -1)
        place[known] = torch.arange(len(known))
        labels, test = place[of.labels], place[of.test_labels] >= 0
        learnt = labels >= 0
        folds = held_out(labels[learnt], of.groups[learnt])
        others = torch.cat([of.test, of.train[~learnt, 0]])
        judged, _ = scored(of.train[learnt], labels[learnt], folds, others)
        reference = _reference(of.train[learnt, 0], labels[learnt], folds, others)
        for name, (left_out, scores) in _by_name(judged, reference).items():
            told[name].append(_told(left_out, scores, test.numpy()))
    return told


def split(classes: int, seed: int) -> torch.Tensor:
    """Labels of the known half of the classes, sorted; of an odd number one less is known."""
    return torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(classes)[: classes // 2]))


def summary(found: Mapping[str, Mapping[str, Sequence[Told]]]) -> dict[str, dict[str, Any]]:
    """Means over the splits by score and set, in percent, and over all sets, whose rates are of all images pooled."""
    made: dict[str, dict[str, Any]] = {}
    for score in next(iter(found.values())):
        of_sets = {name: _mean(told[score]) for name, told in found.items()}
        pooled = _mean([one for told in found.values() for one in told[score]])
        for key in ("auroc", "auroc_training"):
            pooled[key] = float(np.mean([of[key] for of in of_sets.values()]))
        made[score] = {**of_sets, "all": pooled}
    return made


def compare(found: Mapping[str, Mapping[str, Sequence[Told]]]) -> list[Bar]:
    """What a score must reach to take the place of today's."""
    means, bars = summary(found), []
    for score in list(SCORES)[1:]:
        more = {name: means[score][name]["auroc"] - means[TODAY][name]["auroc"] for name in (*found, "all")}
        bars.append(Bar.at_least(MORE, f"{score}: AUROC over today's, mean of the sets", more.pop("all")))
        bars.append(Bar.at_least(0, f"{score}: AUROC over today's, worst set", min(more.values())))
    for score in SCORES:
        off = abs(means[score]["all"]["false_alarms"] - 100 * RATE)
        bars.append(Bar.at_most(KEPT, f"{score}: false alarms beside the stated rate", off))
    return bars


def _check(sets: Sequence[str]) -> None:
    if unknown := [name for name in sets if name not in SETS]:
        raise UserError(f"--set is {unknown[0]!r}; expected one of {', '.join(SETS)}.")
    folders = [shared_folder() / "data" / name for name in sets]
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise UserError(f"there is no {missing[0]}; set DYNAMMO_SHARED to the folder that holds data/ and weights/.")
    if not Path(METHOD).is_file():
        raise UserError(f"there is no {METHOD}; type this command in a checkout, which has the configs.")


def _reference(
    features: torch.Tensor, labels: torch.Tensor, folds: list[tuple[torch.Tensor, torch.Tensor]], others: torch.Tensor
) -> tuple[Floats, Floats]:
    """Minus the largest probability of images that were left out, and of others."""
    left_out = np.zeros(len(labels))
    for inside, left in folds:
        left_out[left.numpy()] = _regression(features[inside], labels[inside], features[left])
    return left_out, _regression(features, labels, others)


def _regression(features: torch.Tensor, labels: torch.Tensor, others: torch.Tensor) -> Floats:
    regression = LogisticRegression(C=0.01, class_weight="balanced", max_iter=200)
    fitted = make_pipeline(StandardScaler(), regression).fit(features.numpy(), labels.numpy())
    scores: Floats = -fitted.predict_proba(others.numpy()).max(1)
    return scores


def _by_name(judged: Judged, reference: tuple[Floats, Floats]) -> dict[str, tuple[Floats, Floats]]:
    return {name: (judged.left_out[name], judged.others[name]) for name in SCORES} | {REFERENCE: reference}


def _told(left_out: Floats, scores: Floats, known: NDArray[np.bool_]) -> Told:
    test, new = scores[: len(known)], scores[len(known) :]
    limit = threshold_at(left_out, RATE)
    assert limit is not None  # every set has images that were left out
    above = test > limit
    return Told(
        _auroc(test[known], test[~known]), _auroc(left_out, new),
        int(above[known].sum()), int(known.sum()), int(above[~known].sum()), int((~known).sum()),
    )  # fmt: skip


def _auroc(known: Floats, unknown: Floats) -> float:
    truth = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    return 100 * float(roc_auc_score(truth, np.r_[known, unknown]))


def _mean(told: Sequence[Told]) -> dict[str, float]:
    return {
        "auroc": float(np.mean([one.auroc for one in told])),
        "auroc_training": float(np.mean([one.auroc_training for one in told])),
        "false_alarms": 100 * sum(one.flagged for one in told) / sum(one.known for one in told),
        "found": 100 * sum(one.found for one in told) / sum(one.unknown for one in told),
    }


def _table(name: str, told: Mapping[str, Sequence[Told]]) -> Table:
    title = f"{name}: half of the classes known, mean of {SPLITS} splits, limits at {RATE:.0%} of images left out"
    made = table(title, "score", "AUROC", "on training images", "false alarms %", "unknown found %")
    for score, splits in told.items():
        made.add_row(score, *(decimals(value, 1) for value in _mean(splits).values()))
    return made
