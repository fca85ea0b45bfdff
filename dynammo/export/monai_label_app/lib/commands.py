"""Commands of dynammo, run in dynammo's own environment; what they print goes to the log of the training."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["CommandFailed", "dynammo_command", "run_command"]

INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MASTER_ADDR", "MASTER_PORT")  # of Label's environment
SETTINGS = "app.json"
ERROR = "error: "


class CommandFailed(RuntimeError):
    """A command ended with an error; its message is what the command said, for people."""


def dynammo_command(app: Path, conf: Mapping[str, str]) -> list[str]:
    """The words that start dynammo.

    Args:
        app: folder of the app, whose `app.json` tells where dynammo was when the app was made.
        conf: of the server; `dynammo` there names the executable.

    Raises:
        CommandFailed: it is not there.
    """
    if "dynammo" in conf:
        words = [conf["dynammo"]]
    else:
        settings = app / SETTINGS
        words = json.loads(settings.read_text(encoding="utf-8"))["dynammo"] if settings.is_file() else ["dynammo"]
    if shutil.which(words[0]) is None:
        raise CommandFailed(
            f"dynammo is not at {words[0]}; start the server with --conf dynammo FILE, the path of the executable "
            "dynammo in the environment where it is installed."
        )
    return list(words)


def run_command(words: Sequence[str | Path]) -> tuple[int, str]:
    """Run a command and print its lines as they come.

    Returns:
        Its exit status, and the sentence that it said last about an error, else its last line.

    Raises:
        CommandFailed: it cannot be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED}
    try:
        process = subprocess.Popen(
            [str(word) for word in words],
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise CommandFailed(f"dynammo cannot be started ({error.strerror}).") from error
    said = [line.rstrip() for line in _printed(process)]
    errors = [line for line in said if line.startswith(ERROR)]
    return process.wait(), (errors or said or [""])[-1].removeprefix(ERROR)


def printable(text: str) -> str:
    """A text in which nothing is a command to the terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _printed(process: "subprocess.Popen[str]") -> Iterator[str]:
    for line in process.stdout or ():
        if line.strip():
            print(printable(line.rstrip()), flush=True)
            yield line
