"""Faces of rooms: what a room offers by name, imported when it is asked for (PEP 562).

Importing a room costs nothing, though some of its files need torch and MONAI. Configs and users name rooms,
`dynammo.handlers.MergeAdapters`, so that files may be split and joined behind them.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["look_up"]


def look_up(room: str, face: Mapping[str, str], name: str) -> Any:  # noqa: ANN401
    """What `name` stands for in a room.

    Args:
        room: dotted name of the package.
        face: each offered name, and the file that holds it.
        name: what somebody asked for.

    Raises:
        AttributeError: the room does not offer it.
    """
    if name not in face:
        raise AttributeError(f"{room} has no {name}; it offers {', '.join(sorted(face))}")
    return getattr(import_module(f"{room}.{face[name]}"), name)
