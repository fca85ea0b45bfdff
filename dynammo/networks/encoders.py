"""Encoders of others: a frozen module from images to feature maps, and what has to be known of it."""

import contextlib
import copy
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.runtime.plain import usable_memory

__all__ = ["AdaptedPass", "Encoder", "check_memory", "digest_of", "examined", "scripted", "short_name"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What preprocessing.yaml has taken from the images already."""


class Encoder(nn.Module):
    """A module of others behind one contract: images, prepared as for every network here, to a list of maps.

    What the encoder was trained to see, another mean and deviation of the colours, is made inside: a record of
    `about` is enough to prepare images rightly everywhere.

    Args:
        module: from images (B, C, H, W) or volumes (B, C, D, H, W), normalised as it was trained, to a list of maps.
        about: plain values: `mean` and `std` of every input channel, `channels` of every map, `points`, the numbers of
            the maps that are one pixel (class tokens), `lone`, where the image itself stands in front of one map, and
            `sites`, the submodule that each map but the last goes into; none where maps are no stages.
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

    def sites(self) -> list[str]:
        """Submodules in front of which an adapter may sit, one for each kept map but the last; none for tokens."""
        return list(self.about.get("sites", ()))[: self.count - 1]

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

    def adapted(self, images: torch.Tensor, adapters: Iterable[nn.Module]) -> list[torch.Tensor]:
        """Feature maps of images (B, C, H, W), each but the last going on through an adapter."""
        with contextlib.ExitStack() as hooks:
            for name, adapter in zip(self.sites(), adapters, strict=True):
                site = self.module.get_submodule(name)
                handle = site.register_forward_pre_hook(partial(_through, adapter))
                hooks.callback(handle.remove)
            found: list[torch.Tensor] = self(images)
            return found


def _through(adapter: nn.Module, _site: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return adapter(inputs[0]), *inputs[1:]


class AdaptedPass(nn.Module):
    """An encoder with the adapters of one branch, to be traced.

    Args:
        encoder: see `Encoder`.
        adapters: one for each of its sites.
    """

    def __init__(self, encoder: Encoder, adapters: nn.ModuleList) -> None:
        super().__init__()
        self.encoder, self.adapters = encoder, adapters

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of images (B, C, H, W)."""
        return self.encoder.adapted(images, self.adapters)


@torch.no_grad()
def examined(module: nn.Module, name: str, facts: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Look at images with a module once, and write down what it returns.

    Args:
        module: from normalised images to a list of maps.
        name: as the user typed it.
        facts: what its source knows: `mean`, `std`, `size`, `build`.
        shape: (C, H, W) or (C, D, H, W) of one image.

    Returns:
        `facts` with `name`, `channels`, `points`, `lone`, `sites`, `sides`, the fewest pixels of a side of each map,
        `seen`, those of an image, and `digest`, the SHA-256 of the weights.

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
        (first, calls), second = _watched(module, images), module(images)
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
        "sites": [] if lone else _sites(maps[:-1], calls),
        "sides": [min(found.shape[2:]) for found in maps],
        "seen": shape[-1],
        "digest": before,
    }


def _watched(module: nn.Module, images: torch.Tensor) -> tuple[Any, list[tuple[str, Any]]]:
    """What a module makes of images, and what goes into its submodules, in the order of their calls."""
    calls: list[tuple[str, Any]] = []

    def watch(name: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, inputs: calls.append((name, inputs[0])) if inputs else None

    with contextlib.ExitStack() as hooks:
        for name, part in module.named_modules():
            if name and not isinstance(part, torch.jit.ScriptModule):
                hooks.callback(part.register_forward_pre_hook(watch(name)).remove)
        return module(images), calls


def _sites(maps: Sequence[torch.Tensor], calls: Sequence[tuple[str, Any]]) -> list[str]:
    """For each map the outermost submodule that it goes into as it is; none where one goes nowhere, as tokens do."""
    count = Counter(name for name, _ in calls)
    names = [next((name for name, given in calls if given is found and count[name] == 1), "") for found in maps]
    return names if all(names) else []


def check_memory(name: str, needed: float) -> None:
    """Refuse weights that this machine cannot hold, before they are loaded.

    Args:
        name: of the encoder or file.
        needed: bytes of its weights.

    Raises:
        UserError: they are more than the memory that there is.
    """
    there = usable_memory()
    if there is not None and needed > there:
        raise UserError(
            f"{name} needs {needed / 1e9:.1f} GB for its weights, but this machine has {there / 1e9:.1f} GB of memory; "
            "take a smaller one."
        )


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
        network: a `MergedClassifier`, whose adapted passes become graphs too.
        shape: (C, H, W) or (C, D, H, W) of one image.
    """
    if any(isinstance(part, Encoder) for part in network.modules()):
        network = copy.deepcopy(network)
        network.trace_passes(torch.rand(2, *shape, device=next(network.parameters()).device))  # type: ignore[operator]
    for part in list(network.modules()):
        if isinstance(part, Encoder):
            images = torch.rand(2, *shape, device=next(part.parameters()).device)
            graph = torch.jit.trace(part.module, images, strict=False, check_trace=False)  # type: ignore[no-untyped-call]
            part.module = cast(nn.Module, graph)
    return cast(torch.jit.ScriptModule, torch.jit.script(network))
