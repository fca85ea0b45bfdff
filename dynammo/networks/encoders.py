"""Encoders of others: a frozen module from images to feature maps, and what has to be known of it."""

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from dynammo.errors import UserError

__all__ = ["Encoder", "digest_of", "examined", "scripted", "short_name"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What preprocessing.yaml has taken from the images already."""


class Encoder(nn.Module):
    """A module of others behind one contract: images, prepared as for every network here, to a list of maps.

    What the encoder was trained to see, another mean and deviation of the colours, is made inside: a record of
    `about` is enough to prepare images rightly everywhere.

    Args:
        module: from images (B, C, H, W) or volumes (B, C, D, H, W), normalised as it was trained, to a list of maps.
        about: plain values: `mean` and `std` of every input channel, `channels` of every map, `points`, the numbers of
            the maps that are one pixel (class tokens), `lone`, where the image itself stands in front of one map.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, module: nn.Module, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.module = module
        self.about: dict[str, Any] = dict(about)
        taken = (MEAN, STD) if len(about["mean"]) > 1 else ((0.0,), (1.0,))  # nothing has been taken from vectors
        own = list(zip(about["mean"], about["std"], *taken, strict=True))
        self.register_buffer("scale", torch.tensor([given / std for _, std, _, given in own]))
        self.register_buffer("shift", torch.tensor([(given - mean) / std for mean, std, given, _ in own]))
        self.lone = bool(about["lone"])
        self.channels = [int(count) for count in about["channels"]]
        self.count = len(self.channels)

    def keep(self, last: int) -> "Encoder":
        """Keep the maps from 0 to `last` alone.

        Raises:
            UserError: it has fewer.
        """
        most = len(self.about["channels"]) - 1
        if last not in range(1, most + 1):
            raise UserError(
                f"stages is {last!r}, but {self.about['name']} has maps from 0 to {most}; type --stages {most}."
            )
        self.count, self.channels = last + 1, [int(count) for count in self.about["channels"]][: last + 1]
        return self

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map images (B, C, H, W) to feature maps (B, C_i, H_i, W_i)."""
        axes = [1, -1] + [1] * (images.dim() - 2)
        own = images * self.scale.view(axes) + self.shift.view(axes)
        maps: list[torch.Tensor] = self.module(own)
        if self.lone:
            maps = [own] + maps  # noqa: RUF005  TorchScript cannot unpack
        return maps[: self.count]


@torch.no_grad()
def examined(module: nn.Module, name: str, facts: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Look at images with a module once, and write down what it returns.

    Args:
        module: from normalised images to a list of maps.
        name: as the user typed it.
        facts: what its source knows: `mean`, `std`, `size`, `build`.
        shape: (C, H, W) or (C, D, H, W) of one image.

    Returns:
        `facts` with `name`, `channels`, `points`, `lone`, `seen`, the pixels of a side, and `digest`, the SHA-256 of
        the weights.

    Raises:
        UserError: it breaks the contract: no maps, another number of dimensions, values that are not finite, another
            answer or other weights the second time, more channels or fewer than the images have.
    """
    if len(facts["mean"]) != shape[0]:
        raise UserError(f"{name} takes images of {len(facts['mean'])} channels, but these have {shape[0]}.")
    module.requires_grad_(False).eval()
    before = digest_of(module)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        first, second = module(images), module(images)
    except Exception as error:  # a program of others: whatever it raises is about this encoder and this size
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        size = f"; it was trained with {facts['size']} pixels: type --set image_size={facts['size']}" * bool(
            facts.get("size") and facts["size"] != shape[-1]
        )
        raise UserError(f"{name} cannot look at images of {shape[-1]} pixels ({said}){size}.") from error
    if not isinstance(first, list | tuple) or not first or not all(isinstance(m, torch.Tensor) for m in first):
        raise UserError(f"{name} returns no feature maps; expected a tensor (B, C, H, W) or a list of these.")
    for number, found in enumerate(first):
        if found.dim() != len(shape) + 1 or len(found) != 2:
            raise UserError(
                f"{name} returns {tuple(found.shape)} for 2 images as map {number}; expected (B, C, H, W), of volumes "
                "(B, C, D, H, W), or (B, C) for one vector an image."
            )
        if not found.isfinite().all():
            raise UserError(f"{name} returns values that are not finite; its weights may be damaged.")
    if any(not torch.allclose(one, other, atol=1e-5) for one, other in zip(first, second, strict=True)):
        raise UserError(f"{name} answers otherwise to the same images the second time; it must not draw numbers.")
    if digest_of(module) != before:
        raise UserError(f"{name} changes its weights while it looks at images; a frozen encoder must not.")
    lone = len(first) == 1
    maps = [images, *first] if lone else list(first)
    return {
        **facts,
        "name": name,
        "channels": [found.shape[1] for found in maps],
        "points": [number for number, found in enumerate(maps) if found.shape[2:].numel() == 1],
        "lone": lone,
        "seen": shape[-1],
        "digest": before,
    }


def short_name(architecture: str) -> str:
    """Name of a backbone for others to read: of a place on this machine the last part, such as `hf:skin`."""
    kind, colon, rest = architecture.partition(":")
    public = kind == "hf" and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", rest)  # OWNER/NAME of the hub
    if not colon or public or kind in ("python", "torchscript"):  # programs, which a model needs again where it goes
        return architecture
    last = re.split(r"[/\\]", rest.rstrip("/\\"))[-1]
    return f"{kind}:{last}"


def digest_of(module: nn.Module) -> str:
    """SHA-256 of the weights of a module, hexadecimal."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def scripted(network: nn.Module, shape: Sequence[int]) -> torch.jit.ScriptModule:
    """A network as TorchScript; the encoder in it is the graph of one pass, for images of this size.

    Args:
        network: a `MergedClassifier`.
        shape: (C, H, W) or (C, D, H, W) of one image.
    """
    if any(isinstance(part, Encoder) for part in network.modules()):
        network = copy.deepcopy(network)
    for part in list(network.modules()):
        if isinstance(part, Encoder):
            images = torch.rand(2, *shape, device=next(part.parameters()).device)
            graph = torch.jit.trace(part.module, images, strict=False, check_trace=False)  # type: ignore[no-untyped-call]
            part.module = cast(nn.Module, graph)
    return cast(torch.jit.ScriptModule, torch.jit.script(network))
