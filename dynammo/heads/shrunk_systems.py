"""Linear systems with a covariance at many shrinkages, for the price of one reduction."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack, solveh_banded
from threadpoolctl import ThreadpoolController

__all__ = ["solve_shrunk"]

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
