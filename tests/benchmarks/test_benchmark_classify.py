"""What is measured is real work, and bars are met from the promised figure on."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import classify as measured
from benchmarks.classify import ClassifyCosts, SpeedSettings, benchmark_classify, compare
from benchmarks.cost import Spread
from benchmarks.material import write_dicoms, write_model, write_photographs
from dynammo.errors import UserError
from dynammo.io.image_reader import read_image
from dynammo.io.studies import find_studies
from dynammo.runs.load import load_model


def test_images_are_of_usual_size_and_differ(tmp_path: Path) -> None:
    write_photographs(tmp_path, 3)
    write_dicoms(tmp_path, 2)
    studies = find_studies(tmp_path, tmp_path).studies
    images = [read_image(study.files[0]) for study in studies]
    assert [study.modality for study in studies] == ["CT", "CR", "", "", ""]
    assert [image.array.shape for image in images] == [(1, 512, 512)] * 2 + [(3, 450, 600)] * 3
    assert all(study.files[0].stat().st_size > 100_000 for study in studies)
    assert not np.array_equal(images[2].array, images[3].array)
    assert images[0].array.min() < 0 <= images[1].array.min()  # Hounsfield units beside counts


def test_the_model_has_the_shipped_shape(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path))
    assert model.record["config"]["image_size"] == 224 and len(model.network.backbone.layers) == 4
    assert [head.out_features for head in model.network.heads] == [3] * 4  # two classes and "others"


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
    assert [measured._shares(settings, turn) for turn in range(3)] == [(3, 1), (2, 1), (2, 0)]


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
