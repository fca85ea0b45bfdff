"""A shared folder with one tiny benchmark set and weights drawn at random."""

from pathlib import Path

import torch
from monai.networks.nets import resnet18

from synthetic.datasets import make_data


def make_shared(folder: Path, train: int = 6, test: int = 3) -> Path:
    """The folder that DYNAMMO_SHARED is to name: derm8 has four colours, weights are random."""
    make_data(folder / "data" / "derm8", train, test)
    (folder / "weights").mkdir()
    torch.manual_seed(0)
    made = resnet18(n_input_channels=3, spatial_dims=2, conv1_t_stride=2, shortcut_type="B", bias_downsample=False)
    weights = {name: v for name, v in made.state_dict().items() if not name.startswith(("layer4", "fc"))}
    torch.save(weights, folder / "weights" / "resnet18_imagenet1k_to_layer3.pth")
    return folder
