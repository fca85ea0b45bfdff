import json
import math
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic.datasets import CLASSES, ROOT

from dynammo.errors import UserError
from dynammo.export import agreement as export_checks
from dynammo.export import export_run as model_export
from dynammo.export.export_run import ExportSettings, export_run
from dynammo.runs.find import default_model, find_models, print_models
from dynammo.runs.load import load_model
from dynammo.runs.record import check_usable, embedded_record, read_record
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.files import save_state, sha256
from dynammo.training.settings import RECIPE

RECIPE_VALUES = dict.fromkeys(RECIPE, False) | {
    "spatial_dims": 2, "volumes": "middle", "grey": "percentile", "window": [0, 1]
}  # fmt: skip
RECORD: dict[str, Any] = {
    "method": "dynammo",
    "classes": ["MEL", "NV"],
    "network": {"heads": [2], "in_channels": 3},
    "config": {"image_size": 32, "recipe": RECIPE_VALUES},
    "metrics": {"last_mean_class_recall": 0.75},
    "seed": 0,
    "commit": None,
    "versions": {"dynammo": "0"},
    "tasks": [["MEL", "NV"]],
    "tasks_learnt": 1,
    "results": [{"mean_class_recall": 0.75, "accuracy": 0.75, "ece": 0.1, "confusion": [[3, 1], [1, 3]]}],
    "finished": "2026-01-02T03:04:05+0000",
}
Trained = Callable[..., Path]


