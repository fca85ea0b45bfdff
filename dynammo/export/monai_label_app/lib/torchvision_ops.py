"""Lets torchvision be imported beside another build of torch; MONAI Label needs only what it draws pictures with."""

import sys

import torch

__all__ = ["import_torchvision"]

OPERATORS = (  # that torchvision looks for when it is imported, and which its compiled part brings
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # kept: the operators go when it goes


def import_torchvision() -> None:
    """Import torchvision; where its compiled part does not load, declare the operators that it looks for first.

    The wheels on PyPI are built for CUDA; beside a torch for the CPU their compiled part is not loaded.
    """
    global _library
    try:
        import torchvision
    except RuntimeError:  # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in OPERATORS:
            _library.define(operator)  # type: ignore[no-untyped-call]
        import torchvision  # noqa: F401
