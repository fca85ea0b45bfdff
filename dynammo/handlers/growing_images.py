"""Smaller images in the first epochs: progressive resizing."""

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.utils.enums import CommonKeys
from torch.nn.functional import interpolate

from dynammo.networks.incremental_network import check_image_size
from dynammo.training.trainer import IncrementalTrainer

__all__ = ["GrowImages", "shrink"]


class GrowImages:
    """Show smaller images in the first epochs of every stage that fits by gradient, whole ones in the others.

    A step on images of two thirds the size takes 0.44 of the time. What a network learns early hardly needs more
    (progressive resizing, as in EfficientNetV2, arXiv 2104.00298). Prediction sees whole images alone.

    Args:
        epochs: on smaller images, at the start of a stage.
        image_size: height and width of whole images in pixels.
        scale: of the smaller ones, above 0, at most 1.
    """

    def __init__(self, epochs: int, image_size: int, scale: float = 2 / 3) -> None:
        self.epochs = epochs
        self.size = round(image_size * scale)

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the trainer of a task.

        Raises:
            UserError: smaller images would be too small for the adapters.
        """
        check_image_size(self.size, engine.network.spec["stages"], engine.network.spec["adapter"])
        engine.trainer.add_event_handler(Events.ITERATION_STARTED, self._shrink)

    def _shrink(self, trainer: SupervisedTrainer) -> None:
        if trainer.state.epoch <= self.epochs:
            batch = trainer.state.batch
            trainer.state.batch = {**batch, CommonKeys.IMAGE: shrink(batch[CommonKeys.IMAGE], self.size)}


def shrink(images: torch.Tensor, size: int) -> torch.Tensor:
    """Means over areas: images (B, C, H, W) or (B, C, D, H, W) with `size` pixels on every side."""
    return interpolate(images, [size] * (images.ndim - 2), mode="area")
