"""Analytic heads: closed-form classifiers over class statistics, equal to learning all images at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from dynammo.heads.linear_algebra import CHUNK, gram, in_double, solve_shrunk

__all__ = [
    "HEADS",
    "INVERSE_TEMPERATURES",
    "SHRINKAGES",
    "Background",
    "ClassStatistics",
    "LinearHeads",
    "Shard",
    "add_classes",
    "background",
    "background_of",
    "choose",
    "count_new_classes",
    "lda",
    "ridge",
]


@dataclass(frozen=True)
class Shard:
    """Which of all images are available here; other processes hold the others and do the same at the same time.

    Sums over all processes are those over all images, but for rounding in float64; no feature leaves its process.

    Attributes:
        labels: (N,) of all images.
        here: (N,) true for the n that are available, in the same order.
        total: sums a tensor over all processes, in each of them.
    """

    labels: torch.Tensor
    here: torch.Tensor
    total: Callable[[torch.Tensor], torch.Tensor]

    @classmethod
    def whole(cls, labels: torch.Tensor) -> "Shard":
        """All images are available."""
        return cls(labels, torch.ones_like(labels, dtype=torch.bool), lambda of_all: of_all)

    def only(self, some: torch.Tensor) -> "Shard":
        """The share of some of all images (N,)."""
        return Shard(self.labels[some], self.here[some], self.total)


SHRINKAGES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85)
INVERSE_TEMPERATURES = tuple(10 ** (k / 8 - 2) for k in range(33))  # 0.01 to 100


@dataclass(frozen=True)
class ClassStatistics:
    """What is known of all classes so far; its size grows with neither tasks nor images.

    Attributes:
        counts: (K,) images of each class.
        sums: (K, F) sum of the features of each class; copies of an image count as one together.
        gram: (F, F) `sum_c (w_c / n_c) H_c' H_c` with the class weights w_c = n_c, or 1 when balanced.
        balanced: every class weighs the same (AIR, arXiv 2408.10349), however many images it has.
    """

    counts: torch.Tensor
    sums: torch.Tensor
    gram: torch.Tensor
    balanced: bool = True

    @classmethod
    def empty(cls, features: int, balanced: bool = True) -> "ClassStatistics":
        """Statistics of no class yet, of `features` features."""
        counts, sums, gram = (torch.zeros(s, dtype=torch.float64) for s in ((0,), (0, features), (features,) * 2))
        return cls(counts, sums, gram, balanced)

    @property
    def means(self) -> torch.Tensor:
        """(K, F) mean features of each class."""
        return self.sums / self.counts[:, None]

    @property
    def shares(self) -> torch.Tensor:
        """(K,) weights of the classes, which sum to 1."""
        weights = torch.ones_like(self.counts) if self.balanced else self.counts
        return weights / weights.sum()

    @property
    def total(self) -> torch.Tensor:
        """(F, F) covariance of the features around their mean over all classes."""
        weight = len(self.counts) if self.balanced else self.counts.sum()
        mean = self.shares @ self.means
        return (self.gram / weight).addr_(mean, mean, alpha=-1)

    @property
    def within(self) -> torch.Tensor:
        """(F, F) covariance of the features around the mean of their class."""
        weight = float(len(self.counts) if self.balanced else self.counts.sum())
        means = self.means
        return torch.addmm(self.gram, (self.shares[:, None] * means).T, means, beta=1 / weight, alpha=-1)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class LinearHeads:
    """Linear heads of one kind at G shrinkages: weight (G, K, F) and bias (G, K)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (G, N, K) of features (N, F)."""
        return features.double() @ self.weight.mT + self.bias[:, None]


@dataclass(frozen=True)
class Background:
    """One Gaussian over the features of all classes, against which the nearest class is held.

    With a(x) the logits of `lda` plus `shift`, `1/2 a' form a - constant - max logit` is the logarithm of the
    density under the background over that under the nearest class.

    Attributes:
        shift: (K,).
        form: (K, K).
        constant: ().
    """

    shift: torch.Tensor
    form: torch.Tensor
    constant: torch.Tensor


def add_classes(
    statistics: ClassStatistics, features: torch.Tensor, labels: torch.Tensor, shard: Shard | None = None
) -> ClassStatistics:
    """Statistics that know new classes too.

    Args:
        statistics: of K known classes.
        features: (N, C, F), of C augmented copies of each image, which together weigh as much as one image.
        labels: (N,) labels K, K + 1, ..., each at least once.
        shard: where other processes hold more images; features and labels are then of those available.

    Raises:
        ValueError: labels that leave a gap or belong to known classes.
    """
    known, shard = len(statistics.counts), shard or Shard.whole(labels)
    counts = count_new_classes(statistics, shard.labels)
    sums = torch.zeros(len(counts), features.shape[2], dtype=torch.float64)
    for rows, label in zip(features.split(CHUNK), labels.split(CHUNK), strict=True):  # type: ignore[no-untyped-call]
        sums.index_add_(0, label - known, in_double(rows))
    weights = (1 / counts)[labels - known] if statistics.balanced else None
    return ClassStatistics(
        torch.cat([statistics.counts, counts]),
        torch.cat([statistics.sums, shard.total(sums)]),
        statistics.gram + shard.total(gram(features, weights)),
        statistics.balanced,
    )


def count_new_classes(statistics: ClassStatistics, labels: torch.Tensor) -> torch.Tensor:
    """Images (k,) of each class behind the K known ones, from the labels (N,) of all images.

    Raises:
        ValueError: labels that leave a gap or belong to known classes.
    """
    known = len(statistics.counts)
    counts = torch.bincount(labels - known).double() if int(labels.min()) >= known else torch.zeros(1)
    if not counts.all():
        raise ValueError(f"labels must be {known}, {known + 1}, ... without a gap, and no class may come twice")
    return counts


def lda(statistics: ClassStatistics, shrinkages: Sequence[float]) -> LinearHeads:
    """Linear discriminants `w_c = P^-1 (mu_c - m)`, `b_c = -1/2 (mu_c - m)' P^-1 (mu_c + m)` at every shrinkage g.

    P = (1 - g) S + g diag(S) with S the covariance within classes; m, the mean of all classes, changes no
    difference between logits and keeps them small.
    """
    mean = statistics.shares @ statistics.means
    centred = statistics.means - mean
    weight = solve_shrunk(statistics.within, centred, shrinkages)
    return LinearHeads(weight, -0.5 * (weight * (statistics.means + mean)).sum(2))


def ridge(statistics: ClassStatistics, shrinkages: Sequence[float]) -> LinearHeads:
    """Regression of one-hot labels with an intercept, `w_c = (T + l diag(T))^-1 q_c`, at every l = g / (1 - g).

    T is the total covariance and q_c the covariance of the features with label c: ridge regression on
    standardised features whose penalty is l times the number of images (or, balanced, of classes).
    """
    mean = statistics.shares @ statistics.means
    targets = statistics.shares[:, None] * (statistics.means - mean)
    kept = 1 - torch.tensor(shrinkages, dtype=torch.float64)
    weight = solve_shrunk(statistics.total, targets, shrinkages) * kept[:, None, None]
    return LinearHeads(weight, statistics.shares - weight @ mean)


HEADS: dict[str, Callable[[ClassStatistics, Sequence[float]], LinearHeads]] = {"lda": lda, "ridge": ridge}
"""Kinds of analytic head by the name that the config uses."""


def background(statistics: ClassStatistics, shrinkage: float) -> Background:
    """The background Gaussian N(m, P + B), B the covariance between class means, beside the classes' N(mu_c, P).

    The difference of the two Mahalanobis distances (relative Mahalanobis distance, arXiv 2106.09022) depends on
    the image through the logits of `lda` alone, because B has rank K at most: it costs nothing.
    """
    return background_of(statistics, lda(statistics, [shrinkage]).weight[0])


def background_of(statistics: ClassStatistics, weight: torch.Tensor) -> Background:
    """The `background` at the shrinkage at which `lda` has computed `weight` (K, F)."""
    shares = statistics.shares
    centred = statistics.means - shares @ statistics.means
    products = weight @ centred.T  # (K, K)
    root = shares.sqrt()
    inner = torch.eye(len(shares), dtype=torch.float64) + root[:, None] * products * root
    form = root[:, None] * torch.linalg.inv(inner) * root
    return Background(0.5 * products.diagonal(), form, 0.5 * torch.logdet(inner))


def choose(losses: torch.Tensor, shrinkages: Sequence[float] = SHRINKAGES) -> tuple[float, float]:
    """Shrinkage and inverse temperature of the smallest loss, summed over the classes (K, G, 33).

    Where classes are told apart without a mistake, or nothing was judged yet, many are as good (within 1e-6): then
    the strongest shrinkage and the mildest temperature are taken, for steep heads round badly and claim too much.
    """
    total = losses.sum(0)
    best = (total <= total.min() + 1e-6).nonzero().tolist()
    row, column = max(best, key=lambda place: (place[0], -place[1]))
    return shrinkages[row], INVERSE_TEMPERATURES[column]
