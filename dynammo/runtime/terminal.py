"""Tables and lines on the terminal, in which names of classes and files are text and nothing else."""

from typing import Any

from rich.console import Console
from rich.text import Text

from dynammo.errors import printable

__all__ = ["Terminal"]


class Terminal(Console):
    """A console of rich that takes every text as it is: no markup, nothing that the terminal would obey.

    Args:
        options: of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**{"highlight": False, "markup": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401
        """What rich makes of every text that it is given, of a table's cells too."""
        return super().render_str(printable(text), **options)
