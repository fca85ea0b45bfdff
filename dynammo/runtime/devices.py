"""What the C library does with memory that was freed."""

import ctypes
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Ceilings", "give_freed_memory_back", "has_bfloat16", "keep_freed_memory", "measure_ceilings"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
MIB = 2**20
AT_MOST = 2**30  # bytes of one block, and of what is kept at the end of the heap


def keep_freed_memory() -> bool:
    """Make glibc keep the memory of freed feature maps for the next ones instead of handing it back to the system.

    It hands back blocks above 32 MiB at most, and the end of the heap above twice the largest of them. Feature maps of
    a batch are of that size, so every layer would get fresh pages, which the system fills with zeros one by one: up to
    a tenth of the time of a pass. The peak stays what it is; what was needed once is kept until the process ends.

    Returns:
        Whether the C library is one that can be told; on others nothing happens.
    """
    return _tell(AT_MOST, AT_MOST)


def give_freed_memory_back() -> bool:
    """Make glibc hand blocks of 1 MiB and more back to the system as soon as they are freed.

    Left to itself it puts blocks of up to 32 MiB side by side, and holes that no later block fits into stay: the more
    matrices come and go, the more of them.

    Returns:
        As `keep_freed_memory`.
    """
    return _tell(MIB, MIB)


def _tell(mapped_from: int, trimmed_from: int) -> bool:
    """Bytes of blocks that are mapped one by one, and of free memory at the end of the heap that is handed back."""
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(M_MMAP_THRESHOLD, mapped_from)) and bool(
        library.mallopt(M_TRIM_THRESHOLD, trimmed_from)
    )


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
