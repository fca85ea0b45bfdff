"""Smaller images in the first epochs of a stage."""

from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from synthetic.runs import make_trainer

from dynammo.errors import UserError
from dynammo.handlers.growing_images import shrink
from dynammo.training.trainer import IncrementalTrainer

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


def sizes_seen(trainer: IncrementalTrainer) -> list[tuple[int, ...]]:
    """Height and width of the images that each epoch of every task is fitted on."""
    seen: list[tuple[int, ...]] = []

    def note(fit: SupervisedTrainer) -> None:
        sizes = {tuple(image.shape[1:]) for image in fit.state.output["image"]}
        assert len(sizes) == 1
        seen.append(sizes.pop())

    trainer.trainer.add_event_handler(Events.EPOCH_COMPLETED, note)
    trainer.learn()
    return seen


def test_first_epochs_of_every_stage_see_smaller_images(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", small_epochs=2, image_size=18)
    stages = 1 + 3  # the backbone, then the adapters of every task
    assert sizes_seen(trainer) == stages * [(12, 12), (12, 12), (18, 18)]
    assert len(trainer.results) == 3


def test_none_by_default(tiny_data: Path, tmp_path: Path) -> None:
    assert set(sizes_seen(make_trainer(tiny_data, tmp_path / "run"))) == {(16, 16)}


def test_volumes_shrink_along_all_axes() -> None:
    volumes = torch.arange(2 * 3 * 6**3, dtype=torch.float32).view(2, 3, 6, 6, 6)
    small = shrink(volumes, 4)
    assert small.shape == (2, 3, 4, 4, 4)
    torch.testing.assert_close(small.mean((2, 3, 4)), volumes.mean((2, 3, 4)))


def test_too_small_is_a_sentence(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises((UserError, RuntimeError)) as caught:
        make_trainer(tiny_data, tmp_path / "run", small_epochs=1, image_size=9)
    assert "raise --image_size" in str(caught.value.__cause__ or caught.value.__context__ or caught.value)
