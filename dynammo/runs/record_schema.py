"""What a `run.json` may say: every key that code relies on, with its type and its bounds."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from typing_extensions import Required, TypedDict  # pydantic takes no other before Python 3.12

__all__ = ["MOST_PIXELS", "Config", "Network", "Pooling", "Recipe", "Record", "Result", "Trust"]

MOST_PIXELS = 2**27  # of an image or a volume that the network takes


def _line(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):  # a terminal would obey them
        raise ValueError("text without control characters")
    return text


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("a name")
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


def _share(value: float) -> float:
    if value < 0 or value > 1:  # NaN is neither
        raise ValueError("a number from 0 to 1")
    return value


Line = Annotated[str, Field(max_length=1000), AfterValidator(_line)]
ClassName = Annotated[str, Field(max_length=255), AfterValidator(_line), AfterValidator(_name)]
Switch = Annotated[Any, AfterValidator(_switch)]
Dimensions = Literal[2, 3]
Share = Annotated[float, AfterValidator(_share)]
Measures = dict[Line, float | None]  # null where nothing was measured: JSON knows no NaN


class Pooling(TypedDict, total=False):
    """Arguments of `dynammo.networks.pooling.Pooling`."""

    taps: Annotated[list[Annotated[int, Field(ge=0, le=4)]], Field(min_length=1, max_length=5)] | None
    deviation: Switch
    centre: Switch
    power: Annotated[float, Field(gt=0, le=1)]
    projection: Annotated[int, Field(ge=0, le=2**20)]


class Network(TypedDict, total=False):
    """Arguments of `dynammo.networks.merged_classifier.MergedClassifier`."""

    heads: Required[Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]]
    others: Switch
    branches: Annotated[int, Field(ge=1)]
    architecture: Line
    stages: Annotated[int, Field(ge=1, le=4)]
    adapter: Line
    spatial_dims: Dimensions
    in_channels: Annotated[int, Field(ge=1, le=1000)]
    background: Switch
    pooling: Pooling | None
    looks: Annotated[int, Field(ge=0, le=2**20)]


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
    dataset_dir: str | None
    data_list: str | None
    weights: str | None
    cache_dir: str | None
    architecture: Line
    adapter: Line
    head_layout: Line
    analytic_head: Line
    merge_strategy: Line
    merge_batchnorm: Line
    mirrored: Line


class Trust(TypedDict, total=False):
    """What `dynammo.handlers.calibration` and the like have fitted; null where they could not."""

    temperature: float | None
    ece_before: float | None
    ece_after: float | None
    false_alarm_rate: Share | None
    unknown_threshold: float | None
    looks_threshold: float | None
    looks_false_alarm_rate: Share | None


class Result(TypedDict, total=False):
    """A `dynammo.training.metrics.TaskResult`."""

    task: Annotated[int, Field(ge=0)]
    task_accuracy: list[Share | None]
    accuracy: Required[Share | None]
    mean_class_recall: Required[Share | None]
    unknown_auroc: Share | None
    ece: Required[Share | None]
    confusion: Required[list[list[Annotated[int, Field(ge=0)]]]]


class Record(TypedDict, total=False):
    """What `dynammo.runs.save_run.SaveRun` writes. What stands here is checked; what else there is, is kept."""

    classes: Required[Annotated[list[ClassName], Field(min_length=1), AfterValidator(_different)]]
    network: Required[Network]
    config: Required[Config]
    tasks: list[list[ClassName]]
    tasks_learnt: Annotated[int, Field(ge=1)]
    results: list[Result]
    metrics: Measures | None
    cost: Measures
    trust: Trust
    method: Line
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
