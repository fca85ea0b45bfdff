"""Where a result comes from: versions, commit, command, machine."""

import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dynammo.runtime.bundle_files import checkout

__all__ = ["WHOLE_PATHS", "command", "commit", "machine", "origin", "versions", "without_folders"]

OPTION = re.compile(r"(--?[\w#:-]+=|-[A-Za-z](?=[^\w-]))?")  # --name=value, and -i/some/where
QUOTED = re.compile(r"""(["'])(.*?)\1""")
WHOLE_PATHS = "DYNAMMO_WHOLE_PATHS"  # environment variable: 1 keeps the folders of paths in records
PACKAGES = ("dynammo", "monai", "torch", "pytorch-ignite", "numpy", "mlflow", "pydicom", "nibabel", "SimpleITK")


def origin() -> dict[str, Any]:
    """All of the below and the time, for a file of results; ask for it first: the source tree may move on meanwhile."""
    return {
        "versions": versions(),
        "machine": machine(),
        "commit": commit(),
        "command": command(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package.lower()] = version(package)
        except PackageNotFoundError:
            found[package.lower()] = "not installed"
    return found


def commit() -> str | None:
    """Commit of the source tree that the package runs from, `+` behind it when files differ; None outside git.

    None for a wheel, too: it may be installed below a repository of another project.
    """
    folder = checkout()
    if folder is None:
        return None
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def command() -> str:
    """The command line of this process, of every path in it the last part alone: folders may be named after patients.

    Whoever sets the environment variable DYNAMMO_WHOLE_PATHS to 1 gets the folders too.
    """
    name = os.path.basename(sys.argv[0])
    main = sys.modules.get("__main__")
    if name == "__main__.py" and getattr(main, "__package__", None):
        name = f"python -m {main.__package__}"  # type: ignore[union-attr]
    return f"{name} {shlex.join(map(without_folders, sys.argv[1:]))}".rstrip()


def without_folders(word: str) -> str:
    """A word of a command line, or a setting, with the last part alone of every path in it, unless asked for more."""
    if os.environ.get(WHOLE_PATHS) == "1":
        return word
    option = OPTION.match(word)[0]  # type: ignore[index]  # it matches everything
    value = word[len(option) :]
    if QUOTED.search(value) and value.lstrip()[:1] in ("[", "{"):  # several paths, as MONAI takes them
        return option + QUOTED.sub(lambda found: f"{found[1]}{_last_part(found[2])}{found[1]}", value)
    return option + _last_part(value.rpartition("@")[2] if "://" in value else value)  # without a password


def _last_part(path: str) -> str:
    """What stands behind the last separator, of this system or of Windows, that does not end the path."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def machine() -> str:
    """Processor, cores and threads in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
