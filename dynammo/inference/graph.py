"""One pass of the network for a report: everything that is said of an image, as every engine computes it."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import nn

if TYPE_CHECKING:  # MONAI takes seconds to import
    from dynammo.networks.merged_classifier import MergedClassifier

__all__ = ["BackboneAlone", "Engine", "Graph", "InferenceGraph", "Output", "arrange", "in_bfloat16"]

Maps = list[list[torch.Tensor]]


class Output(NamedTuple):
    """What one pass found in B images.

    Attributes:
        rows: (B, K + 2) on the CPU: K probabilities that sum to 1, unknown score in [0, 1], ood_score from 0 on.
        maps: feature maps of each branch as `dynammo.inference.visualisation.heat_maps` takes them, (B, 0) in place of
            those that are not pooled; no branches where the graph leaves maps out.
    """

    rows: torch.Tensor
    maps: Maps


class Engine(Protocol):
    """What computes passes."""

    def __call__(self, images: torch.Tensor) -> Output:
        """Look at images (B, C, H, W) or volumes (B, C, D, H, W), prepared, on the CPU; B may change."""
        ...


class InferenceGraph(nn.Module):
    """A graph from images to rows and to the feature maps that are pooled, flat, since graphs have no nested lists.

    Args:
        network: the classifier, its BatchNorms folded.
        with_maps: return maps too; without heat maps they need not leave the graph.
    """

    def __init__(self, network: "MergedClassifier", with_maps: bool = True) -> None:
        super().__init__()
        self.network = network
        last = network.backbone.depth
        pooled = [tap for tap in range(last + 1) if tap in network.pooling.taps or tap == last]
        self.taken = pooled if with_maps else []
        self.dtype = torch.float32  # of the convolutions

    @property
    def outputs(self) -> list[str]:
        """Names of what `forward` returns."""
        branches = range(len(self.network.branches))
        return ["rows", *(f"map_{branch}_{tap}" for branch in branches for tap in self.taken)]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map images (B, C, H, W) to rows (B, K + 2) and maps (B, C_i, H_i, W_i), as `outputs` names them."""
        network = self.network
        maps = network.maps(images.to(self.dtype))
        if self.dtype != torch.float32:  # moments and heads need more digits; ood_score sees to its own
            read = {*network.pooling.taps, *self.taken}
            maps = [[found.float() if tap in read else found for tap, found in enumerate(b)] for b in maps]
        probabilities, unknown = network.join(network.logits(network.pool(maps)))
        rows = torch.cat([probabilities, unknown, network.ood_score(maps)[:, None]], dim=1)
        return rows, *(branch[tap] for branch in maps for tap in self.taken)


class BackboneAlone(nn.Module):
    """The same kind of graph with nothing but the plain backbone, what a pass is measured against.

    Args:
        backbone: its BatchNorms folded.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.outputs, self.taken = ["rows"], list[int]()
        self.dtype = torch.float32

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map images (B, C, H, W) to pooled features (B, F)."""
        return (self.backbone(images.to(self.dtype)).float(),)


Graph = InferenceGraph | BackboneAlone


def in_bfloat16(graph: Graph) -> Graph:
    """A copy of a graph whose convolutions, in backbone and adapters, compute in bfloat16; all else is in float32."""
    graph = copy.deepcopy(graph)
    graph.dtype = torch.bfloat16
    parts = [graph.backbone] if isinstance(graph, BackboneAlone) else [graph.network.backbone, graph.network.branches]
    for part in parts:
        part.to(torch.bfloat16)
    return graph


def arrange(graph: Graph, found: Sequence[torch.Tensor]) -> Output:
    """What `forward` of a graph returns, apart."""
    rows, flat, count = found[0].cpu(), found[1:], len(graph.taken)
    if not flat:
        return Output(rows, [])
    nothing = flat[0].new_empty(len(flat[0]), 0)
    branches: Maps = []
    for start in range(0, len(flat), count):
        taken = dict(zip(graph.taken, flat[start : start + count], strict=True))
        branches.append([taken.get(tap, nothing) for tap in range(graph.taken[-1] + 1)])
    return Output(rows, branches)
