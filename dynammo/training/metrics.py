"""Measures of incremental learning, apart from the plumbing: arrays in, fractions out.

The accuracy matrix a (T, T) holds in a[k, j] the accuracy on the test images of task j after task k was learnt
(choosing among all classes seen by then), NaN where j > k.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dynammo.runtime.plain import decimals

__all__ = [
    "TaskResult",
    "accuracy_matrix",
    "backward_transfer",
    "class_recalls",
    "evaluate_predictions",
    "expected_calibration_error",
    "fit_temperature",
    "forgetting",
    "gmac",
    "matrix_csv",
    "parameter_count",
    "study_means",
    "summarise",
    "tempered",
    "tensor_bytes",
    "threshold_at",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TaskResult:
    """What the network of one moment does on the test images of every class seen so far.

    Fractions of no images are NaN.

    Attributes:
        task: index of the task learnt last.
        task_accuracy: accuracy on each task so far.
        accuracy: accuracy over all classes seen, A_k.
        mean_class_recall: mean of recall over those of these classes that have test images (balanced accuracy).
        unknown_auroc: area under the ROC curve of the unknown score, seen against not-yet-seen classes; NaN when
            there are no unseen classes.
        ece: expected calibration error of the seen classes, 15 bins.
        confusion: (K, K) counts, rows are true classes.
    """

    task: int
    task_accuracy: tuple[float, ...]
    accuracy: float
    mean_class_recall: float
    unknown_auroc: float
    ece: float
    confusion: tuple[tuple[int, ...], ...]


def evaluate_predictions(
    probabilities: Floats, unknown: Floats, labels: Ints, groups: list[range], task: int
) -> TaskResult:
    """Measure predictions on test images of all classes after `task`.

    Args:
        probabilities: (N, K) over the K classes seen so far.
        unknown: (N,) unknown score.
        labels: (N,) true labels; labels from K on belong to classes not seen yet.
        groups: labels of each task so far.
        task: index of the task learnt last.
    """
    seen = labels < probabilities.shape[1]
    truth, scores = labels[seen], probabilities[seen]
    predicted = scores.argmax(1)
    known = range(probabilities.shape[1])
    right = predicted == truth
    confusion = np.zeros((len(known), len(known)), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    return TaskResult(
        task=task,
        task_accuracy=tuple(_mean(right[np.isin(truth, list(group))]) for group in groups),
        accuracy=_mean(right),
        mean_class_recall=_mean(class_recalls(confusion)[np.isin(known, truth)]),
        unknown_auroc=float(roc_auc_score(~seen, unknown)) if 0 < seen.sum() < len(seen) else math.nan,
        ece=expected_calibration_error(scores, truth) if seen.any() else math.nan,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def class_recalls(confusion: npt.ArrayLike) -> Floats:
    """Recall (K,) of each class of a confusion matrix (K, K), rows true classes; NaN for a class without images."""
    counts = np.asarray(confusion)
    images = counts.sum(1)
    recalls: Floats = np.divide(counts.diagonal(), images, out=np.full(len(counts), np.nan), where=images > 0)
    return recalls


def _mean(values: npt.ArrayLike) -> float:
    array = np.asarray(values)
    return float(array.mean()) if array.size else math.nan


def expected_calibration_error(probabilities: Floats, labels: Ints, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their size (1706.04599)."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = [
        (bin_of == b).mean() * abs(confidence[bin_of == b].mean() - right[bin_of == b].mean())
        for b in np.unique(bin_of)
    ]
    return float(sum(gaps))


def accuracy_matrix(results: list[TaskResult]) -> Floats:
    """Accuracy matrix (T, T) of the results after each of T tasks."""
    matrix = np.full((len(results), len(results)), np.nan)
    for k, result in enumerate(results):
        matrix[k, : k + 1] = result.task_accuracy[: k + 1]
    return matrix


def matrix_csv(results: list[TaskResult]) -> str:
    """The accuracy matrix as CSV: a row after each task, a column for each task, empty where not yet learnt."""
    matrix = accuracy_matrix(results)
    lines = ["after_task," + ",".join(f"task_{j + 1}" for j in range(len(matrix)))]
    for k, row in enumerate(matrix):
        lines.append(f"{k + 1}," + ",".join("" if math.isnan(value) else decimals(value, 6) for value in row))
    return "\n".join(lines) + "\n"


def forgetting(matrix: Floats) -> float:
    """Mean over old tasks of the best accuracy before the last task minus the last one (Chaudhry, 1801.10112).

    NaN for a single task.
    """
    last = len(matrix) - 1
    if last < 1:
        return math.nan
    return float(np.mean([np.fmax.reduce(matrix[j:last, j]) - matrix[last, j] for j in range(last)]))


def backward_transfer(matrix: Floats) -> float:
    """Mean over old tasks of the last accuracy minus the one right after learning (1706.08840); NaN for one task."""
    last = len(matrix) - 1
    if last < 1:
        return math.nan
    return float(np.mean([matrix[last, j] - matrix[j, j] for j in range(last)]))


def summarise(results: list[TaskResult]) -> dict[str, float]:
    """The measures of a whole sequence, as fractions."""
    matrix = accuracy_matrix(results)
    return {
        "average_incremental_accuracy": float(np.mean([r.accuracy for r in results])),
        "last_accuracy": results[-1].accuracy,
        "average_mean_class_recall": float(np.mean([r.mean_class_recall for r in results])),
        "last_mean_class_recall": results[-1].mean_class_recall,
        "forgetting": forgetting(matrix),
        "backward_transfer": backward_transfer(matrix),
    }


Column = np.ndarray[Any, np.dtype[Any]]


def study_means(studies: Sequence[str], *columns: Column) -> tuple[list[str], list[int], list[Column]]:
    """Average the rows of each study: every slice has one vote, weighted by how sure it is.

    Args:
        studies: for each of N rows, the study it belongs to.
        columns: arrays (N,) or (N, K), such as probabilities, which still sum to 1 afterwards.

    Returns:
        The S studies in the order of their first row, the rows of each, and the columns as (S,) or (S, K).
    """
    names = list(dict.fromkeys(studies))
    place = {name: i for i, name in enumerate(names)}
    index = np.array([place[study] for study in studies], dtype=int)
    counts = np.bincount(index, minlength=len(names))
    if len(names) == len(studies):
        return names, counts.tolist(), list(columns)
    means = []
    for column in columns:
        total = np.zeros((len(names), *column.shape[1:]))
        np.add.at(total, index, column)
        means.append((total.T / counts).T)
    return names, counts.tolist(), means


COLDEST, HOTTEST = 0.05, 20.0


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities (N, K) of a softmax as they were had its scores been divided by `temperature`."""
    scores = np.log(np.clip(probabilities, 1e-30, None)) / temperature
    scores -= scores.max(1, keepdims=True)
    return np.asarray(np.exp(scores) / np.exp(scores).sum(1, keepdims=True))


def fit_temperature(probabilities: Floats, labels: npt.NDArray[np.int64]) -> float:
    """The temperature under which images that were not learnt from are least surprising (Guo et al., 1706.04599).

    Args:
        probabilities: (N, K) at temperature 1.
        labels: (N,).

    Returns:
        Between 0.05 and 20; above 1 where the network was too sure.
    """
    rows = np.arange(len(labels))

    def surprise(logarithm: float) -> float:
        right = tempered(probabilities, float(np.exp(logarithm)))[rows, labels]
        return float(-np.log(np.clip(right, 1e-30, None)).mean())

    found = minimize_scalar(surprise, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def threshold_at(scores: Floats, false_alarm_rate: float) -> float | None:
    """The smallest of the (N,) scores of known images that no more than this share of them exceeds; None of none."""
    if not len(scores):
        return None
    return float(np.quantile(scores, 1 - false_alarm_rate, method="higher"))


@torch.no_grad()
def gmac(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Billions of multiply-accumulates (GMAC) to pass one image of `shape` (C, H, W) through `network`."""
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    return float(counter.get_total_flops()) / 2 / 1e9  # the counter counts 2 FLOP for each multiply-accumulate


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of all tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
