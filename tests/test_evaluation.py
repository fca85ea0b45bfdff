"""Text of others is never evaluated: records, folders, labels, paths and options, through every command."""

import copy
import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import yaml
from fuzz import records
from monai.bundle import ConfigParser
from synthetic.datasets import ROOT, write_image
from synthetic.lifecycle import backbone_weights, trained
from synthetic.records import RECORD

from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.data.images import ImageSet
from dynammo.data.preprocessing import preprocessing_of
from dynammo.errors import UserError
from dynammo.export.bundle_configs import standalone_inference
from dynammo.export.bundle_metadata import metadata
from dynammo.export.export_run import DESCRIBED, ExportSettings, export_run
from dynammo.lifecycle.commands import LearnSettings, combine, forget, learn
from dynammo.runs.record import check_tasks, check_usable, read_record
from dynammo.runtime.config import inert, original

RUNS = "__import__('os').mkdir('ran')"  # in the working directory
CALL = {"_target_": "os.mkdir", "path": "ran"}
PAYLOADS: tuple[Any, ...] = (
    f"${RUNS}", "$import antigravity", "@rest", "@#seed", "%run", f"%x::{RUNS}",
    "_target_", "_mode_", "_disabled_", "a::b", "x#y",
    CALL, {**CALL, "_mode_": "default"}, {"_disabled_": f"${RUNS}", **CALL}, [f"${RUNS}"], {f"${RUNS}": f"${RUNS}"},
)  # fmt: skip
CLASSES = (f"${RUNS}", "$5_group", "@rest", "%_stenosis_over_70", "_target_", "_mode_", "_disabled_", "a::b", "x#y")
LATER = ("%run", "@seed", "$import os")
Place = tuple[str | int, ...]


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A payload that is evaluated leaves a folder in the working directory."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.rglob("ran"))


