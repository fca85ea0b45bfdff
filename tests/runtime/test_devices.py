"""What the C library does with memory that was freed; which devices have bfloat16."""

import platform
import subprocess
import sys

import pytest
import torch

from dynammo.runtime.devices import has_bfloat16

HELD_AFTER = """
import resource, sys
from dynammo.runtime import devices
assert getattr(devices, sys.argv[1])()
blocks = [bytearray(4 * 2**20) for _ in range(50)]
del blocks
with open("/proc/self/statm") as file:
    print(int(file.read().split()[1]) * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_kept_or_given_back_as_told() -> None:
    held = {}
    for choice in ("keep_freed_memory", "give_freed_memory_back"):
        done = subprocess.run([sys.executable, "-c", HELD_AFTER, choice], capture_output=True, text=True, check=True)
        held[choice] = int(done.stdout)
    assert held["keep_freed_memory"] - held["give_freed_memory_back"] > 150 * 2**20


def test_only_devices_with_arithmetic_for_it_have_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for avx, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert has_bfloat16(cpu) is (avx or amx)
    assert not has_bfloat16(torch.device("mps"))
