"""What belongs to linear algebra: Gram matrices, and systems of many shrinkages solved at once."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solveh_banded
from threadpoolctl import threadpool_info, threadpool_limits

from dynammo.heads import band, linear_algebra
from dynammo.heads.analytic import SHRINKAGES
from dynammo.heads.linear_algebra import add_gram, gram, mirror, packed, solve_shrunk, upper_of


@settings(deadline=None, max_examples=40)
@given(
    features=st.integers(1, 30), images=st.integers(1, 60), targets=st.integers(1, 5), seed=st.integers(0, 1000),
    shrinkages=st.lists(st.floats(0.003, 0.99), min_size=1, max_size=4),
)  # fmt: skip
def test_every_shrinkage_is_solved(
    features: int, images: int, targets: int, seed: int, shrinkages: list[float]
) -> None:
    """Also where there are fewer images than features, and the covariance has no inverse."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(images, features, generator=generator, dtype=torch.float64)
    covariance = rows.T @ rows / images
    variance = covariance.diagonal().clamp_min(1e-4 * float(covariance.diagonal().mean()))
    wanted = torch.randn(targets, features, generator=generator, dtype=torch.float64)
    before = covariance.clone()
    solved = solve_shrunk(covariance, wanted, shrinkages)
    assert solved.shape == (len(shrinkages), targets, features)
    for shrinkage, solution in zip(shrinkages, solved, strict=True):
        shrunk = (1 - shrinkage) * covariance + shrinkage * variance.diag()
        torch.testing.assert_close(solution @ shrunk, wanted, atol=1e-8, rtol=1e-8)
    assert torch.equal(covariance, before)


def test_one_core_of_blas_solves_many_shrinkages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads wait for each other in every column, beside a busy process twenty times as long."""
    seen: list[int] = []

    def cores() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    def solve(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        seen.extend(cores())
        return solveh_banded(*arguments, **options)

    monkeypatch.setattr(band, "solveh_banded", solve)
    monkeypatch.setattr(linear_algebra, "LARGE", 4)
    with threadpool_limits(2, user_api="blas"):
        before = cores()
        solve_shrunk(torch.eye(4, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64), [0.1, 0.5])
        assert cores() == before
    assert max(before) == 2 and seen and max(seen) == 1


@pytest.mark.parametrize("images", [150, 900])
def test_large_systems_are_solved_as_small_ones_are(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 and corrected; features are all alike but for noise, so some shrunk covariances are steep."""
    generator = torch.Generator().manual_seed(images)
    rows = torch.randn(images, 1, generator=generator) + 0.3 * torch.randn(images, 230, generator=generator)
    covariance = gram(rows[:, None]) / images
    wanted = torch.randn(3, 230, generator=generator, dtype=torch.float64)
    exact = solve_shrunk(covariance, wanted, SHRINKAGES)
    monkeypatch.setattr(linear_algebra, "LARGE", 200)
    found = solve_shrunk(covariance, wanted, SHRINKAGES)
    assert not torch.equal(found, exact)
    assert ((found - exact).norm(dim=(1, 2)) / exact.norm(dim=(1, 2))).max() < 1e-4


def test_a_shrinkage_too_small_for_float32_is_solved_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    covariance = torch.ones(150, 150, dtype=torch.float64)
    wanted = torch.arange(150, dtype=torch.float64)[None]
    shrinkages = [1e-9, 1e-8]
    exact = solve_shrunk(covariance, wanted, shrinkages)
    monkeypatch.setattr(linear_algebra, "LARGE", 100)
    torch.testing.assert_close(solve_shrunk(covariance, wanted, shrinkages), exact, rtol=1e-4, atol=1.0)


def test_features_that_never_vary_stay_small() -> None:
    covariance = torch.diag(torch.tensor([1.0, 2.0, 0.0, 3.0], dtype=torch.float64))
    solved = solve_shrunk(covariance, torch.ones(1, 4, dtype=torch.float64), [0.1, 0.5])
    floor = 1e-4 * 1.5
    assert solved[1, 0].tolist() == pytest.approx([1.0, 0.5, 1 / (0.5 * floor), 1 / 3.0])


def test_classes_of_one_image_each_have_a_solution() -> None:
    """Their covariance is rounding alone, and may be negative."""
    noise = 1e-18 * torch.tensor([[1.0, 2.0, 0.0], [2.0, -3.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    wanted = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    for shrinkages in ([0.1], [0.1, 0.5]):
        solved = solve_shrunk(noise, wanted, shrinkages)
        torch.testing.assert_close(solved[0] / solved[0, 0, 0], wanted, atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(0, 20), copies=st.integers(1, 3), features=st.integers(1, 12), weighted=st.booleans(),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_a_gram_is_the_sum_of_outer_products(
    images: int, copies: int, features: int, weighted: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(images, copies, features, generator=generator)
    weights = torch.rand(images, generator=generator, dtype=torch.float64) if weighted else None
    exact = torch.zeros(features, features, dtype=torch.float64)
    for i, image in enumerate(rows.double()):
        for copy in image:
            exact += (1.0 if weights is None else weights[i]) * torch.outer(copy, copy) / copies
    torch.testing.assert_close(gram(rows, weights), exact, atol=1e-10, rtol=0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(23, 2, 5)
    whole = gram(rows)
    monkeypatch.setattr(linear_algebra, "CHUNK", 4)
    torch.testing.assert_close(gram(rows), whole, atol=1e-12, rtol=0)


def test_what_lies_below_the_diagonal_stays() -> None:
    matrix = torch.full((4, 4), 7.0, dtype=torch.float64)
    rows = torch.randn(9, 1, 4)
    add_gram(matrix, rows)
    assert (matrix.tril(-1)[matrix.tril(-1) != 0] == 7).all()
    torch.testing.assert_close(matrix.triu(), (7 + gram(rows)).triu())


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_mirrored_matrices_are_symmetric(size: int) -> None:
    matrix = torch.randn(size, size, dtype=torch.float64)
    upper = matrix.triu()
    mirrored = mirror(matrix)
    assert torch.equal(mirrored, mirrored.T)
    assert torch.equal(mirrored.triu(), upper)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_upper_triangles_are_packed_row_by_row(dtype: torch.dtype) -> None:
    matrix = mirror(torch.randn(5, 5, dtype=dtype))
    triangle = packed(matrix)
    assert torch.equal(triangle, torch.cat([row[i:] for i, row in enumerate(matrix)]))
    assert torch.equal(upper_of(triangle, 5), matrix.triu())


def test_a_gram_is_taken_away_again() -> None:
    rows, weights = torch.randn(9, 2, 4), torch.rand(9)
    upper = gram(rows, weights)
    add_gram(upper, rows, weights, sign=-1)
    assert upper.triu().abs().max() < 1e-12
