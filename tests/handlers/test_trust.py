"""What a run says of its own trustworthiness, through the bundle."""

import json
from pathlib import Path

import pytest
import torch
from conftest import Trained
from synthetic.datasets import make_data, run_bundle

from dynammo.runs.load import load_model

pytestmark = pytest.mark.usefixtures("in_root")


@pytest.mark.parametrize("method", ["dynammo", "acl", "analytic", "finetune"])
def test_every_run_states_its_thresholds(trained: Trained, method: str) -> None:
    trust = json.loads((trained(method) / "run.json").read_text())["trust"]
    assert 0 <= trust["unknown_threshold"] <= 1 and trust["false_alarm_rate"] == 0.05
    assert trust["looks_threshold"] > 0 and trust["looks_false_alarm_rate"] == 0.01
    assert trust["held_back_images"] > 0 and ("ece_before" in trust) == (method != "analytic")
    assert float(load_model(trained(method)).network.temperature) == pytest.approx(trust["temperature"], rel=1e-5)


@pytest.mark.parametrize("method", ["dynammo", "analytic"])
def test_images_of_another_kind_are_far_from_all_training_images(trained: Trained, method: str) -> None:
    run = trained(method)
    network = load_model(run).network
    limit = json.loads((run / "run.json").read_text())["trust"]["looks_threshold"]
    stripes = (torch.arange(32) % 2).float().expand(1, 3, 32, 32) * 6 - 3
    assert float(network.strangeness(network.maps(stripes))) > 2 * limit


@pytest.mark.usefixtures("no_plots")
def test_a_class_of_one_image_can_be_learnt(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", train=1, test=1)
    run_bundle(
        "training", ["bundle/configs/train.yaml", "configs/methods/finetune.yaml"], dataset_dir=str(data),
        output_dir=str(tmp_path / "run"), mlflow=False, stages=1, image_size=16, weights="first_task", epochs=1,
    )  # fmt: skip
    assert json.loads((tmp_path / "run" / "run.json").read_text())["trust"]["looks_threshold"] >= 0
