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
    engine: Annotated[str, typer.Option(help="What computes: auto, torch, compile, onnx or openvino.")] = "auto",
    engine_cluster: Annotated[
        str | None, typer.Option(help="Where: local for processes of Ray on this machine, or ray://HOST:10001.")
    ] = None,
) -> None:
    """Classify a folder of DICOM, NIfTI, PNG, JPEG and TIFF images: exit status 0, or 3 when some are unreadable."""
    typer.echo(f"looking for images in {source} ...")  # at once: what follows takes seconds to import
    from dynammo.classify import ClassifySettings
    from dynammo.classify import classify as run

    settings = ClassifySettings(
        model=model, dicom_sr=dicom_sr, sort_into=sort_into, with_patient_id=with_patient_id,
        mask_corners=mask_corners, resume=resume, device=device, workers=workers, batch_size=batch_size,
        low_confidence=low_confidence, engine=engine, engine_cluster=engine_cluster,
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
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the bundle, such as dist/dynammo_skin_classification.")
    ],
    images: Annotated[
        Path | None, typer.Option(help="Real images to check the export with; those of the training if left out.")
    ] = None,
    intended_use: Annotated[str | None, typer.Option(help="A sentence for metadata and model card.")] = None,
    data_source: Annotated[str, typer.Option(help="Where the training images came from.")] = "",
    modality: Annotated[str, typer.Option(help="Of the images: dermoscopy, CR, MR ...")] = "",
    data_license: Annotated[Path | None, typer.Option(help="Text file: licence of the training images.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Write model.onnx too.")] = True,
) -> None:
    """Write a trained run as a bundle that stands alone, folder and zip, checked against the run."""
    from dynammo.model_export import ExportSettings, export_run

    about = {} if intended_use is None else {"intended_use": intended_use}
    settings = ExportSettings(
        images, data_source=data_source, modality=modality, data_license=data_license, onnx=onnx, **about
    )
    typer.echo(export_run(run, output, settings))


@app.command()
def learn(
    model: Annotated[Path, typer.Option(help="Finished run or exported bundle.")],
    data: Annotated[Path, typer.Option(help="A folder of new images for each class, or train/ and test/ with these.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new run.")],
    max_drop: Annotated[float, typer.Option(help="Points of mean recall that known classes may lose.", min=0)] = 2.0,
    test_data: Annotated[Path | None, typer.Option(help="More test images: a folder for each class.")] = None,
    without_exemplars: Annotated[
        bool, typer.Option("--without-exemplars", help="Go on without the images that the model kept.")
    ] = False,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")] = False,
    overlay: Annotated[
        list[Path] | None, typer.Option(help="Recipe of the model (configs/recipes), for its augmentation.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Record it in MLflow.")] = True,
    json: Annotated[Path | None, typer.Option(help="Write a copy of learning.json to this file.")] = None,
) -> None:
    """Teach a model more classes, or more images of its classes: a new run, and what the known classes lost."""
    typer.echo(f"looking at {model} and {data} ...")  # at once: what follows takes seconds to import
    from dynammo.lifecycle import LearnSettings
    from dynammo.lifecycle import learn as run

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
    """Take a task or a class out of a model again: a new run."""
    typer.echo(f"looking at {model} ...")
    from dynammo.lifecycle import forget as run

    left = run(model, output, task, class_name, mlflow)
    typer.echo(f"{output} knows {len(left.classes)} classes: {', '.join(left.classes)}")


@app.command()
def history(model: Annotated[Path, typer.Option(help="Run or exported bundle.")]) -> None:
    """Print what a model has learnt and forgotten: when, from how many images, how well."""
    from dynammo.history import print_history

    print_history(model)


