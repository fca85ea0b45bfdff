"""Values as JSON and people take them."""

import math
import os
import re
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Any

from dynammo.errors import printable

__all__ = [
    "as_text", "decimals", "expanded", "percent", "percent_or_words", "plain", "rounded", "say", "show_page",
    "usable_memory",
]  # fmt: skip

CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use, of Linux
NO_TEXT = re.compile(r"[\ud800-\udfff]")  # how Python holds the bytes of a file's name that are not UTF-8


def as_text(value: str) -> str:
    """Text that every file can hold: what is not UTF-8 in the name of a file becomes U+FFFD."""
    return NO_TEXT.sub("\ufffd", value)


def expanded(path: "str | os.PathLike[str]") -> Path:
    """A path in which `~` is the home folder; `~name` of nobody here is a name like any other."""
    return Path(os.path.expanduser(path))


def usable_memory() -> float | None:
    """Bytes of memory that this process may use; None where the system does not tell."""
    try:
        memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    try:
        return min(memory, float(CONTROL_GROUP.read_text()))  # "max" where there is no limit
    except (OSError, ValueError):
        return memory


def say(text: object) -> None:
    """Print a line of which names of files are a part."""
    print(printable(text), flush=True)


def show_page(address: str) -> None:
    """Open a page in the browser, where there is a screen: without one Python would open a browser for terminals."""
    if not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def plain(value: Any) -> Any:  # noqa: ANN401
    """A copy that JSON can hold: arrays as lists, numbers that are not finite as None, all else it lacks as text."""
    if hasattr(value, "tolist"):  # arrays, tensors and their numbers
        return plain(value.tolist())
    if isinstance(value, dict):
        return {as_text(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else as_text(str(value))


def rounded(value: float | None, digits: int) -> float | None:
    """A number with so many decimals, halves up, as people round; None where there is none, or none that is finite.

    The nearest float to 0.145 lies below it: what is within 1e-9 of a half counts as one, so that a share of images
    and a mean of such shares that equals it are shown alike.
    """
    if value is None or not math.isfinite(value):
        return None
    scale = 10.0**digits
    if abs(value) * scale >= 2**53:  # a float of this size has no such decimals
        return float(value)
    up = math.floor(round(abs(float(value)) * scale, 9) + 0.5) / scale
    return math.copysign(up, value) if up else 0.0


def decimals(value: float | None, digits: int) -> str:
    """A number with exactly so many decimals, as `rounded` rounds; `-` where there is none."""
    number = rounded(value, digits)
    return "-" if number is None else f"{number:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 1 as percent, without the sign; `-` where there is none."""
    return decimals(None if share is None else 100 * float(share), digits)


def percent_or_words(share: float | None, digits: int = 1) -> str:
    """A share of 1 as percent, with the sign, or `not measured`."""
    return "not measured" if rounded(share, 0) is None else f"{percent(share, digits)} %"