def write_run(folder: Path, finished: str = "2026-01-02T03:04:05+0000", **changes: Any) -> Path:  # noqa: ANN401
    """A record beside a file that no test reads as weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pt").write_bytes(b"weights")
    (folder / "run.json").write_text(json.dumps({**RECORD, "finished": finished, **changes}))
    return folder


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """A copy of a trained run, to be tampered with."""
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    for name in ("run.json", "model.pt"):
        shutil.copy(trained() / name, folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNAMMO_MODELS", raising=False)
    return tmp_path


def export(run: Path, to: Path) -> Path:
    """The models of a bundle without ONNX, whose tests are in test_model_export.py."""
    return export_run(run, to, ExportSettings(onnx=False)).bundle / "models"


def edit(record: Path, **changes: Any) -> None:  # noqa: ANN401
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))


def test_every_form_of_a_model_gives_the_same(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    alone = tmp_path / "alone.ts"
    shutil.copy(models / "model.ts", alone)
    images = torch.randn(2, 3, 32, 32)
    expected = load_model(run).network(images)
    forms = {run: "run", run / "model.pt": "run", tmp_path / "out": "bundle", models: "bundle",
             models / "model.ts": "torchscript", alone: "torchscript"}  # fmt: skip
    for path, kind in forms.items():
        model = load_model(path)
        assert model.kind == kind
        assert model.record["classes"] == list(CLASSES)
        assert not model.network.training
        torch.testing.assert_close(model.network(images), expected, atol=1e-5, rtol=0)
        assert len(model.sha256) == 64
    assert [load_model(path).name for path in (run, tmp_path / "out", alone)] == ["tiny", "out", "alone"]
    assert load_model(alone).sha256 == sha256(alone)


def test_what_is_exported_is_torchscript_for_anyone(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    inside = {"run.json": ""}
    script = torch.jit.load(models / "model.ts", _extra_files=inside)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(script(images), load_model(run).network(images), atol=1e-5, rtol=0)
    outer = json.loads((models / "run.json").read_text())
    assert json.loads(inside["run.json"])["classes"] == outer["classes"]
    assert outer["files"] == {name: sha256(models / name) for name in ("model.pt", "model.ts")}


@pytest.mark.parametrize(
    "spec",
    [
        {"heads": [1, 1], "branches": 2},
        {"heads": [2], "others": False, "background": True, "looks": 2},
        {"heads": [2], "others": False, "spatial_dims": 3},
        {
            "heads": [2],
            "adapter": "none",
            "pooling": {"taps": [0, 1], "deviation": True, "power": 0.5, "projection": 8},
        },
    ],
    ids=["branches", "background and looks", "volumes", "pooling"],
)
def test_every_layout_of_the_network_can_be_exported(spec: dict[str, Any], tmp_path: Path) -> None:
    from dynammo.networks.merged_classifier import MergedClassifier

    torch.manual_seed(0)
    network = {"stages": 2, **spec}
    dimensions = {"spatial_dims": spec.get("spatial_dims", 2)}
    config = RECORD["config"] | {"recipe": RECIPE_VALUES | dimensions}
    folder = write_run(tmp_path / "run", network=network, config=config)
    made = MergedClassifier(**network).eval()
    made.pooling.draw_projection()
    save_state(folder / "model.pt", made.state_dict())
    edit(folder / "run.json", files={"model.pt": sha256(folder / "model.pt")})
    loaded = load_model(export(folder, tmp_path / "out") / "model.ts").network
    images = torch.randn(2, 3, *[32] * spec.get("spatial_dims", 2))
    torch.testing.assert_close(loaded(images), made(images), atol=1e-5, rtol=0)


def test_an_export_names_no_folder_of_the_images(run: Path, tmp_path: Path) -> None:
    edit(run / "run.json", command="dynammo --dataset_dir /clinic/erika/images")
    record = json.loads((run / "run.json").read_text())
    record["config"]["dataset_dir"] = "/clinic/erika/images"
    (run / "run.json").write_text(json.dumps(record))
    models = export(run, tmp_path / "out")
    for text in ((models / "run.json").read_bytes(), embedded_record(models / "model.ts")):
        assert text is not None
        assert b"erika" not in text
        assert json.loads(text)["config"]["dataset_dir"] == "images"


def test_exporting_again_replaces_all(trained: Trained, run: Path, tmp_path: Path) -> None:
    export(trained("joint"), tmp_path / "out")
    before = load_model(tmp_path / "out" / "models" / "model.ts")
    models = export(run, tmp_path / "out")
    assert load_model(models / "model.ts").record["method"] == "dynammo" != before.record["method"]
    assert sorted(file.name for file in models.iterdir()) == ["model.pt", "model.ts", "run.json"]
    assert export(tmp_path / "out", tmp_path / "out") == models  # onto itself
    assert load_model(models).record["method"] == "dynammo"


def test_a_failed_export_keeps_the_one_before(
    run: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = export(run, tmp_path / "out")
    before = {file.name: sha256(file) for file in models.iterdir()}

    def fill_the_disk(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_export, "write_json", fill_the_disk)
    with pytest.raises(UserError, match="No space left on device"):
        export(run, tmp_path / "out")
    monkeypatch.undo()
    other = load_model(trained("joint"))
    monkeypatch.setattr(export_checks, "load_model", lambda folder: other)
    with pytest.raises(UserError, match="nothing was exported"):
        export(run, tmp_path / "out")
    assert {file.name: sha256(file) for file in models.iterdir()} == before


def test_other_weights_than_the_record_describes_are_refused(run: Path, trained: Trained, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    shutil.copy(trained("joint") / "model.pt", run)
    with pytest.raises(UserError, match="sha256 differs"):
        load_model(run)
    export(trained("joint"), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "models" / "model.ts", models)
    with pytest.raises(UserError, match="sha256 differs"):
        load_model(models / "model.ts")


def test_a_network_that_the_weights_do_not_fit_is_refused(run: Path) -> None:
    network = json.loads((run / "run.json").read_text())["network"]
    for wrong in ({**network, "stages": 3}, {**network, "flavour": "sweet"}):
        edit(run / "run.json", network=wrong)
        with pytest.raises(UserError, match="do not fit the network"):
            load_model(run)


def test_damaged_weights_are_refused(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    cut = tmp_path / "cut.ts"
    with zipfile.ZipFile(models / "model.ts") as whole, zipfile.ZipFile(cut, "w") as part:
        for name in whole.namelist():
            if not name.endswith("data.pkl"):
                part.writestr(name, whole.read(name))
    with pytest.raises(UserError, match="is damaged"):
        load_model(cut)
    (run / "model.pt").write_bytes((run / "model.pt").read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged or not a model"):
        load_model(run)


def test_torchscript_without_its_record_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(tmp_path / "bare.ts"))
    (tmp_path / "video.ts").write_bytes(b"G" * 188)
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickled.ts")
    for name in ("bare.ts", "video.ts", "pickled.ts"):
        with pytest.raises(UserError, match="carries its record"):
            load_model(tmp_path / name)
    assert find_models([tmp_path]) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"network": {"heads": [2], "in_channels": 1}}, "for another number of channels: it takes 1"),
        ({"config": {"image_size": 32}}, "earlier version"),
        ({"classes": ["MEL"]}, "damaged"),
        ({"classes": []}, "damaged"),
        ({"config": {"image_size": "large"}}, "damaged"),
        ({"network": None}, "damaged"),
    ],
)
def test_unusable_records_are_one_sentence(
    changes: dict[str, Any], sentence: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(elsewhere / "runs" / "odd", **changes)
    with pytest.raises(UserError, match=sentence) as refused:
        load_model(folder)
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match=f"no trained model can be used.*{sentence}"):
        default_model()
    print_models()
    assert sentence in capsys.readouterr().out


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_any_json_is_a_record_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:  # noqa: ANN401
    folder = tmp_path_factory.getbasetemp() / "any_json"
    folder.mkdir(exist_ok=True)
    for content in (value, {**RECORD, "network": value}, {**RECORD, "config": value}, {**RECORD, "classes": value}):
        if content == {**RECORD, "classes": value} and _are_two_names(value):
            continue  # as good a record as any
        (folder / "run.json").write_text(json.dumps(content))
        with pytest.raises(UserError):
            check_usable(read_record("run", folder / "model.pt"), "it")


@pytest.mark.parametrize("classes", [["", ""], ["MEL", " "], ["MEL", "MEL"]])
def test_classes_without_a_name_of_their_own_are_refused(classes: list[str], elsewhere: Path) -> None:
    folder = write_run(elsewhere / "runs" / "odd", classes=classes)
    with pytest.raises(UserError, match=r"is damaged .*classes"):
        load_model(folder)


def _are_two_names(value: object) -> bool:
    texts = value if isinstance(value, list) else []
    return len(texts) == len({text for text in texts if isinstance(text, str) and text.strip()}) == 2


def test_the_newest_exported_model_is_the_default_else_the_newest_run(elsewhere: Path) -> None:
    with pytest.raises(UserError, match=r"no trained model is in runs.*make demo"):
        load_model()
    write_run(elsewhere / "runs" / "old", "2025-01-01T00:00:00+0000")
    write_run(elsewhere / "runs" / "deep" / "new", "2026-01-01T23:00:00-0500")
    write_run(elsewhere / "demo" / "runs" / "newer", "2026-01-02T01:00:00+0000", config={})
    write_run(elsewhere / "runs" / "old" / "earlier" / "x", "2027-01-01T00:00:00+0000")
    assert [model.path.name for model in find_models()] == ["new", "old", "newer"]
    assert default_model().path == Path("runs/deep/new")
    exported = write_run(elsewhere / "dist" / "skin" / "models", "2024-01-01T00:00:00+0000")
    (exported / "model.ts").touch()
    assert default_model().path == Path("dist/skin")
    assert default_model().kind == "bundle"


def test_load_model_takes_the_default(run: Path, elsewhere: Path) -> None:
    assert load_model().name == "tiny"
    export(run, Path("dist"))
    assert (load_model().kind, load_model().path) == ("bundle", Path("dist"))


def test_folders_named_by_the_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(elsewhere / "store" / "a" / "models")
    write_run(elsewhere / "single")
    names = [str(elsewhere / name) for name in ("store", "single", "nowhere")]
    monkeypatch.setenv("DYNAMMO_MODELS", os.pathsep.join([*names, ""]))
    assert {model.path for model in find_models()} == {elsewhere / "store" / "a" / "models", elsewhere / "single"}


def test_a_folder_of_models_is_not_a_model(elsewhere: Path) -> None:
    write_run(elsewhere / "runs" / "a")
    with pytest.raises(UserError, match="holds 1; give one of them, such as --model runs/a"):
        load_model(Path("runs"))
    with pytest.raises(UserError, match="there is no nothing; type dynammo models"):
        load_model(Path("nothing"))
    Path("notes.txt").touch()
    with pytest.raises(UserError, match="is not a trained model"):
        load_model(Path("notes.txt"))


def test_the_table_fits_100_columns(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_models()
    assert "make demo" in capsys.readouterr().out
    names = [f"class number {i} [{i}]" for i in range(40)]
    write_run(elsewhere / "runs" / ("long" * 20), classes=names, network={"heads": [40]})
    write_run(elsewhere / "runs" / "bad_date", finished="yesterday", metrics=None)
    for width in (80, 100, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        print_models()
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= min(width, 100)
        assert "40: class" in out
        assert "…" in out
        assert "75.0 %" in out
    assert next(model for model in find_models() if model.finished is None).path.name == "bad_date"
    assert math.isnan(find_models()[-1].mean_class_recall)


def test_models_answers_without_torch_within_two_seconds(elsewhere: Path) -> None:
    write_run(elsewhere / "runs" / "a")
    code = (
        "import sys; from dynammo.runs.find import print_models; import dynammo.runs.load; print_models(); "
        "print({'torch', 'monai', 'mlflow', 'numpy'} & set(sys.modules))"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.endswith("set()\n"), done.stderr
    assert "runs/a" in done.stdout
    assert time.perf_counter() - start < 2


def test_configs_of_the_bundle_are_found_in_a_checkout_and_in_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynammo.runtime import bundle_files

    assert bundle_config("inference.yaml") == ROOT / "bundle" / "configs" / "inference.yaml"
    with pytest.raises(UserError, match=r"configs/no\.yaml"):
        bundle_config("no.yaml")
    monkeypatch.setattr(bundle_files, "__file__", str(tmp_path / "lib" / "dynammo" / "runtime" / "bundle_files.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    installed = tmp_path / "share" / "dynammo" / "bundle" / "configs" / "inference.yaml"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert bundle_config("inference.yaml") == installed
