"""The backbone is trained on the first task alone, and only where no weights are given."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from synthetic.lifecycle import backbone_weights
from synthetic.runs import make_trainer

from dynammo.handlers.backbone import TrainBackbone
from dynammo.networks.adapters import copy_state
from dynammo.training.trainer import TaskEvents

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


@pytest.mark.parametrize("given", [True, False])
def test_it_moves_in_the_first_task_alone_unless_weights_are_given(
    given: bool, tiny_data: Path, tmp_path: Path
) -> None:
    weights = backbone_weights(tmp_path / "weights.pth") if given else "first_task"
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1, weights=weights)
    assert [handler.acts for handler in trainer.handlers if isinstance(handler, TrainBackbone)] == [not given]
    states = [copy_state(trainer.network.backbone)]
    trainer.add_event_handler(TaskEvents.TASK_COMPLETED, lambda: states.append(copy_state(trainer.network.backbone)))
    trainer.learn()
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(states)]
    assert same == [given, True, True]
