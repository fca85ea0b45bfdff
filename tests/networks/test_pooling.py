import pytest
import torch

from dynammo.networks.pooling import Pooling, central_half, moments


def maps() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(2, channels, size, size, generator=generator) for channels, size in ((3, 8), (4, 8), (5, 4))]


def test_the_mean_of_the_last_map_is_the_default() -> None:
    pooling = Pooling([3, 4, 5])
    torch.testing.assert_close(pooling(maps()), maps()[-1].mean((2, 3)))
    assert pooling.features == 5 and not pooling.state_dict()


def test_moments_of_chosen_maps_and_their_power() -> None:
    pooling = Pooling([3, 4, 5], taps=[0, 2], deviation=True, power=0.5)
    first, _, last = maps()
    expected = [part for m in (first, last) for part in (m.mean((2, 3)), m.flatten(2).std(2, correction=0))]
    torch.testing.assert_close(pooling(maps()), torch.cat(expected, 1).sqrt(), atol=1e-4, rtol=1e-4)
    assert pooling.features == 16


def test_the_central_half_is_pooled_beside_the_whole() -> None:
    pooling = Pooling([3, 4, 5], taps=[1], centre=True)
    whole, middle = maps()[1], maps()[1][:, :, 2:6, 2:6]
    torch.testing.assert_close(pooling(maps()), torch.cat([whole.mean((2, 3)), middle.mean((2, 3))], 1))
    assert pooling.features == 8


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 9, 7), (2, 3, 5, 6, 7)])
def test_moments_are_those_of_torch_far_from_zero_too(shape: tuple[int, ...], scale: float) -> None:
    pixels = 5 + scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    regions = [pixels.double().flatten(2), central_half(pixels).double().flatten(2)]
    expected = [part for r in regions for part in (r.mean(2), (r.var(2, correction=0) + 1e-8).sqrt())]
    for found, wanted in zip(moments(pixels, centre=True), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("size", range(1, 13))
def test_the_centre_is_symmetric_and_never_empty(size: int) -> None:
    row = torch.arange(size, dtype=torch.float32).expand(1, 1, size, size)
    middle = central_half(row)[0, 0, 0]
    assert 1 <= len(middle) <= max(1, (size + 2) // 2)
    assert middle.mean() == pytest.approx((size - 1) / 2)


def test_powers_keep_the_sign() -> None:
    features = Pooling([1], power=0.5)([torch.full((1, 1, 2, 2), -4.0)])
    torch.testing.assert_close(features, torch.tensor([[-2.0]]))


def test_a_constant_map_has_a_gradient() -> None:
    flat = torch.zeros(1, 2, 3, 3, requires_grad=True)
    Pooling([2], deviation=True, power=0.5)([flat]).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_the_random_layer_is_the_same_for_the_same_seed() -> None:
    first, second, other = (Pooling([3, 4, 5], projection=20) for _ in range(3))
    first.draw_projection(1)
    second.draw_projection(1)
    other.draw_projection(2)
    assert first.features == 20 and first(maps()).shape == (2, 20)
    assert torch.equal(first(maps()), second(maps())) and not torch.equal(first(maps()), other(maps()))
    assert (first(maps()) >= 0).all()


@pytest.mark.filterwarnings("error")
def test_moments_have_the_gradient_of_their_definition() -> None:
    pixels = torch.rand(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch.cat(moments(x, centre=True), 1), pixels)
