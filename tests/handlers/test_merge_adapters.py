from pathlib import Path

import pytest
import torch
from synthetic.runs import make_trainer

from dynammo.errors import UserError
from dynammo.handlers.merge_adapters import MergeAdapters
from dynammo.merging import State
from dynammo.networks.adapters import copy_state
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.training.trainer import TaskEvents


@pytest.mark.parametrize("settings", [{"strategy": "none"}, {"strategy": "fisher"}, {"batchnorm": "recalibrate"}])
def test_merges_that_make_no_sense_are_refused(settings: dict[str, str]) -> None:
    class Engine:
        network = IncrementalNetwork(stages=3, weights="first_task", adapter="low_rank", image_size=32)

    with pytest.raises(UserError, match="adapter low_rank folds into the weights"):
        MergeAdapters(**settings).attach(Engine())  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"strategy": "mean"}, {"batchnorm": "forget"}])
def test_unknown_names_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"expected (one of|average or recalibrate)"):
        MergeAdapters(**wrong)


@pytest.mark.usefixtures("in_root", "no_plots")
def test_what_predicts_is_the_mean_of_what_the_tasks_have_fitted(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1, adapter="conv", merge_strategy="average")
    (handler,) = (handler for handler in trainer.handlers if isinstance(handler, MergeAdapters))
    fitted: list[State] = []
    trainer.add_event_handler(TaskEvents.TASK_FITTED, lambda: fitted.append(handler.contribution()["state"]))
    trainer.learn()
    assert len(fitted) == 3 and len(trainer.network.branches) == 1
    for name, value in copy_state(trainer.network.branches[0]).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([state[name] for state in fitted]).mean(0))
    again = MergeAdapters()
    again.load_state_dict(handler.state_dict())
    for name, value in again.state_dict()["origin"].items():
        assert torch.equal(value, handler.origin[name])
