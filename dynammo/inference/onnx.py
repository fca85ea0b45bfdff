"""The network as ONNX, for machines without torch."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError

__all__ = ["INPUT", "OUTPUT", "check_onnx_packages", "onnx_outputs", "write_onnx"]

INPUT, OUTPUT = "image", "pred"


def check_onnx_packages() -> None:
    """Refuse where the packages are missing.

    Raises:
        UserError: what to type.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'ONNX needs a package that is not installed ({error.name}); type pip install "dynammo[onnx]", or give '
            "--no-onnx to export without."
        ) from error


def write_onnx(network: torch.nn.Module, size: Sequence[int], file: Path, outputs: Sequence[str] = (OUTPUT,)) -> None:
    """Write a network, images (B, 3, *size) to (B, K + 1) or to the named outputs, as one file with its weights.

    The graph is left as torch writes it: onnxscript's own simplification drops the small constants that keep square
    roots stable (an added 1e-8), which changed probabilities by 0.005. ONNX Runtime simplifies when it loads.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx._internal.exporter._registration", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)  # it warns of torchvision, which nothing here needs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, (torch.zeros(2, 3, *size),), dynamo=True, optimize=False, verbose=False,
                input_names=[INPUT], output_names=list(outputs), dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert program is not None  # for mypy: None comes back of the older exporter alone
    program.save(str(file), external_data=False)


def onnx_outputs(file: Path, images: torch.Tensor) -> torch.Tensor:
    """What ONNX Runtime makes of images (B, 3, ...): (B, K + 1)."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
