"""Frozen backbones, ResNets or an encoder of others, and where the weights of ResNets come from."""

import copy
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import resnet18, resnet34, resnet50
from torch import nn

from dynammo.errors import UserError
from dynammo.merging import State
from dynammo.networks.encoders import Encoder, check_memory
from dynammo.networks.imagenet import FILES, kept_at, out_of_reach

__all__ = ["ARCHITECTURES", "Backbone", "fit_weights", "load_pretrained", "stages_in"]

ARCHITECTURES: dict[str, Callable[..., Any]] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
}
"""MONAI's ResNets, which share torchvision's key names and shapes."""


class Backbone(nn.Module):
    """A ResNet up to one of its four layers, without its classifier, or an encoder of others.

    It is frozen unless `unfreeze` says otherwise: no gradient, and BatchNorm in eval mode whatever `train()` says.

    Args:
        architecture: `resnet18`, `resnet34` or `resnet50`.
        stages: number of layers kept, 1 to 4.
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the input.
        encoder: takes the place of stem and layers.

    Attributes:
        sites: for each layer, the number of channels of its input, where an adapter may sit; none in an encoder without
            stages.
        channels: channels of the stem's feature map and of every layer's.
        depth: number of the last map.
        features: number of pooled features.
    """

    def __init__(
        self,
        architecture: str = "resnet18",
        stages: int = 4,
        spatial_dims: int = 2,
        in_channels: int = 3,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = encoder
        self.stem, self.layers = nn.Sequential(), nn.ModuleList()
        self.sites: list[int] = []
        self.channels: list[int] = []
        self.frozen = True
        if encoder is None:
            self._build(architecture, stages, spatial_dims, in_channels)
        else:
            self.channels = encoder.channels
            self.sites = encoder.channels[:-1] if encoder.sites() else []
        self.features: int = self.channels[-1]
        self.depth = len(self.channels) - 1
        self.requires_grad_(False)
        self.train(False)

    def _build(self, architecture: str, stages: int, spatial_dims: int, in_channels: int) -> None:
        if architecture not in ARCHITECTURES:
            raise UserError(
                f"architecture is {architecture!r}; expected one of {', '.join(ARCHITECTURES)}, or an encoder such as "
                "hf:FOLDER (docs/backbones.md)."
            )
        if stages not in (1, 2, 3, 4):
            raise UserError(f"stages is {stages!r}; a ResNet has layers 1 to 4, give one of 1, 2, 3, 4.")
        if spatial_dims not in (2, 3):
            raise UserError(f"spatial_dims is {spatial_dims!r}; expected 2 for images or 3 for volumes.")
        if isinstance(in_channels, bool) or not isinstance(in_channels, int) or in_channels < 1:
            raise UserError(f"in_channels is {in_channels!r}; expected a whole number from 1, such as 3 for RGB.")
        empty = torch.get_default_device().type == "meta"
        net = (_empty_resnet if empty else _resnet)(architecture, spatial_dims, in_channels)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.act, net.maxpool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4][:stages])
        outputs = [_channels(layer) for layer in self.layers]
        self.sites = [net.conv1.out_channels, *outputs[:-1]]
        self.channels = [net.conv1.out_channels, *outputs]

    def foldable_layers(self) -> nn.ModuleList:
        """What foldable adapters change: the layers, or the whole of an encoder."""
        return self.layers if self.encoder is None else nn.ModuleList([self.encoder])

    def full_name(self, name: str) -> str:
        """Name in the state of the backbone of a tensor of `foldable_layers`, such as `0.conv1.weight`."""
        return f"layers.{name}" if self.encoder is None else f"encoder.{name.partition('.')[2]}"

    def first_maps(self, images: torch.Tensor, count: int) -> list[torch.Tensor]:
        """The first maps of images (B, C, H, W), without adapters."""
        if self.encoder is not None:
            return self.encoder(images)[:count]  # type: ignore[no-any-return]
        maps = [self.stem(images)]
        for layer in list(self.layers)[: count - 1]:
            maps.append(layer(maps[-1]))
        return maps

    def train(self, mode: bool = True) -> "Backbone":
        """Follow `mode` only while not frozen."""
        return super().train(mode and not self.frozen)

    def freeze(self) -> None:
        """No gradient and no new BatchNorm statistics from here on."""
        self.frozen = True
        self.requires_grad_(False).train(False)

    def unfreeze(self) -> None:
        """Let a training change the weights, as `weights: first_task` does once."""
        self.frozen = False
        self.requires_grad_(True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, H, W), or volumes (B, C, D, H, W), to pooled features (B, F)."""
        if self.encoder is not None:
            x = self.encoder(images)[-1]
        else:
            x = self.stem(images)  # (B, 64, H/4, W/4); the depth of a volume shrinks alike
            for layer in self.layers:
                x = layer(x)
        pooled: torch.Tensor = x.flatten(2).mean(2)
        return pooled


def load_pretrained(backbone: Backbone, weights: str | Path, spatial_dims: int = 2, in_channels: int = 3) -> None:
    """Load weights into `backbone`, checking that they are of its architecture.

    Weights of a 2-D ResNet serve volumes too, inflated, and a first convolution of other input channels is fitted,
    see `fit_weights`; a state dict that fits already is loaded as it is.

    Args:
        backbone: the network to fill.
        weights: path of a state dict with torchvision's key names, or `imagenet` (torchvision's public file,
            cached by torch, checked against the sha256 digits in its name). Layers that `backbone` has cut off
            and the classifier may be missing.
        spatial_dims: as given to the backbone.
        in_channels: as given to the backbone.

    Raises:
        UserError: no such file, no network and no cached copy, not a state dict, or another architecture.
    """
    state = _imagenet(backbone.architecture) if str(weights) == "imagenet" else _read(Path(weights))
    net = _resnet(backbone.architecture, spatial_dims, in_channels)
    expected = net.state_dict()
    state = fit_weights(state, expected)
    kept = ("conv1.", "bn1.", *(f"layer{i + 1}." for i in range(len(backbone.layers))))
    needed = {k for k in expected if k.startswith(kept) and not k.endswith("num_batches_tracked")}
    wrong = sorted(k for k, v in state.items() if k in needed and v.shape != expected[k].shape)
    missing, unexpected = sorted(needed - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unexpected or wrong:
        found = "; ".join(
            f"{len(keys)} {what} ({keys[0]})"
            for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
            if keys
        )
        raise UserError(
            f"the weights {weights} are not those of {backbone.architecture} up to layer{len(backbone.layers)}: "
            f"{found}; give a file of that architecture, or set --architecture and --stages to fit it."
        )
    net.load_state_dict({k: v for k, v in state.items() if k.startswith(kept)}, strict=False)
    backbone.stem.load_state_dict(nn.Sequential(net.conv1, net.bn1).state_dict())
    for i, layer in enumerate(backbone.layers):
        layer.load_state_dict(getattr(net, f"layer{i + 1}").state_dict())


def stages_in(weights: Path) -> int:
    """How many of the four layers of a ResNet a file of weights holds.

    Raises:
        UserError: no such file, not a state dict, or one without layers of a ResNet.
    """
    names = _read(weights).keys()  # files that were cut may keep small tensors of the layers that they lack
    stages = next((i for i in range(4) if f"layer{i + 1}.0.conv1.weight" not in names), 4)
    if not stages:
        raise UserError(
            f"the weights {weights} are not those of a ResNet; expected tensors such as layer1.0.conv1.weight."
        )
    return stages


def fit_weights(state: State, expected: State) -> State:
    """Fit a ResNet's convolutions to volumes and to another number of input channels.

    2-D to 3-D: every kernel (O, I, H, W) is repeated along the depth and divided by it (O, I, D, H, W), the inflation
    of I3D (Carreira and Zisserman, arXiv 1705.07750): a volume of equal slices gives, away from its ends, what one
    slice gave. Input channels of `conv1`: each becomes the mean of the file's channels times file's over new count,
    so that a grey image gives the same whether it comes once or repeated as RGB.

    Args:
        state: tensors with torchvision's key names.
        expected: the tensors of the network to be filled.

    Returns:
        The same tensors, those that could be fitted in the shape of `expected`; no other is touched.
    """
    fitted = dict(state)
    for name, target in expected.items():
        weight = fitted.get(name)
        if weight is None:
            continue
        if weight.dim() == 4 and target.dim() == 5:
            weight = _inflated(weight, target.shape[2])
        if name == "conv1.weight" and weight.dim() == target.dim() and weight.shape[1] != target.shape[1]:
            weight = _with_channels(weight, target.shape[1])
        fitted[name] = weight
    return fitted


def _inflated(weight: torch.Tensor, depth: int) -> torch.Tensor:
    return weight.unsqueeze(2).repeat(1, 1, depth, 1, 1) / depth


def _with_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    return (weight.sum(1, keepdim=True) / channels).repeat_interleave(channels, dim=1)


def _resnet(architecture: str, spatial_dims: int, in_channels: int) -> Any:  # noqa: ANN401
    return ARCHITECTURES[architecture](
        spatial_dims=spatial_dims,
        n_input_channels=in_channels,
        num_classes=1000,
        conv1_t_size=7,
        conv1_t_stride=2,
        shortcut_type="B",
        bias_downsample=False,
    )


def _empty_resnet(architecture: str, spatial_dims: int, in_channels: int) -> Any:  # noqa: ANN401
    """A ResNet on the meta device, which gets its weights later: ten times faster than made anew."""
    return copy.deepcopy(_prototype(architecture, spatial_dims, in_channels))


@lru_cache(maxsize=4)
def _prototype(architecture: str, spatial_dims: int, in_channels: int) -> Any:  # noqa: ANN401
    return _resnet(architecture, spatial_dims, in_channels)


def _channels(layer: nn.Module) -> int:
    block: Any = list(layer.children())[-1]
    last = getattr(block, "conv3", None) or block.conv2  # a bottleneck block ends in conv3
    return int(last.out_channels)


def _imagenet(architecture: str) -> State:
    url = FILES[architecture]
    try:
        return dict(torch.hub.load_state_dict_from_url(url, check_hash=True, map_location="cpu", weights_only=True))
    except OSError as error:
        raise out_of_reach(architecture, error) from error
    except RuntimeError as error:
        raise UserError(
            f"the file from {url} is damaged ({error}); type again, or delete {kept_at(architecture)} first."
        ) from error


def _read(path: Path) -> State:
    if not path.is_file():
        raise UserError(f"there is no weights file {path}; give --weights the path of a state dict, or imagenet.")
    check_memory(f"the file {path}", path.stat().st_size)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if all(isinstance(value, torch.Tensor) for value in state.values()):
            return dict(state)
    except Exception as error:  # torch raises a dozen kinds for a damaged file; all mean the same to the user
        raise UserError(f"{path} is not a readable PyTorch state dict ({type(error).__name__}).") from error
    raise UserError(f"{path} holds more than tensors; expected a plain state dict of a ResNet.")
