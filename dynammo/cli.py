"""`dynammo ...`: parses, calls one function, sets the exit status.

The functions are imported inside the commands: MONAI alone takes 8-12 s, and nobody should wait for `--help`.
"""

import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from dynammo import __version__
from dynammo.errors import UserError, printable
from dynammo.runtime.plain import say

__all__ = ["app", "main", "run_app"]

ENGINE_HELP = (
    "Engine: auto, torch, compile, onnx, openvino; on processors with bfloat16 also torch-bfloat16, compile-bfloat16."
)

app = typer.Typer(name="dynammo", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a mistake that the user can mend, 2 wrong usage, 130 Ctrl-C.

    Args:
        arguments: words after `dynammo`; None takes those of the process.
    """
    run_app(app, arguments)


def run_app(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run any command line of ours; statuses as `main` has them, SIGTERM is a Ctrl-C."""
    before = _end_as_ctrl_c()
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
    dicom_sr: Annotated[bool, typer.Option("--dicom-sr", help="Write a DICOM structured report per study.")] = False,
    sort_into: Annotated[Path | None, typer.Option(help="Copy images here, one folder for each class.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume work that was interrupted.")] = False,
    with_patient_id: Annotated[
        bool, typer.Option("--with-patient-id", help="Put the patient's number into table and JSON.")
    ] = False,
    mask_corners: Annotated[
        bool, typer.Option("--mask-corners", help="Paint over the corners of pictures, where names may be burnt in.")
    ] = False,
    low_confidence: Annotated[float, typer.Option(help="Flag classes less probable than this.", min=0, max=1)] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read images; 0 for one per core.", min=0)] = 0,
    batch_size: Annotated[str, typer.Option(help="Images in each pass: a number or auto.")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
    engine_cluster: Annotated[
        str | None, typer.Option(help="Where to run: local for Ray on this machine, or ray://HOST:10001.")
    ] = None,
) -> None:
    """Classify a folder of DICOM, NIfTI, PNG, JPEG and TIFF images: exit status 0, or 3 when some are unreadable."""
    say(f"looking for images in {source} ...")  # at once: what follows takes seconds to import
    from dynammo.clinic.classify import ClassifySettings
    from dynammo.clinic.classify import classify as run

    settings = ClassifySettings(
        model=model, dicom_sr=dicom_sr, sort_into=sort_into, with_patient_id=with_patient_id,
        mask_corners=mask_corners, resume=resume, device=device, workers=workers, batch_size=batch_size,
        low_confidence=low_confidence, engine=engine, engine_cluster=engine_cluster,
    )  # fmt: skip
    raise typer.Exit(run(source, output, settings))


@app.command()
def models() -> None:
    """List the trained models that are here: classes, date, mean class recall; * marks the default."""
    from dynammo.runs.find import print_models

    print_models()


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="Output folder of a training.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the bundle, such as dist/dynammo_skin_classification.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="Real images to check the export with; those of the training if left out.")
    ] = None,
    intended_use: Annotated[str | None, typer.Option(help="A sentence for metadata and model card.")] = None,
    data_source: Annotated[str, typer.Option(help="Where the training images came from.")] = "",
    modality: Annotated[str, typer.Option(help="Modality of the images: dermoscopy, CR, MR ...")] = "",
    data_license: Annotated[Path | None, typer.Option(help="Text file: licence of the training images.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Write model.onnx too.")] = True,
) -> None:
    """Write a trained run as a bundle that stands alone, folder and zip, checked against the run."""
    from dynammo.export.export_run import ExportSettings, export_run

    about = {} if intended_use is None else {"intended_use": intended_use}
    settings = ExportSettings(
        images, data_source=data_source, modality=modality, data_license=data_license, onnx=onnx, **about
    )
    say(export_run(run, output, settings))


