import gc

import numpy as np
import pytest
import torch
from monai.visualize import GradCAM

from dynammo.inference.visualisation import heat_maps
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
