"""What a device can compute in, and what the C library does with memory that was freed."""

import ctypes
import platform

import torch

__all__ = ["give_freed_memory_back", "has_bfloat16", "keep_freed_memory"]

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


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has arithmetic for bfloat16; others compute in it too, but slower than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
