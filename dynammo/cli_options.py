"""What all commands of `dynammo` share: options of one name, old spellings, and how much is printed."""

import inspect
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer
from typer.core import TyperCommand

from dynammo.errors import printable
from dynammo.runtime.plain import plain
from dynammo.training.settings import SETTINGS

__all__ = [
    "Average",
    "Device",
    "Features",
    "Input",
    "Json",
    "Mlflow",
    "Model",
    "NewestModel",
    "Output",
    "command",
    "print_json",
]

Model = Annotated[Path, typer.Option("--model", "-m", help="Run or exported bundle.")]
NewestModel = Annotated[
    Path | None, typer.Option("--model", "-m", help="Run, exported bundle or TorchScript file; the newest if left out.")
]
Input = Annotated[Path | None, typer.Option("--input", "-i", help="Folder, image, zip, DICOMDIR or list of paths.")]
Features = Annotated[
    Path | None, typer.Option(help="Embeddings instead of images: .npz, .csv, .parquet, HDF5 (docs/embeddings.md).")
]
Average = Annotated[
    Literal["none", "vectors", "probabilities"] | None,
    typer.Option(help="Of embeddings of a group or slide: their mean vector, their mean probabilities, or none."),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the new run.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:0.")]
Mlflow = Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Record it in MLflow.")]

FORMER = {
    "deploy-app": {"--bundle": "--model"},
    "export": {"--run": "--model"},
    "label-app": {"--bundle": "--model"},
    "learn": {"--data": "--input", "--json": "--report"},
}
"""Options of 0.1 by command, and what they are called now; 0.3 knows them no more."""
STDOUT = "dynammo.stdout"  # of the context of a command: what was stdout before --quiet
_for_programs: ContextVar[TextIO] = ContextVar("for_programs")  # what was stdout before --json and --quiet
COMMON = ("quiet", "trust_model", "verbose")  # what acts by its callback alone
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no")


class Command(TyperCommand):
    """A command that takes options of 0.1, and settings as the bundle takes them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Parse what was typed, in today's spelling."""
        declared = [option for param in self.params for option in (*param.opts, *param.secondary_opts)]
        args = list(_current(self.name or "", args))
        if "--set" in declared:
            args = list(_as_set(args, declared))
        return super().parse_args(ctx, args)


def _current(command: str, args: Sequence[str]) -> Iterator[str]:
    for arg in args:
        name, equals, value = arg.partition("=")
        new = FORMER.get(command, {}).get(name)
        if new is not None:
            print(printable(f"note: {name} is called {new} now; version 0.3 knows {new} alone."), file=sys.stderr)
        yield f"{new or name}{equals}{value}"


def _as_set(args: Sequence[str], declared: Sequence[str]) -> Iterator[str]:
    """Turn `--image_size 96`, as the bundle takes it and messages say it, into `--set image_size=96`."""
    left = list(args)
    while left:
        option, equals, value = left.pop(0).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        flag = f"--{name}" in declared and SETTINGS.get(name) is not None and SETTINGS[name].default is False
        if not option.startswith("--") or name not in SETTINGS or (option in declared and not flag):
            yield f"{option}{equals}{value}"
            continue
        if not equals and left and not left[0].startswith("-"):
            value = left.pop(0)
        if flag:
            yield from [option] if value.lower() in ("", *TRUE) else [] if value.lower() in FALSE else [option, value]
        else:
            yield from ("--set", f"{name}={value or 'true'}")


def command(app: typer.Typer, panel: str, function: Callable[..., Any], name: str | None = None) -> None:
    """Make a function a command, with `--quiet` and `--verbose`.

    Args:
        app: to which the command is added.
        panel: of the help page on which it stands.
        function: annotated as Typer takes it; the first line of its docstring is its line in the list of commands.
        name: of the command, that of the function if left out.
    """

    @wraps(function)
    def run(*args: Any, **options: Any) -> None:  # noqa: ANN401
        function(*args, **{name: value for name, value in options.items() if name not in COMMON})

    signature = inspect.signature(function)
    options = {"quiet": Quiet, "verbose": Verbose}
    if {"model", "backbone", "runs", "first"} & signature.parameters.keys():
        options = {"trust_model": TrustModel, **options}
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in options.items()
    ]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, **options}
    app.command(name, cls=Command, rich_help_panel=panel)(run)


def _trust(wanted: bool) -> bool:
    if wanted:
        from dynammo.networks.encoder_sources import trust_programs

        trust_programs()
    return wanted


def print_json(value: object) -> None:
    """Print what a program wants to read; with `--json` all else goes to stderr."""
    text = json.dumps(plain(value), indent=2, allow_nan=False)
    print(printable(text), file=_for_programs.get(sys.stdout), flush=True)


def _be_json(context: typer.Context, wanted: bool) -> bool:
    if wanted:
        _for_programs.set(context.meta.get(STDOUT) or sys.stdout)
        if STDOUT not in context.meta:  # else --quiet was typed before
            sys.stdout = sys.stderr
    return wanted


def _be_quiet(context: typer.Context, wanted: bool) -> bool:
    if wanted:
        context.meta[STDOUT] = sys.stdout
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    return wanted


def _be_verbose(wanted: bool) -> bool:
    if wanted:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    else:
        warnings.simplefilter("ignore")
        logging.getLogger("ignite.engine.engine").setLevel(logging.CRITICAL)  # the exception says it, once
    return wanted


Json = Annotated[bool, typer.Option("--json", callback=_be_json, help="Print JSON alone, for programs.")]
TrustModel = Annotated[
    bool, typer.Option("--trust-model", callback=_trust, help="Let an encoder run that is a program of others.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_be_quiet, help="Print errors alone.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", callback=_be_verbose, help="Print what libraries say too.")]
