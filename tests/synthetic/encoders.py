"""Tiny encoders of others, at random, and the contract that all of them keep."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dynammo.export.export_run import ExportSettings, export_run
from dynammo.lifecycle.train import train
from dynammo.lifecycle.training_plan import TrainSettings
from dynammo.networks.encoders import scripted
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import build_classifier

SIZE = 32
TOKENS = {
    "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": SIZE, "patch_size": 8,
}  # fmt: skip
STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
KINDS: dict[str, tuple[str, dict[str, Any], list[int]]] = {  # config class, its settings, maps of one pixel
    "vit": ("ViTConfig", TOKENS, [4]),
    "dinov2": ("Dinov2Config", TOKENS, [4]),
    "registers": ("Dinov2WithRegistersConfig", TOKENS, [4]),
    "siglip": ("SiglipConfig", {"vision_config": TOKENS, "text_config": {**TOKENS, "vocab_size": 50}}, []),
    "convnext": ("ConvNextConfig", STAGES, [4]),
    "resnet": ("ResNetConfig", {**STAGES, "embedding_size": 8, "layer_type": "basic"}, [4]),
    "swin": (
        "SwinConfig",
        {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": SIZE, "patch_size": 4, "window_size": 4},
        [],
    ),
}
PROGRAM = """
import torch

def make():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 12, 3, 2))
    net.mean, net.std, net.size = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 32
    return net

class Wrong(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.weight = kind, torch.nn.Parameter(torch.ones(1))
        self.norm = torch.nn.BatchNorm2d(3)

    def forward(self, images):
        maps = images[:, :, ::2, ::2] * self.weight
        if self.kind == "nan":
            return maps * float("nan")
        if self.kind == "draws":
            return maps + torch.rand_like(maps)
        if self.kind == "tokens":
            return maps.flatten(2)
        if self.kind == "words":
            return "maps"
        if self.kind == "moves":
            return self.norm.train()(maps)
        raise ValueError("only 7 x 7 images")

def nan(): return Wrong("nan")
def draws(): return Wrong("draws")
def tokens(): return Wrong("tokens")
def words(): return Wrong("words")
def moves(): return Wrong("moves")
def raises(): return Wrong("raises")
def number(): return 7
"""


def hugging_face(kind: str, folder: Path) -> str:
    transformers = pytest.importorskip("transformers")
    name, settings, _ = KINDS[kind]
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    transformers.AutoModel.from_config(getattr(transformers, name)(**settings)).save_pretrained(folder)
    seen = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(seen))
    return f"hf:{folder}"


def write_sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is typed, by name; all but Hugging Face's."""
    (folder / "my_encoder.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "my_encoder", raising=False)
    torch.manual_seed(0)
    torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())).save(str(folder / "encoder.ts"))
    return {
        "python": "python:my_encoder:make",
        "torchscript": f"torchscript:{folder / 'encoder.ts'}",
        "monai": "monai:DenseNet121",
    }


def keeps_the_contract(name: str, adapter: str, stages: int, weights: str = "own", dims: int = 2) -> None:
    """Identity at birth, merged is shipped, rebuilt is the same, TorchScript agrees, the encoder never changes."""
    pooling = {"taps": list(range(stages + 1)), "deviation": True, "centre": True}
    network = IncrementalNetwork(name, stages, weights, adapter, "analytic", dims, image_size=SIZE, pooling=pooling)
    network.start_task(2, 2)
    encoder = network.backbone.encoder
    assert encoder is not None
    images = torch.rand(3, 3, *[SIZE] * dims)
    before = {key: value.clone() for key, value in network.backbone.state_dict().items()}
    plain = [found.detach() for found in encoder(images)]
    if adapter == "conv":  # nearly the identity at birth
        assert all(float(found.alpha) < 0.1 for found in network.adapters)
        with torch.no_grad():
            for found in network.adapters:
                found.alpha.zero_()
    network.train()
    torch.testing.assert_close(
        network.eval().pooling(plain), network.pooling(network._maps_of_encoder(encoder, images))
    )
    if adapter != "none":
        network.train()(images).sum().backward()
        moved = 0
        with torch.no_grad():
            for parameter in network.adapters.parameters():
                moved += parameter.grad is not None
                parameter += 0.01 * torch.randn_like(parameter)
        assert moved > len(list(network.adapters.parameters())) / 2  # poolers of transformers are not used
    network.eval().set_branches([network.adapter_state()])
    network.set_analytic_head(nn.Linear(network.pooling.features, 3))
    classifier = network.classifier()
    with torch.no_grad():
        for one, other in zip(network._maps_of_encoder(encoder, images), classifier.maps(images)[0], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        said = classifier(images)
        spec = json.loads(json.dumps(network.classifier_spec()))
        assert torch.equal(build_classifier(spec, classifier.state_dict())(images), said)
        for batch in (images, images[:1]):
            graph = scripted(classifier, images.shape[1:])
            torch.testing.assert_close(graph(batch), classifier(batch), atol=1e-5, rtol=0)
    after = network.backbone.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def exported_vit(data: Path, folder: Path) -> Path:
    """The exported bundle of a tiny ViT that has learnt images of class folders."""
    bundle = folder / "dynammo_vit_classification"
    backbone, values = hugging_face("vit", folder / "vit"), {"image_size": SIZE}
    settings = TrainSettings("light", backbone=backbone, values=values, mlflow=False)
    export_run(train(data, folder / "run", settings), bundle, ExportSettings(onnx=False))
    return bundle
