"""Scores of unknown images, all from class statistics at one shrinkage, and the folds that their limits come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from dynammo.heads.analytic import INVERSE_TEMPERATURES, SHRINKAGES, choose

__all__ = ["FOLDS", "SCORES", "Distances", "Gaussians", "Judged", "held_out", "scored"]

FOLDS = 5
LEAST = 1e-4  # variance of a feature that hardly varies, in the mean of all, as `solve_shrunk` has it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """What all scores are made of, for N images and K classes.

    Attributes:
        logits: (N, K) `y' P^-1 m_c - 1/2 m_c' P^-1 m_c`, those of `dynammo.heads.analytic.lda`.
        squares: (N,) `y' P^-1 y`, y the image and m_c the means of classes, both from the mean of all classes.
        products: (K, K) `m_c' P^-1 m_d`.
    """

    logits: torch.Tensor
    squares: torch.Tensor
    products: torch.Tensor

    @property
    def inner(self) -> torch.Tensor:
        """(N, K) `y' P^-1 m_c`."""
        return self.logits + 0.5 * self.products.diagonal()

    @property
    def nearest(self) -> torch.Tensor:
        """(N,) squared Mahalanobis distance to the nearest class."""
        return self.squares - 2 * self.logits.amax(1)


class Gaussians:
    """The shared covariance of classes of the same weight, taken apart once, for all shrinkages.

    In the units of their deviations the shrunk covariance is `(1 - g) R + g I`: eigenvectors of the correlations R,
    or of the smaller matrix of the products of images, do for every g.

    Args:
        features: (N, C, F), of C copies of each image.
        labels: (N,) from 0 without a gap.
    """

    def __init__(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        counts = torch.bincount(labels).double()
        rows = features.double()
        means = torch.zeros(len(counts), rows.shape[2], dtype=torch.float64)
        means = means.index_add_(0, labels, rows.mean(1)) / counts[:, None]
        weights = (1 / (len(counts) * counts[labels] * rows.shape[1])).sqrt()
        rows = ((rows - means[labels][:, None]) * weights[:, None, None]).flatten(0, 1)
        variance = (rows**2).sum(0)
        self.deviation = variance.clamp_min(LEAST * float(variance.mean())).sqrt()
        self.centre = means.mean(0)
        rows /= self.deviation
        few = len(rows) < rows.shape[1]
        values, vectors = torch.linalg.eigh(rows @ rows.T if few else rows.T @ rows)
        kept = values > 1e-10 * values.max()
        self.values = values[kept]
        self.vectors = rows.T @ (vectors[:, kept] / self.values.sqrt()) if few else vectors[:, kept]
        self.means = self._turned(means)

    def distances(self, features: torch.Tensor, shrinkage: float) -> Distances:
        """Distances of images (N, F)."""
        return self._at(self._turned(features), shrinkage)

    def at_all(self, features: torch.Tensor) -> list[Distances]:
        """`distances` at each of `SHRINKAGES`."""
        turned = self._turned(features)
        return [self._at(turned, shrinkage) for shrinkage in SHRINKAGES]

    def _at(self, images: tuple[torch.Tensor, torch.Tensor], shrinkage: float) -> Distances:
        inside = 1 / ((1 - shrinkage) * self.values + shrinkage) - 1 / shrinkage
        (rows, along), (means, of_means) = images, self.means
        inner = rows @ means.T / shrinkage + (along * inside) @ of_means.T
        products = means @ means.T / shrinkage + (of_means * inside) @ of_means.T
        squares = (rows**2).sum(1) / shrinkage + (along**2 * inside).sum(1)
        return Distances(inner - 0.5 * products.diagonal(), squares, products)

    def _turned(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = (features.double() - self.centre) / self.deviation
        return rows, rows @ self.vectors


def relative(of: Distances) -> torch.Tensor:
    """Today's score of `analytic` heads (`dynammo.heads.linear.BackgroundScore`), before its logistic function."""
    count = len(of.products)
    inner = torch.eye(count, dtype=torch.float64) + of.products / count
    form = torch.linalg.inv(inner) / count
    energy = 0.5 * ((of.inner @ form) * of.inner).sum(1)
    found: torch.Tensor = energy - 0.5 * torch.logdet(inner) - of.logits.amax(1)
    return found


