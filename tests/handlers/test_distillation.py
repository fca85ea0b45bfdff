"""Learning without Forgetting beside plain fine-tuning."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic.runs import make_trainer

from dynammo.errors import UserError
from dynammo.handlers.distillation import distillation_loss, without_old_classes
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6))
def test_nothing_is_lost_where_both_agree_and_something_where_not(seed: int, images: int, classes: int) -> None:
    logits = torch.randn(images, classes, generator=torch.Generator().manual_seed(seed))
    assert float(distillation_loss(logits, logits + 3)) == pytest.approx(0, abs=1e-6)  # a shift changes no softmax
    other = distillation_loss(logits, 2 * logits + torch.arange(classes))
    assert float(other) >= -1e-6 and (classes == 1 or float(other) > 1e-4)


def test_gradient_is_that_of_softened_cross_entropy() -> None:
    """T (softmax(z / T) - softmax(t / T)) / B, as Hinton has it."""
    logits, teacher = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    distillation_loss(logits, teacher, 2.0).backward()  # type: ignore[no-untyped-call]
    expected = 2 * ((logits.detach() / 2).softmax(1) - (teacher / 2).softmax(1)) / 4
    torch.testing.assert_close(logits.grad, expected)


def test_labels_of_new_classes_say_nothing_of_old_ones() -> None:
    logits, labels = torch.randn(4, 5, requires_grad=True), torch.tensor([3, 0, 4, 3])  # the second is an exemplar
    loss = torch.nn.functional.cross_entropy(without_old_classes(logits, labels, 3), labels, reduction="none")
    new = torch.tensor([0, 2, 3])
    among_new = torch.nn.functional.cross_entropy(logits[new, 3:], labels[new] - 3, reduction="none")
    torch.testing.assert_close(loss[new], among_new)
    torch.testing.assert_close(loss[1], torch.nn.functional.cross_entropy(logits[1:2], labels[1:2]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad[new, :3].any() and logits.grad[1, :3].any()


def test_old_outputs_stay_nearer_with_it(tiny_data: Path, tmp_path: Path) -> None:
    """How far the outputs for old classes move while a task is learnt."""
    moved = {}
    for weight in (0.0, 5.0):
        settings = {"method": "mine", "distillation": weight, "learning_rate": 0.05, "epochs": 8}
        trainer = make_trainer(tiny_data, tmp_path / str(weight), "lwf", **settings)
        outputs: list[torch.Tensor] = []
        trainer.add_event_handler(TaskEvents.TASK_COMPLETED, remember_old_outputs, outputs)
        trainer.learn()
        first, *_, last = outputs
        moved[weight] = float((first - last).abs().mean())
        assert len(trainer.memory) == 0 and len(trainer.results) == 3
    assert moved[5.0] < moved[0.0]


def remember_old_outputs(engine: IncrementalTrainer, outputs: list[torch.Tensor]) -> None:
    """Probabilities of the first two classes among themselves."""
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        old = engine.network.classifier().classify(images)[0][:, :2]
    outputs.append(old / old.sum(1, keepdim=True))


def test_heads_that_do_not_grow_are_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises((UserError, RuntimeError)) as caught:
        make_trainer(tiny_data, tmp_path / "others", "dynammo", distillation=1.0)
    assert "needs one head that grows" in str(caught.value.__cause__ or caught.value.__context__ or caught.value)
