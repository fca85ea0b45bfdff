"""Images of another kind are told from training images, through the bundle."""

import json
from pathlib import Path

import pytest
import torch
from conftest import Trained
from synthetic.datasets import make_data, run_bundle

from dynammo.handlers.out_of_distribution import out_of_distribution_of
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.runs.load import load_model

pytestmark = pytest.mark.usefixtures("in_root")


@pytest.mark.parametrize("method", ["dynammo", "analytic"])
def test_images_of_another_kind_are_far_from_all_training_images(trained: Trained, method: str) -> None:
    run = trained(method)
    network = load_model(run).network
    limit = json.loads((run / "run.json").read_text())["trust"]["out_of_distribution_threshold"]
    stripes = (torch.arange(32) % 2).float().expand(1, 3, 32, 32) * 6 - 3
    assert float(network.ood_score(network.maps(stripes))) > 2 * limit


@pytest.mark.usefixtures("no_plots")
def test_a_class_of_one_image_can_be_learnt(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", train=1, test=1)
    run_bundle(
        "training", ["bundle/configs/train.yaml", "configs/methods/finetune.yaml"], dataset_dir=str(data),
        output_dir=str(tmp_path / "run"), mlflow=False, stages=1, image_size=16, weights="first_task", epochs=1,
    )  # fmt: skip
    assert json.loads((tmp_path / "run" / "run.json").read_text())["trust"]["out_of_distribution_threshold"] >= 0


def test_the_distance_is_that_from_the_nearest_class() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(40)
    features = torch.randn(80, 4, generator=generator) + 10.0 * labels[:, None]
    looks = out_of_distribution_of(add_classes(ClassStatistics.empty(4), features[:, None], labels))
    means = torch.stack([features[labels == label].mean(0) for label in range(2)])
    torch.testing.assert_close(looks.nearest(means), torch.zeros(2), atol=1e-3, rtol=0)
    near, between = looks.nearest(features), looks.nearest(means.mean(0, keepdim=True))
    assert near.max() < 3 < float(between)
