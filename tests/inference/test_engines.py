"""Every engine says the same of an image, and what is missing is said in a sentence."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynammo.errors import UserError
from dynammo.inference import engines
from dynammo.inference import onnx as onnx_engines
from dynammo.inference.engines import make_engine
from dynammo.inference.graph import Engine
from dynammo.inference.onnx import write_onnx
from dynammo.inference.visualisation import heat_maps
from dynammo.networks.adapters import fused
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.networks.out_of_distribution import map_features

PACKAGES = {"torch": "torch", "compile": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
ANALYTIC: dict[str, Any] = {
    "heads": [3], "others": False, "background": True, "adapter": "none", "stages": 2, "out_of_distribution": 3,
    "out_of_distribution_maps": 2,
    "pooling": {"taps": [0, 2], "deviation": True, "centre": True, "power": 0.5},
}  # fmt: skip
WRITTEN: dict[tuple[float, tuple[int, ...], tuple[str, ...]], bytes] = {}
VOLUMES = {**ANALYTIC, "spatial_dims": 3}
UNMERGED: dict[str, Any] = {"heads": [2, 3], "branches": 2, "stages": 1}


def network(**spec: Any) -> MergedClassifier:  # noqa: ANN401
    """A folded network with random weights and running statistics, so that nothing is the identity."""
    torch.manual_seed(0)
    made = MergedClassifier(**spec).eval().requires_grad_(False)
    for name, value in made.state_dict().items():
        if name.endswith(("running_mean", "means", "shift", "form")):
            value.normal_()
        if name.endswith(("running_var", "whitening")):
            value.uniform_(0.5, 1.5)
    return fused(made)


@pytest.fixture(autouse=True)
def same_graph_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of the same network share its graph, which takes seconds; code stays Python: compiling takes a minute."""

    def write(graph: torch.nn.Module, size: Sequence[int], file: Path, outputs: Sequence[str]) -> None:
        weights = sum(float(value.double().sum()) for value in graph.state_dict().values())
        key = (weights, tuple(size), tuple(outputs))
        if key not in WRITTEN:
            write_onnx(graph, size, file, outputs)
            WRITTEN[key] = file.read_bytes()
        file.write_bytes(WRITTEN[key])

    monkeypatch.setattr(onnx_engines, "write_onnx", write)
    monkeypatch.setattr(engines, "frozen_code", lambda module: torch.compile(module, dynamic=False, backend="eager"))


def engine(name: str, made: MergedClassifier, *size: int) -> Engine:
    pytest.importorskip(PACKAGES[name])
    return make_engine(name, made, size, batch_size=4)


@pytest.mark.parametrize("name", ["torch", "compile", "onnx", "openvino"])
def test_engines_agree_with_eager_torch_in_full_and_smaller_batches(name: str) -> None:
    made = network(**ANALYTIC)
    see = engine(name, fused(made), 32, 32)
    for count in (4, 1, 3):  # the last batch is smaller
        images = torch.randn(count, 3, 32, 32)
        maps = made.maps(images)
        expected = torch.cat([made(images), made.ood_score(maps)[:, None]], 1)
        rows, found = see(images)
        torch.testing.assert_close(rows, expected, atol=1e-4, rtol=1e-4)
        classes = rows[:, :3].argmax(1)
        torch.testing.assert_close(heat_maps(made, found, classes), heat_maps(made, maps, classes), atol=1e-3, rtol=0)
        assert made.out_of_distribution is not None
        torch.testing.assert_close(
            rows[:, -1], made.out_of_distribution.nearest(map_features(maps[0], 2)), atol=1e-4, rtol=1e-4
        )
        assert found[0][1].numel() == 0  # a map that is not pooled stays where it is


