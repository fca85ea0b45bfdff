"""Folders in, reports out; the server and its pages."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ClassifySettings": "classify",
    "serve": "server",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
