"""The paper's method and ACL on encoders of others, from the first task to the network that ships."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic.encoders import SIZE, hugging_face
from synthetic.runs import Interrupted, at_epoch, interrupted, left_by, make_trainer

from dynammo.cli import main
from dynammo.errors import UserError
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.runs import resume
from dynammo.runs.load import load_model

CONVNEXT, VIT = {"stages": 2, "taps": [1, 2]}, {"stages": 4, "taps": [3, 4]}


def settings(kind: str, adapter: str, folder: Path) -> dict[str, Any]:
    name = hugging_face(kind, folder / kind)
    shape = VIT if kind == "vit" else CONVNEXT
    return {"architecture": name, "weights": "own", "image_size": SIZE, "adapter": adapter, "epochs": 2, **shape}


@pytest.mark.parametrize(
    ("method", "kind", "adapter", "branches"),
    [("dynammo", "vit", "low_rank", 1), ("dynammo", "convnext", "conv", 1), ("acl", "convnext", "conv", 3)],
)
def test_what_is_trained_ships_and_is_the_same_after_a_break(
    method: str, kind: str, adapter: str, branches: int, tiny_data: Path, tmp_path: Path, no_plots: None
) -> None:
    chosen = settings(kind, adapter, tmp_path)
    trainer = make_trainer(tiny_data, tmp_path / "run", method, **chosen)
    before = {name: value.clone() for name, value in trainer.network.backbone.state_dict().items()}
    trainer.learn()
    after = trainer.network.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(resume, "save_checkpoint", interrupted(resume.save_checkpoint, at_epoch(1, "adapters", 1)))
        make_trainer(tiny_data, tmp_path / "cut", method, **chosen).learn()
    make_trainer(tiny_data, tmp_path / "cut", method, **chosen).learn()
    assert left_by(tmp_path / "cut") == left_by(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["network"]["branches"] == branches
    images = torch.rand(3, 3, SIZE, SIZE)
    expected = trainer.network.classifier()(images)
    torch.testing.assert_close(load_model(tmp_path / "run").network(images), expected, atol=1e-6, rtol=0)
    with pytest.raises(SystemExit) as ended:
        main(["export", "-m", str(tmp_path / "run"), "-o", str(tmp_path / "bundle")])
    assert not ended.value.code
    file = tmp_path / "bundle" / "models" / "model.ts"
    graph = torch.jit.load(str(file))  # type: ignore[no-untyped-call]
    for batch in (images, images[:1]):
        torch.testing.assert_close(graph(batch), trainer.network.classifier()(batch), atol=1e-5, rtol=0)
    torch.testing.assert_close(load_model(file).network(images), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "stages", "words"),
    [
        ("vit", 4, "has none: give adapter low_rank, which is always merged, or none"),
        ("convnext", 4, "image_size 32 leaves 2 pixels at an adapter of hf:.*, which needs 3"),
    ],
)
def test_the_papers_adapter_needs_stages_and_pixels(kind: str, stages: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        IncrementalNetwork(hugging_face(kind, tmp_path / kind), stages, "own", "conv", image_size=SIZE)
