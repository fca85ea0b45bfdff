"""Commands that train, measure and compare."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from dynammo.cli_options import Average, Device, Features, Json, Mlflow, print_json
from dynammo.errors import UserError, printable
from dynammo.runtime.plain import expanded
from dynammo.training.settings import METHODS, RECOMMENDED

__all__ = ["compare", "config", "data", "evaluate", "features", "train", "ui"]

Data = Annotated[
    Path | None,
    typer.Argument(help="A folder of images for each class, or train/ and test/ with these, or a data list."),
]
Overlay = Annotated[
    list[str] | None,
    typer.Option(help="A shipped config (derm8) or a YAML file over train.yaml, below the method; may be repeated."),
]
Backbone = Annotated[
    str | None, typer.Option(help="resnet18, resnet34, resnet50, or any frozen encoder: hf:FOLDER, monai:CLASS ...")
]
Recipe = Annotated[
    str | None, typer.Option(help="How images are prepared: dermoscopy, histology, xray, ct, mr, radiology ...")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of train.yaml, KEY=VALUE, such as image_size=96; may be repeated."),
]


def train(
    data: Data = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/NAME_METHOD.")] = None,
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}, or a YAML file.")] = RECOMMENDED,
    classes_per_task: Annotated[
        str | None, typer.Option(help="A number (7 classes by 2 are 2, 2, 3), all, or one for each task: 2,2,3; 2.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Of the classes: sorted, random, or their names: MEL,NV,BCC; sorted.")
    ] = None,
    backbone: Backbone = None,
    weights: Annotated[
        str | None, typer.Option(help="Of the backbone: a file, first_task to train it on that, or imagenet, as usual.")
    ] = None,
    recipe: Recipe = None,
    features: Features = None,
    average: Average = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn; 0.", min=0)] = None,
    class_file: Annotated[
        Path | None,
        typer.Option(help="Names, codes and marks of the classes (JSON, YAML, CSV); classes.* beside DATA."),
    ] = None,
    overlay: Overlay = None,
    values: Set = None,
    device: Device = "auto",
    mlflow: Mlflow = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start anew; what is there is kept in earlier/.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Learn the classes of a folder of images, task after task.

    For example: dynammo train images/ -o runs/skin --classes-per-task 3
    """
    from dynammo.lifecycle.train import train as run
    from dynammo.lifecycle.training_plan import TrainSettings
    from dynammo.training.typed_settings import parse_value

    settings = TrainSettings(
        method=method, classes_per_task=classes_per_task, order=order, backbone=backbone, weights=weights,
        recipe=recipe, overlays=tuple(overlay or ()), values=dict(map(parse_value, values or ())), seed=seed,
        fresh=fresh, device=device, mlflow=mlflow, class_file=class_file, features=features is not None,
    )  # fmt: skip
    source = features or data
    if source is None or (features and data):
        raise typer.BadParameter("give either a folder of images (dynammo train FOLDER) or --features FILE")
    if average is not None and features is None:
        raise typer.BadParameter("--average is for embeddings (--features FILE)")
    if average is not None:
        settings = replace(settings, values={**settings.values, "average": average})
    run(source, output, settings, dry_run)


def features(
    data: Annotated[Path, typer.Argument(help="A folder of images, perhaps one for each class, or a data list.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of vectors: .npz.")],
    backbone: Backbone = None,
    weights: Annotated[str | None, typer.Option(help="Of the backbone: a file, or imagenet, as usual.")] = None,
    recipe: Recipe = None,
    values: Set = None,
    batch_size: Annotated[int, typer.Option(help="Images in each pass.", min=1)] = 32,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave unreadable images out.")] = False,
    device: Device = "auto",
) -> None:
    """Write the vector that a frozen encoder makes of each image; typed again, it resumes.

    For example: dynammo features images/ -o vectors.npz, then dynammo train --features vectors.npz
    """
    from dynammo.clinic.make_features import FeatureSettings, make_features
    from dynammo.training.typed_settings import parse_value

    chosen = dict(map(parse_value, values or ()))
    make_features(data, output, FeatureSettings(backbone, weights, recipe, chosen, batch_size, device, skip_unreadable))


def config(name: Annotated[str, typer.Argument(help="train, inference, analytic, xray, derm8 ...")]) -> None:
    """Print the path of a config that comes with dynammo.

    For example: python -m monai.bundle run training --config_file "$(dynammo config train)"
    """
    from dynammo.runtime.bundle_files import shipped_config

    print(printable(shipped_config(name)))


def evaluate(
    model: Annotated[Path, typer.Argument(help="Run or exported bundle.")],
    images: Annotated[
        Path | None,
        typer.Argument(help="Class folders, test/ with these, a data list, or embeddings; those of the training."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for evaluation.json.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure a model on test images.

    For example: dynammo evaluate runs/skin images/test
    """
    from dynammo.runs.load import find_model

    find_model(model, None)
    if images is not None and not expanded(images).exists():
        raise UserError(f"there is no {images}; give a folder of images for each class, or a data list.")
    from dynammo.lifecycle.evaluate import evaluate as run

    found = run(model, images, output, device=device)
    if as_json:
        print_json(asdict(found))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs or exported bundles; with --methods one folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for table and figure, and for what is trained.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Train these on a folder of images first: finetune,dynammo,analytic.")
    ] = None,
    overlay: Overlay = None,
    values: Set = None,
    mlflow: Mlflow = True,
    as_json: Json = False,
) -> None:
    """Put finished runs, or methods on a folder of images, side by side: one table, one figure.

    For example: dynammo compare images/ --methods finetune,dynammo,analytic -o runs/comparison
    """
    from dynammo.lifecycle.compare import compare as run
    from dynammo.lifecycle.compare import print_comparison
    from dynammo.lifecycle.train import train_methods
    from dynammo.lifecycle.training_plan import TrainSettings
    from dynammo.training.typed_settings import parse_value

    if methods is not None:
        if len(runs) > 1:
            raise UserError("--methods trains on one folder of images; give one.")
        output = output or Path("runs", f"{runs[0].resolve().stem}_comparison")
        settings = TrainSettings(
            overlays=tuple(overlay or ()), values=dict(map(parse_value, values or ())), mlflow=mlflow
        )
        runs = train_methods(runs[0], [name.strip() for name in methods.split(",")], output, settings)
    elif values or overlay:
        raise UserError("settings are for what is trained; add --methods, or leave them out.")
    found = run(runs, output)
    print_json(asdict(found)) if as_json else print_comparison(found)


def ui(
    folder: Annotated[Path | None, typer.Argument(help="Run, or folder of runs; those that are here.")] = None,
    port: Annotated[int, typer.Option(help="Port of the page; 0 for any free one.", min=0, max=65535)] = 5000,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Open MLflow's page of the trainings that were recorded; Ctrl-C ends it."""
    from dynammo.runs.mlflow_ui import open_ui

    open_ui(folder, port, open_page)


def data(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="phantoms, image_folder, isic2019, medmnist ...")],
) -> None:
    """Prepare a public data set, or draw phantoms; what follows the name goes to it.

    For example: dynammo data phantoms -o demo/data
    """
    from dynammo.data.data_preparation import run_data_command

    if name == "--help":  # that behind a name is that of its own command
        context.get_help()  # typer prints it
        raise typer.Exit
    run_data_command(name, context.args)
