"""Commands for a model that is there: what it is, teach it more, hand it over."""

from pathlib import Path
from typing import Annotated

import typer

from dynammo.cli_options import Device, Features, Json, Mlflow, Model, Output, print_json
from dynammo.errors import UserError
from dynammo.runtime.plain import expanded, say

__all__ = ["combine", "deploy_app", "export", "forget", "history", "label_app", "learn", "models"]


def models(as_json: Json = False) -> None:
    """List the trained models that are here: classes, date, mean class recall; * marks the default."""
    from dynammo.runs.find import described, print_models

    print_json(described()) if as_json else print_models()


def history(model: Model, as_json: Json = False) -> None:
    """Print what a model has learnt and forgotten: when, from how many images, how well."""
    from dynammo.runs.load import find_model

    find_model(model, None)
    from dynammo.lifecycle.history import history_of, print_history

    print_json(history_of(model)) if as_json else print_history(model)


def learn(
    model: Model,
    output: Output,
    data: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="A folder of new images for each class, or train/ and test/ with these."),
    ] = None,
    features: Features = None,
    reviews: Annotated[
        Path | None,
        typer.Option(help="Learn what this review.csv of a report corrected; -i is what was classified."),
    ] = None,
    max_drop: Annotated[float, typer.Option(help="Points of mean recall that known classes may lose.", min=0)] = 2.0,
    test_data: Annotated[
        Path | None, typer.Option(help="More test images: a folder for each class; or embeddings.")
    ] = None,
    without_exemplars: Annotated[
        bool, typer.Option("--without-exemplars", help="Learn without the exemplars that the model kept.")
    ] = False,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")] = False,
    overlay: Annotated[
        list[Path] | None, typer.Option(help="Recipe of the model (configs/recipes), for its augmentation.")
    ] = None,
    device: Device = "auto",
    mlflow: Mlflow = True,
    report: Annotated[Path | None, typer.Option(help="Write a copy of learning.json to this file.")] = None,
) -> None:
    """Teach a model more classes, or more images of its classes: write a new run, show what the known classes lost."""
    source = data or features
    if source is None or (data and features):
        raise typer.BadParameter("give either images (--input FOLDER) or embeddings (--features FILE)")
    say(f"looking at {model} and {source} ...")  # at once: what follows takes seconds to import
    from dynammo.runs.load import find_model

    find_model(model, features is not None)
    if features is not None and (reviews or overlay):
        raise UserError("--reviews and --overlay are for images; leave them out.")
    if data and not expanded(data).is_dir():
        raise UserError(f"there is no folder {data}; give --input a folder with a folder of images for each class.")
    from dynammo.lifecycle.commands import LearnSettings
    from dynammo.lifecycle.commands import learn as run

    overlays = tuple(overlay or ())
    settings = LearnSettings(
        max_drop, test_data, without_exemplars, skip_unreadable, overlays, device, mlflow, report, reviews,
        features is not None,
    )  # fmt: skip
    run(model, source, output, settings)


def forget(
    model: Annotated[Path, typer.Option("--model", "-m", help="Finished run.")],
    output: Output,
    task: Annotated[int | None, typer.Option(help="Number of the task to forget, from 1.")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="Name of the class to forget.")] = None,
    mlflow: Mlflow = True,
) -> None:
    """Remove a task or a class from a model: write a new run."""
    say(f"looking at {model} ...")
    from dynammo.runs.load import find_model

    find_model(model, None)
    from dynammo.lifecycle.commands import forget as run

    left = run(model, output, task, class_name, mlflow)
    say(f"{output} knows {len(left.classes)} classes: {', '.join(left.classes)}")


def combine(
    first: Annotated[Path, typer.Argument(help="Run or exported bundle of one site; its labels stay.")],
    second: Annotated[Path, typer.Argument(help="Run or exported bundle of another site, from the same backbone.")],
    output: Output,
    same_classes: Annotated[
        bool, typer.Option("--same-classes", help="Classes of the same name are the same; count their images together.")
    ] = False,
    test_data: Annotated[
        Path | None, typer.Option(help="Test images of all classes: a folder for each; or embeddings.")
    ] = None,
    mlflow: Mlflow = True,
) -> None:
    """Combine two sites' models without sharing an image: write a new run that knows the classes of both."""
    say(f"looking at {first} and {second} ...")
    from dynammo.runs.load import find_model

    find_model(first, None), find_model(second, None)
    from dynammo.lifecycle.commands import combine as run
    from dynammo.runs.record import measured, read_record

    both = run(first, second, output, same_classes, mlflow, test_data)
    say(f"{output} knows {len(both.classes)} classes: {', '.join(both.classes)}")
    say(f"mean class recall {measured(read_record('run', output / 'model.pt'))}")


def export(
    model: Annotated[Path, typer.Option("--model", "-m", help="Output folder of a training.")],
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
    """Write a trained run as a bundle that stands alone, folder and zip, checked against the run.

    Of a model of embeddings it is the head, as ONNX and JSON.
    """
    from dynammo.runs.load import find_model
    from dynammo.runs.record import learns_vectors

    if learns_vectors(find_model(model, None)[-1]):
        if images or data_source or modality or data_license or intended_use:
            raise UserError("of a model of embeddings the head alone is exported; give -m, -o and --no-onnx at most.")
        from dynammo.export.export_head import export_head

        export_head(model, output, onnx)
        return
    from dynammo.export.export_run import ExportSettings, export_run

    about = {} if intended_use is None else {"intended_use": intended_use}
    settings = ExportSettings(
        images, data_source=data_source, modality=modality, data_license=data_license, onnx=onnx, **about
    )
    say(export_run(model, output, settings))


def label_app(
    bundle: Annotated[Path, typer.Option("--model", "-m", help="Exported bundle (dynammo export).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the app, created if missing.")],
    run: Annotated[
        Path | None, typer.Option(help="The run that the bundle came from, so that its classes can be updated too.")
    ] = None,
) -> None:
    """Write an app for MONAI Label that classifies, and learns new classes from labels."""
    from dynammo.export.monai_label import write_label_app

    write_label_app(bundle, output, run)
    say(f"{output}: read README.md there")


def deploy_app(
    bundle: Annotated[Path, typer.Option("--model", "-m", help="Exported bundle (dynammo export).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the app, created if missing.")],
) -> None:
    """Write an app for MONAI Deploy: DICOM in, DICOM structured report and JSON out."""
    from dynammo.export.monai_deploy import write_deploy_app

    write_deploy_app(bundle, output)
    say(f"{output}: read README.md there")
