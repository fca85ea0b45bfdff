"""Stage 1 in mixed precision."""

from pathlib import Path

import pytest
import torch
from monai.engines import IterationEvents, SupervisedTrainer
from synthetic.runs import Interrupted, at_epoch, interrupted, left_by, make_trainer

from dynammo.errors import UserError
from dynammo.handlers.mixed_precision import wants_mixed_precision
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.runs import resume as resuming
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")
CPU = torch.device("cpu")


def precisions_of(trainer: IncrementalTrainer) -> set[torch.dtype]:
    """What the frozen layers compute in while stage 1 runs, and that all else is float32."""
    seen: set[torch.dtype] = set()

    def look(_module: object, _inputs: object, output: torch.Tensor) -> None:
        if torch.is_grad_enabled():
            seen.add(output.dtype)

    def check(fit: SupervisedTrainer) -> None:
        network: IncrementalNetwork = trainer.network
        assert fit.state.output["pred"].dtype == torch.float32
        assert all(
            p.grad.dtype == p.dtype == torch.float32 for p in network.trainable_parameters() if p.grad is not None
        )

    trainer.network.backbone.layers[0].register_forward_hook(look)
    trainer.trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, check)
    trainer.learn()
    return seen


def test_convolutions_alone_are_in_bfloat16(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", mixed_precision=True, epochs=1)
    frozen: list[dict[str, torch.Tensor]] = []
    trainer.add_event_handler(
        TaskEvents.TASK_COMPLETED,
        lambda: frozen.append({k: v.clone() for k, v in trainer.network.backbone.state_dict().items()}),
    )
    assert precisions_of(trainer) == {torch.bfloat16}
    assert len(trainer.results) == 3
    first, *others = frozen
    assert all(torch.equal(first[name], later[name]) for later in others for name in first)
    assert {tensor.dtype for tensor in trainer.network.classifier().parameters()} == {torch.float32}


def test_processors_compute_in_float32_by_default(tiny_data: Path, tmp_path: Path) -> None:
    assert precisions_of(make_trainer(tiny_data, tmp_path / "run", epochs=1)) == {torch.float32}


def test_an_interrupted_run_ends_as_it_would_have(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_trainer(tiny_data, tmp_path / "whole", mixed_precision=True)
    whole.learn()
    broken_off = make_trainer(tiny_data, tmp_path / "broken", mixed_precision=True)
    with monkeypatch.context() as patch:
        patch.setattr(resuming, "save_checkpoint", interrupted(resuming.save_checkpoint, at_epoch(1, "adapters", 2)))
        with pytest.raises(Interrupted):
            broken_off.learn()
    make_trainer(tiny_data, tmp_path / "broken", mixed_precision=True).learn()
    assert left_by(tmp_path / "broken") == left_by(tmp_path / "whole")


def test_auto_is_for_gpus() -> None:
    assert not wants_mixed_precision("auto", CPU)
    assert wants_mixed_precision(True, CPU)
    assert not wants_mixed_precision(False, torch.device("cuda"))


def test_another_value_is_a_sentence() -> None:
    with pytest.raises(UserError, match="expected auto, True or False: type --mixed_precision VALUE"):
        wants_mixed_precision("half", CPU)
