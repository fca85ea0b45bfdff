import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from synthetic.datasets import ROOT
from synthetic.records import write_run

from dynammo.errors import UserError
from dynammo.runs.find import default_model, find_models, print_models
from dynammo.runs.load import load_model


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


def test_the_newest_exported_model_is_the_default_else_the_newest_run(elsewhere: Path) -> None:
    with pytest.raises(UserError, match=r"no trained model is in runs.*dynammo train FOLDER"):
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


def test_folders_named_by_the_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(elsewhere / "store" / "a" / "models")
    write_run(elsewhere / "single")
    names = [str(elsewhere / name) for name in ("store", "single", "nowhere")]
    monkeypatch.setenv("DYNAMMO_MODELS", os.pathsep.join([*names, ""]))
    assert {model.path for model in find_models()} == {elsewhere / "store" / "a" / "models", elsewhere / "single"}


def test_the_table_fits_100_columns(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_models()
    assert "dynammo train FOLDER" in capsys.readouterr().out
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
    assert str(find_models()[-1].measured) == "75.0 %"


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


def test_a_half_trained_run_is_no_default(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(elsewhere / "runs" / "half", finished="2026-05-02T03:04:05+0000", tasks=[["MEL", "NV"], ["BCC"]])
    (write_run(elsewhere / "runs" / "open", finished="2026-05-02T03:04:05+0000") / "unfinished.json").write_text("{}")
    with pytest.raises(UserError, match=r"no trained model can be used; .*finish it first"):
        default_model()
    write_run(elsewhere / "runs" / "whole")
    assert default_model().path == Path("runs/whole")
    print_models()
    out = capsys.readouterr().out
    assert (
        "not usable: runs/half has learnt 1 of 2 tasks; finish it first: type the command that trains it again" in out
    )
    assert "not usable: the training of runs/open is not finished; finish it first" in out
