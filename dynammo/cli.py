"""`dynammo ...`: parses, calls one function, sets the exit status.

The functions are imported inside the commands: MONAI alone takes 8-12 s, and nobody should wait for `--help`.
"""

import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from types import FrameType
from typing import Annotated, Any

import typer

from dynammo import __version__, cli_clinic, cli_models, cli_training
from dynammo.cli_options import Json, command, print_json
from dynammo.errors import UserError, printable
from dynammo.runtime.plain import say

__all__ = ["app", "main", "run_app"]

app = typer.Typer(name="dynammo", pretty_exceptions_enable=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a mistake that the user can mend, 2 wrong usage, 130 Ctrl-C.

    Args:
        arguments: words after `dynammo`; None takes those of the process.
    """
    run_app(app, arguments)


def run_app(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run any command line of ours; statuses as `main` has them, SIGTERM is a Ctrl-C."""
    before, stdout = _end_as_ctrl_c(), sys.stdout
    try:
        app(args=arguments)
    except UserError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        # where Ctrl-C came inside `exec` of a text (dataclasses and torch use it), CPython remembers that and ends
        # `python -m` by SIGINT, whatever the status; the next text makes it forget
        exec("")
        sys.stdout = stdout  # --quiet takes it away
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_as_ctrl_c() -> dict[int, Any]:
    """Let what ends a service or a terminal run the clean-up that Ctrl-C runs: images of patients lie in folders.

    Returns:
        The handlers that were there.
    """
    if threading.current_thread() is not threading.main_thread():  # Python lets no other set them
        return {}
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = [number for number in ends if signal.getsignal(number) == signal.SIG_DFL]  # not what nohup ignores

    def stop(number: int, frame: FrameType | None) -> None:
        for taken_number in taken:
            signal.signal(taken_number, signal.SIG_IGN)  # a second one must not stop the clean-up
        raise KeyboardInterrupt

    return {number: signal.signal(number, stop) for number in taken}


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"dynammo {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def dynammo(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Class-incremental learning of medical images by merging task adapters.

    For example: dynammo train images/ -o runs/skin, then dynammo classify -i new_images/ -o results -m runs/skin
    """
    if context.invoked_subcommand is None:
        typer.echo(printable(context.get_help()))


def doctor(as_json: Json = False) -> None:
    """Say what is installed, what would fail and what to type: exit status 0 if classification would work, else 1."""
    from dynammo.doctor import look_around, print_checks

    checks = look_around()
    works = not any(check.state == "fails" for check in checks)
    if as_json:
        print_json({"classification_would_work": works, "checks": [asdict(check) for check in checks]})
    else:
        print_checks(checks)
    raise typer.Exit(0 if works else 1)


@app.command("benchmark", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def moved_benchmark(context: typer.Context) -> None:
    """Say where the benchmarks went: they are no part of what is installed."""
    raise UserError(
        "benchmarks are no part of the installed package any more; in a checkout of the project, type: "
        f"{shlex.join(['python', '-m', 'benchmarks', *context.args])}"
    )


for panel, functions in {
    "Train and compare": (
        cli_training.train,
        cli_training.features,
        cli_training.evaluate,
        cli_training.compare,
        cli_training.ui,
        cli_training.config,
    ),
    "Classify": (cli_clinic.classify, cli_clinic.serve, cli_models.models),
    "Let a model keep learning": (cli_models.learn, cli_models.forget, cli_models.combine, cli_models.history),
    "Hand a model over": (cli_models.export, cli_models.label_app, cli_models.deploy_app),
    "Help": (doctor,),
}.items():
    for function in functions:
        command(app, panel, function)
app.command(
    "data", rich_help_panel="Train and compare",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(cli_training.data)  # fmt: skip
