"""Tiny runs of a few colours that learn more, and copies of models as an export leaves them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dynammo.lifecycle.learning_state import learning_state_of
from dynammo.networks.backbones import ARCHITECTURES
from dynammo.runs.load import load_model
from dynammo.runtime.files import load_state, save_state, sha256
from synthetic.datasets import ROOT, write_image
from synthetic.runs import make_trainer, without_plots

BACKBONE: dict[str, Any] = {"spatial_dims": 2, "n_input_channels": 3, "num_classes": 2, "conv1_t_size": 7,
                            "conv1_t_stride": 2, "shortcut_type": "B", "bias_downsample": False}  # fmt: skip


def colours(folder: Path, *names: str, train: int = 6, test: int = 3, first: int = 0) -> Path:
    """Class folders of these colours, in train/ and test/; images from `first` on, each another."""
    for name in names:
        for split, count in (("train", train), ("test", test)):
            for number in range(first, first + count):
                seed = 1000 * len(name) + 100 * (split == "test") + number + 10 * ord(name[0])
                write_image(folder / split / name / f"{name}_{number}.png", name, seed, size=16)
    return folder


def backbone_weights(file: Path, seed: int = 0) -> str:
    """A weights file of a ResNet-18 up to layer 1, with random numbers."""
    torch.manual_seed(seed)
    state = ARCHITECTURES["resnet18"](**BACKBONE).state_dict()
    kept = {name: value for name, value in state.items() if name.startswith(("conv1.", "bn1.", "layer1."))}
    save_state(file, kept)
    return str(file)


def trained(data: Path, run: Path, increments: list[Any], method: str = "analytic", /, **settings: Any) -> Path:  # noqa: ANN401
    """A finished run, of few features."""
    small = {"epochs": 1, "milestones": [], "pool_centre": False, "pool_deviation": False}
    make_trainer(data, run, method, increments=increments, **{**small, **settings}).learn()
    return run


def exported(run: Path, bundle: Path) -> Path:
    """What an export leaves of a run for learning: weights, record without paths, learning state."""
    models = bundle / "models"
    models.mkdir(parents=True)
    (models / "model.ts").touch()
    shutil.copy(run / "model.pt", models)
    save_state(models / "learning.pt", learning_state_of(run))
    record = json.loads((run / "run.json").read_text())
    record["config"]["dataset_dir"] = Path(record["config"]["dataset_dir"]).name
    record["files"] = {name: sha256(models / name) for name in ("model.pt", "learning.pt")}
    (models / "run.json").write_text(json.dumps(record))
    return bundle


def assert_same_answers(first: Path, second: Path, within: float = 1e-6) -> None:
    """Two models give the same probabilities and unknown scores."""
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    answers = [load_model(run).network(images) for run in (first, second)]
    torch.testing.assert_close(answers[0], answers[1], atol=within, rtol=0)


def statistics(run: Path, handler: str = "AnalyticHeads") -> dict[str, torch.Tensor]:
    """Class statistics in the checkpoint of a run."""
    found: dict[str, torch.Tensor] = load_state(run / "checkpoint.pt")["handlers"][handler]["statistics"]
    return found


def assert_same_statistics(first: Path, second: Path) -> None:
    """Two runs know the same of their classes; by 1e-7 a feature depends on which images share its batch."""
    for handler in ("AnalyticHeads", "FitOutOfDistribution"):
        mine, other = statistics(first, handler), statistics(second, handler)
        assert torch.equal(mine["counts"], other["counts"])
        for name in ("sums", "gram"):
            torch.testing.assert_close(mine[name], other[name], atol=1e-6, rtol=1e-6)


def record_of(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    return record


def two_tasks(folder: Path) -> Path:
    """A closed-form model of blue and green, then red, trained on images in a folder named like a person."""
    before = Path.cwd()
    os.chdir(ROOT)
    with pytest.MonkeyPatch.context() as patch:
        without_plots(patch)
        weights, images = (
            backbone_weights(folder / "backbone.pth"),
            colours(folder / "Mustermann", "blue", "green", "red"),
        )
        trained(images, folder / "run", [["blue", "green"], ["red"]], weights=weights)
    os.chdir(before)
    return folder / "run"
