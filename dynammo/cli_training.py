"""Commands that train, measure and compare."""

from pathlib import Path
from typing import Annotated

import typer

from dynammo.cli_options import Device, Mlflow
from dynammo.training.settings import RECOMMENDED

__all__ = ["config", "train"]

Data = Annotated[
    Path,
    typer.Argument(help="A folder of images for each class, or train/ and test/ with these, or a data list."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of train.yaml, KEY=VALUE, such as image_size=96; may be repeated."),
]


def train(
    data: Data,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/NAME_METHOD.")] = None,
    method: Annotated[
        str, typer.Option(help="analytic, light, dynammo, dynammo_refit, acl, finetune, lwf, joint, or a YAML file.")
    ] = RECOMMENDED,
    classes_per_task: Annotated[
        str, typer.Option(help="A number (7 classes by 2 are 2, 2, 3), all, or one for each task: 2,2,3.")
    ] = "2",
    order: Annotated[str, typer.Option(help="Of the classes: sorted, random, or their names: MEL,NV,BCC.")] = "sorted",
    backbone: Annotated[str, typer.Option(help="resnet18, resnet34 or resnet50.")] = "resnet18",
    weights: Annotated[
        str, typer.Option(help="Of the backbone: imagenet, a file, or first_task to train it on the first task.")
    ] = "imagenet",
    recipe: Annotated[
        str | None, typer.Option(help="How images are prepared: dermoscopy, histology, xray, ct, mr, radiology ...")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)] = 0,
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
    from dynammo.lifecycle.training_plan import TrainSettings, parse_value

    settings = TrainSettings(
        method=method, classes_per_task=classes_per_task, order=order, backbone=backbone, weights=weights,
        recipe=recipe, values=dict(map(parse_value, values or ())), seed=seed, fresh=fresh, device=device,
        mlflow=mlflow,
    )  # fmt: skip
    run(data, output, settings, dry_run)


def config(name: Annotated[str, typer.Argument(help="train, inference, analytic, xray, derm8 ...")]) -> None:
    """Print the path of a config that comes with dynammo.

    For example: python -m monai.bundle run training --config_file "$(dynammo config train)"
    """
    from dynammo.runtime.bundle_files import shipped_config

    print(shipped_config(name))
