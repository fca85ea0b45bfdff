"""`dynammo ...`: parses, calls one function, sets the exit status.

The functions are imported inside the commands: MONAI alone takes 8-12 s, and nobody should wait for `--help`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dynammo import __version__
from dynammo.errors import UserError

__all__ = ["app", "main"]

app = typer.Typer(name="dynammo", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
benchmark = typer.Typer(no_args_is_help=True)
app.add_typer(benchmark, name="benchmark", help="Measure what methods cost and how well they learn.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a mistake that the user can mend, 2 wrong usage, 130 Ctrl-C.

    Args:
        arguments: words behind `dynammo`; None takes those of the process.
    """
    try:
        app(args=arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dynammo {__version__}")
        raise typer.Exit


@app.callback()
def dynammo(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Class-incremental learning of medical images by merging task adapters."""


@benchmark.command()
def cost(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 224,
    batch_size: Annotated[int, typer.Option(help="Images for each pass and each training step.")] = 8,
    stages: Annotated[int, typer.Option(help="Layers of the ResNet kept, 1 to 4.")] = 4,
    architecture: Annotated[str, typer.Option(help="resnet18, resnet34 or resnet50.")] = "resnet18",
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, taken by turns.")] = 5,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice if left out.")] = None,
) -> None:
    """Compare merged network, ACL and backbone; cached and re-run head tuning; trainer and bare loop."""
    from dynammo.benchmark import benchmark_cost
    from dynammo.benchmark_cost import CostSettings

    settings = CostSettings(image_size, batch_size, stages, architecture, repeats, threads)
    benchmark_cost(settings, json)


@benchmark.command()
def accuracy(
    config: Annotated[Path, typer.Option(help="Methods, data sets and seeds.")] = Path("configs/benchmark.yaml"),
) -> None:
    """Train every method on every data set with every seed; what is finished is not run again."""
    from dynammo.benchmark_accuracy import benchmark_accuracy

    benchmark_accuracy(config)
