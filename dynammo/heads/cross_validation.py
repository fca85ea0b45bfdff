"""Class statistics learnt with folds of the images left out, so that no image judges a head that has seen it.

One pass over the features gives the statistics of all images and those without each fold: the folds' Gram matrices
are computed once and taken away one by one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dynammo.heads.analytic import (
    HEADS,
    INVERSE_TEMPERATURES,
    SHRINKAGES,
    ClassStatistics,
    LinearHeads,
    Shard,
    count_new_classes,
)
from dynammo.heads.linear import grow_head
from dynammo.heads.linear_algebra import CHUNK, add_gram, in_double, mirror, packed, upper_of
from dynammo.heads.scatters import ClassScatters

__all__ = ["FOLDS", "CrossValidated", "Fold", "assign_folds", "fit_with_folds", "held_out_logits"]

FOLDS = 5
TOGETHER = 8  # classes whose scatters are weighted at a time


@dataclass(frozen=True)
class Fold:
    """Heads that have not seen one fold of the newest images.

    Attributes:
        left: (n,) true for the images available that were left out.
        statistics: of all classes without them.
        heads: at every shrinkage.
    """

    left: torch.Tensor
    statistics: ClassStatistics
    heads: LinearHeads


@dataclass(frozen=True)
class CrossValidated:
    """What learning new classes has given.

    Attributes:
        statistics: of all classes.
        scatters: what each new class has added, where it was asked for.
        losses: (k, G, 33) mean cross-entropy of the images of each new class among all classes, while left out, at
            the logits times each of `INVERSE_TEMPERATURES`, for every shrinkage; zeros where there is but one
            class, or one of a single image.
        folds: none where a class has a single image.
    """

    statistics: ClassStatistics
    scatters: ClassScatters | None
    losses: torch.Tensor
    folds: list[Fold]


def fit_with_folds(
    known: ClassStatistics,
    features: torch.Tensor,
    labels: torch.Tensor,
    head: str,
    shrinkages: Sequence[float] = SHRINKAGES,
    folds: int = FOLDS,
    shard: Shard | None = None,
    keep_scatters: bool = False,
) -> CrossValidated:
    """Learn new classes, and heads without each fold of their images. Classes weigh the same in the losses.

    Args:
        known: statistics of the known classes.
        features: (N, C, F) of the new classes, see `add_classes`; the first copy is the image itself.
        labels: (N,).
        head: a name of `HEADS`.
        shrinkages: G values in (0, 1).
        folds: parts of each class, fewer where a class has fewer images.
        shard: where other processes hold more images; features and labels are then of those available.
        keep_scatters: give what each class has added apart too.

    Raises:
        ValueError: labels that leave a gap or belong to known classes.
    """
    shard = shard or Shard.whole(labels)
    counts = count_new_classes(known, shard.labels)
    parts = min(folds, int(counts.min()))
    numbers = assign_folds(shard.labels, parts)
    inside = [_count(shard.labels[numbers == i], known, len(counts)) for i in range(parts)] if parts > 1 else []
    here = numbers[shard.here]
    statistics, scatters = _learn(known, features, labels, here, counts, inside, shard, keep_scatters)
    if parts < 2:
        return CrossValidated(statistics[-1], scatters, _no_losses(counts, shrinkages), [])
    left_out = [Fold(here == i, statistics[i], HEADS[head](statistics[i], shrinkages)) for i in range(parts)]
    losses = _no_losses(counts, shrinkages)
    if len(statistics[-1].counts) > 1:
        for fold in left_out:
            losses += _losses(fold.heads, features[fold.left, 0], labels[fold.left], counts)
    return CrossValidated(statistics[-1], scatters, shard.total(losses), left_out)


def assign_folds(
    labels: torch.Tensor, folds: int, interleaved: bool = False, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """Number of the fold (N,) of each image, every class cut into `folds` parts of nearly the same size.

    Args:
        labels: (N,); of equal labels where classes are not to be cut apart.
        folds: parts, from 1.
        interleaved: image after image goes to the next fold; otherwise a fold is a run of images in their given
            order, which keeps similar neighbours together.
        groups: (N,) numbers of patients, lesions or files, which are not cut apart unless a class has but one; two
            folds of a class at least are not empty. Groups come in the order of their first image.
    """
    fold = torch.zeros_like(labels)
    for label in labels.unique():  # type: ignore[no-untyped-call]
        rows = (labels == label).nonzero()[:, 0]
        place = torch.arange(len(rows), device=labels.device)
        if groups is not None:
            rows, place = _group_by_group(rows, groups[rows])
        fold[rows] = (place % folds if interleaved else place * folds // len(rows)).long()
    return fold


def _group_by_group(rows: torch.Tensor, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (n,) of a class with those of a group side by side, and for each of them the place of its group's middle."""
    _, number, sizes = groups.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    place = torch.arange(len(rows), device=rows.device)
    if len(sizes) < 2:
        return rows, place
    first = torch.full_like(sizes, len(rows)).scatter_reduce(0, number, place, "amin")
    order = torch.argsort(first[number], stable=True)
    starts = torch.zeros_like(sizes)
    by_first = first.argsort()
    starts[by_first] = sizes[by_first].cumsum(0) - sizes[by_first]
    middle = starts + (sizes - 1) / 2
    return rows[order], middle[number[order]]


