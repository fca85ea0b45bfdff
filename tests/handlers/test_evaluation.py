"""What is measured after every task: on test images, and what the network costs."""

import math
from pathlib import Path

import pytest
from monai.data import Dataset
from synthetic.runs import make_trainer

from dynammo.handlers.evaluation import EvaluateTasks, MeasureCost
from dynammo.training.metrics import gmac
from dynammo.training.trainer import IncrementalTrainer

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


@pytest.fixture
def learnt(tiny_data: Path, tmp_path: Path) -> IncrementalTrainer:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1)
    trainer.learn()
    return trainer


def test_every_task_has_a_result_and_none_of_no_images(learnt: IncrementalTrainer) -> None:
    assert [len(result.task_accuracy) for result in learnt.results] == [1, 2, 3]
    assert sum(map(sum, learnt.results[-1].confusion)) == 12  # test images
    learnt.handlers.clear()
    EvaluateTasks(Dataset([])).attach(learnt)
    learnt.record_again()
    assert all(math.isnan(accuracy) for accuracy in learnt.results[-1].task_accuracy)


def test_cost_is_that_of_what_ships_and_seconds_add_up(learnt: IncrementalTrainer) -> None:
    classifier = learnt.network.classifier()
    assert learnt.cost["gmac_per_image"] == gmac(classifier, (3, 16, 16)) > learnt.cost["gmac_backbone"]
    assert learnt.cost["parameters"] == sum(parameter.numel() for parameter in classifier.parameters())
    assert learnt.cost["images_kept"] == len(learnt.memory) == 8
    measure = MeasureCost(32)
    measure.load_state_dict({"seconds": 1000.0})
    measure.attach(learnt)
    learnt.record_again()
    assert learnt.cost["gmac_per_image"] == gmac(classifier, (3, 32, 32))
    assert learnt.cost["train_seconds"] == measure.state_dict()["seconds"] > 1000
