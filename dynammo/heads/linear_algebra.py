"""Gram matrices of feature rows: what statistics of any number of images come down to."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas, lapack, solveh_banded
from threadpoolctl import ThreadpoolController

__all__ = ["CHUNK", "add_gram", "gram", "in_double", "mirror", "solve_shrunk", "sum_images"]

CHUNK = 1024  # images that are taken to float64 at a time: 16 MiB of 2048 features
BLOCK = 256  # rows that are mirrored at a time: two blocks fit into a core's cache


def gram(features: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """`sum_i w_i / C sum_c f_ic f_ic'` (F, F) in float64, on the CPU.

    Args:
        features: (N, C, F), of C augmented copies of each image, which together weigh as much as one image; N may
            be 0.
        weights: (N,) from 0; None for 1 each.
    """
    found = torch.zeros(features.shape[2], features.shape[2], dtype=torch.float64)
    add_gram(found, features, weights)
    return mirror(found)


def add_gram(upper: torch.Tensor, features: torch.Tensor, weights: torch.Tensor | None = None) -> None:
    """Add the `gram` of features to the upper triangle of a matrix (F, F) and leave what lies below it as it is.

    By BLAS's `syrk`, half of the work of a matrix product, which is all that torch offers.
    """
    roots = None if weights is None else weights.double().sqrt()[:, None, None]
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK]
        rows = rows.double() if roots is None else rows * roots[start : start + CHUNK]  # in float64 at once
        columns = rows.flatten(0, 1).numpy().T  # BLAS counts by columns: these are the rows as they lie in memory
        blas.dsyrk(1 / rows.shape[1], columns, beta=1.0, c=upper.numpy().T, lower=1, overwrite_c=1)


def in_double(features: torch.Tensor) -> torch.Tensor:
    """Mean (N, F) of the copies of each image (N, C, F), in float64; of a single copy without a sum."""
    return features[:, 0].double() if features.shape[1] == 1 else features.double().mean(1)


def sum_images(features: torch.Tensor) -> torch.Tensor:
    """Sum (F,) over the images (N, C, F), whose copies count as one together, in float64; N may be 0."""
    total = torch.zeros(features.shape[2], dtype=torch.float64)
    for rows in features.split(CHUNK):  # type: ignore[no-untyped-call]
        total += in_double(rows).sum(0)
    return total


def mirror(upper: torch.Tensor) -> torch.Tensor:
    """Fill what lies below the diagonal of a matrix (F, F) with what lies above it; the matrix itself."""
    for start in range(0, len(upper), BLOCK):
        end = start + BLOCK
        upper[end:, start:end] = upper[start:end, end:].T
        corner = upper[start:end, start:end]
        corner.copy_(corner.triu() + corner.triu(1).T)
    return upper


LIBRARIES = ThreadpoolController()
LEAST = 1e-8  # variance; pooled features are of the order of 1

Matrix = NDArray[np.float64]


def solve_shrunk(covariance: torch.Tensor, targets: torch.Tensor, shrinkages: Sequence[float]) -> torch.Tensor:
    """`((1 - g) S + g diag(S))^-1 v` for every shrinkage g and every row v of the targets.

    In the units of its deviations a shrunk covariance is the correlation matrix with ones added to its diagonal,
    and orthogonal reflections that make the one tridiagonal make all of them so. Features that hardly vary get the
    variance of a ten-thousandth of the mean, so that noise in them is not taken for evidence, and at least `LEAST`:
    classes of one image each vary by rounding alone.

    Args:
        covariance: S (F, F), positive semidefinite, float64.
        targets: (K, F) float64.
        shrinkages: G values in (0, 1).

    Returns:
        (G, K, F).
    """
    variance = covariance.diagonal()
    deviation = variance.clamp_min(max(1e-4 * float(variance.mean()), LEAST)).sqrt()
    if len(shrinkages) == 1 or len(covariance) < 3:
        return torch.stack([_solve_once(covariance, deviation, targets, shrinkage) for shrinkage in shrinkages])
    correlation = (covariance / deviation).div_(deviation[:, None]).numpy()
    with LIBRARIES.limit(limits=1, user_api="blas"):
        solved = _solve_reduced(correlation, (targets / deviation).numpy().T, shrinkages)
    return torch.from_numpy(solved).div_(deviation)


def _solve_once(
    covariance: torch.Tensor, deviation: torch.Tensor, targets: torch.Tensor, shrinkage: float
) -> torch.Tensor:
    shrunk = (1 - shrinkage) * covariance
    shrunk.diagonal().add_(deviation**2, alpha=shrinkage)
    return torch.cholesky_solve(targets.T, torch.linalg.cholesky(shrunk)).T


def _solve_reduced(correlation: Matrix, targets: Matrix, shrinkages: Sequence[float]) -> Matrix:
    """`((1 - g) R + g I)^-1 v` (G, K, F) of the columns v of the targets (F, K), by R = Q T Q', T tridiagonal.

    The correlation matrix R is overwritten. To be called with OpenBLAS on one core: two threads take half the time on
    an idle machine, and twenty times as long beside one busy process, since they wait for each other in every column.
    """
    lwork, _ = lapack.dsytrd_lwork(len(correlation), lower=1)
    reduced = lapack.dsytrd(correlation.T, lower=1, lwork=int(lwork), overwrite_a=1)  # R is its own transpose
    reflectors, diagonal, beside, scales, _ = reduced
    reflectors = np.asfortranarray(reflectors[1:, :-1])  # Q leaves the first row as it is
    beside = np.append(beside, 0.0)
    rotated = _reflect(reflectors, scales, targets, transposed=True)
    solved = [
        solveh_banded(np.stack([(1 - g) * diagonal + g, (1 - g) * beside]), rotated, lower=True) for g in shrinkages
    ]
    found = _reflect(reflectors, scales, np.concatenate(solved, axis=1), transposed=False)
    return np.ascontiguousarray(found.T).reshape(len(shrinkages), *targets.shape[::-1])


def _reflect(reflectors: Matrix, scales: Matrix, columns: Matrix, transposed: bool) -> Matrix:
    """Q times the columns (F, K), or Q' times them."""
    trans, below = "T" if transposed else "N", np.asfortranarray(columns[1:])
    _, work, _ = lapack.dormqr("L", trans, reflectors, scales, below, lwork=-1)
    turned, _, _ = lapack.dormqr("L", trans, reflectors, scales, below, lwork=int(work[0]))
    return np.concatenate([columns[:1], turned])
