"""Stage 2 tunes heads on the balanced set, and nothing else."""

from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from synthetic.runs import make_trainer

from dynammo.errors import UserError
from dynammo.handlers.head_tuning import TuneHeads
from dynammo.merging import State
from dynammo.networks.adapters import copy_state
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


def heads_of_last_task(trainer: IncrementalTrainer) -> tuple[State, State, State, State]:
    """Newest head and adapters when stage 1 ends, and when the task does."""
    seen: list[State] = []

    def note() -> None:
        seen[-2:] = [copy_state(trainer.network.heads[-1]), copy_state(trainer.network.adapters)]

    trainer.trainer.add_event_handler(Events.COMPLETED, note)
    trainer.learn()
    head, adapters = seen[-2:]
    return head, copy_state(trainer.network.heads[-1]), adapters, copy_state(trainer.network.adapters)


@pytest.mark.parametrize("epochs", [0, 2])
def test_heads_are_tuned_and_adapters_are_not(epochs: int, tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1, head_epochs=epochs)
    assert any(isinstance(handler, TuneHeads) and handler.epochs == epochs for handler in trainer.handlers)
    before, after, adapters, adapters_after = heads_of_last_task(trainer)
    assert torch.equal(before["weight"], after["weight"]) == (epochs == 0)
    assert all(
        torch.equal(adapters[name], value) for name, value in adapters_after.items() if not name.endswith("tracked")
    )


def test_every_image_that_was_tuned_on_is_judged_without_it(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1, head_epochs=2)
    judged: list[tuple[int, int]] = []

    def check(engine: IncrementalTrainer) -> None:
        assert engine.held_out is not None
        probabilities, unknown, labels = engine.held_out
        torch.testing.assert_close(probabilities.sum(1), torch.ones(len(labels)))
        assert unknown.shape == labels.shape
        judged.append((len(labels), probabilities.shape[1]))

    trainer.add_event_handler(TaskEvents.TASK_COMPLETED, check)
    trainer.learn()
    assert judged[0] == (12, 2)  # all images of the first task
    assert [classes for _, classes in judged] == [2, 3, 4]


def test_other_images_are_refused() -> None:
    with pytest.raises(UserError, match="head_images is 'some'; expected balanced or all"):
        TuneHeads(lambda item: item, lambda item: item, images="some")