@pytest.mark.parametrize(
    ("name", "spec", "size"),
    [("onnx", UNMERGED, (32, 32)), ("openvino", UNMERGED, (32, 32)), ("torch", VOLUMES, (16,) * 3),
     ("onnx", VOLUMES, (16,) * 3), ("openvino", VOLUMES, (16,) * 3)],
)  # fmt: skip
def test_unmerged_adapters_and_volumes(name: str, spec: dict[str, Any], size: tuple[int, ...]) -> None:
    made = network(**spec)
    see, images = engine(name, fused(made), *size), torch.randn(2, 3, *size)
    rows, found = see(images)
    torch.testing.assert_close(rows[:, :-1], made(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rows[:, -1], made.ood_score(made.maps(images)), atol=1e-4, rtol=1e-4)
    classes = rows[:, :2].argmax(1)
    expected = heat_maps(made, made.maps(images), classes)
    torch.testing.assert_close(heat_maps(made, found, classes), expected, atol=1e-3, rtol=0)


@given(st.integers(1, 9))
@settings(max_examples=9, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_compiled_engine_fills_up_and_cuts_off(count: int) -> None:
    """Without the compiler: what is called is a function of batches of four, which must be all it ever sees."""
    made, seen = network(**ANALYTIC), []

    def code(images: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(images))
        return list(compiled.bare.graph(images))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "frozen_code", lambda module: module)
        compiled = make_engine("compile", fused(made), (16, 16), batch_size=4)
    assert isinstance(compiled, engines.CompiledEngine)
    compiled.code = code
    images = torch.randn(count, 3, 16, 16)
    torch.testing.assert_close(compiled(images).rows[:, :-1], made(images), atol=1e-4, rtol=1e-4)
    assert set(seen) == {4} and len(seen) == -(-count // 4)


def test_without_maps_only_rows_leave_the_graph() -> None:
    made = network(**ANALYTIC)
    images = torch.randn(2, 3, 32, 32)
    bare = make_engine("torch", fused(made), (32, 32), with_maps=False)(images)
    torch.testing.assert_close(bare.rows, make_engine("torch", fused(made), (32, 32))(images).rows)
    assert bare.maps == []


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_a_missing_package_is_named(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'--engine {name} .*\({package}\); type pip install "dynammo\[{name}\]"'):
        make_engine(name, network(**ANALYTIC), (32, 32))


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: torch.nn.Module) -> Any:  # noqa: ANN401
        raise RuntimeError("no compiler")

    monkeypatch.setattr(engines, "frozen_code", lambda module: broken)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler such as g\+\+"):
        make_engine("compile", network(**ANALYTIC), (32, 32))


@pytest.mark.parametrize(
    ("name", "device", "sentence"),
    [("tensorrt", "cpu", "--engine is 'tensorrt'; expected one of auto, torch"), ("onnx", "cuda:0", "--device cpu")],
)
def test_an_engine_that_cannot_be_is_refused(name: str, device: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make_engine(name, network(**ANALYTIC), (32, 32), device)


@pytest.mark.parametrize("name", ["torch-bfloat16", "compile-bfloat16"])
@pytest.mark.parametrize(("spec", "size"), [(ANALYTIC, (32, 32)), (UNMERGED, (32, 32)), (VOLUMES, (16,) * 3)])
def test_convolutions_in_bfloat16(
    name: str, spec: dict[str, Any], size: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "has_bfloat16", lambda device: True)  # other processors do it too, slowly
    made = network(**spec)
    see, images = make_engine(name, made, size, batch_size=4), torch.randn(3, 3, *size)
    rows, found = see(images)
    expected = torch.cat([made(images), made.ood_score(made.maps(images))[:, None]], 1)
    torch.testing.assert_close(rows, expected, atol=0.1, rtol=0.1)
    assert not torch.equal(rows, expected)
    assert {part.dtype for part in (rows, *(part for branch in found for part in branch))} == {torch.float32}
    assert {value.dtype for value in made.parameters()} == {torch.float32}  # what was handed over stays as it is


@pytest.mark.parametrize("name", ["torch-bfloat16", "compile-bfloat16"])
def test_bfloat16_is_refused_where_it_is_slow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "has_bfloat16", lambda device: False)
    with pytest.raises(UserError, match=f"type --engine {name.split('-')[0]}"):
        make_engine(name, network(**ANALYTIC), (32, 32))
