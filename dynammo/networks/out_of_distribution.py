"""What the training images of a network look like, so that an image of another kind is noticed."""

from collections.abc import Sequence

import torch
from torch import nn

from dynammo.networks.pooling import moments

__all__ = ["OutOfDistribution", "map_features", "maps_behind", "width_of"]


def map_features(maps: list[torch.Tensor], count: int = 1) -> torch.Tensor:
    """Numbers that tell colours, contrast and texture, hence modality and stain, not disease.

    Of the stem's map they are mean and standard deviation of every channel over every second pixel of each axis; a
    quarter of the pixels tells as much, and the stem's map is the largest there is: all of them cost 1 to 7 % of a
    pass (docs/performance.md). The stem lies before all adapters: these numbers do not change while tasks are learnt.

    Where no adapter ever changes layer 1, its map follows, whole and its central half, and all numbers are logarithms:
    a grey picture lets channels of colour fall to next to nothing, which is far away in logarithms alone, and layer 1
    sees which way up a picture is.

    Args:
        maps: of the stem (B, C, H, W) or (B, C, D, H, W), of layer 1, and so on, of any precision.
        count: maps that are read, 1 or 2.

    Returns:
        (B, 2 C) in float32, or (B, 2 C + 4 C_1).
    """
    stem = maps[0]
    # in images by a pooling of single pixels, since ONNX Runtime rearranges a whole map before it cuts; in volumes by
    # cutting, since torch has no such pooling in bfloat16
    some = nn.functional.avg_pool2d(stem, 1, stride=2) if stem.dim() == 4 else stem[:, :, ::2, ::2, ::2].clone()
    of_stem = moments(some.float())
    if count == 1:
        return torch.cat(of_stem, dim=1)
    found = torch.cat(of_stem + moments(maps[1].float(), True, True), dim=1)
    return (found + 0.01).log()  # what varies less than that does not vary; TorchScript knows no constant of a module


def width_of(channels: Sequence[int], count: int) -> int:
    """Number F of `map_features` of the first `count` of maps with these channels."""
    return 2 * channels[0] + (4 * channels[1] if count == 2 else 0)


def maps_behind(width: int, channels: Sequence[int]) -> int:
    """How many maps `width` numbers are of; those of 0.1 are of the stem."""
    return 1 if width == width_of(channels, 1) else 2


class OutOfDistribution(nn.Module):
    """Distance of an image from the nearest class of training images (Mahalanobis; Lee et al., arXiv 1807.03888).

    Args:
        classes: number K of classes.
        features: number F of features.
        maps: how many of these maps are read, see `map_features`.

    Attributes:
        means: (K, F) of `map_features` in each class.
        whitening: (F, F) W with W W' the inverse of the covariance shared by all classes.
    """

    means: torch.Tensor
    whitening: torch.Tensor

    def __init__(self, classes: int, features: int, maps: int = 1) -> None:
        super().__init__()
        self.maps = maps
        self.register_buffer("means", torch.zeros(classes, features))
        self.register_buffer("whitening", torch.zeros(features, features))

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Map feature maps to distances (B,), 0 and more, in standard deviations of the training images.

        The root of the mean square over the F features: about 1 for images like those of the training. Differences
        are written out, since ONNX has no `cdist`; `nearest` takes many images, whose differences need not fit.
        """
        apart = (map_features(maps, self.maps) @ self.whitening)[:, None] - self.means @ self.whitening  # (B, K, F)
        distances: torch.Tensor = (apart * apart).mean(2).amin(1).sqrt()
        return distances

    def nearest(self, features: torch.Tensor) -> torch.Tensor:
        """Distances (B,) of `map_features` (B, F)."""
        distances: torch.Tensor = torch.cdist(features @ self.whitening, self.means @ self.whitening).amin(1)
        root: float = float(self.means.shape[1]) ** 0.5
        return distances / root
