"""Learning without Forgetting: what the network of the task before says of the new images is a target too."""

import copy

import torch
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils.enums import CommonKeys
from torch import nn

from dynammo.errors import UserError
from dynammo.network import IncrementalNetwork
from dynammo.trainer import IncrementalTrainer, TaskEvents

__all__ = ["LearnWithoutForgetting", "distillation_loss"]


class LearnWithoutForgetting:
    """Add the distillation loss on the outputs of the old classes to every step of stage 1 (arXiv 1606.09282).

    The teacher is the network as the task before left it; no image of an earlier task is needed.

    Args:
        weight: of the distillation beside the loss on the labels.
        temperature: softens both outputs, 2 in the paper.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 2.0) -> None:
        self.weight = weight
        self.temperature = temperature
        self.teacher: IncrementalNetwork | None = None
        self.known = 0

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks, and with the trainer of a task.

        Raises:
            UserError: heads that do not grow: their old outputs cannot be compared.
        """
        if engine.network.head_layout != "softmax":
            raise UserError(
                f"distillation needs one head that grows, but head_layout is {engine.network.head_layout}; type "
                "--head_layout softmax, or --distillation 0."
            )
        engine.add_event_handler(TaskEvents.TASK_STARTED, self._keep_teacher)
        engine.trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, self._add_loss)
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._drop_teacher)

    def _keep_teacher(self, engine: IncrementalTrainer) -> None:
        self.known = engine.task.first_label
        self.teacher = copy.deepcopy(engine.network).eval().requires_grad_(False) if self.known else None

    def _drop_teacher(self, engine: IncrementalTrainer) -> None:
        self.teacher = None

    def _add_loss(self, trainer: SupervisedTrainer) -> None:
        if self.teacher is None:
            return
        output = trainer.state.output
        with torch.no_grad():
            before = self.teacher(output[CommonKeys.IMAGE])[:, : self.known]
        now = output[CommonKeys.PRED][:, : self.known]
        output[CommonKeys.LOSS] = output[CommonKeys.LOSS] + self.weight * distillation_loss(
            now, before, self.temperature
        )


def distillation_loss(logits: torch.Tensor, teacher: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """Divergence of softened outputs, `T^2 KL(softmax(teacher / T) || softmax(logits / T))` (Hinton, 1503.02531).

    Args:
        logits: (B, K).
        teacher: (B, K) logits of the network that is to be remembered.
        temperature: T.

    Returns:
        Mean over the batch, 0 where both agree.
    """
    now, before = (nn.functional.log_softmax(part / temperature, dim=1) for part in (logits, teacher))
    return temperature**2 * nn.functional.kl_div(now, before, reduction="batchmean", log_target=True)
