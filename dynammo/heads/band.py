"""A symmetric matrix turned into a band: solved there with anything added to its diagonal, at next to no cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

__all__ = ["Band"]

WIDTH = 96  # of the band below the diagonal: wide enough for matrix products at full speed


class Band:
    """`R = Q B Q'` with B a band and Q a product of blocks of Householder reflections, so `(1 - g) R + g I` is too.

    Nearly all of the work is products of matrices, which use every core; a reduction to three diagonals, LAPACK's,
    waits for memory in half of it. In float32 that is a fifth of the time, and what is lost can be won back
    (`dynammo.heads.linear_algebra.solve_shrunk`).

    Args:
        matrix: R (F, F), symmetric; overwritten.
    """

    def __init__(self, matrix: torch.Tensor) -> None:
        self._blocks: list[tuple[torch.Tensor, torch.Tensor]] = []  # V, T: reflections I - V T V' of the last rows
        for start in range(0, len(matrix) - WIDTH, WIDTH):
            rest = matrix[start + WIDTH :]
            packed, scales = torch.geqrf(rest[:, start : start + WIDTH])
            v, t = _compact(packed, scales)
            rest[:, start : start + WIDTH] = 0
            rest[: len(scales), start : start + WIDTH] = packed[: len(scales)].triu()
            _turn_both_sides(rest[:, start + WIDTH :], v, t)
            self._blocks.append((v, t))
        self._band = np.zeros((min(WIDTH + 1, len(matrix)), len(matrix)), dtype=matrix.numpy().dtype)
        for below, row in enumerate(self._band):
            row[: len(matrix) - below] = matrix.diagonal(-below).numpy()

    def solve(self, targets: torch.Tensor, shrinkages: Sequence[float]) -> torch.Tensor:
        """`((1 - g) R + g I)^-1 v` (G, K, F) of every target v (K, F), or of those of each shrinkage (G, K, F).

        Raises:
            numpy.linalg.LinAlgError: rounding leaves a matrix that is not positive definite.
        """
        turned = targets.flatten(0, -2).T.contiguous()
        for v, t in self._blocks:
            rows = turned[-len(v) :]
            rows.addmm_(v, t.T @ (v.T @ rows), alpha=-1)
        each = turned.view(len(turned), -1, targets.shape[-2]).expand(-1, len(shrinkages), -1)
        solved = torch.stack([self._solve(g, each[:, i]) for i, g in enumerate(shrinkages)], dim=1).flatten(1)
        for v, t in reversed(self._blocks):
            rows = solved[-len(v) :]
            rows.addmm_(v, t @ (v.T @ rows), alpha=-1)
        return solved.T.contiguous().view(len(shrinkages), *targets.shape[-2:])

    def _solve(self, shrinkage: float, columns: torch.Tensor) -> torch.Tensor:
        shrunk: NDArray[Any] = self._band * self._band.dtype.type(1 - shrinkage)
        shrunk[0] += self._band.dtype.type(shrinkage)
        return torch.from_numpy(solveh_banded(shrunk, columns.numpy(), overwrite_ab=True, lower=True))


def _compact(packed: torch.Tensor, scales: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """V and T of `I - V T V'`, the product of the reflections that LAPACK's `geqrf` returns."""
    moves = scales != 0  # the last one of a square block changes nothing
    v = packed[:, : len(scales)].tril(-1)
    v.diagonal().fill_(1)
    v.mul_(moves)
    inverse = (v.T @ v).triu(1)
    inverse.diagonal().copy_(torch.where(moves, 1 / scales, 1.0))
    identity = torch.eye(len(scales), dtype=v.dtype)
    return v, torch.linalg.solve_triangular(inverse, identity, upper=True)


def _turn_both_sides(matrix: torch.Tensor, v: torch.Tensor, t: torch.Tensor) -> None:
    """`Q' A Q` in the place of A, with `Q = I - V T V'`."""
    products = matrix @ (v @ t)
    products.addmm_(v, t.T @ (v.T @ products), alpha=-0.5)
    matrix.addmm_(torch.cat([products, v], 1), torch.cat([v, products], 1).T, alpha=-1)
