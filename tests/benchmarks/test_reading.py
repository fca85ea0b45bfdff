import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reading import ReadingSettings, benchmark_reading, values_alone, write_examples
from dynammo.errors import UserError
from dynammo.io.image_reader import read_image


def test_contenders_give_the_same_values(tmp_path: Path) -> None:
    for name, path in write_examples(tmp_path, 64).items():
        np.testing.assert_allclose(values_alone(path), read_image(path).array, err_msg=name)


def test_every_format_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speeds = benchmark_reading(ReadingSettings(size=64, repeats=1, large=64), tmp_path / "speed.json")
    written = json.loads((tmp_path / "speed.json").read_text())
    assert set(written["files_per_second"]) == set(speeds) and len(speeds) == 10
    assert all(speed.reader.median > 0 and speed.ratio.median > 0 for speed in speeds.values())
    assert "files read in a second" in capsys.readouterr().out


def test_impossible_settings() -> None:
    with pytest.raises(UserError, match="size is 8"):
        ReadingSettings(size=8)
