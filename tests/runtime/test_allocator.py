"""What the C library does with memory that was freed."""

import platform
import subprocess
import sys

import pytest

HELD_AFTER = """
import resource, sys
from dynammo.runtime import devices as allocator
assert getattr(allocator, sys.argv[1])()
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
