"""ONNX Runtime computes the passes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError
from dynammo.inference.graph import Graph, Seen, arrange
from dynammo.inference.onnx import INPUT, write_onnx

__all__ = ["OnnxEngine", "graph_file"]


class OnnxEngine:
    """Passes by ONNX Runtime on the processor, with as many threads as PyTorch has.

    Args:
        one_pass: the graph, on the CPU.
        size: height and width, or depth, height and width, of what it will see, in pixels.

    Raises:
        UserError: a package that is not installed, with what to type.
    """

    def __init__(self, one_pass: Graph, size: Sequence[int]) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"--engine onnx needs a package that is not installed ({error.name}); type pip install "
                '"dynammo[onnx]", or leave --engine out.'
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")  # threads wait idle between passes
        with tempfile.TemporaryDirectory() as folder:
            file = graph_file(one_pass, size, Path(folder))
            self.session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.one_pass = one_pass

    def __call__(self, images: torch.Tensor) -> Seen:
        """One pass, see `dynammo.inference.graph.Engine`."""
        found = self.session.run(self.one_pass.outputs, {INPUT: images.contiguous().numpy()})
        return arrange(self.one_pass, [torch.from_numpy(array) for array in found])


def graph_file(one_pass: Graph, size: Sequence[int], folder: Path) -> Path:
    """Write the graph of a pass as ONNX, with its weights, for any number of images."""
    file = folder / "pass.onnx"
    write_onnx(one_pass, size, file, one_pass.outputs)
    return file
