"""The command as a whole, and bars that look at the power."""

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import growth_measures
from benchmarks.growth import benchmark_growth, compare
from benchmarks.growth_figures import Series
from benchmarks.growth_measures import GrowthSettings
from dynammo.errors import UserError

TINY = GrowthSettings(
    image_size=32, stages=1, batch_size=2, repeats=1, tasks=(1, 2), classes=(4, 6), images=(1000, 1500)
)


def test_bars_look_at_the_power() -> None:
    def series(seconds: float, memory: float) -> list[Series]:
        return [
            Series("tasks", "one image, merged", "core ms", (1, 50), (1.0, seconds)),
            Series("images", "memory of the process at most", "MB", (1000, 1_000_000), (1.0, memory)),
        ]

    assert [bar.met for bar in compare(series(1.1, 1.05))] == [True, True]
    assert [bar.met for bar in compare(series(1.3, 2.0))] == [False, False]


def test_the_command_writes_figures_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth_measures, "IMAGES_OF_A_TASK", 40)
    benchmark_growth(TINY, tmp_path / "growth.json", tmp_path / "growth.png")
    record = json.loads((tmp_path / "growth.json").read_text())
    found = {(one["axis"], one["quantity"]): one for one in record["series"]}
    assert len(found) == 11 and {axis for axis, _ in found} == {"tasks", "classes", "images"}
    assert all(len(one["sizes"]) == len(one["values"]) == 2 and min(one["values"]) > 0 for one in found.values())
    assert found["tasks", "model, ACL"]["growth"] > found["tasks", "model, merged"]["growth"]
    assert found["classes", "class scatters in tasks/"]["power"] == pytest.approx(1.0, abs=0.01)
    assert record["settings"]["features"] == TINY.features == 512
    assert Image.open(tmp_path / "growth.png").size[0] > 1000
    assert "what should not grow" in capsys.readouterr().out


def test_unwritable_files_are_refused_before_measuring(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        benchmark_growth(TINY, plot=tmp_path / "missing" / "growth.png")