def images(folder: Path, names: tuple[str, ...], first: int = 0) -> Path:
    for number, name in enumerate(names):
        for split in ("train", "test"):
            for k in range(4):
                colour = ("blue", "green", "red", "white")[number % 4]
                seed = 1000 * number + 10 * k + (split == "test") + first
                write_image(folder / split / name / f"{number}_{k}.png", colour, seed, 16)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on classes that MONAI would read, below folders that it would read."""
    folder = tmp_path_factory.mktemp("text")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("dynammo.runs.save_run.result_figures", lambda *_: {})
        patch.setattr("dynammo.runs.save_run.OUTPUTS", ("model.pt", "accuracy_matrix.csv"))
        weights = backbone_weights(folder / "backbone.pth")
        trained(images(folder / "@scans", CLASSES), folder / "%run", [5, 4], weights=weights)
        trained(images(folder / "$other", LATER, 500), folder / "@run", [3], weights=weights)
    assert not list(folder.rglob("ran"))
    return folder / "%run"


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynammo.runs.save_run.result_figures", lambda *_: {})
    monkeypatch.setattr("dynammo.runs.save_run.OUTPUTS", ("model.pt", "accuracy_matrix.csv"))


def poisoned(run: Path, to: Path) -> Path:
    """A copy of a run whose record holds payloads wherever a stranger may put one."""
    shutil.copytree(run, to)
    record = json.loads((to / "run.json").read_text())
    held = {f"held_{number}": payload for number, payload in enumerate(PAYLOADS)}
    record |= {"notice": f"${RUNS}", "command": f"${RUNS}", "commit": f"${RUNS}", "machine": "@rest", **held, **CALL}
    record["config"] |= {"dataset_dir": f"${RUNS}", "cache_dir": "%run", "method": f"${RUNS}", **held, **CALL}
    record["config"]["recipe"] |= {"preprocessing": CALL, "loading": f"${RUNS}", **held, **CALL}
    (to / "run.json").write_text(json.dumps(record))
    return to


def names_in(table: Path) -> list[str]:
    with table.open(newline="") as file:
        return next(csv.reader(file))


def everything(config: dict[str, Any]) -> None:
    """Evaluate all that MONAI would of the metadata."""
    ConfigParser(config).get_parsed_content("_meta_")


def test_classify_and_export(run: Path) -> None:
    source = poisoned(run, Path("stranger"))
    pictures = run.parent / "@scans" / "test"
    assert classify(pictures, Path("%out"), ClassifySettings(model=source)) == 0
    found = json.loads(Path("%out/predictions.json").read_text())
    assert set(CLASSES) <= set(json.dumps(found, ensure_ascii=False).replace('"', " ").split()) | {CLASSES[0]}
    settings = ExportSettings(
        pictures, intended_use=f"${RUNS}", data_source="%run", modality="@rest", onnx=False
    )  # fmt: skip
    for _ in range(2):  # the second reads the changelog of the first
        bundle = export_run(source, Path("@bundle"), settings).bundle
    about = json.loads((bundle / "configs" / "metadata.json").read_text())
    everything({"_meta_": copy.deepcopy(about)})
    channels = original(about)["network_data_format"]["post_processed_outputs"]["pred"]["channel_def"]
    assert tuple(channels.values()) == tuple(sorted(CLASSES))
    assert original(about)["name"] == "@bundle" and original(about)["data_source"] == "%run"
    texts = [bundle / "configs" / name for name in ("inference.yaml", "evaluate.yaml")]
    assert not any(name in text.read_text() for text in texts for name in (*CLASSES[:4], RUNS))
    os.chdir(bundle)
    for run_id, configs in (("inference", texts[:1]), ("evaluate", texts)):
        monai.bundle.run(run_id, config_file=list(map(str, configs)), dataset_dir=str(pictures), output_dir="out")
    os.chdir("..")
    heads = ["'@rest" if name == "@rest" else name for name in sorted(CLASSES)]  # else a formula to a spreadsheet
    assert names_in(bundle / "out" / "predictions.csv") == [
        "path",
        *heads,
        *(f"p_{name}" for name in sorted(CLASSES)),
        "unknown",
    ]
    assert classify(pictures, Path("out"), ClassifySettings(model=bundle / "models" / "model.ts")) == 0


def test_learn_forget_and_combine(run: Path) -> None:
    source = poisoned(run, Path("stranger"))
    calm = LearnSettings(max_drop=100.0, mlflow=False, without_exemplars=True)
    learn(source, images(Path("@new"), LATER), Path("a#b"), calm)
    learnt = json.loads(Path("a#b/run.json").read_text())
    assert set(learnt["classes"]) == {*CLASSES, *LATER}
    left = forget(source, Path("2024"), class_name="@rest", mlflow=False)
    assert set(left.classes) == {*CLASSES} - {"@rest"}
    both = combine(run, run.parent / "@run", Path("@both::x"), mlflow=False)
    assert set(both.classes) == {*CLASSES, *LATER}
    assert Path("@both::x/run.json").is_file()


def test_labels_of_a_data_list(run: Path) -> None:
    rows = [
        {"path": f"train/{name}/{number}_{k}.png", "label": name, "split": "train" if k else "test"}
        for number, name in enumerate(CLASSES)
        for k in range(3)
    ]
    Path("list.json").write_text(json.dumps(rows))
    assert ImageSet(run.parent / "@scans", "list.json").classes == sorted(CLASSES)
    weights = backbone_weights(Path("backbone.pth").resolve())
    data = {"data_list": str(Path("list.json").resolve()), "weights": weights}
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        trained(run.parent / "@scans", here / "listed", [9], **data)
    finally:
        os.chdir(here)
    assert json.loads(Path("listed/run.json").read_text())["classes"] == sorted(CLASSES)


def places(value: object, start: Place = ()) -> Iterator[Place]:
    if start:
        yield start
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*start, key))


@pytest.mark.parametrize("payload", PAYLOADS, ids=str)
def test_every_place_of_a_record(payload: object) -> None:
    """In place of every value, and under keys of its own beside all of them."""
    more = dict.fromkeys(("more", "preprocessing", "loading", "_target_", "_mode_", "_disabled_", "a#b", "$x"), payload)
    for place in list(places(RECORD)):
        record: Any = json.loads(json.dumps(RECORD))
        record |= more
        record["config"] |= more
        record["config"]["recipe"] |= more
        holder = record
        for part in place[:-1]:
            holder = holder[part]
        holder[place[-1]] = payload
        Path("run.json").write_text(json.dumps(record))
        try:
            read = read_record("run", Path("model.pt"))
            check_usable(read, "it")
            check_tasks(read, "it", DESCRIBED)
        except UserError:
            continue
        everything({"_meta_": inert(metadata(read, "name", {"0.1.0": "first"}))})
        config = str(yaml.safe_load(standalone_inference(read)))
        assert RUNS not in config and "antigravity" not in config
    recipe = {**RECORD["config"]["recipe"], **more}
    assert preprocessing_of({"config": {"image_size": 16, "recipe": recipe}}).transforms


def test_damaged_records_lists_exports_and_zips() -> None:
    """A few of what `tests/fuzz/records.py` makes by the thousand."""
    found = records.fuzz(96, 120, seed=1)
    assert found["image"] + found["sentence"] == found.total() == 96
