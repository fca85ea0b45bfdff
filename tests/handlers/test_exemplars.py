"""Which images are kept: as many of every class, the most representative first."""

from pathlib import Path

import pytest
import torch
from monai.data import Dataset
from synthetic.runs import make_trainer

from dynammo.data.exemplars import herd
from dynammo.handlers.exemplars import SelectExemplars
from dynammo.training.prediction import extract_features
from dynammo.training.trainer import TaskEvents

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


def test_the_budget_is_shared_and_the_newest_are_herded(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1, exemplars=8)
    kept: list[list[int]] = []
    trainer.add_event_handler(
        TaskEvents.TASK_COMPLETED,
        lambda engine: kept.append([len(engine.memory.items([label])) for label in range(engine.task.seen)]),
    )
    trainer.learn()
    assert kept == [[4, 4], [2, 2, 2], [2, 2, 2, 2]]
    items = trainer.data.train(trainer.task)  # of one class
    (handler,) = (handler for handler in trainer.handlers if isinstance(handler, SelectExemplars))
    features, _ = extract_features(trainer.network.classifier(), Dataset(items, handler.transform), 8)
    chosen = [items[row]["path"] for row in herd(torch.cat(features, dim=1), 2)]
    assert [item["path"] for item in trainer.memory.items([3])] == chosen


def test_no_budget_keeps_nothing(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", "finetune", epochs=1)
    SelectExemplars(lambda item: item).attach(trainer)
    trainer.learn()
    assert trainer.memory.budget == 0 and len(trainer.memory) == 0
