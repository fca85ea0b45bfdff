"""What the commands of all data sets share: their options and errors of one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from dynammo.errors import UserError
from dynammo.runtime.terminal import Terminal

from .leak_check import Duplicates

__all__ = [
    "DuplicatesOption",
    "Folder",
    "MaxTest",
    "MaxTrain",
    "Out",
    "Seed",
    "TestFraction",
    "Unchecked",
    "console",
    "one_sentence",
]

Folder = Annotated[Path, typer.Option("--in", "-i", help="Folder of the download.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for data_list.csv and its record.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same split and same choice of images.")]
MaxTrain = Annotated[int, typer.Option(min=0, help="Training images per class at most; 0: all.")]
MaxTest = Annotated[int, typer.Option(min=0, help="Test images per class at most; 0: all.")]
TestFraction = Annotated[float, typer.Option(min=0.01, max=0.5, help="Share of test images where no split is given.")]
DuplicatesOption = Annotated[
    Duplicates, typer.Option(help="Same pixels in train and test: refuse, drop the training image, or keep both.")
]
Unchecked = Annotated[bool, typer.Option("--unchecked", help="Go on although the published sums do not fit.")]

console = Terminal(soft_wrap=True)
complaints = Terminal(stderr=True, soft_wrap=True)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn a `UserError` or a refusal of the file system into one sentence and exit status 1."""
    try:
        yield
    except UserError as error:
        complaints.print(f"error: {error}", style="red")
        raise typer.Exit(1) from error
    except OSError as error:
        complaints.print(
            f"error: {error.filename or 'a file'} cannot be read or written ({error.strerror or error}); expected a "
            "place this account may use: choose another one with -i or -o.",
            style="red",
        )
        raise typer.Exit(1) from error
