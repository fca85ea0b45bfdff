"""Vectors in place of images: the encoder of those whose own encoder has already worked."""

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.networks.encoders import Encoder, digest_of

__all__ = ["MOST_FEATURES", "Vectors", "vectors_encoder"]

MOST_FEATURES = 2**14  # the statistics of a head are a matrix of their square: 2 GiB


class Vectors(nn.Module):
    """Returns vectors, which come as images of one pixel, as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))  # where a network lies is told by its parameters

    def forward(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Map vectors (B, D, 1, 1) to the one map that they are."""
        return [vectors * self.scale]


def vectors_encoder(width: str) -> Encoder:
    """The encoder of vectors of so many numbers, `vectors:WIDTH`.

    Raises:
        UserError: no such width.
    """
    if not (width.isascii() and width.isdecimal() and 1 <= int(width) <= MOST_FEATURES):
        raise UserError(f"vectors:{width} is no width of vectors; expected 1 to {MOST_FEATURES} features each.")
    module = Vectors()
    about = {
        "name": f"vectors:{width}",
        "build": {},
        "mean": [0.0],
        "std": [1.0],
        "size": 1,
        "seen": 1,
        "channels": [int(width)] * 2,
        "points": [0, 1],
        "lone": True,
        "digest": digest_of(module),
    }
    return Encoder(module, about).eval()
