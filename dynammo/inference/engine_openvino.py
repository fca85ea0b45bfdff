"""OpenVINO computes the passes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError
from dynammo.inference.engine_onnx import graph_file
from dynammo.inference.graph import Graph, Seen, arrange

__all__ = ["OpenVinoEngine"]


class OpenVinoEngine:
    """Passes by OpenVINO on the processor, in float32, with as many threads as PyTorch has.

    The graph comes by way of ONNX, the form that exports are checked in too.

    Args:
        one_pass: the graph, on the CPU.
        size: height and width, or depth, height and width, of what it will see, in pixels.

    Raises:
        UserError: a package that is not installed, with what to type.
    """

    def __init__(self, one_pass: Graph, size: Sequence[int]) -> None:
        self.one_pass = one_pass
        self.request = _request(one_pass, size)

    def __call__(self, images: torch.Tensor) -> Seen:
        """One pass, see `dynammo.inference.graph.Engine`."""
        found = self.request.infer([images.contiguous().numpy()], share_inputs=True)
        return arrange(self.one_pass, [torch.from_numpy(found[name].copy()) for name in self.one_pass.outputs])


def _request(one_pass: Graph, size: Sequence[int]) -> Any:  # noqa: ANN401
    """An inference request for a graph, images (B, 3, *size) to its outputs.

    Raises:
        UserError: a package that is not installed, with what to type.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import openvino
    except ImportError as error:
        raise UserError(
            f"--engine openvino needs a package that is not installed ({error.name}); type pip install "
            '"dynammo[openvino]", or leave --engine out.'
        ) from error
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # processors that can would take bfloat16 by themselves
    }
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        model = core.read_model(graph_file(one_pass, size, Path(folder)))
        return core.compile_model(model, "CPU", settings).create_infer_request()
