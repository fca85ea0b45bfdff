import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained
from PIL import Image

from benchmarks.robustness import CHANGES, benchmark_robustness, measure


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_gives_a_picture(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    changed = CHANGES[name](Image.fromarray(pixels))
    assert changed.mode == "RGB" and np.array_equal(np.asarray(changed), pixels) is (name == "as is")
    if name == "0.8 x":
        assert np.abs(np.asarray(changed) - 0.8 * pixels).max() <= 0.5


def test_what_a_model_says_of_changed_images(trained: Trained, tmp_path: Path) -> None:
    run = trained("analytic")
    recall = json.loads((run / "run.json").read_text())["metrics"]["last_mean_class_recall"]
    assert measure(run, ["as is"])["as is"].recall == pytest.approx(100 * recall, abs=1e-6)
    benchmark_robustness([run], ["grey"], tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())["robustness"][run.name]
    assert set(found) == {"grey"} and 0 <= found["grey"]["recall"] <= 100
