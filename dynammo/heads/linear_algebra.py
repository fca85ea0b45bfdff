"""Gram matrices of feature rows: what statistics of any number of images come down to."""

import torch
from scipy.linalg import blas

__all__ = ["CHUNK", "add_gram", "gram", "in_double", "mirror", "sum_images"]

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
