import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.material import write_model
from benchmarks.reduced_jpegs import ReducedSettings, benchmark_reduced
from dynammo.errors import UserError


def test_reduced_and_whole_pictures_are_classified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    for k in range(2):
        soft = np.random.default_rng(k).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        Image.fromarray(soft).resize((64, 48)).save(tmp_path / "images" / f"{k}.jpg")
    run = write_model(tmp_path / "run", 32, 1)
    settings = ReducedSettings(run, tmp_path / "images", (0.5, 2), grain=2, repeats=1)
    found = benchmark_reduced(settings, tmp_path / "figures.json")
    small, large = found["0.5 MP"], found["2 MP"]
    assert (small.images, small.reduced, large.reduced) == (2, 0, 2)
    assert small.same == 100 and small.probability == 0 < large.probability < 0.1
    assert min(large.bare.median, large.whole.median, large.reader.median) > 0
    assert set(json.loads((tmp_path / "figures.json").read_text())["sizes"]) == set(found)
    assert "2 of 2" in capsys.readouterr().out


def test_settings_that_leave_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image in"):
        ReducedSettings(tmp_path, tmp_path)
    with pytest.raises(UserError, match="above 0"):
        ReducedSettings(tmp_path, tmp_path, (0,))
