"""Errors made for people: one sentence that says what came, what was expected and what to type next."""

import re
import sys
from types import TracebackType

__all__ = ["UserError", "explain_user_errors", "printable"]

# control characters (an escape begins a terminal's commands), marks that turn the direction of text, no text at all
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(ValueError):
    """A mistake that the user can mend: its message is the whole explanation."""


def printable(text: object) -> str:
    """A text as a terminal can show it: whatever names of files hold, nothing in it is a command to the terminal."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(text))


def _user_error_in(error: BaseException | None) -> UserError | None:
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def explain_user_errors() -> None:
    """Make an uncaught `UserError` print its sentence instead of a traceback, and Ctrl-C nothing.

    MONAI wraps what a config component raises in errors of its own; the hook looks through the
    chain. Python still exits with status 1. Every other error keeps its traceback.
    """
    default = sys.excepthook
    if getattr(default, "explains_user_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        explained = _user_error_in(error)
        if isinstance(error, KeyboardInterrupt):
            return
        if explained is None:
            default(kind, error, trace)
        else:
            print(f"error: {printable(explained)}", file=sys.stderr)

    hook.explains_user_errors = True  # type: ignore[attr-defined]
    sys.excepthook = hook
