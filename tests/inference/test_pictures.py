import io

import numpy as np
import pytest
from PIL import Image

from dynammo.inference.visualisation import heat_png, picture_jpeg


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