@app.command()
def learn(
    model: Annotated[Path, typer.Option(help="Finished run or exported bundle.")],
    data: Annotated[Path, typer.Option(help="A folder of new images for each class, or train/ and test/ with these.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new run.")],
    max_drop: Annotated[float, typer.Option(help="Points of mean recall that known classes may lose.", min=0)] = 2.0,
    test_data: Annotated[Path | None, typer.Option(help="More test images: a folder for each class.")] = None,
    without_exemplars: Annotated[
        bool, typer.Option("--without-exemplars", help="Learn without the exemplars that the model kept.")
    ] = False,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")] = False,
    overlay: Annotated[
        list[Path] | None, typer.Option(help="Recipe of the model (configs/recipes), for its augmentation.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Record it in MLflow.")] = True,
    json: Annotated[Path | None, typer.Option(help="Write a copy of learning.json to this file.")] = None,
) -> None:
    """Teach a model more classes, or more images of its classes: write a new run, show what the known classes lost."""
    say(f"looking at {model} and {data} ...")  # at once: what follows takes seconds to import
    from dynammo.lifecycle.commands import LearnSettings
    from dynammo.lifecycle.commands import learn as run

    overlays = tuple(overlay or ())
    settings = LearnSettings(
        max_drop, test_data, without_exemplars, skip_unreadable, overlays, device, mlflow, json
    )  # fmt: skip
    run(model, data, output, settings)


@app.command()
def forget(
    model: Annotated[Path, typer.Option(help="Finished run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new run.")],
    task: Annotated[int | None, typer.Option(help="Number of the task to forget, from 1.")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="Name of the class to forget.")] = None,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Record it in MLflow.")] = True,
) -> None:
    """Remove a task or a class from a model: write a new run."""
    say(f"looking at {model} ...")
    from dynammo.lifecycle.commands import forget as run

    left = run(model, output, task, class_name, mlflow)
    say(f"{output} knows {len(left.classes)} classes: {', '.join(left.classes)}")


@app.command()
def history(model: Annotated[Path, typer.Option(help="Run or exported bundle.")]) -> None:
    """Print what a model has learnt and forgotten: when, from how many images, how well."""
    from dynammo.lifecycle.history import print_history

    print_history(model)


@app.command()
def combine(
    first: Annotated[Path, typer.Argument(help="Run or exported bundle of one site; its labels stay.")],
    second: Annotated[Path, typer.Argument(help="Run or exported bundle of another site, from the same backbone.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new run.")],
    same_classes: Annotated[
        bool, typer.Option("--same-classes", help="Classes of the same name are the same; count their images together.")
    ] = False,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Record it in MLflow.")] = True,
) -> None:
    """Combine two sites' models without sharing an image: write a new run that knows the classes of both."""
    say(f"looking at {first} and {second} ...")
    from dynammo.lifecycle.commands import combine as run

    both = run(first, second, output, same_classes, mlflow)
    say(f"{output} knows {len(both.classes)} classes: {', '.join(both.classes)}")


@app.command("label-app")
def label_app(
    bundle: Annotated[Path, typer.Option(help="Exported bundle (dynammo export).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the app, created if missing.")],
    run: Annotated[
        Path | None, typer.Option(help="The run that the bundle came from, so that its classes can be updated too.")
    ] = None,
) -> None:
    """Write an app for MONAI Label that classifies, and learns new classes from labels."""
    from dynammo.export.monai_label import write_label_app

    write_label_app(bundle, output, run)
    say(f"{output}: read README.md there")


@app.command("deploy-app")
def deploy_app(
    bundle: Annotated[Path, typer.Option(help="Exported bundle (dynammo export).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the app, created if missing.")],
) -> None:
    """Write an app for MONAI Deploy: DICOM in, DICOM structured report and JSON out."""
    from dynammo.export.monai_deploy import write_deploy_app

    write_deploy_app(bundle, output)
    say(f"{output}: read README.md there")


@app.command("benchmark", hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def moved_benchmark(context: typer.Context) -> None:
    """Say where the benchmarks went: they are no part of what is installed."""
    raise UserError(
        "benchmarks are no part of the installed package any more; in a checkout of the project, type: "
        f"{shlex.join(['python', '-m', 'benchmarks', *context.args])}"
    )


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
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    max_megabytes: Annotated[int, typer.Option(help="Largest upload, in MB.", min=1)] = 200,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Listen where other machines can reach the page, unencrypted.")
    ] = False,
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
) -> None:
    """Open a page on this machine to drop images on; Ctrl-C ends it."""
    say("starting the page ...")  # at once: what follows takes seconds to import
    from dynammo.clinic.server import serve as run

    run(model, host, port, device, max_megabytes, allow_network, open_page, engine)
