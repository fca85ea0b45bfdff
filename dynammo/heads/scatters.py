"""What each class adds to class statistics, kept apart: so a class can get more images, be taken out, or be shared.

`ClassStatistics` hold one Gram matrix for all classes; of a class alone they no longer tell. These are the parts it was
summed from. Pure functions in float64; each equals learning from scratch what it says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dynammo.heads.analytic import ClassStatistics, Shard
from dynammo.heads.linear_algebra import add_gram, mirror, packed, sum_images, upper_of

__all__ = [
    "ClassScatters",
    "add_images",
    "combine",
    "join_scatters",
    "packed",
    "pool",
    "remove_classes",
    "replace_classes",
    "scatter_classes",
    "select_classes",
    "unpacked",
    "update_classes",
]


@dataclass(frozen=True)
class ClassScatters:
    """Count, sum and scatter of each of K classes; no image and no feature of an image.

    Attributes:
        counts: (K,) images of each class.
        sums: (K, F) sum of the features; copies of an image count as one together.
        scatters: (K, F (F + 1) / 2) upper triangle, row by row, of `sum_i f_i f_i'` over the images i.
    """

    counts: torch.Tensor
    sums: torch.Tensor
    scatters: torch.Tensor

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors alone."""
        return {"counts": self.counts, "sums": self.sums, "scatters": self.scatters}


def scatter_classes(features: torch.Tensor, labels: torch.Tensor, shard: Shard | None = None) -> ClassScatters:
    """Scatters of the classes of these images.

    Args:
        features: (N, C, F), of C augmented copies of each image, which together weigh as much as one image.
        labels: (N,) labels; the K classes come out in the order of their labels.
        shard: where other processes hold more images; features and labels are then of those available.
    """
    shard = shard or Shard.whole(labels)
    classes, counts = shard.labels.unique(return_counts=True)  # type: ignore[no-untyped-call]
    parts = [_sum_and_scatter(features[labels == label]) for label in classes]
    sums, scatters = (torch.stack([part[i] for part in parts]) for i in range(2))
    return ClassScatters(counts.double(), shard.total(sums), shard.total(scatters))


def select_classes(scatters: ClassScatters, rows: Sequence[int]) -> ClassScatters:
    """The scatters of some of the classes, in this order."""
    index = torch.tensor(list(rows), dtype=torch.long)
    return ClassScatters(scatters.counts[index], scatters.sums[index], scatters.scatters[index])


def join_scatters(parts: Sequence[ClassScatters]) -> ClassScatters:
    """Scatters of the classes of all parts, one after the other."""
    return ClassScatters(
        torch.cat([part.counts for part in parts]),
        torch.cat([part.sums for part in parts]),
        torch.cat([part.scatters for part in parts]),
    )


def replace_classes(scatters: ClassScatters, rows: Sequence[int], others: ClassScatters) -> ClassScatters:
    """The scatters with others in the place of some of the classes."""
    index = torch.tensor(list(rows), dtype=torch.long)
    return ClassScatters(
        scatters.counts.index_copy(0, index, others.counts),
        scatters.sums.index_copy(0, index, others.sums),
        scatters.scatters.index_copy(0, index, others.scatters),
    )


def add_images(scatters: ClassScatters, more: ClassScatters) -> ClassScatters:
    """Scatters of the same K classes after more images of each."""
    return ClassScatters(scatters.counts + more.counts, scatters.sums + more.sums, scatters.scatters + more.scatters)


def pool(scatters: ClassScatters, balanced: bool = True) -> ClassStatistics:
    """The statistics that `dynammo.heads.analytic.add_classes` makes of the same images."""
    gram = unpacked(_shares(scatters.counts, balanced) @ scatters.scatters, scatters.sums.shape[1])
    return ClassStatistics(scatters.counts, scatters.sums, gram, balanced)


def combine(first: ClassStatistics, second: ClassStatistics) -> ClassStatistics:
    """Statistics of the classes of `first`, then those of `second`: what learning all of them would have given.

    Raises:
        ValueError: other features, or one is balanced and the other is not.
    """
    if first.gram.shape != second.gram.shape or first.balanced != second.balanced:
        raise ValueError("the statistics must be of the same features and both balanced or both not")
    return ClassStatistics(
        torch.cat([first.counts, second.counts]),
        torch.cat([first.sums, second.sums]),
        first.gram + second.gram,
        first.balanced,
    )


def remove_classes(statistics: ClassStatistics, gone: ClassScatters, labels: Sequence[int]) -> ClassStatistics:
    """Statistics as if some classes had never been learnt; the labels of those behind them move up.

    Args:
        statistics: of all classes.
        gone: scatters of the classes to remove.
        labels: of these classes, in the order of `gone`.

    Raises:
        ValueError: the scatters are not those that the statistics were made from.
    """
    _check_same(statistics, gone, labels)
    rest = [label for label in range(len(statistics.counts)) if label not in set(labels)]
    gram = statistics.gram - pool(gone, statistics.balanced).gram
    return ClassStatistics(statistics.counts[rest], statistics.sums[rest], gram, statistics.balanced)


def update_classes(
    statistics: ClassStatistics, before: ClassScatters, more: ClassScatters, labels: Sequence[int]
) -> ClassStatistics:
    """Statistics after more images of known classes; labels stay as they are.

    Args:
        statistics: of all classes.
        before: scatters of the classes that get more images, as they are in `statistics`.
        more: scatters of the new images of the same classes.
        labels: of these classes, in the order of both.

    Raises:
        ValueError: the scatters are not those that the statistics were made from.
    """
    _check_same(statistics, before, labels)
    after, rows = add_images(before, more), list(labels)
    counts, sums = statistics.counts.clone(), statistics.sums.clone()
    counts[rows], sums[rows] = after.counts, after.sums
    balanced = statistics.balanced
    gram = statistics.gram - pool(before, balanced).gram + pool(after, balanced).gram
    return ClassStatistics(counts, sums, gram, balanced)


def unpacked(triangle: torch.Tensor, features: int) -> torch.Tensor:
    """The symmetric matrix (F, F) of its upper triangle."""
    return mirror(upper_of(triangle, features))


def _check_same(statistics: ClassStatistics, parts: ClassScatters, labels: Sequence[int]) -> None:
    rows = list(labels)
    same = torch.equal(statistics.counts[rows], parts.counts) and torch.allclose(statistics.sums[rows], parts.sums)
    if not same:
        raise ValueError("the scatters are not those of the statistics' classes")


def _sum_and_scatter(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum (F,) and packed scatter of the features (N, C, F) of one class."""
    upper = torch.zeros(features.shape[2], features.shape[2], dtype=torch.float64)
    add_gram(upper, features)
    return sum_images(features), packed(upper)


def _shares(counts: torch.Tensor, balanced: bool) -> torch.Tensor:
    return 1 / counts if balanced else torch.ones_like(counts)
