from pathlib import Path
from typing import Any

import pytest
from synthetic.datasets import TINY, run_bundle

from dynammo.training import expected_time
from dynammo.training.trainer import IncrementalTrainer


def passes(monkeypatch: pytest.MonkeyPatch, data: Path, output: Path, method: str, **settings: Any) -> list[float]:  # noqa: ANN401
    """What is expected of a training, which is not run."""
    found: list[float] = []

    def learn(engine: IncrementalTrainer) -> None:
        found.extend(expected_time.expected_passes(engine))
        assert all(seconds > 0 for seconds in expected_time.expected_seconds(engine))

    monkeypatch.setattr(IncrementalTrainer, "learn", learn)
    configs = ["bundle/configs/train.yaml", f"configs/methods/{method}.yaml"]
    run_bundle("training", configs, dataset_dir=str(data), output_dir=str(output), **{**TINY, **settings}, mlflow=False)
    return found


def test_every_handler_says_what_it_will_pass(
    tiny_data: Path, tmp_path: Path, in_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 new training images a task and 12 test images in all; the backbone is trained for an epoch of the first."""
    analytic = passes(monkeypatch, tiny_data, tmp_path / "a", "analytic")
    assert analytic == [3 * 12 + 6 * 12 + 12, 6 * 12 + 12]
    dynammo = passes(monkeypatch, tiny_data, tmp_path / "d", "dynammo", epochs=2, exemplars=8)
    assert dynammo == [6 * 12 + 6 * 12 + 12 + 12 + 12, 6 * (12 + 8) + 12 + 8 + 12]
