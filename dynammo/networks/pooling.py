"""Feature maps of one pass become one feature vector for each image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

__all__ = ["Pooling", "central_half", "moments"]


def central_half(features: torch.Tensor) -> torch.Tensor:
    """The middle of (B, C, H, W) without a quarter of the pixels at either end of every axis, at least one pixel."""
    for axis in range(2, features.dim()):
        size = features.size(axis)
        edge = min((size + 2) // 4, (size - 1) // 2)
        features = features.narrow(axis, edge, size - 2 * edge)
    return features


def moments(pixels: torch.Tensor, deviation: bool = True, centre: bool = False) -> list[torch.Tensor]:
    """Means (B, C), and deviations (B, C), over the pixels of (B, C, H, W), of the whole map and of its central half.

    In plain sums over pixels whose mean is taken away first: as exact as `torch.var`, in a third of its time. The
    central half is copied first: sums over a cut-out view take four times as long as the copy and its sums.
    """
    axes = list(range(2, pixels.dim()))
    found: list[torch.Tensor] = []
    for region in [pixels, central_half(pixels).clone()] if centre else [pixels]:
        mean = region.mean(axes, keepdim=True)
        found.append(mean.flatten(1))
        if deviation:
            # mse_loss subtracts and squares in one sweep, but warns of shapes that broadcast; differences from their
            # mean sum to zero, so no gradient is lost with its
            squares = torch.ops.aten.mse_loss(region, mean.detach(), 0)
            found.append((squares.mean(axes) + 1e-8).sqrt())  # the constant keeps gradients finite
    return found


class Pooling(nn.Module):
    """Means, and deviations if wanted, over the pixels of several feature maps, side by side.

    Args:
        channels: channels of the stem's map and of every layer's.
        taps: which of these maps are pooled, 0 for the stem; None for the last one alone.
        deviation: pool the standard deviation beside the mean.
        centre: pool the same moments of the central half of the map too, where the finding usually lies.
        power: every feature f becomes sign(f) |f|^power; 0.5, the square root, evens out large activations.
        projection: size M of a fixed random layer ReLU(f W) on top; 0 for none (RanPAC, arXiv 2307.02251).
        points: maps of one pixel, such as class tokens, of which there is nothing but the pixel to pool.

    Attributes:
        features: number F of features.
    """

    if TYPE_CHECKING:  # seen by TorchScript, it would make the buffer an attribute that does not move with the module
        random: torch.Tensor | None  # (pooled, projection)
    points: list[int]  # may be empty, of which TorchScript tells no type

    def __init__(
        self,
        channels: Sequence[int],
        taps: Sequence[int] | None = None,
        deviation: bool = False,
        centre: bool = False,
        power: float = 1.0,
        projection: int = 0,
        points: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.points = [int(point) for point in points]
        self.taps = [len(channels) - 1] if taps is None else [int(tap) for tap in taps]
        self.deviation = deviation
        self.centre = centre
        self.power = float(power)
        moments_of_map = (2 if deviation else 1) * (2 if centre else 1)
        pooled = sum(channels[tap] * (1 if tap in self.points else moments_of_map) for tap in self.taps)
        self.features = projection or pooled
        self.register_buffer("random", torch.empty(pooled, projection) if projection else None)

    def draw_projection(self, seed: int = 0) -> None:
        """Fill the random layer, the same for the same seed."""
        if self.random is not None:
            drawn = torch.randn(self.random.shape, generator=torch.Generator().manual_seed(seed))
            self.random = (drawn / self.random.shape[0] ** 0.5).to(self.random.device)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Map the stem's and every layer's feature map, (B, C_i, H_i, W_i) each, to features (B, F)."""
        pooled: list[torch.Tensor] = []
        for tap in self.taps:
            area = tap not in self.points
            pooled.extend(moments(maps[tap], self.deviation and area, self.centre and area))
        features = torch.cat(pooled, dim=1)
        if self.power != 1.0:
            features = torch.sign(features) * (features.abs() + 1e-8).pow(self.power)
        random = self.random
        if random is not None:
            features = torch.relu(features @ random)
        return features
