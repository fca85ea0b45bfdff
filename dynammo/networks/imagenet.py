"""ImageNet weights of ResNets: where they come from and lie; nothing heavy is imported to tell."""

import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynammo.errors import UserError
from dynammo.runtime.plain import expanded

__all__ = ["FILES", "check_reachable", "kept_at", "missing_weights", "out_of_reach"]

FILES = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
"""torchvision's IMAGENET1K_V1 files; a name ends in the first 8 digits of the file's sha256."""

PATIENCE = 10  # seconds


def kept_at(architecture: str) -> Path:
    """Where `torch.hub` keeps the weights of an architecture, as torch documents it."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    folder = expanded(os.environ.get("TORCH_HOME") or caches / "torch")
    return folder / "hub" / "checkpoints" / FILES[architecture].rpartition("/")[2]


def missing_weights(settings: Mapping[str, Any]) -> str | None:
    """The ResNet whose ImageNet weights these settings of train.yaml ask for and that do not lie here."""
    architecture = str(settings["architecture"])
    wanted = settings["weights"] == "imagenet" and architecture in FILES
    return architecture if wanted and not kept_at(architecture).is_file() else None


def check_reachable(architecture: str) -> None:
    """Prove that the weights can be fetched; nothing of them is read yet.

    Raises:
        UserError: they cannot; it says the ways out.
    """
    try:
        urllib.request.urlopen(FILES[architecture], timeout=PATIENCE).close()
    except OSError as error:
        raise out_of_reach(architecture, error) from error


def out_of_reach(architecture: str, error: OSError) -> UserError:
    """What to say and to type where the weights cannot be fetched."""
    return UserError(
        f"the ImageNet weights of {architecture} are not on this machine and {FILES[architecture]} cannot be reached "
        f"({getattr(error, 'reason', error)}); fetch that file elsewhere and put it at {kept_at(architecture)}, or "
        "type --weights FILE; dynammo train also takes --weights first_task, which trains the backbone on the first "
        "task."
    )
