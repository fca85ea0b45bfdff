import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo import NOTICE
from dynammo.errors import UserError
from dynammo.runs.record import MOST_BYTES, check_tasks, check_usable, locate_model, read_record
from dynammo.runs.record_schema import fault_of

RECORD: dict[str, Any] = {
    "method": "dynammo",
    "seed": 0,
    "classes": ["MEL", "NV"],
    "tasks": [["MEL"], ["NV"]],
    "tasks_learnt": 2,
    "network": {
        "heads": [1, 1], "branches": 1, "architecture": "resnet18", "stages": 3, "adapter": "conv", "spatial_dims": 2,
        "in_channels": 3, "others": True, "background": False, "out_of_distribution": 2,
        "pooling": {"taps": [0, 3], "deviation": True, "centre": False, "power": 0.5, "projection": 0},
    },
    "metrics": {"last_mean_class_recall": 0.75, "forgetting": None},
    "cost": {"gmac_per_image": 0.15, "parameters": 3229775},
    "trust": {
        "temperature": 1.5, "false_alarm_rate": 0.05, "unknown_threshold": 0.7, "out_of_distribution_threshold": None,
    },
    "results": [
        {"task": 0, "task_accuracy": [1.0], "accuracy": 1.0, "mean_class_recall": 1.0, "unknown_auroc": 0.5,
         "ece": 0.1, "confusion": [[4]]},
        {"task": 1, "task_accuracy": [1.0, None], "accuracy": 0.75, "mean_class_recall": 0.75, "unknown_auroc": None,
         "ece": 0.1, "confusion": [[3, 1], [1, 3]]},
    ],
    "config": {
        "image_size": 64, "dataset_dir": "/data", "data_list": None, "learnt_from": "runs/first",
        "adapter": "conv", "head_layout": "others", "shrinkage": "auto",
        "recipe": {"spatial_dims": 2, "volumes": "middle", "crop_borders": False, "stain_normalisation": 0,
                   "colour_constancy": True, "grey": "window", "window": [-160, 240]},
    },
    "versions": {"torch": "2.13.0+cpu", "mlflow": None},
    "commit": None,
    "device": "cpu",
    "machine": "2 cores",
    "command": "dynammo\ntrain",
    "finished": "2026-01-02T03:04:05+0000",
    "files": {"model.pt": 64 * "0"},
    "notice": NOTICE,
    "of_a_newer_version": {"anything": [1, {"deep": None}]},
}  # fmt: skip
Place = tuple[str | int, ...]


def places(value: object, start: Place = ()) -> Iterator[Place]:
    """The way to every value in a record."""
    if start:
        yield start
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*start, key))


def changed(place: Place, value: object) -> dict[str, Any]:
    """The record with another value there; the values behind `...` are taken out."""
    record: Any = copy.deepcopy(RECORD)
    holder = record
    for key in place[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return record  # type: ignore[no-any-return]


def read(folder: Path, content: object) -> Any:  # noqa: ANN401
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "run.json").write_bytes(text)
    return read_record("run", folder / "model.pt")


def test_a_record_is_kept_as_it_was_written(tmp_path: Path) -> None:
    assert read(tmp_path, RECORD) == RECORD
    assert fault_of(RECORD) == ""
    check_usable(RECORD, "it")  # type: ignore[arg-type]
    check_tasks(RECORD, "it")  # type: ignore[arg-type]


