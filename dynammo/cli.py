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


@app.command()
def classify(
    source: Annotated[Path, typer.Option("--input", "-i", help="Folder, image, zip, DICOMDIR or list of paths.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for table, report and record.")],
    model: Annotated[
        Path | None, typer.Option(help="Run, exported bundle or TorchScript file; the newest if left out.")
    ] = None,
    dicom_sr: Annotated[bool, typer.Option("--dicom-sr", help="Write a DICOM structured report a study.")] = False,
    sort_into: Annotated[Path | None, typer.Option(help="Copy images into a folder for each class here.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with work that was interrupted.")] = False,
    with_patient_id: Annotated[
        bool, typer.Option("--with-patient-id", help="Put the patient's number into table and JSON.")
    ] = False,
    mask_corners: Annotated[
        bool, typer.Option("--mask-corners", help="Paint over the corners of pictures, where names may be burnt in.")
    ] = False,
    low_confidence: Annotated[float, typer.Option(help="Flag classes less probable than this.", min=0, max=1)] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read images; 0 for one a core.", min=0)] = 0,
    batch_size: Annotated[str, typer.Option(help="Images for each pass: a number or auto.")] = "auto",
) -> None:
    """Classify a folder of DICOM, NIfTI, PNG, JPEG and TIFF images: exit status 0, or 3 when some are unreadable."""
    typer.echo(f"looking for images in {source} ...")  # at once: what follows takes seconds to import
    from dynammo.classify import ClassifySettings
    from dynammo.classify import classify as run

    settings = ClassifySettings(
        model=model, dicom_sr=dicom_sr, sort_into=sort_into, with_patient_id=with_patient_id,
        mask_corners=mask_corners, resume=resume, device=device, workers=workers, batch_size=batch_size,
        low_confidence=low_confidence,
    )  # fmt: skip
    raise typer.Exit(run(source, output, settings))


@app.command()
def models() -> None:
    """List the trained models that are here: classes, date, mean class recall; * marks the default."""
    from dynammo.model_list import print_models

    print_models()


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="Output folder of a training.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle; the model goes to models/.")],
) -> None:
    """Write a trained run as weights, TorchScript and record, checked against each other."""
    from dynammo.model_export import export_run

    typer.echo(f"exported to {export_run(run, output)}: model.pt, model.ts, run.json")


@app.command()
def doctor() -> None:
    """Say what is installed, what would fail and what to type: exit status 0 if classification would work, else 1."""
    from dynammo.doctor import run_doctor

    raise typer.Exit(run_doctor())


@app.command()
def serve(
    model: Annotated[
        Path | None, typer.Option(help="Run, exported bundle or TorchScript file; the newest if left out.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the page; 0 for any free one.", min=0, max=65535)] = 8765,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Show the page in the browser.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    max_megabytes: Annotated[int, typer.Option(help="Largest upload, in MB.", min=1)] = 200,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Listen where other machines can reach the page, unencrypted.")
    ] = False,
) -> None:
    """Open a page on this machine to drop images on; Ctrl-C ends it."""
    typer.echo("starting the page ...")  # at once: what follows takes seconds to import
    from dynammo.serve import serve as run

    run(model, host, port, device, max_megabytes, allow_network, open_page)


@benchmark.command("classify")
def benchmark_of_classify(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    jpeg: Annotated[int, typer.Option(help="Photographs.")] = 2000,
    dicom: Annotated[int, typer.Option(help="DICOM images.")] = 200,
) -> None:
    """Compare `dynammo classify` from end to end with the network alone; its memory; its first line."""
    from dynammo.benchmark_classify import SpeedSettings, benchmark_classify

    benchmark_classify(SpeedSettings(jpeg=jpeg, dicom=dicom), json)


@benchmark.command()
def reading(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 512,
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, taken by turns.")] = 5,
) -> None:
    """Compare reading with the bare library of each format."""
    from dynammo.benchmark_reading import ReadingSettings, benchmark_reading

    benchmark_reading(ReadingSettings(size, repeats), json)


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
