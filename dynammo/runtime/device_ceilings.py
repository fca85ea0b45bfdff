"""What a device reaches at best: matrix multiplication and copying, as PyTorch does them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Ceilings", "has_bfloat16", "measure_ceilings"]

SIDE = {"cpu": 1024, "cuda": 8192}  # of square matrices
FLOATS = {"cpu": 2**24, "cuda": 2**28}  # to copy: far more than caches hold
REPEATS = 5


@dataclass(frozen=True)
class Ceilings:
    """The best of a few runs.

    Attributes:
        gflops: 1e9 floating-point operations a second in products of float32 matrices, an addition and a
            multiplication counted as two.
        copy_gb_s: 1e9 bytes a second, read and written ones together.
    """

    gflops: float
    copy_gb_s: float


@torch.no_grad()
def measure_ceilings(device: torch.device) -> Ceilings:
    """Measure both on a device, with PyTorch's threads."""
    side, floats = SIDE[device.type], FLOATS[device.type]
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    product = torch.empty(side, side, device=device)
    source, target = (torch.zeros(floats, device=device) for _ in range(2))
    multiplied = _best(lambda: torch.mm(a, b, out=product), device)
    copied = _best(lambda: target.copy_(source), device)
    return Ceilings(2 * side**3 / multiplied / 1e9, 2 * 4 * floats / copied / 1e9)


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest call, behind one that warms up."""
    seconds = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has arithmetic for bfloat16; others compute in it too, but slower than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
