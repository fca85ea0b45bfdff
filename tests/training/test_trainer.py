"""Learning goes on from its state as if it had never stopped."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic.runs import make_trainer

from dynammo.runtime.files import load_state
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


def stop_after(trainer: IncrementalTrainer, tasks: int) -> None:
    trainer.add_event_handler(
        TaskEvents.TASK_COMPLETED, lambda engine: engine.terminate() if engine.tasks_learnt == tasks else None
    )


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("dynammo", {"merge_strategy": "fisher", "increments": 2}),
        ("analytic", {"adapter": "low_rank", "merge_strategy": "ties", "increments": 2, "mirrored": "horizontal"}),
    ],
)
def test_learnt_in_two_sittings_or_in_one(
    method: str, settings: dict[str, Any], tiny_data: Path, tmp_path: Path
) -> None:
    whole = make_trainer(tiny_data, tmp_path / "whole", method, **settings)
    whole.learn()
    first = make_trainer(tiny_data, tmp_path / "parts", method, **settings)
    stop_after(first, 1)
    first.learn()
    state = load_state(tmp_path / "parts" / "checkpoint.pt")
    rest = make_trainer(tiny_data, tmp_path / "rest", method, **settings)
    rest.load_learning_state(state)
    before = rest.network.classifier().state_dict()
    shipped = load_state(tmp_path / "parts" / "model.pt")
    assert before.keys() == shipped.keys() and all(torch.equal(before[key], shipped[key]) for key in before)
    rest.learn()
    assert len(rest.results) == 2
    for went_on, at_once in zip(rest.results, whole.results, strict=True):
        np.testing.assert_equal(asdict(went_on), asdict(at_once))  # takes NaN for equal to NaN, as == does not
    for name in ("model.pt", "accuracy_matrix.csv"):
        assert (tmp_path / "rest" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert rest.trust == whole.trust
