"""What a `run.json` may say: every key that code relies on, with its type and its bounds."""

import json
import re
import reprlib
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, Required, TypedDict  # pydantic takes no other before Python 3.12

from dynammo.data.class_file import ClassAbout
from dynammo.runtime.aliases import current_names

__all__ = ["Config", "Network", "Pooling", "Recipe", "Record", "Result", "Trust", "fault_of", "read_typed"]

MOST_BYTES = 2**26  # of a record; those of a hundred tasks take less than one MiB
LONGEST_PART = 255  # bytes of a name in a path
MOST_LEVELS = 50  # of lists in lists; ours have five
MOST_PIXELS = 2**27  # of an image or a volume that the network takes


def _line(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):  # a terminal would obey them
        raise ValueError("text without control characters")
    return text


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("a name")
    return text


def _path(text: str) -> str:
    if "\0" in text or any(len(part.encode()) > LONGEST_PART for part in text.split("/")):
        raise ValueError("a path")  # the system would refuse even to look for it
    return text


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names of which none comes twice")
    return names


def _switch(value: object) -> object:
    if value not in (True, False):  # 1 and 0 too, as the config takes them
        raise ValueError("true or false")
    return value


def _rising(values: list[float]) -> list[float]:
    if not values[0] < values[1]:
        raise ValueError("a low and a higher value")
    return values


def _fraction(value: float) -> float:
    if value < 0 or value > 1:  # NaN is neither
        raise ValueError("a number from 0 to 1")
    return value


Line = Annotated[str, Field(max_length=1000), AfterValidator(_line)]
PathText = Annotated[str, Field(max_length=4000), AfterValidator(_path)]
ClassName = Annotated[str, Field(max_length=255), AfterValidator(_line), AfterValidator(_name)]
Switch = Annotated[Any, AfterValidator(_switch)]
Dimensions = Literal[2, 3]
Fraction = Annotated[float, AfterValidator(_fraction)]
Number = Annotated[float, Field(allow_inf_nan=False)]
MOST_MAPS = 64  # of an encoder; a ResNet has five
Measures = dict[Line, float | None]  # null where nothing was measured: JSON knows no NaN


class Pooling(TypedDict, total=False):
    """Arguments of `dynammo.networks.pooling.Pooling`."""

    taps: Annotated[list[Annotated[int, Field(ge=0, lt=MOST_MAPS)]], Field(min_length=1, max_length=MOST_MAPS)] | None
    deviation: Switch
    centre: Switch
    power: Annotated[float, Field(gt=0, le=1)]
    projection: Annotated[int, Field(ge=0, le=2**20)]


class Encoder(TypedDict):
    """What `dynammo.networks.encoders.examined` has found; `build` holds plain values for a class of its library."""

    name: Required[PathText]
    build: dict[Line, Any]
    mean: Annotated[list[Number], Field(min_length=1, max_length=1000)]
    std: Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=1, max_length=1000)]
    size: Annotated[int, Field(ge=1, le=MOST_PIXELS)] | None
    seen: Annotated[int, Field(ge=1, le=MOST_PIXELS)]
    channels: Annotated[list[Annotated[int, Field(ge=1, le=2**20)]], Field(min_length=2, max_length=MOST_MAPS)]
    points: list[Annotated[int, Field(ge=0, lt=MOST_MAPS)]]
    lone: Switch
    sites: NotRequired[list[Annotated[str, Field(max_length=1000)]]]
    sides: NotRequired[list[Annotated[int, Field(ge=1, le=MOST_PIXELS)]]]
    digest: Line


