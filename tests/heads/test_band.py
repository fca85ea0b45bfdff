"""Bands solve what their matrices do."""

import numpy as np
import pytest
import torch

from dynammo.heads.band import WIDTH, Band


@pytest.mark.parametrize("size", [1, 5, WIDTH, WIDTH + 1, 2 * WIDTH, 3 * WIDTH + 17])
def test_every_shrinkage_is_solved(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    rows = torch.randn(2 * size + 1, size, generator=generator, dtype=torch.float64)
    matrix, shrinkages = rows.T @ rows / len(rows), [0.01, 0.5]
    targets = torch.randn(3, size, generator=generator, dtype=torch.float64)
    before = targets.clone()
    found = Band(matrix.clone()).solve(targets, shrinkages)
    for shrinkage, solved in zip(shrinkages, found, strict=True):
        shrunk = (1 - shrinkage) * matrix + shrinkage * torch.eye(size, dtype=torch.float64)
        torch.testing.assert_close(solved @ shrunk, targets, atol=1e-9, rtol=1e-9)
    assert torch.equal(targets, before)


def test_each_shrinkage_may_have_targets_of_its_own() -> None:
    rows = torch.randn(300, 150, dtype=torch.float64)
    band = Band(rows.T @ rows / 300)
    targets = torch.randn(2, 3, 150, dtype=torch.float64)
    found = band.solve(targets, [0.1, 0.4])
    for i, shrinkage in enumerate([0.1, 0.4]):
        torch.testing.assert_close(found[i], band.solve(targets[i], [shrinkage])[0])


def test_a_band_that_is_there_already_stays() -> None:
    """Columns without anything to reflect, as of features that do not go together."""
    size = 2 * WIDTH
    found = Band(2 * torch.eye(size)).solve(torch.ones(1, size), [0.5])
    torch.testing.assert_close(found, torch.full((1, 1, size), 1 / 1.5))


def test_what_is_not_positive_definite_is_told() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        Band(-torch.eye(WIDTH + 5)).solve(torch.ones(1, WIDTH + 5), [0.1])
