"""What a network costs: multiply-accumulates for one image, parameters, bytes."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["gmac", "parameter_count", "tensor_bytes"]


@torch.no_grad()
def gmac(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Billions of multiply-accumulates (GMAC) to pass one image of `shape` (C, H, W) through `network`."""
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape, device=next(network.parameters()).device))
    return float(counter.get_total_flops()) / 2 / 1e9  # the counter counts 2 FLOP for each multiply-accumulate


def parameter_count(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of all tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
