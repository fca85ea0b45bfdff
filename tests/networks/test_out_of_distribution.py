import pytest
import torch

from dynammo.handlers.out_of_distribution import out_of_distribution_of
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.networks.out_of_distribution import OutOfDistribution, map_features, maps_behind, width_of


def test_the_distance_is_that_of_mahalanobis() -> None:
    looks = OutOfDistribution(2, 2)
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
    features = map_features([stem])
    some = stem[(..., *[slice(None, None, 2)] * (len(shape) - 2))].float().flatten(2)
    torch.testing.assert_close(features[:, :4], some.mean(2))
    torch.testing.assert_close(features[:, 4:], some.std(2, correction=0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("axes", [2, 3])
def test_logarithms_of_two_maps_are_written_out(axes: int) -> None:
    maps = [torch.rand(3, 4, *[8] * axes), torch.rand(3, 5, *[8] * axes)]
    found = map_features(maps, 2)
    some = maps[0][(..., *[slice(None, None, 2)] * axes)].flatten(2)
    half = maps[1][(..., *[slice(2, -2)] * axes)].flatten(2)
    whole = maps[1].flatten(2)
    expected = [part for pixels in (some, whole, half) for part in (pixels.mean(2), pixels.std(2, correction=0))]
    torch.testing.assert_close(found, (torch.cat(expected, 1) + 0.01).log(), atol=1e-4, rtol=1e-4)
    assert found.shape[1] == width_of([4, 5], 2) and width_of([4, 5], 1) == 8
    assert [maps_behind(width_of([4, 5], count), [4, 5]) for count in (1, 2)] == [1, 2]


def maps_of(count: int, seed: int, grey: bool = False) -> list[torch.Tensor]:
    """Maps of made-up images; two of four channels see colour, which varies much from image to image."""
    generator = torch.Generator().manual_seed(seed)
    contrast = torch.randn(count, 4, 1, 1, generator=generator).exp()
    if grey:
        contrast[:, 2:] = 0
    maps = contrast * torch.rand(count, 4, 16, 16, generator=generator)
    return [maps, maps[:, :, ::2, ::2]]


@pytest.mark.parametrize(("count", "seen"), [(1, False), (2, True)])
def test_logarithms_tell_images_without_colour_from_those_of_little(count: int, seen: bool) -> None:
    features = map_features(maps_of(300, 0), count)
    statistics = add_classes(ClassStatistics.empty(features.shape[1]), features[:, None], torch.zeros(300).long())
    looks = out_of_distribution_of(statistics, count)
    limit = looks.nearest(map_features(maps_of(300, 1), count)).quantile(0.99)
    assert bool((looks(maps_of(50, 2, grey=True)) > limit).float().mean() > 0.9) is seen
