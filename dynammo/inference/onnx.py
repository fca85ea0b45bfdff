"""The network as ONNX, for machines without torch."""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError
from dynammo.inference.graph import Graph, Output, arrange

__all__ = [
    "INPUT",
    "OUTPUT",
    "OnnxEngine",
    "OpenVinoEngine",
    "check_onnx_packages",
    "graph_file",
    "onnx_outputs",
    "write_onnx",
]

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


def write_onnx(
    network: torch.nn.Module,
    size: Sequence[int],
    file: Path,
    outputs: Sequence[str] = (OUTPUT,),
    channels: int = 3,
    name: str = INPUT,
) -> None:
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
                network, (torch.zeros(2, channels, *size),), dynamo=True, optimize=False, verbose=False,
                input_names=[name], output_names=list(outputs), dynamic_shapes=({0: torch.export.Dim("batch")},),
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


class OnnxEngine:
    """Passes by ONNX Runtime on the processor, with as many threads as PyTorch has.

    Args:
        graph: the graph, on the CPU.
        size: height and width, or depth, height and width, of what it will see, in pixels.

    Raises:
        UserError: a package that is not installed, with what to type.
    """

    def __init__(self, graph: Graph, size: Sequence[int]) -> None:
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
            file = graph_file(graph, size, Path(folder))
            self.session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.graph = graph

    def __call__(self, images: torch.Tensor) -> Output:
        """One pass, see `dynammo.inference.graph.Engine`."""
        found = self.session.run(self.graph.outputs, {INPUT: images.contiguous().numpy()})
        return arrange(self.graph, [torch.from_numpy(array) for array in found])


def graph_file(graph: Graph, size: Sequence[int], folder: Path) -> Path:
    """Write the graph of a pass as ONNX, with its weights, for any number of images."""
    file = folder / "pass.onnx"
    write_onnx(graph, size, file, graph.outputs)
    return file


class OpenVinoEngine:
    """Passes by OpenVINO on the processor, in float32, with as many threads as PyTorch has.

    The graph comes by way of ONNX, the form that exports are checked in too.

    Args:
        graph: the graph, on the CPU.
        size: height and width, or depth, height and width, of what it will see, in pixels.

    Raises:
        UserError: a package that is not installed, with what to type.
    """

    def __init__(self, graph: Graph, size: Sequence[int]) -> None:
        self.graph = graph
        self.request = _request(graph, size)

    def __call__(self, images: torch.Tensor) -> Output:
        """One pass, see `dynammo.inference.graph.Engine`."""
        found = self.request.infer([images.contiguous().numpy()], share_inputs=True)
        return arrange(self.graph, [torch.from_numpy(found[name].copy()) for name in self.graph.outputs])


def _request(graph: Graph, size: Sequence[int]) -> Any:  # noqa: ANN401
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
        model = core.read_model(graph_file(graph, size, Path(folder)))
        return core.compile_model(model, "CPU", settings).create_infer_request()
