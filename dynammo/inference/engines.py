"""What computes the passes of classification: PyTorch, torch.compile, ONNX Runtime or OpenVINO, behind one call."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from dynammo.errors import UserError
from dynammo.inference.graph import Engine, Graph, InferenceGraph, Output, arrange, in_bfloat16
from dynammo.inference.onnx import OnnxEngine, OpenVinoEngine
from dynammo.runtime.devices import has_bfloat16, keep_freed_memory

if TYPE_CHECKING:  # MONAI takes seconds to import
    from dynammo.networks.merged_classifier import MergedClassifier

__all__ = [
    "BFLOAT16",
    "ENGINES",
    "CompiledEngine",
    "TorchEngine",
    "check_engine",
    "engine_of",
    "frozen_code",
    "make_engine",
]

BFLOAT16 = "-bfloat16"  # behind the name of an engine
ENGINES = ("auto", "torch", "compile", "onnx", "openvino", f"torch{BFLOAT16}", f"compile{BFLOAT16}")
ON_PROCESSORS = ("onnx", "openvino")


def make_engine(
    name: str,
    network: "MergedClassifier",
    size: Sequence[int],
    device: str = "cpu",
    batch_size: int = 16,
    with_maps: bool = True,
) -> Engine:
    """Make the engine that classifies.

    `auto` is `torch`: on the processors measured (docs/performance.md) all engines come close to the speed of the
    matrix multiplication, and to each other, while torch starts at once, needs no package and runs everywhere; the
    others need seconds to a minute before the first image. The engines in bfloat16 are no part of that choice: their
    answers differ a little, so they are taken only where a person asks for them.

    Args:
        name: one of `ENGINES`.
        network: in eval mode, its BatchNorms folded (`dynammo.networks.adapters.fused`), on `device`.
        size: height and width, or depth, height and width, of what it will see, in pixels.
        device: such as cpu or cuda:0.
        batch_size: images of a full batch; `compile` compiles for that number.
        with_maps: feature maps for heat maps come along.

    Raises:
        UserError: an unknown name, a package or a compiler that is not there, or a device that the engine cannot use.
    """
    return engine_of(name, InferenceGraph(network, with_maps), size, device, batch_size)


def engine_of(name: str, graph: Graph, size: Sequence[int], device: str = "cpu", batch_size: int = 16) -> Engine:
    """Make an engine of any graph, see `make_engine`."""
    check_engine(name, device)
    graph.eval()
    if name.endswith(BFLOAT16):
        name, graph = name.removesuffix(BFLOAT16), in_bfloat16(graph)
    if name == "onnx":
        return OnnxEngine(graph, size)
    if name == "openvino":
        return OpenVinoEngine(graph, size)
    layout = torch.channels_last if len(size) == 2 and device == "cpu" else torch.contiguous_format
    if name == "compile":
        return CompiledEngine(graph, size, device, batch_size, layout)
    return TorchEngine(graph, device, layout)


def check_engine(name: str, device: str = "cpu") -> None:
    """Refuse an engine that does not exist or does not compute on `device`, or no faster than one in float32.

    Raises:
        UserError: what to type.
    """
    if name not in ENGINES:
        raise UserError(f"--engine is {name!r}; expected one of {', '.join(ENGINES)}.")
    if name in ON_PROCESSORS and device != "cpu":
        raise UserError(
            f"--engine {name} computes on the processor, not on {device}; type --device cpu, or --engine torch."
        )
    if name.endswith(BFLOAT16) and not has_bfloat16(torch.device(device)):
        raise UserError(
            f"--engine {name} needs arithmetic for bfloat16, which {device} has not here: it would be slower than "
            f"float32; type --engine {name.removesuffix(BFLOAT16)}."
        )


class TorchEngine:
    """Passes by PyTorch itself.

    Args:
        graph: the graph, on `device`.
        device: such as cpu or cuda:0.
        layout: of images and weights; convolutions of processors like `torch.channels_last`.
    """

    def __init__(
        self, graph: Graph, device: str = "cpu", layout: torch.memory_format = torch.contiguous_format
    ) -> None:
        if device == "cpu":
            keep_freed_memory()
        self.graph = graph.to(memory_format=layout)  # type: ignore[call-overload]
        self.device, self.layout = device, layout

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Output:
        """One pass, see `dynammo.inference.graph.Engine`."""
        return arrange(self.graph, self.graph(images.to(self.device, memory_format=self.layout)))


class CompiledEngine:
    """Passes by torch.compile, weights frozen into the code, for one number of images: smaller batches are filled up.

    Args:
        graph: the graph, on `device`.
        size: height and width, or depth, height and width, of what it will see, in pixels.
        device: such as cpu or cuda:0.
        batch_size: images of a full batch.
        layout: of images and weights; convolutions of processors like `torch.channels_last`.

    Raises:
        UserError: there is no C++ compiler, or the code does not compile.
    """

    def __init__(
        self,
        graph: Graph,
        size: Sequence[int],
        device: str = "cpu",
        batch_size: int = 16,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.bare = TorchEngine(graph, device, layout)
        self.batch_size = batch_size
        self.code = frozen_code(graph)
        try:
            self(torch.zeros(batch_size, 3, *size))
        except Exception as error:  # of many kinds: no compiler, no headers, a temporary folder that cannot be written
            raise UserError(
                f"--engine compile cannot compile here ({type(error).__name__}): torch.compile needs a C++ compiler "
                "such as g++; install one, or type --engine torch."
            ) from error

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> Output:
        """One pass, see `dynammo.inference.graph.Engine`."""
        parts = [self._pass(part) for part in images.split(self.batch_size)]  # type: ignore[no-untyped-call]
        return arrange(self.bare.graph, [torch.cat(same) for same in zip(*parts, strict=True)])

    def _pass(self, images: torch.Tensor) -> list[torch.Tensor]:
        count = len(images)
        if count < self.batch_size:
            images = torch.cat([images, images.new_zeros(self.batch_size - count, *images.shape[1:])])
        found = self.code(images.to(self.bare.device, memory_format=self.bare.layout))
        return [tensor[:count] for tensor in found]


def frozen_code(module: torch.nn.Module) -> Callable[[torch.Tensor], Sequence[torch.Tensor]]:
    """A module in eval mode, compiled at its first call for the shape that it gets, weights frozen into the code."""
    module.eval().requires_grad_(False)
    code: Callable[[torch.Tensor], Sequence[torch.Tensor]] = torch.compile(
        module, dynamic=False, options={"freezing": True}
    )
    return code
