"""Copies of an image that class statistics count beside it: mirrored, and as other cameras would have taken it.

Every copy depends on the image alone, so that statistics are the same in whatever order classes and images come.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from dynammo.errors import UserError

__all__ = ["MIRRORED", "Copy", "copies_of", "photometric"]

Copy = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]
"""Images (B, C, H, W) or (B, C, D, H, W) as the network takes them, and B numbers that say which they are."""
MIRRORED: dict[str, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "horizontal": ((), (-1,)),
    "both": ((), (-1,), (-2,), (-2, -1)),
}
"""Mirrored copies by the name that the config uses: the axes they are mirrored along."""
GAIN, CHANNELS, GAMMA = 0.2, 0.07, 0.15
"""Standard deviations of the logarithms of brightness, of that of each channel, and of gamma."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as bundle/configs/preprocessing.yaml normalises


def copies_of(mirrored: str, others: int = 0) -> tuple[Copy, ...]:
    """The image itself, its mirrored copies, and so many photometric ones, each mirrored another way.

    Args:
        mirrored: a name of `MIRRORED`.
        others: number of photometric copies, from 0.

    Raises:
        UserError: no such name.
    """
    if mirrored not in MIRRORED:
        raise UserError(f"mirrored is {mirrored!r}; expected one of {', '.join(MIRRORED)}.")
    flips, ways = MIRRORED[mirrored], MIRRORED["both"]
    more = [ways[(len(flips) + number) % len(ways)] for number in range(others)]
    return (*map(_flipped, flips), *(_photometric(axes, number) for number, axes in enumerate(more)))


def photometric(images: torch.Tensor, seeds: Sequence[int], number: int = 0) -> torch.Tensor:
    """Images as another camera would have taken them: brighter or darker, of a tint, of another gamma.

    In pixels from 0 to 1: `clip(x * exp(N(0, 0.2)) * exp(N(0, 0.07)) of each channel) ** exp(N(0, 0.15))`.

    Args:
        images: (B, 3, ...), normalised as the bundle does.
        seeds: of each image.
        number: of the copy: others are drawn for it.
    """
    shape = (1, -1, *[1] * (images.ndim - 2))
    mean, deviation = (images.new_tensor(values).view(shape) for values in (MEAN, DEVIATION))
    drawn = np.stack([np.random.default_rng([seed, number]).normal(size=5) for seed in seeds])  # (B, 5)
    changes = torch.as_tensor(drawn, dtype=images.dtype, device=images.device).view(-1, 5, *[1] * (images.ndim - 2))
    gain, gamma = (GAIN * changes[:, :1] + CHANNELS * changes[:, 2:]).exp(), (GAMMA * changes[:, 1:2]).exp()
    pixels = (images * deviation + mean).clamp(0, 1)  # (B, 3, H, W)
    return ((pixels * gain).clamp(0, 1).pow(gamma) - mean) / deviation


def _flipped(axes: tuple[int, ...]) -> Copy:
    return lambda images, _: images.flip(axes) if axes else images


def _photometric(axes: tuple[int, ...], number: int) -> Copy:
    return lambda images, seeds: photometric(images.flip(axes) if axes else images, seeds, number)
