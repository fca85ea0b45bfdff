"""What `dynammo train` will do, found out and said before anything heavy is imported."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dynammo.data.class_file import class_file_beside, describe_classes
from dynammo.data.class_folders import class_folders, read_class_folders, read_undivided
from dynammo.data.data_list import ImageRecord, check_classes, read_data_list
from dynammo.data.tasks import TaskSequence, task_sizes
from dynammo.errors import UserError
from dynammo.networks.imagenet import FILES, missing_weights
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.plain import expanded
from dynammo.training.settings import RECOMMENDED, SETTINGS
from dynammo.training.typed_settings import (
    check_ids,
    config_ids,
    find_overlay,
    replaced_adapter,
    weights_of,
    what_follows,
)

__all__ = ["TrainSettings", "TrainingPlan", "make_plan"]


@dataclass(frozen=True)
class TrainSettings:
    """What a person may choose; see `dynammo train --help`. What is None stays as the configs have it.

    Attributes:
        method: name of an overlay in `configs/methods`, or a YAML file.
        classes_per_task: a number, `all`, or the number of each task, such as `2,2,3`.
        order: `sorted`, `random` (by seed), or all class names, with commas between them.
        backbone: a ResNet, or an encoder of others, such as `hf:FOLDER`.
        weights: of the backbone: `imagenet`, `first_task`, or a file; None is `own` for an encoder.
        recipe: name of an overlay in `configs/recipes`, or a YAML file.
        overlays: more names or files, over train.yaml and below method and recipe, such as `datasets/derm8`.
        values: other settings of train.yaml, by id; they win.
        seed: of everything that is drawn.
        fresh: start anew where the output folder holds a run.
        device: such as cpu or cuda:0; auto for a GPU where there is one.
        mlflow: record the run in MLflow.
        class_file: names, codes and marks of the classes; None for `classes.json`, `.yaml` or `.csv` beside the data.
        features: the data are a file of embeddings.
    """

    method: str = RECOMMENDED
    classes_per_task: str | None = None
    order: str | None = None
    backbone: str | None = None
    weights: str | None = None
    recipe: str | None = None
    overlays: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    fresh: bool = False
    device: str = "auto"
    mlflow: bool = True
    class_file: Path | None = None
    features: bool = False


@dataclass(frozen=True)
class TrainingPlan:
    """A training that nothing speaks against so far.

    Attributes:
        output: folder of the run.
        files: configs, the later over the earlier.
        values: ids of the configs and what they are set to.
        folder: of the images.
        records: the images.
        undivided: whether a share of the images still has to be split off for testing.
        weights_file: from which the number of stages follows; None where it is given.
        from_encoder: settings that follow from the encoder that was named, since nothing else was said.
        to_fetch: the ResNet whose ImageNet weights do not lie here yet; None for none.
        device: as typed.
        lines: what will be done, for people.
    """

    output: Path
    files: tuple[Path, ...]
    values: Mapping[str, Any]
    folder: Path
    records: tuple[ImageRecord, ...]
    undivided: bool
    weights_file: Path | None
    from_encoder: frozenset[str]
    to_fetch: str | None
    device: str
    lines: tuple[str, ...]


def make_plan(data: Path, output: Path | None, settings: TrainSettings) -> TrainingPlan:
    """Find out what there is to learn, and refuse what cannot be.

    Args:
        data: `train/<class>/` and `test/<class>/`, class folders alone, or a data list; a file of embeddings where the
            settings say so.
        output: folder of the run; None for one below `runs/`, named after data and method.
        settings: see `TrainSettings`.

    Raises:
        UserError: no images there, one class alone, a class in test or train alone, no such method, recipe, setting or
            file of weights, a wrong value.
    """
    data = expanded(data)
    if settings.features:
        settings = _of_features(settings)
    overlays = _overlays(settings)
    given = {name: value for file in overlays for name, value in config_ids(file).items()}
    config = {**config_ids(bundle_config("train.yaml")), **given}
    check_ids(settings.values, config)
    folder, data_list, records = _rows(data, settings) if settings.features else _images(data, settings.values)
    classes = _classes(data, records)
    values = {
        "dataset_dir": str(folder),
        "data_list": data_list,
        **({"features": str(data)} if settings.features else {}),
        **_typed(settings, data, classes, config["increments"]),
    }
    shown = {**config, **values}
    weights_file, from_encoder = what_follows(shown, {*given, *values}, settings.values)
    adapter = replaced_adapter(shown, "adapter" in settings.values)
    if adapter:
        values["adapter"] = adapter
    to_fetch = missing_weights(shown)
    tasks = TaskSequence(classes, shown["increments"], shown["class_order"], shown["seed"])
    method = Path(settings.method).stem
    output = expanded(values.pop("output_dir", output or Path("runs", f"{data.resolve().stem}_{method}")))
    undivided = not any(record.split for record in records)
    lines = (
        *_task_lines(tasks), *_described(values),
        *_image_lines(records, undivided, "vectors" if settings.features else "images"),
        f"method {method}, weights {_said_of_weights(str(shown['weights']), to_fetch)}",
        *([f"adapter {adapter}, folded into the encoder; the paper's: --set adapter=conv"] if adapter else ()),
    )  # fmt: skip
    return TrainingPlan(
        output, (bundle_config("train.yaml"), *overlays), values, folder, tuple(records),
        undivided and not settings.features, weights_file, from_encoder, to_fetch, settings.device, lines,
    )  # fmt: skip


def _said_of_weights(weights: str, to_fetch: str | None) -> str:
    if to_fetch is not None:
        return f"{weights}, which are fetched first from {FILES[to_fetch]}"
    return "as the overlay has them" if weights.startswith("$") else weights


def _overlays(settings: TrainSettings) -> list[Path]:
    """Configs over train.yaml, the later over the earlier."""
    overlays = [find_overlay("", name) for name in settings.overlays] + [find_overlay("methods", settings.method)]
    if settings.recipe is not None:
        overlays.append(find_overlay("recipes", settings.recipe))
    return [*overlays, bundle_config("features.yaml")] if settings.features else overlays


def _classes(data: Path, records: Sequence[ImageRecord]) -> list[str]:
    classes = sorted({record.class_name for record in records})
    if len(classes) < 2:
        raise UserError(
            f"{data} has the class {classes[0]} alone; a classifier needs two: put images into a folder for each class."
        )
    if all(record.split for record in records):  # else they are divided, with every class on both sides
        check_classes(records)
    return classes


def _typed(settings: TrainSettings, data: Path, classes: Sequence[str], increments: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a person chose, by the ids of train.yaml, each checked."""
    typed = {
        "architecture": settings.backbone,
        "weights": weights_of(settings.weights, settings.backbone),
        "increments": _increments(settings.classes_per_task, increments, len(classes)),
        "class_order": _order(settings.order),
        "seed": settings.seed,
        "class_file": _class_file(data, classes, settings),
    }
    values = {
        "fresh": settings.fresh,
        "mlflow": settings.mlflow,
        **{name: value for name, value in typed.items() if value is not None},
        **settings.values,
    }
    for name, value in values.items():
        if name in SETTINGS:
            SETTINGS[name].check(value)
    return values


