"""Learning without Forgetting: what the network of the task before says of the new images is a target too."""

import copy

import torch
from monai.engines import IterationEvents, SupervisedTrainer
from monai.utils.enums import CommonKeys
from torch import nn

from dynammo.errors import UserError
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["LearnWithoutForgetting", "distillation_loss", "without_old_classes"]


class LearnWithoutForgetting:
    """Learn new classes among themselves, and hold the outputs for old ones near what they were (arXiv 1606.09282).

    As in the paper, labels of new classes are judged by a softmax over the new classes alone, so that they do not push
    the old ones down. The teacher is the network as the task before left it; no image of an earlier task is needed.

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
        logits, labels = output[CommonKeys.PRED], output[CommonKeys.LABEL]
        with torch.no_grad():
            before = self.teacher(output[CommonKeys.IMAGE])[:, : self.known]
        among_new = trainer.loss_function(without_old_classes(logits, labels, self.known), labels).mean()
        held = distillation_loss(logits[:, : self.known], before, self.temperature)
        output[CommonKeys.LOSS] = among_new + self.weight * held


def without_old_classes(logits: torch.Tensor, labels: torch.Tensor, known: int) -> torch.Tensor:
    """Logits that leave images of new classes to the new classes, and other images as they are.

    Args:
        logits: (B, K) of all classes, the `known` old ones first.
        labels: (B,).
        known: number of old classes.

    Returns:
        (B, K), minus infinity for the old classes in rows of new ones.
    """
    old = torch.arange(logits.shape[1], device=logits.device) < known
    return logits.masked_fill((labels >= known)[:, None] & old, -torch.inf)


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
