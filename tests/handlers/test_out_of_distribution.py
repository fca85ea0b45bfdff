"""Images of another kind are told from training images, through the bundle."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Trained

from dynammo.handlers.out_of_distribution import FitOutOfDistribution, out_of_distribution_of
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


@pytest.mark.parametrize(("method", "maps"), [("dynammo", 1), ("analytic", 2), ("light", 1)])
def test_layer_1_is_read_where_no_adapter_changes_it(trained: Trained, method: str, maps: int) -> None:
    run = trained(method)
    detector = load_model(run).network.out_of_distribution
    assert detector.maps == maps and detector.means.shape[1] == (128 if maps == 1 else 128 + 256)
    record = json.loads((run / "run.json").read_text())
    assert record["network"].get("out_of_distribution_maps", 1) == maps


def test_the_distance_is_that_from_the_nearest_class() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat(40)
    features = torch.randn(80, 4, generator=generator) + 10.0 * labels[:, None]
    looks = out_of_distribution_of(add_classes(ClassStatistics.empty(4), features[:, None], labels))
    means = torch.stack([features[labels == label].mean(0) for label in range(2)])
    torch.testing.assert_close(looks.nearest(means), torch.zeros(2), atol=1e-3, rtol=0)
    near, between = looks.nearest(features), looks.nearest(means.mean(0, keepdim=True))
    assert near.max() < 3 < float(between)


def features_of(classes: int, images: int, spread: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Features (classes * images, 8) of classes that lie 10 apart, images of a class one after the other."""
    generator = torch.Generator().manual_seed(seed)
    noise = spread * torch.randn(classes * images, 8, generator=generator)
    return 100 + noise + 10.0 * torch.arange(classes).repeat_interleave(images)[:, None]


def learn(*tasks: torch.Tensor, images: int) -> tuple[FitOutOfDistribution, Any]:
    """The handler after tasks with these features, and its engine."""
    fit, first = FitOutOfDistribution(lambda item: item), 0
    network = SimpleNamespace(parameters=lambda: iter([torch.zeros(1)]), out_of_distribution=None)
    data = SimpleNamespace(train=lambda task: task, groups=lambda items: torch.arange(len(items)))
    engine: Any = SimpleNamespace(trust={}, network=network, task=None, data=data)
    for features in tasks:
        labels = engine.task = first + torch.arange(len(features) // images).repeat_interleave(images)
        first = int(labels.max()) + 1
        fit._features = lambda engine, items, f=features, y=labels: (f, y)  # type: ignore[method-assign,misc]
        fit._learn(engine)
    return fit, engine


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_two_images_of_each_class_give_a_limit_that_means_something(classes: int) -> None:
    _, engine = learn(features_of(classes, 2), images=2)
    limit = engine.trust["out_of_distribution_threshold"]
    seen = engine.network.out_of_distribution.nearest(features_of(classes, 2, seed=1))
    other = engine.network.out_of_distribution.nearest(features_of(classes, 2) + torch.tensor([100.0, -100.0] * 4))
    assert (seen > limit).float().mean() < 0.3 and (other > limit).all() and limit < 100


@pytest.mark.parametrize(("images", "spread"), [(1, 1.0), (1, 0.0), (2, 0.0), (5, 0.0), (2, 1e-7)])
@pytest.mark.parametrize("classes", [1, 10, 14])
def test_one_image_of_each_class_or_its_copies_give_no_limit(images: int, spread: float, classes: int) -> None:
    fit, engine = learn(features_of(classes, images, spread), images=images)
    assert engine.trust["out_of_distribution_threshold"] is None and len(fit.labels) == len(fit.distances) == 0
    assert engine.network.out_of_distribution.nearest(features_of(classes, images)).isfinite().all()


def test_a_later_task_brings_the_limit() -> None:
    _, engine = learn(features_of(10, 1, seed=1).repeat_interleave(6, 0), features_of(3, 6), images=6)
    assert 0 < engine.trust["out_of_distribution_threshold"] < 20


def test_blank_images_are_learnt() -> None:
    _, engine = learn(torch.zeros(20, 8), images=2)
    assert engine.trust["out_of_distribution_threshold"] is None


def test_a_single_image_among_classes_of_many_is_not_judged() -> None:
    fit = FitOutOfDistribution(lambda item: item)
    engine = learn(features_of(3, 6), images=6)[1]
    labels = torch.cat([torch.arange(3).repeat_interleave(6), torch.tensor([3])])
    fit._features = lambda *_: (torch.cat([features_of(3, 6), features_of(4, 1)[3:]]), labels)  # type: ignore[method-assign]
    engine.task = labels
    fit._learn(engine)
    assert len(fit.distances) == 18 and 3 not in fit.labels and engine.trust["out_of_distribution_threshold"] > 0.5