def test_the_first_version_wrote_less(tmp_path: Path) -> None:
    first = {key: RECORD[key] for key in ("classes", "network", "method", "results", "tasks", "tasks_learnt")}
    old = read(tmp_path, {**first, "network": {"heads": [2]}, "config": {"image_size": 32}, "metrics": None})
    check_tasks(old, "it")
    with pytest.raises(UserError, match="made by an earlier version"):
        check_usable(old, "it")


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("network", "branches"), 10**9, r"network\.branches is 1000000000; expected one for each task at most"),
        (("network", "stages"), 64, r"network\.stages is 64; expected less than 64"),
        (("network", "heads"), ..., r"network\.heads is missing"),
        (("network", "heads", 0), True, r"network\.heads\.0 is True; expected a valid integer"),
        (("network", "heads", 0), 7, r"network\.heads is \[7, 1\]; expected 2 classes in all"),
        (("network", "spatial_dims"), 3, "is not network.spatial_dims"),
        (("network", "others"), "yes", "network.others is 'yes'; expected true or false"),
        (("config", "image_size"), 100_000, r"config\.image_size is 100000; expected at most"),
        (("config", "dataset_dir"), "a\0b", r"config\.dataset_dir is 'a\\x00b'; expected a path"),
        (("config", "data_list"), 300 * "x", r"config\.data_list is .*; expected a path"),
        (("config", "head_layout"), "nope", r"config\.head_layout is 'nope'; expected 'others', 'softmax' or"),
        (("config", "adapter_tasks"), {"a": 1}, r"config\.adapter_tasks is .*; expected a valid integer"),
        (("config", "recipe", "window"), [240, -160], r"recipe\.window is \[240, -160\]; expected a low and a higher"),
        (("config", "recipe", "volumes"), "all", r"volumes is 'all'; expected 'middle', 'maximum' or 'slices'"),
        (("results", 0, "confusion", 0, 0), -1, r"results\.0\.confusion\.0\.0 is -1"),
        (("results", 0, "accuracy"), 1.5, r"results\.0\.accuracy is 1\.5; expected a number from 0 to 1"),
        (("trust", "unknown_threshold"), "0.5", r"trust\.unknown_threshold is '0.5'; expected a valid number"),
        (("classes", 0), "\x1b[2J", r"classes\.0 is '\\x1b\[2J'; expected text without control characters"),
        (("classes", 0), 256 * "A", r"classes\.0 is .*; expected at most 255 characters"),
        (("classes", 0), " ", r"classes\.0 is ' '; expected a name"),
        (("classes", 0), "NV", r"classes is .*; expected names of which none comes twice"),
        (("method",), "a\nb", "method is .* without control characters"),
        (("versions", "torch"), 2, r"versions\.torch is 2; expected a valid string"),
        (("of_a_newer_version",), "\ud800", "surrogates not allowed"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_sentence(place: Place, value: object, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        read(tmp_path, changed(place, value))
    assert str(tmp_path / "run.json") in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "Expecting value"),
        (b"[]", "it is .*; expected a valid dictionary"),
        (b"\xff\xfe", "is damaged"),
        (b"9" * 10_000, "is damaged"),
        (json.dumps(RECORD).encode() + b" " * MOST_BYTES, "larger than 64 MiB"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "more than 50 deep"),
        (b"[" * 10**6, "is damaged"),
    ],
    ids=["empty", "list", "no text", "number", "large", "deep", "too deep to read"],
)
def test_what_is_no_record_is_one_sentence(text: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        read(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_what_was_not_measured_is_null_or_nan(tmp_path: Path) -> None:
    for nothing in (None, math.nan):
        for place in (("metrics", "forgetting"), ("results", 1, "ece"), ("trust", "temperature")):
            read(tmp_path, changed(place, nothing))


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("tasks",), ..., "lacks tasks"),
        (("results",), ..., "lacks results"),
        (("tasks", 0, 0), "DF", "do not fit each other"),
        (("results",), [], "do not fit each other"),
        (("results", 1, "confusion"), [[1]], "not one of 2 classes"),
    ],
)
def test_tasks_that_cannot_be_are_refused(place: Place, value: object, sentence: str, tmp_path: Path) -> None:
    record = read(tmp_path, changed(place, value))
    with pytest.raises(UserError, match=sentence):
        check_tasks(record, "it")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-5, 5) | st.sampled_from([10**9, 10**400, -(2**63)])
    | st.floats() | st.text() | st.sampled_from(["$__import__('os')", "@a", "\x00", "\ud800", "MEL", "conv", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9) | st.just("_target_"), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(place=st.sampled_from(list(places(RECORD))), value=VALUES | st.just(...))
def test_every_change_loads_or_is_one_sentence(
    place: Place, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "changed"
    folder.mkdir(exist_ok=True)
    try:
        record = read(folder, changed(place, value))
        check_usable(record, "it")
        check_tasks(record, "it")
    except UserError as refused:
        assert len(str(refused).splitlines()) == 1


def test_a_classification_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")  # as `dynammo classify` writes it for one release more
    (tmp_path / "classification.json").write_text("{}")
    assert locate_model(tmp_path) is None
