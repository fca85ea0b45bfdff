"""What the training images of a network look like, so that an image of another kind is noticed."""

import torch
from torch import nn

from dynammo.networks.pooling import moments

__all__ = ["OutOfDistribution", "stem_features"]


def stem_features(stem: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation of every channel of the stem's map, over every second pixel of each axis.

    The stem lies before all adapters: these numbers do not change while tasks are learnt. They tell colours, contrast
    and texture, hence modality and stain, not disease. A quarter of the pixels tells as much, and the stem's map is
    the largest there is: all of them cost 1 to 7 % of a pass (docs/performance.md).

    Args:
        stem: (B, C, H, W) or (B, C, D, H, W), of any precision.

    Returns:
        (B, 2 C) in float32.
    """
    # in images by a pooling of single pixels, since ONNX Runtime rearranges a whole map before it cuts; in volumes by
    # cutting, since torch has no such pooling in bfloat16
    some = nn.functional.avg_pool2d(stem, 1, stride=2) if stem.dim() == 4 else stem[:, :, ::2, ::2, ::2].clone()
    return torch.cat(moments(some.float()), dim=1)


class OutOfDistribution(nn.Module):
    """Distance of an image from the nearest class of training images (Mahalanobis; Lee et al., arXiv 1807.03888).

    Args:
        classes: number K of classes.
        channels: channels C of the stem.

    Attributes:
        means: (K, 2 C) of `stem_features` in each class.
        whitening: (2 C, 2 C) W with W W' the inverse of the covariance shared by all classes.
    """

    means: torch.Tensor
    whitening: torch.Tensor

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, 2 * channels))
        self.register_buffer("whitening", torch.zeros(2 * channels, 2 * channels))

    def forward(self, stem: torch.Tensor) -> torch.Tensor:
        """Map the stem's output to distances (B,), 0 and more, in standard deviations of the training images.

        The root of the mean square over the 2 C features: about 1 for images like those of the training. Differences
        are written out, since ONNX has no `cdist`; `nearest` takes many images, whose differences need not fit.
        """
        apart = (stem_features(stem) @ self.whitening)[:, None] - self.means @ self.whitening  # (B, K, 2 C)
        distances: torch.Tensor = (apart * apart).mean(2).amin(1).sqrt()
        return distances

    def nearest(self, features: torch.Tensor) -> torch.Tensor:
        """Distances (B,) of `stem_features` (B, 2 C)."""
        distances: torch.Tensor = torch.cdist(features @ self.whitening, self.means @ self.whitening).amin(1)
        root: float = float(self.means.shape[1]) ** 0.5
        return distances / root
