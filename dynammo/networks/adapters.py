"""Task adapters: small residual modules in front of the frozen stages of a backbone."""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import TypeVar, cast

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dynammo.errors import UserError
from dynammo.merging import State
from dynammo.networks.encoders import Encoder

__all__ = [
    "ADAPTERS",
    "FOLDABLE",
    "ConvAdapter",
    "LowRankAdapter",
    "ScaleShiftAdapter",
    "adapt",
    "copy_state",
    "fold",
    "fused",
    "make_adapters",
    "weight_changes",
]


class ConvAdapter(nn.Module):
    """The paper's adapter, `x + alpha * ReLU(BN(ConvT3(ReLU(BN(Conv3(x))))))` (arXiv 2304.09042).

    No padding: the convolution takes a border of one pixel off, the transposed one puts it back, so the
    input needs at least 3 pixels along every axis. The small `alpha` makes it nearly the identity at birth.

    Args:
        channels: channels of the input and of the output.
        spatial_dims: 2 for images, 3 for volumes.
        alpha: start value of the learnt scale of the branch.
    """

    smallest_input = 3

    def __init__(self, channels: int, spatial_dims: int = 2, alpha: float = 0.02) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            Conv[Conv.CONV, spatial_dims](channels, channels, kernel_size=3),
            Norm[Norm.BATCH, spatial_dims](channels),
            nn.ReLU(),
            Conv[Conv.CONVTRANS, spatial_dims](channels, channels, kernel_size=3),
            Norm[Norm.BATCH, spatial_dims](channels),
            nn.ReLU(),
        )
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features (B, C, H, W) or (B, C, D, H, W) to features of the same shape."""
        adapted: torch.Tensor = features + self.alpha * self.branch(features)
        return adapted


ADAPTERS: dict[str, Callable[..., nn.Module]] = {"conv": ConvAdapter, "none": nn.Identity}
"""Kinds of adapter by the name that the config uses; each takes `(channels, spatial_dims)`."""


def make_adapters(kind: str, channels: Sequence[int], spatial_dims: int = 2) -> nn.ModuleList:
    """One adapter for each site, newly initialised."""
    return nn.ModuleList(ADAPTERS[kind](count, spatial_dims) for count in channels)


def copy_state(module: nn.Module) -> State:
    """Parameters and buffers of `module` as tensors of their own, detached from training."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


Network = TypeVar("Network", bound=nn.Module)


class LowRankAdapter(nn.Module):
    """A branch of low rank parallel to every linear layer and convolution: `W' = W + B A` (LoRA, arXiv 2106.09685).

    It changes nothing at birth, since B starts at zero.

    Args:
        layer: frozen layer of a backbone, or an encoder; only the shapes of its weights are read.
        rank: channels between A, a convolution like the frozen one, and B, a 1 x 1 convolution; alike in linear layers.

    Raises:
        UserError: there is nothing that it could change.
    """

    def __init__(self, layer: nn.Module, rank: int = 8) -> None:
        super().__init__()
        found = [*_modules(layer, _ConvNd), *_modules(layer, nn.Linear)]
        _check_found(found, "low_rank", "a convolution or a linear layer")
        self.names = [name for name, _ in found]
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for _, changed in found:
            shape = cast(_ConvNd, changed).weight.shape  # (out, in, k, k), of a linear layer (out, in)
            self.down.append(torch.randn(rank, *shape[1:]) / shape[1:].numel() ** 0.5)
            self.up.append(torch.zeros(shape[0], rank))

    def changes(self, layer: nn.Module) -> State:
        """What is added to each weight of `layer`."""
        pairs = zip(self.names, self.down, self.up, strict=True)
        return {f"{name}.weight": torch.tensordot(up, down, 1) for name, down, up in pairs}


class ScaleShiftAdapter(nn.Module):
    """A scale and a shift of every channel behind each normalised convolution (SSF, arXiv 2210.08823).

    They fold into the affine part of the frozen BatchNorm: `w' = (1 + g) w`, `b' = (1 + g) b + s`; both start at
    zero.

    Args:
        layer: frozen layer of a backbone, or an encoder.

    Raises:
        UserError: there is nothing that it could change.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.names = [name for name, _ in _modules(layer, _BatchNorm)]
        _check_found(self.names, "scale_shift", "a BatchNorm")
        sizes = [cast(_BatchNorm, norm).num_features for _, norm in _modules(layer, _BatchNorm)]
        self.scale = nn.ParameterList(torch.zeros(size) for size in sizes)
        self.shift = nn.ParameterList(torch.zeros(size) for size in sizes)

    def changes(self, layer: nn.Module) -> State:
        """What is added to each weight of `layer`."""
        found: State = {}
        for name, scale, shift in zip(self.names, self.scale, self.shift, strict=True):
            norm = layer.get_submodule(name)
            found[f"{name}.weight"] = scale * cast(torch.Tensor, norm.weight)
            found[f"{name}.bias"] = scale * cast(torch.Tensor, norm.bias) + shift
        return found


FOLDABLE: dict[str, Callable[[nn.Module], nn.Module]] = {
    "low_rank": LowRankAdapter,
    "scale_shift": ScaleShiftAdapter,
}
"""Kinds of foldable adapter by the name that the config uses."""


def adapt(adapter: nn.Module, layer: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Features (B, C, H, W) through `layer` with its adapter: in front of it, or added to its weights."""
    if not isinstance(adapter, LowRankAdapter | ScaleShiftAdapter):
        return cast(torch.Tensor, layer(adapter(features)))
    weights = dict(layer.named_parameters())
    changed = {name: weights[name] + change for name, change in adapter.changes(layer).items()}
    return cast(torch.Tensor, functional_call(layer, changed, (features,)))


@torch.no_grad()
def weight_changes(adapters: nn.ModuleList, layers: nn.ModuleList) -> State:
    """Changes of all layers in one state, which merge strategies take as they take any other adapter."""
    return {
        f"{i}.{name}": change.detach().clone()
        for i, (adapter, layer) in enumerate(zip(adapters, layers, strict=True))
        for name, change in adapter.changes(layer).items()  # type: ignore[operator]
    }


def fold(layers: State, changes: State) -> State:
    """Weights of the layers with the changes added."""
    return {name: value + changes[name] if name in changes else value for name, value in layers.items()}


def fused(network: Network) -> Network:
    """A copy in eval mode whose BatchNorms have gone into the convolutions that they stand behind.

    Its outputs are the same but for rounding, its state dict is another: to classify with, not to save.
    """
    copied = copy.deepcopy(network).eval()
    foreign = {id(part) for found in copied.modules() if isinstance(found, Encoder) for part in found.modules()}
    for parent in list(copied.modules()):
        if id(parent) in foreign:
            continue  # which layer stands behind which is not known there
        children = list(parent.named_children())
        for (name, first), (behind, second) in itertools.pairwise(children):
            if isinstance(first, _ConvNd) and isinstance(second, _BatchNorm):
                turned = isinstance(first, _ConvTransposeNd)
                setattr(parent, name, fuse_conv_bn_eval(first, second, transpose=turned))
                setattr(parent, behind, nn.Identity())
    return copied


def _check_found(found: Sized, kind: str, what: str) -> None:
    if not found:
        raise UserError(f"adapter is {kind}, but there is not {what} that it could change; type --adapter none.")


def _modules(layer: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in layer.named_modules() if isinstance(module, kind))