def held_out_logits(
    heads: nn.ModuleList,
    features: list[torch.Tensor],
    targets: list[torch.Tensor],
    images: int,
    folds: int,
    tune: Callable[[nn.ModuleList, list[torch.Tensor], list[torch.Tensor]], float],
) -> list[torch.Tensor]:
    """Logits of every image from heads that were tuned on the other folds: what new images would get.

    Args:
        heads: their sizes alone matter; they are not changed.
        features: as for `tune_heads`; after the first `images` rows come augmented copies in the same order.
        targets: as for `tune_heads`.
        images: number of images N.
        folds: parts of which each is held out once, 2 and more.
        tune: `tune_heads` with its settings.

    Returns:
        (N, outputs) for each head. The state of the random generators is as before.
    """
    device = features[0].device
    logits = [torch.zeros(images, int(head.out_features), device=device) for head in heads]  # type: ignore[arg-type]
    fold_of_image = assign_folds(torch.zeros(images, dtype=torch.long, device=device), folds, interleaved=True)
    fold_of_row = fold_of_image.repeat(len(targets[0]) // images)
    with torch.random.fork_rng():
        for fold in range(folds):
            fresh = nn.ModuleList(grow_head(None, h.in_features, h.out_features) for h in heads)  # type: ignore[arg-type]
            fresh.to(device)
            kept, out = fold_of_row != fold, fold_of_image == fold
            tune(fresh, [x[kept] for x in features], [y[kept] for y in targets])
            for i, head in enumerate(fresh):
                with torch.no_grad():
                    logits[i][out] = head(features[min(i, len(features) - 1)][:images][out])
    return logits


def _learn(
    known: ClassStatistics,
    features: torch.Tensor,
    labels: torch.Tensor,
    fold: torch.Tensor,
    counts: torch.Tensor,
    inside: Sequence[torch.Tensor],
    shard: Shard,
    keep_scatters: bool,
) -> tuple[list[ClassStatistics], ClassScatters | None]:
    """Statistics without each of P folds and, last, of all images; `inside`, P times (k,), counts those of a fold."""
    counted = torch.stack([*(counts - of_fold for of_fold in inside), counts])  # (P + 1, k)
    weights = 1 / counted if known.balanced else torch.ones_like(counted)
    sums, grams, kept = _sum_up(features, labels - len(known.counts), fold, weights, shard if keep_scatters else None)
    sums = shard.total(sums)
    learnt = [
        ClassStatistics(
            torch.cat([known.counts, n]),
            torch.cat([known.sums, total]),
            shard.total(of_images).add_(known.gram),
            known.balanced,
        )
        for n, total, of_images in zip(counted, sums, grams, strict=True)
    ]
    return learnt, ClassScatters(counts, sums[-1], torch.stack(kept)) if keep_scatters else None


def _sum_up(
    features: torch.Tensor, labels: torch.Tensor, fold: torch.Tensor, weights: torch.Tensor, shard: Shard | None
) -> tuple[torch.Tensor, Iterator[torch.Tensor], list[torch.Tensor]]:
    """What the images available come to without each of P folds and, last, in all.

    Matrices come and go packed, many classes at a time: what costs here is passing them through memory.

    Args:
        features: (n, C, F).
        labels: (n,) from 0.
        fold: (n,) from 0.
        weights: (P + 1, k) of each class, without a fold and of all.
        shard: to sum the scatters of classes over all processes and keep them; None to keep none.

    Returns:
        Sums (P + 1, k, F) and Gram matrices without each fold and of all; the scatters kept.
    """
    (rows, classes), size, parts = weights.shape, features.shape[2], len(weights) - 1
    of_folds = torch.zeros(max(parts, 1) * classes, size, dtype=torch.float64)
    places = (fold * classes + labels).split(CHUNK)  # type: ignore[no-untyped-call]
    for chunk, place in zip(features.split(CHUNK), places, strict=True):  # type: ignore[no-untyped-call]
        of_folds.index_add_(0, place, in_double(chunk))
    of_folds = of_folds.view(-1, classes, size)
    whole = of_folds.sum(0)
    sums = torch.cat([whole - of_folds[:parts], whole[None]])
    mixed = torch.zeros(rows, size * (size + 1) // 2, dtype=torch.float64)
    square = torch.zeros(size, size, dtype=torch.float64)
    kept = []
    for of_classes in torch.arange(classes).split(TOGETHER):  # type: ignore[no-untyped-call]
        scatters = []
        for new in of_classes:
            add_gram(square.zero_(), features[labels == new])
            scatters.append(packed(square))
        mixed.addmm_(weights[:, of_classes], torch.stack(scatters))
        if shard:
            kept += [shard.total(scatter) for scatter in scatters]

    def grams() -> Iterator[torch.Tensor]:
        for i, of_weights in enumerate(mixed):
            matrix = upper_of(of_weights, size)
            if i < parts:
                add_gram(matrix, features[fold == i], weights[i, labels[fold == i]], sign=-1)
            yield mirror(matrix)

    return sums, grams(), kept


def _losses(heads: LinearHeads, features: torch.Tensor, labels: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """What the images, features (n, F), add to the mean loss (k, G, 33) of their class.

    In float32 are shares of the largest exponential alone, whose logarithm is then good to 1e-7.
    """
    first = heads.weight.shape[1] - len(counts)
    losses = torch.zeros(len(counts), len(heads.weight), len(INVERSE_TEMPERATURES), dtype=torch.float64)
    chunks = zip(features.split(CHUNK), labels.split(CHUNK), strict=True)  # type: ignore[no-untyped-call]
    factors = torch.tensor(INVERSE_TEMPERATURES, dtype=torch.float64)[:, None, None]
    for rows, label in chunks:
        logits = heads.logits(rows).mT.contiguous()  # (G, K, n): sums over classes run along memory
        top = logits.amax(1, keepdim=True)
        lead = (top - logits.gather(1, label.expand(len(logits), 1, -1)))[:, 0]  # (G, n) from 0
        behind = (logits - top).float()
        shares = torch.stack([_exponentials(behind, f).sum(1) for f in INVERSE_TEMPERATURES])  # (33, G, n)
        loss = factors * lead + shares.log()
        weights = nn.functional.one_hot(label - first, len(counts)) / counts  # (n, k)
        losses += (loss @ weights).permute(2, 1, 0)
    return losses


def _exponentials(behind: torch.Tensor, factor: float) -> torch.Tensor:
    """`exp(factor x)` of values to 0, at least 1e-35: what underflows takes a processor forty times as long."""
    return (factor * behind).clamp_(min=-80).exp_()


def _no_losses(counts: torch.Tensor, shrinkages: Sequence[float]) -> torch.Tensor:
    return torch.zeros(len(counts), len(shrinkages), len(INVERSE_TEMPERATURES), dtype=torch.float64)


def _count(labels: torch.Tensor, known: ClassStatistics, classes: int) -> torch.Tensor:
    return torch.bincount(labels - len(known.counts), minlength=classes).double()