class Network(TypedDict, total=False):
    """Arguments of `dynammo.networks.merged_classifier.MergedClassifier`."""

    heads: Required[Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]]
    others: Switch
    branches: Annotated[int, Field(ge=1)]
    architecture: Line
    stages: Annotated[int, Field(ge=1, lt=MOST_MAPS)]
    adapter: Line
    spatial_dims: Dimensions
    in_channels: Annotated[int, Field(ge=1, le=2**14)]  # of vectors the features
    background: Switch
    pooling: Pooling | None
    out_of_distribution: Annotated[int, Field(ge=0, le=2**20)]
    out_of_distribution_maps: Annotated[int, Field(ge=1, le=2)]
    encoder: Encoder | None


class Recipe(TypedDict, total=False):
    """How images are prepared; records of the first versions have none."""

    spatial_dims: Dimensions
    volumes: Literal["middle", "maximum", "slices"]
    crop_borders: Switch
    stain_normalisation: Switch
    colour_constancy: Switch
    grey: Literal["percentile", "window", "zscore"]
    window: Annotated[
        list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2), AfterValidator(_rising)
    ]


class Config(TypedDict, total=False):
    """Settings of the training, as far as other code reads them; the rest is kept as it is."""

    image_size: Required[Annotated[int, Field(ge=1, le=MOST_PIXELS)]]
    recipe: Recipe
    method: Line
    seed: Annotated[int, Field(ge=0)]
    dataset_dir: PathText | None
    data_list: PathText | None
    weights: PathText | None
    cache_dir: PathText | None
    features: PathText | None
    average: Literal["none", "vectors", "probabilities"]
    encoder: Line | None
    architecture: Line
    adapter: Line
    head_layout: Literal["others", "softmax", "analytic"]
    adapter_tasks: Annotated[int, Field(ge=0)] | None
    analytic_head: Line
    merge_strategy: Line
    merge_batchnorm: Line
    mirrored: Line
    photometric: Annotated[int, Field(ge=0)]


class Worth(TypedDict, total=False):
    """What `dynammo.training.worth.worth_of` has measured."""

    images: Annotated[int, Field(ge=0)]
    top_1: Fraction | None
    top_3: Fraction | None
    unflagged: Fraction | None
    right_unflagged: Fraction | None
    right_flagged: Fraction | None


class Trust(TypedDict, total=False):
    """What `dynammo.handlers.calibration` and the like have fitted; null where they could not."""

    temperature: float | None
    ece_before: float | None
    ece_after: float | None
    false_alarm_rate: Fraction | None
    unknown_threshold: float | None
    confidence_limit: Fraction | None
    wanted_accuracy: Fraction | None
    worth: Worth
    out_of_distribution_threshold: float | None
    out_of_distribution_false_alarm_rate: Fraction | None


class Result(TypedDict, total=False):
    """A `dynammo.training.metrics.TaskResult`."""

    task: Annotated[int, Field(ge=0)]
    task_accuracy: list[Fraction | None]
    accuracy: Required[Fraction | None]
    mean_class_recall: Required[Fraction | None]
    unknown_auroc: Fraction | None
    ece: Required[Fraction | None]
    confusion: Required[list[list[Annotated[int, Field(ge=0)]]]]


class MeasuredOn(TypedDict, total=False):
    """A `dynammo.runs.record.Measured`; not before 0.2."""

    recall: Fraction | None
    classes: Annotated[int, Field(ge=0)]
    of: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(ge=0)]


class Record(TypedDict, total=False):
    """What `dynammo.runs.save_run.SaveRun` writes. What stands here is checked; what else there is, is kept."""

    classes: Required[Annotated[list[ClassName], Field(min_length=1), AfterValidator(_different)]]
    network: Required[Network]
    config: Required[Config]
    tasks: list[list[ClassName]]
    tasks_learnt: Annotated[int, Field(ge=1)]
    results: list[Result]
    metrics: Measures | None
    measured: MeasuredOn
    cost: Measures
    trust: Trust
    method: Line
    run: Line
    seed: Annotated[int, Field(ge=0)]
    versions: dict[Line, Line | None]
    commit: Line | None
    device: Line
    machine: Line
    command: str
    finished: Line
    files: dict[Line, Line]
    source: Line
    notice: Line
    test_images: Line | None
    about_classes: dict[ClassName, ClassAbout]


