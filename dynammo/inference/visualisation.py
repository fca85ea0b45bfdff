"""Where in an image a class was seen: Grad-CAM (Selvaraju et al., arXiv 1610.02391) by monai.visualize."""

from typing import Any

import torch
from monai.visualize import GradCAM
from torch import nn

__all__ = ["heat_maps"]


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
