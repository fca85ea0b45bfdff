"""Where encoders come from, from what is typed to a model that is handed over."""

import json
import sys
from pathlib import Path

import pytest
import torch
from monai.networks.nets import DenseNet121
from synthetic.datasets import CLASSES, TINY
from synthetic.encoders import SIZE, hugging_face, keeps_the_contract

from dynammo.cli import main
from dynammo.errors import UserError
from dynammo.networks import encoder_sources
from dynammo.networks.encoder_sources import open_encoder, rebuilt_encoder
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.runs.load import load_model
from dynammo.runs.torchscript import torchscript_state


@pytest.mark.parametrize(("kind", "adapter"), [("python", "none"), ("python", "low_rank"), ("torchscript", "none")])
def test_programs_that_are_trusted(kind: str, adapter: str, sources: dict[str, str]) -> None:
    with pytest.raises(UserError, match="--trust-model"):
        open_encoder(sources[kind], "own", SIZE)
    encoder_sources.trust_programs()
    encoder = open_encoder(sources[kind], "own", SIZE)
    keeps_the_contract(sources[kind], adapter, 1)
    if kind == "python":
        assert encoder.about["mean"] == [0.5, 0.5, 0.5] and encoder.about["size"] == SIZE
        with pytest.raises(UserError, match="is not what this model was trained with"):
            rebuilt_encoder({**encoder.about, "digest": "0"})


def test_a_record_runs_no_program(sources: dict[str, str]) -> None:
    encoder_sources.trust_programs()
    about = open_encoder(sources["python"], "own", SIZE).about
    encoder_sources._trusted = False
    sys.modules.pop("my_encoder")
    with pytest.raises(UserError, match="--trust-model"):
        rebuilt_encoder(about)
    assert "my_encoder" not in sys.modules


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        ("nowhere:x", "own", "there is no encoder nowhere:x"),
        ("hf:", "own", "there is no encoder"),
        ("monai:DenseNet121", "imagenet", "type --weights own"),
        ("torchscript:none.ts", "file.pt", "come with it"),
        ("monai:Nothing", "first_task", "MONAI has no network Nothing"),
        ("monai:UNETR", "first_task", "cannot be built from dimensions and channels alone"),
    ],
)
def test_what_cannot_be_opened_is_said(name: str, weights: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_encoder(name, weights, SIZE)


def test_adapters_where_there_are_no_stages_and_too_many_stages_are_refused(sources: dict[str, str]) -> None:
    encoder_sources.trust_programs()
    with pytest.raises(UserError, match="has none: give adapter low_rank"):
        IncrementalNetwork(sources["torchscript"], 1, "own", "conv", image_size=SIZE)
    with pytest.raises(UserError, match="has maps from 0 to 4; type --stages 4"):
        IncrementalNetwork("monai:DenseNet121", 9, "first_task", "none", image_size=SIZE)


def typed(*words: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*words])
    assert not stopped.value.code


@pytest.mark.parametrize("kind", ["hf", "monai", "torchscript", "python"])
def test_every_source_trains_classifies_and_exports(
    kind: str, sources: dict[str, str], tiny_data: Path, tmp_path: Path, no_plots: None
) -> None:
    name = hugging_face("vit", tmp_path / "vit") if kind == "hf" else sources[kind]
    trust = ["--trust-model"] if kind in ("torchscript", "python") else []
    given = []
    if kind == "monai":  # at random: nothing is trained
        state = DenseNet121(spatial_dims=2, in_channels=3, out_channels=2).state_dict()
        torch.save(state, tmp_path / "weights.pt")
        given = ["--weights", str(tmp_path / "weights.pt"), "--set", "stages=1", "--set", "taps=[1]"]  # few features
    small = ["--set", f"batch_size={TINY['batch_size']}", "--set", "image_size=32", "--no-mlflow", *trust]
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    typed("train", str(tiny_data), "-o", str(run), "--backbone", name, *given, *small)
    record = json.loads((run / "run.json").read_text())
    assert record["network"]["encoder"]["name"] == name and record["classes"] == sorted(CLASSES)
    typed("classify", "-i", str(tiny_data / "test"), "-o", str(tmp_path / "out"), "-m", str(run), *trust)
    onnx = ["--no-onnx"] if kind in ("torchscript", "monai") else []  # torch takes a minute for a DenseNet121
    typed("export", "-m", str(run), "-o", str(bundle), *onnx, *trust)
    images = torch.rand(2, 3, 32, 32)
    expected = load_model(run).network(images)
    graph = torch.jit.load(str(bundle / "models" / "model.ts"))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(graph(images), expected, atol=1e-5, rtol=0)
    handed_over = json.loads((bundle / "models" / "run.json").read_text())
    if kind != "torchscript":  # a program is named as it was typed
        assert str(tmp_path) not in json.dumps([handed_over["network"], handed_over["config"]["architecture"]])
    assert torchscript_state(bundle / "models" / "model.ts")
    torch.testing.assert_close(load_model(bundle / "models" / "model.ts").network(images), expected)
    if trust:
        encoder_sources._trusted = False
        with pytest.raises(UserError, match="--trust-model"):
            load_model(run)
