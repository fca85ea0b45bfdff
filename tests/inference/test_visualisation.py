"""Where the network looks, and what is shown of an image."""

import gc
import io

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM
from PIL import Image

from dynammo.inference.visualisation import heat_maps, heat_png, picture_jpeg
from dynammo.networks.merged_classifier import MergedClassifier


def network(branches: int, others: bool = True) -> MergedClassifier:
    torch.manual_seed(1)
    made = MergedClassifier([2, 2] if others else [4], others, branches, stages=2).eval()
    for head in made.heads:
        torch.nn.init.normal_(head.weight)  # type: ignore[arg-type]
    return made.requires_grad_(False)


@pytest.mark.parametrize(("branches", "others"), [(1, True), (1, False), (2, True)])
def test_the_heat_is_grad_cam_of_the_whole_network(branches: int, others: bool) -> None:
    made, images = network(branches, others), torch.randn(3, 3, 32, 32)
    maps, classes = made.maps(images), torch.tensor([3, 0, 2])
    found = heat_maps(made, maps, classes)
    assert found.shape == (3, *maps[0][-1].shape[2:]) and float(found.min()) >= 0 and float(found.max()) <= 1

    class Logit(torch.nn.Module):
        """One class logit of the whole network, for MONAI's own Grad-CAM on its last layer."""

        def __init__(self, branch: int) -> None:
            super().__init__()
            self.net, self.branch, self.end = made, branch, torch.nn.Identity()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            maps = made.maps(image)
            maps[self.branch][-1] = self.end(maps[self.branch][-1])
            logits = made.logits(made.pool(maps))
            return torch.cat([x[:, :-1] if others else x for x in logits], dim=1)

    for i, name in enumerate(classes.tolist()):
        branch = name // 2 if branches > 1 else 0
        cam = GradCAM(Logit(branch), "end", upsampler=lambda s: lambda x: x, postprocessing=lambda x: x)
        expected = cam(images[i : i + 1].requires_grad_(), class_idx=name)[0, 0].detach().numpy()
        np.testing.assert_allclose(found[i], expected / max(expected.max(), 1e-12), atol=1e-4)


def test_volumes_have_flat_heat() -> None:
    made = MergedClassifier([2], False, stages=1, spatial_dims=3).eval().requires_grad_(False)
    assert heat_maps(made, made.maps(torch.randn(2, 3, 16, 16, 16)), torch.tensor([0, 1])).shape == (2, 4, 4)


def test_maps_are_let_go_at_once() -> None:
    """MONAI's hooks and their graph hold each other through C++, which the garbage collector cannot undo."""
    made = network(1)
    heat_maps(made, made.maps(torch.randn(1, 3, 48, 48)), torch.tensor([0]))
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
        for _ in range(3):
            heat_maps(made, made.maps(torch.randn(1, 3, 48, 48)), torch.tensor([0]))
        assert sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()) == before
    finally:
        gc.enable()


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
