"""What is shown of an image: where in it a class was seen, and the picture itself."""

import functools
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn

from dynammo.heads.linear import join_heads

__all__ = ["corners", "heat_maps", "heat_png", "jpeg", "picture_jpeg", "reduced", "shown_range"]

TINY = 1e-300  # share of the other classes, in double
REACH = 1 / 4  # of the box around a pixel, in sides of the image
REDUCED = 12  # pixels a side, where its mean is taken
SMOOTH = 1 / 24  # sigma in sides of the image


@torch.enable_grad()
def heat_maps(network: Any, maps: list[list[torch.Tensor]], classes: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """Heat maps of one class for each image: gradient x activation, summed over all maps that the head reads.

    The gradient of the log odds of the class goes back through heads and pooling alone, not through the backbone.
    Activations count from the mean of their surroundings, so that what is even adds nothing, and the border that zero
    padding makes less. What speaks against the class is left out map by map.

    Args:
        network: a `MergedClassifier`.
        maps: its `maps` of B images; those that are not pooled may be empty.
        classes: (B,) indices of classes.

    Returns:
        (B, h, w), 0 to 1, of the size of the finest map that is pooled; of volumes the maximum along their depth.
    """
    leaves = [[found.detach().requires_grad_() for found in branch] for branch in maps]
    flat = [leaf for branch in leaves for leaf in branch]
    # in double: where a class is almost sure, the others' share must not vanish
    logits = [head.double() for head in network.logits(network.pool(leaves))]
    probabilities, _ = join_heads(logits, network.others, network.temperature)
    others = torch.ones_like(probabilities).scatter(1, classes.to(probabilities.device)[:, None], 0)
    odds = (probabilities * (1 - others)).sum(1).log() - (probabilities * others).sum(1).clamp(min=TINY).log()
    slopes = torch.autograd.grad(odds.sum(), flat, allow_unused=True)
    heat = _together([_evidence(leaf, slope) for leaf, slope in zip(flat, slopes, strict=True) if slope is not None])
    heat = heat.amax(1) if heat.ndim == 4 else heat
    return heat / heat.flatten(1).amax(1).clamp(min=1e-12).view(-1, 1, 1)


def _evidence(found: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """What pixels of one map (B, C, H, W) add to the odds: (B, 1, H, W), 0 and more."""
    with torch.no_grad():
        return ((found - _surroundings(found)) * slope).sum(1, keepdim=True).relu()


def _surroundings(found: torch.Tensor) -> torch.Tensor:
    """Means of the boxes around all pixels of (B, C, H, W), taken on a reduced copy, since they change slowly."""
    size = found.shape[2:]
    boxes = nn.functional.interpolate(found, [min(side, REDUCED) for side in size], mode="area")
    box = functools.reduce(torch.kron, map(_box, boxes.shape[2:]))
    return _resized((boxes.flatten(2) @ box.to(boxes)).view(boxes.shape), size)


def _box(side: int) -> torch.Tensor:
    """(side, side): the share of every pixel in the mean around another; beyond the border the last one goes on."""
    reach = max(1, round(REACH * side))
    near = torch.arange(side)[:, None] + torch.arange(-reach, reach + 1)
    return nn.functional.one_hot(near.clamp(0, side - 1), side).float().mean(1).T


def _resized(found: torch.Tensor, size: torch.Size) -> torch.Tensor:
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return nn.functional.interpolate(found, size, mode=mode, align_corners=False)


def _together(parts: list[torch.Tensor]) -> torch.Tensor:
    """The sum of maps of several sizes in the size of the finest, smoothed, on the CPU: (B, H, W) or (B, D, H, W)."""
    finest = max((part.shape[2:] for part in parts), key=torch.Size.numel)
    heat = torch.zeros(len(parts[0]), 1, *finest)
    for part in parts:  # what a coarse pixel adds is spread over the fine ones that it covers
        share = part.shape[2:].numel() / finest.numel()
        heat += share * _resized(part, finest).cpu()
    sigmas = [0, *(SMOOTH * side for side in finest)]
    return torch.from_numpy(gaussian_filter(heat[:, 0].numpy(), sigmas, mode="nearest"))


LONGEST = 256  # pixels of the longer side
QUALITY = 82
CORNER = (0.36, 0.16)  # of width and height: where scanners and viewers write names and dates


def picture_jpeg(values: NDArray[Any], mask_corners: bool = False) -> bytes:
    """Make a JPEG of at most 256 pixels a side.

    Args:
        values: image (C, H, W) or volume (C, D, H, W), of which the middle is shown; 3 channels hold 0 to 255 for the
            screen, 1 channel measured values, shown between their 1st and 99.5th percentile.
        mask_corners: paint over the corners, where text may be burnt in.
    """
    plane = values[:, values.shape[1] // 2] if values.ndim == 4 else values
    image = reduced(plane)
    if len(plane) == 1:
        image = _stretched(image)
    return jpeg(image, mask_corners)


def jpeg(image: Image.Image, mask_corners: bool) -> bytes:
    """A picture as JPEG, see `picture_jpeg`."""
    if mask_corners:
        for box in corners(*image.size):
            image.paste(0, box)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def reduced(plane: NDArray[Any], longest: int = LONGEST) -> Image.Image:
    """An image (C, H, W) of at most so many pixels a side: colours, or measured values as they are (mode F)."""
    step = max(1, min(plane.shape[1:]) // (2 * longest))  # enough for a good reduction, and much faster
    plane = np.asarray(plane[:, ::step, ::step], np.float32)
    image = Image.fromarray(plane[0]) if len(plane) == 1 else _colours(plane)
    image.thumbnail((longest, longest), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return image


def shown_range(values: NDArray[Any]) -> tuple[float, float]:
    """Which of measured values become black and white where nobody has chosen."""
    low, high = np.percentile(values, (1, 99.5))
    return float(low), float(high)


def heat_png(heat: NDArray[Any]) -> bytes:
    """Make an 8-bit grey PNG of a heat map (H, W), 0 to 1."""
    file = io.BytesIO()
    Image.fromarray((np.clip(heat, 0, 1) * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _colours(plane: NDArray[np.float32]) -> Image.Image:
    pixels = np.empty((*plane.shape[1:], len(plane)), np.uint8)
    for i, channel in enumerate(plane):  # much faster than turning the whole array
        pixels[..., i] = np.clip(channel, 0, 255)
    return Image.fromarray(pixels)


def _stretched(image: Image.Image) -> Image.Image:
    """Measured values as grey, after they are made small: percentiles of fewer values are found faster."""
    values = np.asarray(image)
    low, high = shown_range(values)
    grey = (values - low) * (255 / max(high - low, 1e-6))
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def corners(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of a picture where text may be burnt in."""
    wide, high = max(1, round(CORNER[0] * width)), max(1, round(CORNER[1] * height))
    return [(left, top, left + wide, top + high) for left in (0, width - wide) for top in (0, height - high)]
