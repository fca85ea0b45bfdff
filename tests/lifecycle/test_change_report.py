"""What the known classes lose by learning is measured, and too much is refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic.lifecycle import (
    colours,
)

from dynammo.data.increments import IncrementImages
from dynammo.errors import UserError
from dynammo.lifecycle.change_report import REPORT, MeasureChange
from dynammo.lifecycle.commands import LearnSettings, learn
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs.find import find_models
from dynammo.runtime.files import sha256

pytestmark = pytest.mark.usefixtures("in_root")


Make = Callable[..., Path]


QUIET = LearnSettings(mlflow=False, max_drop=100)


def test_a_model_that_loses_too_much_is_kept_aside(made: Make, tmp_path: Path) -> None:
    model, new = made("blue,green red", "finetune", epochs=12, learning_rate=0.1), colours(tmp_path / "new", "white")
    before = sha256(model / "model.pt")
    with pytest.raises(
        UserError, match=r"known classes lost .* more than 0; to accept that, type --max-drop"
    ) as caught:
        learn(
            model, new, tmp_path / "runs" / "learnt", LearnSettings(max_drop=0, mlflow=False, json=tmp_path / "r.json")
        )
    assert not (tmp_path / "runs" / "learnt").exists() and find_models([tmp_path / "runs"]) == []
    assert (tmp_path / "runs" / ".learnt.refused" / "model.pt").is_file() and ".learnt.refused" in str(caught.value)
    assert json.loads((tmp_path / "r.json").read_text())["accepted"] is False
    assert sha256(model / "model.pt") == before


def test_what_was_lost_is_written_down(made: Make, tmp_path: Path) -> None:
    report = learn(made("blue,green red"), colours(tmp_path / "new", "white"), tmp_path / "learnt", QUIET)
    assert json.loads((tmp_path / "learnt" / REPORT).read_text()) == report
    before, after = report["before"], report["after"]
    assert report["lost_points"] == pytest.approx(100 * (before["old"] - after["old"]))
    assert set(before["recall"]) == {"blue", "green", "red"} and set(after["recall"]) == {*before["recall"], "white"}
    assert after["old"] == pytest.approx(sum(after["recall"][name] for name in before["recall"]) / 3)


@pytest.mark.parametrize("max_drop", [-1, True, "much", math.nan])
def test_another_drop_is_refused(max_drop: Any, made: Make, tmp_path: Path) -> None:  # noqa: ANN401
    model = load_learnt(made("blue,green red"))
    images = IncrementImages(colours(tmp_path / "new", "white"), model.classes)
    with pytest.raises(UserError, match="expected percentage points from 0"):
        MeasureChange(model, images, None, tmp_path / "learnt", max_drop)
