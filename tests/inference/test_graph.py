"""One pass holds all that is said of an image: probabilities, unknown score, distance, and the maps behind them."""

from typing import Any

import pytest
import torch

from dynammo.inference.graph import BackboneAlone, InferenceGraph, arrange, in_bfloat16
from dynammo.networks.adapters import fused
from dynammo.networks.merged_classifier import MergedClassifier

SPECS: list[dict[str, Any]] = [
    {"heads": [2, 3], "branches": 2, "stages": 2},
    {"heads": [3], "others": False, "background": True, "adapter": "none", "stages": 2, "pooling": {"taps": [0]}},
]


def network(**spec: Any) -> MergedClassifier:  # noqa: ANN401
    torch.manual_seed(0)
    return fused(MergedClassifier(**spec).eval().requires_grad_(False))


@pytest.mark.parametrize("spec", SPECS)
def test_a_pass_says_what_the_network_says(spec: dict[str, Any]) -> None:
    made, images = network(**spec), torch.randn(3, 3, 32, 32)
    graph = InferenceGraph(made)
    found = graph(images)
    assert len(found) == len(graph.outputs) and graph.outputs[0] == "rows"
    rows, maps = arrange(graph, found)
    probabilities, unknown = made.classify(images)
    torch.testing.assert_close(rows[:, :-2], probabilities)
    torch.testing.assert_close(rows[:, -2:-1], unknown)
    expected = made.maps(images)
    torch.testing.assert_close(rows[:, -1], made.ood_score(expected))
    assert len(maps) == len(made.branches)
    for mine, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(mine[-1], theirs[-1])
        assert all(a.numel() == 0 or torch.allclose(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_maps_can_be_left_out(spec: dict[str, Any]) -> None:
    graph, images = InferenceGraph(network(**spec), with_maps=False), torch.randn(2, 3, 32, 32)
    assert graph.outputs == ["rows"]
    rows, maps = arrange(graph, graph(images))
    assert maps == [] and len(rows) == 2


def test_half_the_digits_are_for_a_copy_and_for_convolutions_alone() -> None:
    made, images = network(**SPECS[0]), torch.randn(2, 3, 32, 32)
    graph = InferenceGraph(made)
    half = in_bfloat16(graph)
    assert {p.dtype for p in made.parameters()} == {torch.float32}
    assert {p.dtype for p in half.network.heads.parameters()} == {torch.float32}  # type: ignore[union-attr]
    assert {p.dtype for p in half.network.backbone.parameters()} == {torch.bfloat16}  # type: ignore[union-attr]
    rows = half(images)[0]
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows[:, :-2], graph(images)[0][:, :-2], atol=0.05, rtol=0)


def test_the_backbone_alone_is_a_graph_too() -> None:
    made, images = network(**SPECS[0]), torch.randn(2, 3, 32, 32)
    rows, maps = arrange(BackboneAlone(made.backbone), BackboneAlone(made.backbone)(images))
    torch.testing.assert_close(rows, made.backbone(images))
    assert maps == []