@app.command()
def combine(
    first: Annotated[Path, typer.Argument(help="Run or exported bundle of one site; its labels stay.")],
    second: Annotated[Path, typer.Argument(help="Run or exported bundle of another, from the same backbone.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new run.")],
    same_classes: Annotated[
        bool, typer.Option("--same-classes", help="Classes of the same name are the same; count their images together.")
    ] = False,
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Record it in MLflow.")] = True,
) -> None:
    """Make one model of two sites' without sharing an image: a new run that knows the classes of both."""
    typer.echo(f"looking at {first} and {second} ...")
    from dynammo.lifecycle import combine as run

    both = run(first, second, output, same_classes, mlflow)
    typer.echo(f"{output} knows {len(both.classes)} classes: {', '.join(both.classes)}")


@app.command("label-app")
def label_app(
    bundle: Annotated[Path, typer.Option(help="Exported bundle (dynammo export).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the app, made if need be.")],
    run: Annotated[
        Path | None, typer.Option(help="The run that the bundle came from, so that its classes can be updated too.")
    ] = None,
) -> None:
    """Write an app for MONAI Label that classifies, and learns new classes from labels."""
    from dynammo.label_app import write_label_app

    write_label_app(bundle, output, run)
    typer.echo(f"{output}: read README.md there")


@app.command("deploy-app")
def deploy_app(
    bundle: Annotated[Path, typer.Option(help="Exported bundle (dynammo export).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the app, made if need be.")],
) -> None:
    """Write an app for MONAI Deploy: DICOM in, DICOM structured report and JSON out."""
    from dynammo.deploy_app import write_deploy_app

    write_deploy_app(bundle, output)
    typer.echo(f"{output}: read README.md there")


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
    engine: Annotated[str, typer.Option(help="What computes: auto, torch, compile, onnx or openvino.")] = "auto",
) -> None:
    """Open a page on this machine to drop images on; Ctrl-C ends it."""
    typer.echo("starting the page ...")  # at once: what follows takes seconds to import
    from dynammo.serve import serve as run

    run(model, host, port, device, max_megabytes, allow_network, open_page, engine)


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
def inference(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 224,
    batch_size: Annotated[int, typer.Option(help="Images for each pass.")] = 16,
    stages: Annotated[int, typer.Option(help="Layers of the ResNet kept, 1 to 4.")] = 4,
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, taken by turns.")] = 10,
    threads: Annotated[int | None, typer.Option(help="Threads of every engine; PyTorch's choice if left out.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
) -> None:
    """Compare what classification runs with the plain backbone, in every engine that is installed."""
    from dynammo.benchmark_inference import InferenceSettings, benchmark_inference

    settings = InferenceSettings(
        image_size, batch_size, stages, repeats=repeats, threads=threads, engines=tuple(engine) if engine else None
    )
    benchmark_inference(settings, json)


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
def training(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    images: Annotated[int, typer.Option(help="Images of a task.")] = 96,
    epochs: Annotated[int, typer.Option(help="Epochs of a task.")] = 5,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 96,
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, taken by turns.")] = 3,
) -> None:
    """Compare learning a task with a loop that prepares every image in every epoch; seconds of analytic heads."""
    from dynammo.benchmark_stage import StageSettings, benchmark_stage

    benchmark_stage(StageSettings(images, epochs, repeats, image_size), json)


@benchmark.command()
def growth(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them into this PNG file.")] = None,
    images: Annotated[int, typer.Option(help="Images of the longest stream, from 1000.")] = 1_000_000,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 96,
    stages: Annotated[int, typer.Option(help="Layers of the ResNet kept, 1 to 4.")] = 3,
    repeats: Annotated[int, typer.Option(help="Measurements of which the median is taken.")] = 3,
) -> None:
    """Measure what more tasks, classes and images cost: processor time, memory, and how they grow."""
    from dynammo.benchmark_growth import benchmark_growth
    from dynammo.growth_measures import GrowthSettings, up_to

    settings = GrowthSettings(image_size, stages, repeats=repeats, images=up_to(images))
    benchmark_growth(settings, json, plot)


@benchmark.command()
def accuracy(
    config: Annotated[Path, typer.Option(help="Methods, data sets and seeds.")] = Path("configs/benchmark.yaml"),
) -> None:
    """Train every method on every data set with every seed; what is finished is not run again."""
    from dynammo.benchmark_accuracy import benchmark_accuracy

    benchmark_accuracy(config)