def nearest(of: Distances) -> torch.Tensor:
    """Mahalanobis distance to the nearest class."""
    return of.nearest.clamp_min(0).sqrt()


def cosine(of: Distances) -> torch.Tensor:
    """Minus the largest cosine of the whitened image with the whitened mean of a class, from the mean of all."""
    lengths = (of.squares[:, None] * of.products.diagonal()).clamp_min(1e-12).sqrt()
    return -(of.inner / lengths).amax(1)


def spanned(of: Distances) -> torch.Tensor:
    """`cosine` of the part of the image that lies in the span of the classes: known from its logits alone."""
    squares: torch.Tensor = ((of.inner @ torch.linalg.pinv(of.products, hermitian=True)) * of.inner).sum(1)
    lengths: torch.Tensor = (squares[:, None] * of.products.diagonal()).clamp_min(1e-12).sqrt()
    return -(of.inner / lengths).amax(1)


Score = Callable[[Distances], torch.Tensor]
SCORES: dict[str, tuple[Score, ...]] = {
    "today": (relative,),
    "z(relative) + z(nearest)": (relative, nearest),
    "z(whitened cosine) + z(nearest)": (cosine, nearest),
    "nearest": (nearest,),
    "whitened cosine": (cosine,),
    "cosine in the span of the classes": (spanned,),
    "z(relative) + z(cosine in the span)": (relative, spanned),
}
"""Higher for unknown images; several are standardised by held-out images of known classes and added."""


@dataclass(frozen=True)
class Judged:
    """Every score of known images that were left out, of known and of other images, higher for unknown ones."""

    left_out: Mapping[str, Floats]
    others: Mapping[str, Floats]


def held_out(labels: torch.Tensor, groups: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Which images (N,) are learnt and which left out, fold by fold: groups together, every class in all."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return [
        (torch.from_numpy(inside), torch.from_numpy(left))
        for inside, left in folds.split(np.zeros(len(labels)), labels.numpy(), groups.numpy())
    ]


def scored(
    features: torch.Tensor,
    labels: torch.Tensor,
    folds: list[tuple[torch.Tensor, torch.Tensor]],
    others: torch.Tensor,
) -> tuple[Judged, float]:
    """Learn known classes and judge; the shrinkage has the least cross-entropy of the images left out.

    Args:
        features: (N, C, F) of known classes.
        labels: (N,) from 0 without a gap.
        folds: see `held_out`.
        others: (M, F) of images to judge.

    Returns:
        The scores, and the shrinkage.
    """
    parts = [Gaussians(features[inside], labels[inside]).at_all(features[left, 0]) for inside, left in folds]
    losses = _losses(parts, labels, folds)
    shrinkage, _ = choose(losses)
    place = SHRINKAGES.index(shrinkage)
    whole = Gaussians(features, labels).distances(others, shrinkage)
    left_out, of_others = {}, {}
    for name, scores in SCORES.items():
        known = torch.zeros(len(scores), len(labels), dtype=torch.float64)
        for row, score in enumerate(scores):
            for (_, left), found in zip(folds, parts, strict=True):
                known[row, left] = score(found[place])
        new = torch.stack([score(whole) for score in scores])
        mean, deviation = known.mean(1, keepdim=True), known.std(1, keepdim=True)
        left_out[name] = ((known - mean) / deviation).sum(0).numpy()
        of_others[name] = ((new - mean) / deviation).sum(0).numpy()
    return Judged(left_out, of_others), shrinkage


def _losses(
    parts: list[list[Distances]], labels: torch.Tensor, folds: list[tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """Mean cross-entropy (K, G, 33) of each class, as `fit_with_folds` has it."""
    counts = torch.bincount(labels).double()
    losses = torch.zeros(len(counts), len(SHRINKAGES), len(INVERSE_TEMPERATURES), dtype=torch.float64)
    for (_, left), at_all in zip(folds, parts, strict=True):
        truth = labels[left]
        for row, of in enumerate(at_all):
            behind = of.logits - of.logits.gather(1, truth[:, None])
            for column, factor in enumerate(INVERSE_TEMPERATURES):
                losses[:, row, column].index_add_(0, truth, torch.logsumexp(factor * behind, 1) / counts[truth])
    return losses
