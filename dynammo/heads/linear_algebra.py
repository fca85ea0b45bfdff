"""Gram matrices of feature rows: what statistics of any number of images come down to."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import blas, lapack
from threadpoolctl import ThreadpoolController

from dynammo.heads.band import Band

__all__ = ["CHUNK", "add_gram", "gram", "in_double", "mirror", "packed", "solve_shrunk", "sum_images", "upper_of"]

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


def add_gram(
    upper: torch.Tensor, features: torch.Tensor, weights: torch.Tensor | None = None, sign: float = 1.0
) -> None:
    """Add the `gram` of features, times a sign, to the upper triangle of a matrix (F, F); below it nothing changes.

    By BLAS's `syrk`, half of the work of a matrix product, which is all that torch offers.
    """
    roots = None if weights is None else weights.double().sqrt()[:, None, None]
    for start in range(0, len(features), CHUNK):
        rows = features[start : start + CHUNK]
        rows = rows.double() if roots is None else rows * roots[start : start + CHUNK]  # in float64 at once
        columns = rows.flatten(0, 1).numpy().T  # BLAS counts by columns: these are the rows as they lie in memory
        blas.dsyrk(sign / rows.shape[1], columns, beta=1.0, c=upper.numpy().T, lower=1, overwrite_c=1)


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


def packed(matrix: torch.Tensor) -> torch.Tensor:
    """The upper triangle (F (F + 1) / 2) of a symmetric matrix (F, F), row by row."""
    (pack,) = lapack.get_lapack_funcs(("trttp",), (matrix.numpy(),))
    return torch.from_numpy(pack(matrix.numpy().T, uplo="L")[0])  # LAPACK counts by columns


def upper_of(triangle: torch.Tensor, features: int) -> torch.Tensor:
    """A matrix (F, F) with this upper triangle, and zeros below it."""
    (unpack,) = lapack.get_lapack_funcs(("tpttr",), (triangle.numpy(),))
    return torch.from_numpy(unpack(features, triangle.numpy(), uplo="L")[0].T)


LIBRARIES = ThreadpoolController()
LEAST = 1e-8  # variance; pooled features are of the order of 1
LARGE = 512  # features from which on a band pays
ROUGH = 0.15  # shrinkage below which float32 alone may lose four digits


def solve_shrunk(covariance: torch.Tensor, targets: torch.Tensor, shrinkages: Sequence[float]) -> torch.Tensor:
    """`((1 - g) S + g diag(S))^-1 v` for every shrinkage g and every row v of the targets.

    In the units of its deviations a shrunk covariance is the correlation matrix with ones added to its diagonal, and
    the reflections that make a band of the one make bands of all of them (`Band`). Features that hardly vary get the
    variance of a ten-thousandth of the mean, so that noise in them is not taken for evidence, and at least `LEAST`:
    classes of one image each vary by rounding alone.

    Args:
        covariance: S (F, F), positive semidefinite, float64.
        targets: (K, F) float64.
        shrinkages: G values in (0, 1).

    Returns:
        (G, K, F) float64. Many large systems at once are solved in float32 and corrected: to four digits and more.
    """
    variance = covariance.diagonal()
    deviation = variance.clamp_min(max(1e-4 * float(variance.mean()), LEAST)).sqrt()
    if len(shrinkages) > 1 and len(covariance) >= LARGE:
        try:
            return _solve_by_band(covariance, deviation, targets, shrinkages)
        except np.linalg.LinAlgError:  # smaller shrinkages than float32 can tell from none
            pass
    return torch.stack([_solve_once(covariance, deviation, targets, shrinkage) for shrinkage in shrinkages])


def _solve_once(
    covariance: torch.Tensor, deviation: torch.Tensor, targets: torch.Tensor, shrinkage: float
) -> torch.Tensor:
    shrunk = (1 - shrinkage) * covariance
    shrunk.diagonal().add_(deviation**2, alpha=shrinkage)
    return torch.cholesky_solve(targets.T, torch.linalg.cholesky(shrunk)).T


def _solve_by_band(
    covariance: torch.Tensor, deviation: torch.Tensor, targets: torch.Tensor, shrinkages: Sequence[float]
) -> torch.Tensor:
    """All shrinkages by one reduction in float32; where that is rough, corrected by what float64 says is missing.

    OpenBLAS, which solves the bands, gets one core: its threads wait for each other in every column, and take twenty
    times as long beside one busy process.
    """
    single = deviation.float()
    scaled = targets / deviation
    band = Band(covariance.float().div_(single).div_(single[:, None]))
    with LIBRARIES.limit(limits=1, user_api="blas"):
        solved = band.solve(scaled.float(), shrinkages).double()
        rough = [row for row, shrinkage in enumerate(shrinkages) if shrinkage < ROUGH]
        if rough:
            kept = torch.tensor([shrinkages[row] for row in rough], dtype=torch.float64)[:, None, None]
            found = solved[rough]
            missing = scaled - (1 - kept) * (found / deviation @ covariance / deviation) - kept * found
            solved[rough] += band.solve(missing.float(), [shrinkages[row] for row in rough])
    return solved.div_(deviation)
