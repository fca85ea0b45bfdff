import pytest
import torch

from dynammo.networks.out_of_distribution import OutOfDistribution, stem_features


def test_the_distance_is_that_of_mahalanobis() -> None:
    looks = OutOfDistribution(2, 1)
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    means = torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    looks.load_state_dict({"means": means, "whitening": torch.linalg.cholesky(torch.linalg.inv(covariance))})
    point = torch.tensor([[1.0, -1.0]])
    by_hand = min(float((point - m) @ torch.linalg.inv(covariance) @ (point - m).T) for m in means)
    assert float(looks.nearest(point)) == pytest.approx((by_hand / 2) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (3, 4, 5, 6, 7)])
def test_look_features_are_means_and_deviations_of_every_second_pixel(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    stem = torch.randn(shape).to(dtype)
    features = stem_features(stem)
    some = stem[(..., *[slice(None, None, 2)] * (len(shape) - 2))].float().flatten(2)
    torch.testing.assert_close(features[:, :4], some.mean(2))
    torch.testing.assert_close(features[:, 4:], some.std(2, correction=0), atol=1e-4, rtol=1e-4)