class Entry(TypedDict, total=False):
    """What happened to a model at one time, an entry of `history.json`."""

    event: Line
    when: Line
    task: int | None
    site: Line | int | None
    classes: list[ClassName]
    images: dict[Line, Annotated[int, Field(ge=0)]]
    metrics: Measures | None
    sha256: dict[Line, Line] | None


class Unfinished(TypedDict):
    """`unfinished.json` of a run that was interrupted."""

    key: Line
    settings: dict[str, Any]
    tasks: list[list[ClassName]]
    images: Line
    contents: NotRequired[Line]  # not before 0.2


class Described(TypedDict, total=False):
    """What is read again of the `metadata.json` of an exported bundle."""

    version: Line
    changelog: Required[dict[Annotated[str, Field(pattern=r"^\d{1,9}\.\d{1,9}\.\d{1,9}$")], str]]


KINDS = {"history": list[Entry], "unfinished": Unfinished, "metadata": Described, "record": Record}
Kind = Literal["history", "unfinished", "metadata", "record"]


@cache
def _schema(kind: Kind) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])


def read_typed(text: bytes, kind: Kind) -> Any:  # noqa: ANN401
    """A record as JSON, as it was written: what its schema does not know is kept.

    Raises:
        ValueError: it is too large, no JSON, or a value is missing, of another type, or absurd; in a few words.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB")
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # halves of characters could not be written again
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error).split("\n")[0]) from error
    fault = fault_of(current_names(value) if kind == "record" else value, kind)
    if fault:
        raise ValueError(fault)
    return value


def fault_of(record: Any, kind: Kind = "record") -> str:  # noqa: ANN401
    """What is wrong with a record as JSON brings it, in a few words that name the key; empty where nothing is."""
    try:
        _check_levels(record)
        _schema(kind).validate_python(record, strict=True)
        if kind == "record":
            _check_sizes(record)
    except ValidationError as error:
        return _first(error)
    except ValueError as error:
        return str(error)
    return ""


def _check_levels(value: object) -> None:
    """Refuse what a copy, which takes every level by itself, could not go through."""
    layer, levels = [value], 0
    while layer:
        if levels > MOST_LEVELS:
            raise ValueError(f"lists in lists, more than {MOST_LEVELS} deep")
        inner = [v.values() if isinstance(v, dict) else v for v in layer if isinstance(v, dict | list)]
        layer, levels = [item for items in inner for item in items], levels + 1


def _check_sizes(record: Record) -> None:
    """What values of their own type and range would still make impossible together."""
    network, config, count = record["network"], record["config"], len(record["classes"])
    dimensions = network.get("spatial_dims", 2)
    if sum(network["heads"]) != count:
        raise ValueError(f"network.heads is {reprlib.repr(network['heads'])}; expected {count} classes in all")
    if network.get("branches", 1) > count:
        raise ValueError(f"network.branches is {network['branches']}; expected one for each task at most")
    if config["image_size"] ** dimensions > MOST_PIXELS:
        raise ValueError(f"config.image_size is {config['image_size']}; expected at most {MOST_PIXELS} pixels in all")
    if config.get("recipe", {}).get("spatial_dims", dimensions) != dimensions:
        raise ValueError(f"config.recipe.spatial_dims is not network.spatial_dims, {dimensions}")


def _first(error: ValidationError) -> str:
    """The first fault: which key, what came, what was expected."""
    fault = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(reprlib.repr(part).strip("'\"") for part in fault["loc"]) or "it"
    if fault["type"] == "missing":
        return f"{key} is missing"
    expected = re.sub(r"^(Value error, |\w+ should (be|have) )", "", fault["msg"])
    return f"{key} is {reprlib.repr(fault['input'])}; expected {expected}"
