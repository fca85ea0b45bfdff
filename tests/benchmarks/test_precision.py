"""How often engines name the same class, on made-up sets."""

import json
from pathlib import Path

import pytest
import torch
from monai.networks.nets import resnet18
from synthetic.datasets import make_data

from benchmarks import precision as benchmark_precision
from benchmarks.precision import Agreement, compare
from dynammo.errors import UserError
from dynammo.inference import engines

pytestmark = pytest.mark.usefixtures("in_root")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One set, learnt with random weights."""
    make_data(tmp_path / "data" / "derm8", train=6, test=2)
    (tmp_path / "weights").mkdir()
    made = resnet18(n_input_channels=3, spatial_dims=2, conv1_t_stride=2, shortcut_type="B", bias_downsample=False)
    weights = {name: v for name, v in made.state_dict().items() if not name.startswith(("layer4", "fc"))}
    torch.save(weights, tmp_path / "weights" / "resnet18_imagenet1k_to_layer3.pth")
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))
    monkeypatch.setattr(benchmark_precision, "SETS", ("derm8",))
    monkeypatch.setattr(engines, "has_bfloat16", lambda device: True)
    return tmp_path


def test_the_command_writes_what_agrees(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark_precision.benchmark_precision(["torch-bfloat16"], shared / "precision.json")
    found = json.loads((shared / "precision.json").read_text())
    first, second = (found["sets"]["derm8"][name] for name in ("torch", "torch-bfloat16"))
    assert (first["same"], first["differ"], first["probability"], first["speed"]) == (100.0, 0, 0.0, 1.0)
    assert second["probability"] < 0.5 and second["speed"] > 0
    assert [bar["name"] for bar in found["bars"]] == ["derm8, torch-bfloat16: same class, %"]
    assert "torch-bfloat16" in capsys.readouterr().out


def test_no_sets_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))
    with pytest.raises(UserError, match="set DYNAMMO_SHARED"):
        benchmark_precision.benchmark_precision()


def test_an_unknown_engine_is_a_sentence(shared: Path) -> None:
    with pytest.raises(UserError, match="'int8'; expected one of auto, torch"):
        benchmark_precision.benchmark_precision(["int8"])


def test_half_a_percent_may_differ() -> None:
    rows = {name: Agreement(same, 0, 50.0, 0.0, 1.0) for name, same in (("torch", 100.0), ("a", 99.5), ("b", 99.4))}
    assert [bar.met for bar in compare({"derm8": rows})] == [True, False]
