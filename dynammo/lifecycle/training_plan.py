"""What `dynammo train` will do, found out and said before anything heavy is imported."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from dynammo.data.class_file import class_file_beside, describe_classes
from dynammo.data.class_folders import class_folders, read_class_folders, read_undivided
from dynammo.data.data_list import ImageRecord, check_classes, read_data_list
from dynammo.data.tasks import TaskSequence, task_sizes
from dynammo.errors import UserError
from dynammo.runtime.bundle_files import bundle_config, shipped_config
from dynammo.runtime.plain import expanded
from dynammo.training.settings import RECOMMENDED, REMOVED, SETTINGS

__all__ = [
    "FROM_ENCODER",
    "TrainSettings",
    "TrainingPlan",
    "config_ids",
    "find_overlay",
    "make_plan",
    "parse_value",
    "weights_of",
]

FROM_ENCODER = {"image_size", "stages", "taps"}
WEIGHTS = ("imagenet", "first_task", "own")


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
    overlays = [find_overlay("", name) for name in settings.overlays] + [find_overlay("methods", settings.method)]
    if settings.recipe is not None:
        overlays.append(find_overlay("recipes", settings.recipe))
    if settings.features:
        overlays.append(bundle_config("features.yaml"))
    given = {name: value for file in overlays for name, value in config_ids(file).items()}
    config = {**config_ids(bundle_config("train.yaml")), **given}
    _check_ids(settings.values, config)
    folder, data_list, records = _rows(data, settings) if settings.features else _images(data, settings.values)
    classes = sorted({record.class_name for record in records})
    if len(classes) < 2:
        raise UserError(
            f"{data} has the class {classes[0]} alone; a classifier needs two: put images into a folder for each class."
        )
    if all(record.split for record in records):  # else they are divided, with every class on both sides
        check_classes(records)
    typed = {
        "architecture": settings.backbone,
        "weights": weights_of(settings.weights, settings.backbone),
        "increments": _increments(settings.classes_per_task, config["increments"], len(classes)),
        "class_order": _order(settings.order),
        "seed": settings.seed,
        "class_file": _class_file(data, classes, settings),
    }
    values = {
        "dataset_dir": str(folder),
        "data_list": data_list,
        **({"features": str(data)} if settings.features else {}),
        "fresh": settings.fresh,
        "mlflow": settings.mlflow,
        **{name: value for name, value in typed.items() if value is not None},
        **settings.values,
    }
    for name, value in values.items():
        if name in SETTINGS:
            SETTINGS[name].check(value)
    shown = {**config, **values}
    tasks = TaskSequence(classes, shown["increments"], shown["class_order"], shown["seed"])
    weights = str(shown["weights"])
    encoder = ":" in str(shown["architecture"]) and not settings.features
    said = {name for name in (*given, *values) if name != "taps"} | {*settings.values}  # a method speaks of ResNets
    adapter = _adapter(shown, "adapter" in settings.values) if encoder and shown["adapter"] == "conv" else None
    if adapter:
        values["adapter"] = adapter
    follows = weights not in WEIGHTS and not weights.startswith("$") and "stages" not in said and not encoder
    method = Path(settings.method).stem
    output = expanded(values.pop("output_dir", output or Path("runs", f"{data.resolve().stem}_{method}")))
    undivided = not any(record.split for record in records)
    things = "vectors" if settings.features else "images"
    return TrainingPlan(
        output, (bundle_config("train.yaml"), *overlays), values, folder, tuple(records),
        undivided and not settings.features,
        Path(weights) if follows else None, frozenset(FROM_ENCODER - said if encoder else ()), settings.device,
        (
            *_task_lines(tasks), *_described(values), *_image_lines(records, undivided, things),
            f"method {method}, weights {'as the overlay has them' if weights.startswith('$') else weights}",
            *([f"adapter {adapter}: conv, the paper's, sits between the layers of a ResNet"] if adapter else ()),
        ),
    )  # fmt: skip


def _adapter(shown: Mapping[str, Any], typed: bool) -> str:
    """What takes the place of the paper's adapter in an encoder of others.

    Raises:
        UserError: the method keeps its adapters apart, or that adapter was asked for.
    """
    if shown["merge_strategy"] == "none":
        raise UserError(
            f"the method keeps an adapter for each task, between the layers of a ResNet; for {shown['architecture']} "
            "give --method dynammo, analytic or light."
        )
    if typed:
        raise UserError(
            f"adapter is conv, which sits between the layers of a ResNet; for {shown['architecture']} give "
            "--set adapter=low_rank or none."
        )
    return "low_rank"


def parse_value(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` as it is typed behind `--set`; the value is read as YAML.

    Raises:
        UserError: no `=`, or no YAML.
    """
    name, equals, value = text.partition("=")
    try:
        if not equals or not name.strip():
            raise ValueError
        return name.strip().replace("-", "_"), yaml.safe_load(value)
    except (ValueError, yaml.YAMLError):
        raise UserError(f"--set {text} is no setting; expected KEY=VALUE, such as --set image_size=96.") from None


def find_overlay(kind: str, name: str) -> Path:
    """A shipped config of a kind (methods, recipes), or the YAML file of that name.

    Raises:
        UserError: there is none.
    """
    if name.endswith((".yaml", ".yml", ".json")):
        if not Path(name).is_file():
            raise UserError(f"there is no config file {name}; give the name of a shipped one or a YAML file.")
        return Path(name)
    return shipped_config(f"{kind}/{name}" if kind else name)


def config_ids(file: Path) -> dict[str, Any]:
    """The ids of a config file and their text.

    Raises:
        UserError: no config.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} is no config ({type(error).__name__}); expected YAML or JSON.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is no config; expected names and values, such as `epochs: 15`.")
    return content


def _check_ids(values: Mapping[str, Any], known: Collection[str]) -> None:
    for name in values:
        first = re.split("#|::", name)[0]
        if first in REMOVED:
            raise UserError(f"{first} {REMOVED[first]}; leave it out.")
        if first not in known:
            close = get_close_matches(first, sorted(known), n=3)
            hint = (
                f"did you mean {' or '.join(close)}?" if close else "dynammo config train names the file of them all."
            )
            raise UserError(f"{name} is not a setting of train.yaml; {hint}")


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

    return data.parent, None, read_features(data, average=bool(settings.values.get("average"))).records()


def weights_of(weights: str | None, backbone: str | None) -> str | None:
    """The setting `weights` that was typed for a backbone; None where nothing was.

    Raises:
        UserError: no such file.
    """
    if weights is None:
        return "own" if backbone is not None and ":" in backbone else None
    if weights not in WEIGHTS and not expanded(weights).is_file():
        raise UserError(f"there is no file of weights {weights}; give --weights imagenet, first_task or a file.")
    return weights if weights in WEIGHTS else str(expanded(weights))


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
