"""Where in an image a class was seen: Grad-CAM (Selvaraju et al., arXiv 1610.02391) by monai.visualize."""

import io
from typing import Any

import numpy as np
import torch
from monai.visualize import GradCAM
from numpy.typing import NDArray
from PIL import Image
from torch import nn

__all__ = ["heat_maps", "heat_png", "picture_jpeg"]


class _BehindLastMap(nn.Module):
    """What comes behind the last feature map of one branch: its logit of one class for each image.

    The gradient that Grad-CAM needs ends there, so that heat maps cost next to nothing beside the pass itself.
    """

    def __init__(self, network: Any, maps: list[torch.Tensor], classes: torch.Tensor) -> None:  # noqa: ANN401
        super().__init__()
        self.last = nn.Identity()
        self._parts = (network, maps[:-1], classes)

    def forward(self, last: torch.Tensor) -> torch.Tensor:
        """Map the last feature map (B, C, H, W) to logits (B, 1)."""
        network, below, classes = self._parts
        features = network.pool([[*below, self.last(last)]])
        logits = [head[:, :-1] if network.others else head for head in network.logits(features)]
        return torch.cat(logits, dim=1).gather(1, classes[:, None])


def heat_maps(network: Any, maps: list[list[torch.Tensor]], classes: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """Heat maps of one class for each image.

    Args:
        network: a `MergedClassifier`, or the same as TorchScript.
        maps: its `maps` of B images.
        classes: (B,) indices of classes.

    Returns:
        (B, h, w), 0 to 1, of the size of the last feature map; of volumes the maximum along their depth.
    """
    if len(maps) == 1:
        return _branch_maps(network, maps[0], classes)
    sizes = [len(head.bias) - int(network.others) for head in network.heads]
    branch_of = torch.repeat_interleave(torch.tensor(sizes))  # unmerged adapters: a branch for each head
    heat = torch.zeros(len(classes), *maps[0][-1].shape[-2:])
    for branch in sorted(set(branch_of[classes].tolist())):
        rows = branch_of[classes] == branch
        heat[rows] = _branch_maps(network, [m[rows] for m in maps[branch]], classes[rows])
    return heat


def _branch_maps(network: Any, maps: list[torch.Tensor], classes: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    behind = _BehindLastMap(network, maps, classes.to(maps[-1].device))
    cam = GradCAM(behind, target_layers="last", postprocessing=lambda heat: heat)
    with torch.enable_grad():
        last = maps[-1].detach().clone().requires_grad_()
        heat = torch.as_tensor(cam(last, class_idx=0)).detach().cpu()[:, 0]  # (B, h, w) or (B, d, h, w)
    _release(behind, cam)
    heat = heat.amax(1) if heat.ndim == 4 else heat
    return heat / heat.flatten(1).amax(1).clamp(min=1e-12).view(-1, 1, 1)


def _release(behind: _BehindLastMap, cam: GradCAM) -> None:
    """Let the maps go: MONAI keeps the graph, whose hooks keep MONAI's object, a circle that no collector sees."""
    cam.nn_module.score = None
    cam.nn_module.activations.clear()
    cam.nn_module.gradients.clear()
    behind.last = nn.Identity()


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
    step = max(1, min(plane.shape[1:]) // (2 * LONGEST))  # enough for a good reduction, and much faster
    plane = np.asarray(plane[:, ::step, ::step], np.float32)
    image = _stretched(_small(Image.fromarray(plane[0]))) if len(plane) == 1 else _small(_colours(plane))
    if mask_corners:
        _mask(image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


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


def _small(image: Image.Image) -> Image.Image:
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return image


def _stretched(image: Image.Image) -> Image.Image:
    """Measured values as grey, after they are made small: percentiles of fewer values are found faster."""
    values = np.asarray(image)
    low, high = np.percentile(values, (1, 99.5))
    grey = (values - low) * (255 / max(float(high - low), 1e-6))
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))


def _mask(image: Image.Image) -> None:
    width, height = max(1, round(CORNER[0] * image.width)), max(1, round(CORNER[1] * image.height))
    for left in (0, image.width - width):
        for top in (0, image.height - height):
            image.paste(0, (left, top, left + width, top + height))
