"""Stage 1 in mixed precision: convolutions in bfloat16, everything that is learnt in float32."""

from typing import Any

import torch
from monai.inferers import SimpleInferer

from dynammo.runtime.devices import has_bfloat16
from dynammo.training.settings import SETTINGS
from dynammo.training.trainer import IncrementalTrainer

__all__ = ["Autocast", "MixedPrecision", "wants_mixed_precision"]


class MixedPrecision:
    """Let the trainer of a task run the network under autocast to bfloat16, pictures in channels_last.

    Parameters, optimiser, BatchNorm statistics and loss stay in float32. bfloat16 has the range of float32, so no
    gradient is lost and no `GradScaler` is needed; that is why this is not MONAI's `amp`, which scales float16 and
    knows GPUs alone.
    """

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the trainer of a task."""
        engine.trainer.inferer = Autocast()


class Autocast(SimpleInferer):  # type: ignore[misc]
    """Runs a network on pictures (B, C, H, W) or volumes under autocast to bfloat16."""

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
        """Logits (B, K) in float32."""
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            logits: torch.Tensor = super().__call__(inputs, network, *args, **kwargs)
        return logits.float()


def wants_mixed_precision(setting: bool | str, device: torch.device) -> bool:
    """What the config value `mixed_precision` means on a device: `auto` is true on GPUs that compute in bfloat16.

    Processors keep float32 unless told otherwise, so that the same command gives the same model on all of them.

    Raises:
        UserError: another value.
    """
    SETTINGS["mixed_precision"].check(setting)
    if setting == "auto":
        return device.type == "cuda" and has_bfloat16(device)
    return bool(setting)
