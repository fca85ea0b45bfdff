"""Images that are spread over processes, each of which holds a share of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Share"]


@dataclass(frozen=True)
class Share:
    """Which of all images are at hand here; other processes hold the others and do the same at the same time.

    Sums over all processes are those over all images, but for rounding in float64; no feature leaves its process.

    Attributes:
        labels: (N,) of all images.
        here: (N,) true for the n that are at hand, in the same order.
        total: sums a tensor over all processes, in each of them.
    """

    labels: torch.Tensor
    here: torch.Tensor
    total: Callable[[torch.Tensor], torch.Tensor]

    @classmethod
    def whole(cls, labels: torch.Tensor) -> "Share":
        """All images are at hand."""
        return cls(labels, torch.ones_like(labels, dtype=torch.bool), lambda of_all: of_all)

    def only(self, some: torch.Tensor) -> "Share":
        """The share of some of all images (N,)."""
        return Share(self.labels[some], self.here[some], self.total)
