"""Where the network looks, and what is shown of an image."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dynammo.inference.visualisation import heat_maps, heat_png, picture_jpeg
from dynammo.networks.merged_classifier import MergedClassifier


def network(branches: int, others: bool = True) -> MergedClassifier:
    torch.manual_seed(1)
    made = MergedClassifier([2, 2] if others else [4], others, branches, stages=2).eval()
    for head in made.heads:
        torch.nn.init.normal_(head.weight)  # type: ignore[arg-type]
    return made.requires_grad_(False)


def plain_network(pooling: dict[str, Any]) -> MergedClassifier:
    """Two classes and a head of random weights behind an untrained backbone."""
    torch.manual_seed(1)
    made = MergedClassifier([2], False, adapter="none", stages=2, pooling=pooling).eval()
    return made.requires_grad_(False)


@pytest.mark.parametrize(("branches", "others"), [(1, True), (1, False), (2, True)])
def test_the_heat_is_that_of_the_class_that_is_asked_for(branches: int, others: bool) -> None:
    made, images = network(branches, others), torch.randn(3, 3, 32, 32)
    maps = made.maps(images)
    found = heat_maps(made, maps, torch.tensor([3, 0, 2]))
    assert found.shape == (3, *maps[0][-1].shape[2:]) and float(found.min()) >= 0
    np.testing.assert_allclose(found.amax((1, 2)), 1, rtol=1e-6)
    assert not torch.allclose(found, heat_maps(made, maps, torch.tensor([1, 2, 0])), atol=0.1)


@pytest.mark.parametrize("pooling", [{}, {"taps": [0, 1, 2], "deviation": True, "centre": True, "power": 0.5}])
@given(st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=8, deadline=None)
def test_a_square_that_decides_the_class_is_found(pooling: dict[str, Any], row: int, column: int) -> None:
    """The head says "square" by how far features are from those of an even image."""
    made = plain_network(pooling)
    images = 0.3 * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    images[0, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 3
    with torch.no_grad():
        square, even = made.features(images)[0]
        made.heads[0].weight.copy_(torch.stack([square - even, even - square]))
    assert int(made.classify(images)[0][0].argmax()) == 0
    heat = heat_maps(made, made.maps(images[:1]), torch.tensor([0]))[0]
    y, x = divmod(int(heat.argmax()), heat.shape[1])
    side = 96 / heat.shape[1]  # pixels of the image
    assert abs((y + 0.5) * side - 16 * row - 8) <= 20 and abs((x + 0.5) * side - 16 * column - 8) <= 20


@given(st.integers(0, 3), st.integers(1, 4), st.integers(0, 2**16))
@settings(max_examples=12, deadline=None)
def test_the_map_of_an_image_does_not_depend_on_who_shares_its_batch(place: int, others: int, seed: int) -> None:
    made = plain_network({"taps": [0, 2], "deviation": True, "power": 0.5})
    drawn = torch.Generator().manual_seed(seed)
    image, mates = torch.randn(1, 3, 32, 32, generator=drawn), torch.randn(others, 3, 32, 32, generator=drawn)
    place = min(place, others)
    maps, alone = made.maps(torch.cat([mates[:place], image, mates[place:]])), made.maps(image)
    classes = torch.arange(others + 1) % 2
    found = heat_maps(made, maps, classes)[place]
    np.testing.assert_allclose(found, heat_maps(made, alone, classes[[place]])[0], atol=1e-4)


def test_a_class_that_is_almost_sure_has_a_map() -> None:
    """In single precision its probability is 1, and nothing would change it."""
    made, images = plain_network({}), torch.randn(1, 3, 32, 32)
    before = heat_maps(made, made.maps(images), torch.tensor([0]))
    made.heads[0].bias[0] += 80
    assert float(made.classify(images)[0][0, 0]) == 1
    np.testing.assert_allclose(heat_maps(made, made.maps(images), torch.tensor([0])), before, atol=1e-3)


def test_nothing_is_shown_where_nothing_counts() -> None:
    made = MergedClassifier([1], False, stages=1).eval().requires_grad_(False)  # one class is always sure
    assert not heat_maps(made, made.maps(torch.randn(1, 3, 32, 32)), torch.tensor([0])).any()


def test_volumes_have_flat_heat() -> None:
    pooling = {"taps": [0, 2], "deviation": True}
    made = MergedClassifier([2], False, stages=2, spatial_dims=3, pooling=pooling).eval().requires_grad_(False)
    found = heat_maps(made, made.maps(torch.randn(2, 3, 16, 16, 16)), torch.tensor([0, 1]))
    assert found.shape == (2, 4, 4) and bool(found.isfinite().all())


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)), dtype=float)


def test_photographs_keep_colours_and_shape() -> None:
    photo = np.zeros((3, 300, 600), np.float32)
    photo[0, :, 300:] = 250
    shown = opened(picture_jpeg(photo))
    assert shown.shape == (128, 256, 3)
    assert shown[64, 200, 0] == pytest.approx(250, abs=8) and shown[64, 50].max() < 12


def test_measured_values_are_stretched_to_grey() -> None:
    shown = opened(picture_jpeg(np.linspace(-1000, 2000, 64 * 64, dtype=np.float32).reshape(1, 64, 64)))
    assert shown.shape == (64, 64) and shown[0].mean() < 12 and shown[-1].mean() > 243


def test_volumes_show_their_middle() -> None:
    volume = np.zeros((1, 5, 32, 32), np.float32)
    volume[0, 2, 8:24, 8:24] = 1
    assert opened(picture_jpeg(volume))[16, 16] > 240


def test_flat_and_tiny_images_do_not_fail() -> None:
    assert opened(picture_jpeg(np.full((1, 1, 1), 7.0, np.float32))).shape == (1, 1)


def test_corners_are_painted_over_and_the_middle_is_not() -> None:
    shown = opened(picture_jpeg(np.full((3, 100, 100), 255, np.float32), mask_corners=True))
    for y in (2, -3):
        for x in (2, -3):
            assert shown[y, x].max() < 20
    assert shown[50, 50].min() > 240


def test_heat_is_grey() -> None:
    assert opened(heat_png(np.array([[0.0, 0.5], [1.0, 2.0]]))).tolist() == [[0, 127], [255, 255]]