def _images(data: Path, values: Mapping[str, Any]) -> tuple[Path, str | None, list[ImageRecord]]:
    """The folder that paths start from, the data list if there is one, and the images."""
    if data.is_file():
        folder = expanded(str(values.get("dataset_dir", data.parent)))
        return folder, str(data), read_data_list(data, folder, bool(values.get("allow_outside")))
    if not data.is_dir():
        raise UserError(f"there is no folder {data}; give a folder with a folder of images for each class.")
    if class_folders(data / "train") and class_folders(data / "test"):
        return data, None, read_class_folders(data)
    inside = data / "train" if class_folders(data / "train") else data
    if not class_folders(inside):
        raise UserError(
            f"{data} holds no folder; expected one for each class, or train/ and test/ with these, or give a data list "
            "(CSV with path and label)."
        )
    return data, None, read_undivided(inside)


def _class_file(data: Path, classes: Collection[str], settings: TrainSettings) -> str | None:
    """The file that describes the classes, which is read now, so that it is refused before a training."""
    file = settings.values.get("class_file") or settings.class_file or class_file_beside(data)
    describe_classes(file, classes)
    return None if file is None else str(file)


def _of_features(settings: TrainSettings) -> TrainSettings:
    """The one method there is for vectors: nothing in front of the head can be adapted, and no copy be drawn."""
    for option in ("backbone", "weights", "recipe"):
        if getattr(settings, option) is not None:
            raise UserError(f"--{option} is for images; vectors are learnt as they are: leave it out.")
    if settings.method not in ("analytic", "light"):
        raise UserError(
            f"the method {settings.method} fits adapters to images; of --features --method light alone is learnt."
        )
    return replace(settings, method="light")


def _rows(data: Path, settings: TrainSettings) -> tuple[Path, None, list[ImageRecord]]:
    from dynammo.data.features import read_features  # which imports torch

    return data.parent, None, read_features(data, average=settings.values.get("average")).records()


def _increments(text: str | None, usual: Any, classes: int) -> str | list[int] | None:  # noqa: ANN401
    """Sizes of the tasks: as typed, else cut as the configs say where that is one number."""
    if text is None:
        return task_sizes(classes, usual) if isinstance(usual, int) and usual > 0 else None
    text = text.strip().strip("[]")
    if text == "all":
        return text
    numbers = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(numbers) != len(text.split(",")) or min(numbers) < 1:
        raise UserError(f"--classes-per-task is {text}; expected a number from 1, all, or one for each task: 2,2,3.")
    return task_sizes(classes, numbers[0]) if len(numbers) == 1 else numbers


def _order(order: str | None) -> str | list[str] | None:
    if order is None or order in ("sorted", "random"):
        return order
    return [name.strip() for name in order.split(",")]


def _described(values: Mapping[str, Any]) -> list[str]:
    return [f"classes described by {values['class_file']}"] if values.get("class_file") else []


def _task_lines(tasks: TaskSequence) -> list[str]:
    names = [", ".join(task.classes) for task in tasks]
    listed = [f"  task {number}: {name}" for number, name in enumerate(names, start=1)]
    return [f"{len(tasks.classes)} classes in {len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}", *listed]


def _image_lines(records: list[ImageRecord], undivided: bool, things: str) -> list[str]:
    counts = Counter(record.split for record in records)
    if undivided:
        return [f"{len(records)} {things}, of which a fifth is split off for testing"]
    return [f"{counts['train']} training {things}, {counts['test']} test {things}"]
