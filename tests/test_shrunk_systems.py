import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.shrunk_systems import solve_shrunk


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


def test_features_that_never_vary_stay_small() -> None:
    covariance = torch.diag(torch.tensor([1.0, 2.0, 0.0, 3.0], dtype=torch.float64))
    solved = solve_shrunk(covariance, torch.ones(1, 4, dtype=torch.float64), [0.1, 0.5])
    floor = 1e-4 * 1.5
    assert solved[1, 0].tolist() == pytest.approx([1.0, 0.5, 1 / (0.5 * floor), 1 / 3.0])
