"""Task adapters: small residual modules in front of the frozen stages of a backbone."""

from collections.abc import Callable, Sequence

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn

__all__ = ["ADAPTERS", "ConvAdapter", "State", "copy_state", "make_adapters"]

State = dict[str, torch.Tensor]


class ConvAdapter(nn.Module):
    """The paper's adapter, `x + alpha * ReLU(BN(ConvT3(ReLU(BN(Conv3(x))))))` (arXiv 2304.09042).

    No padding: the convolution takes a border of one pixel off, the transposed one puts it back, so the
    input needs at least 3 pixels along every axis. The small `alpha` makes it nearly the identity at birth.

    Args:
        channels: channels of the input and of the output.
        spatial_dims: 2 for images, 3 for volumes.
        alpha: start value of the learnt scale of the branch.
    """

    smallest_input = 3

    def __init__(self, channels: int, spatial_dims: int = 2, alpha: float = 0.02) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            Conv[Conv.CONV, spatial_dims](channels, channels, kernel_size=3),
            Norm[Norm.BATCH, spatial_dims](channels),
            nn.ReLU(),
            Conv[Conv.CONVTRANS, spatial_dims](channels, channels, kernel_size=3),
            Norm[Norm.BATCH, spatial_dims](channels),
            nn.ReLU(),
        )
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features (B, C, H, W) or (B, C, D, H, W) to features of the same shape."""
        adapted: torch.Tensor = features + self.alpha * self.branch(features)
        return adapted


ADAPTERS: dict[str, Callable[..., nn.Module]] = {"conv": ConvAdapter, "none": nn.Identity}
"""Kinds of adapter by the name that the config uses; each takes `(channels, spatial_dims)`."""


def make_adapters(kind: str, channels: Sequence[int], spatial_dims: int = 2) -> nn.ModuleList:
    """One adapter for each site, newly initialised."""
    return nn.ModuleList(ADAPTERS[kind](count, spatial_dims) for count in channels)


def copy_state(module: nn.Module) -> State:
    """Parameters and buffers of `module` as tensors of their own, detached from training."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
