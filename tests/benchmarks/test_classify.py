"""What is measured is real work, and bars are met from the promised figure on."""

import json
from pathlib import Path

import pytest

from benchmarks import classify as measured
from benchmarks.classify import ClassifyCosts, SpeedSettings, benchmark_classify, compare
from benchmarks.timing import Spread
from dynammo.errors import UserError


def test_every_figure_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "FIRST_LINES", 1)
    settings = SpeedSettings(jpeg=3, dicom=1, repeats=2, image_size=64, many=0)
    costs = benchmark_classify(settings, tmp_path / "speed.json")
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written["settings"]["jpeg"] == 3 and written["ratio"]["median"] == pytest.approx(costs.ratio.median)
    assert 0 < costs.classify.lowest <= costs.classify.median <= costs.classify.highest
    assert costs.network.median > costs.classify.median and 0 < costs.first_line.median < 60
    assert "folder to report" in capsys.readouterr().out


def test_all_images_are_shared_out() -> None:
    settings = SpeedSettings(jpeg=7, dicom=2, repeats=3)
    assert [settings.shares(turn) for turn in range(3)] == [(3, 1), (2, 1), (2, 0)]


def _costs(ratio: float, peak: float, seconds: float) -> ClassifyCosts:
    one = Spread.of([1.0])
    return ClassifyCosts(one, one, Spread.of([ratio]), one, {100: 1000.0, 1000: peak}, Spread.of([seconds]))


def test_bars_are_met_from_the_promised_figure_on() -> None:
    assert [bar.met for bar in compare(_costs(0.8, 1100.0, 3.0))] == [True] * 3
    assert [bar.met for bar in compare(_costs(0.79, 1101.0, 3.1))] == [False] * 3


@pytest.mark.parametrize("wrong", [{"jpeg": -1}, {"repeats": 0}, {"jpeg": 1, "dicom": 0, "repeats": 2}])
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="give --jpeg and --dicom"):
        SpeedSettings(**wrong)
