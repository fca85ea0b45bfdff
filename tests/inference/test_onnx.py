"""The network as ONNX gives what it gives in PyTorch."""

import sys
from pathlib import Path

import pytest
import torch

from dynammo.errors import UserError
from dynammo.inference.onnx import check_onnx_packages, onnx_outputs, write_onnx
from dynammo.networks.merged_classifier import MergedClassifier


def test_any_number_of_images_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = MergedClassifier(heads=[2, 1], stages=1).eval().requires_grad_(False)
    write_onnx(network, (32, 32), tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]  # weights inside
    for count in (1, 3):
        images = torch.randn(count, 3, 32, 32)
        torch.testing.assert_close(onnx_outputs(tmp_path / "model.onnx", images), network(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, other, None if other == package else sys)
    with pytest.raises(UserError, match=rf'not installed \({package}\); type pip install "dynammo\[onnx\]"'):
        check_onnx_packages()
