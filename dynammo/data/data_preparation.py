"""The commands of `data_prep`, in a checkout and where a wheel is installed."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

from dynammo.errors import UserError
from dynammo.runtime.bundle_files import checkout

__all__ = ["data_commands", "run_data_command"]


def data_commands() -> list[str]:
    """Names of the commands: `phantoms`, `image_folder`, `isic2019` ..."""
    return list(_data_prep().COMMANDS)


def run_data_command(name: str, arguments: Sequence[str]) -> None:
    """Do what `python -m data_prep.NAME ARGUMENTS` does in a checkout, and exit as it does.

    Raises:
        UserError: there is no such command.
        SystemExit: it is done, or has said what was wrong.
    """
    package = _data_prep()
    if name not in package.COMMANDS:
        close = get_close_matches(name.lower(), package.COMMANDS, n=3)
        known = f"did you mean {' or '.join(close)}?" if close else f"expected {', '.join(package.COMMANDS)}."
        raise UserError(f"no data can be prepared by {name!r}; {known}")
    app = import_module(f"{package.__name__}.{package.COMMANDS[name]}").app
    app(args=list(arguments), prog_name=f"dynammo data {name}")


def _data_prep() -> ModuleType:
    root = checkout()
    if root is None:
        return import_module("dynammo.data_prep")
    if str(root) not in sys.path:  # as `python -m` does for the folder where it is typed
        sys.path.insert(0, str(root))
    return import_module("data_prep")
