"""Scores of unknown images: what they say of made-up classes, and that today's is the product's."""

import numpy as np
import pytest
import torch

from benchmarks.unknown_scores import FOLDS, SCORES, Gaussians, held_out, relative, scored, spanned
from dynammo.handlers.analytic_head import make_head
from dynammo.heads.analytic import ClassStatistics, add_classes

SHRINKAGE = 0.1


def made(images: int, features: int, copies: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % 3
    centres = torch.randn(3, features, generator=generator)
    spread = torch.rand(features, generator=generator) + 0.1
    noise = torch.randn(images, copies, features, generator=generator)
    return centres[labels][:, None] + spread * noise, labels


@pytest.mark.parametrize(("images", "features"), [(30, 80), (90, 12)])  # fewer rows than features, and more
def test_distances_are_those_of_the_shrunk_covariance(images: int, features: int) -> None:
    learnt, labels = made(images, features)
    others = 2 * torch.randn(11, features, generator=torch.Generator().manual_seed(1))
    known = add_classes(ClassStatistics.empty(features), learnt, labels)
    of = Gaussians(learnt, labels).distances(others, SHRINKAGE)
    within = known.within
    covariance = (1 - SHRINKAGE) * within + SHRINKAGE * within.diagonal().diag()
    away = others.double()[:, None] - known.means
    squares = (away @ torch.linalg.inv(covariance) * away).sum(2)
    assert torch.allclose(of.nearest, squares.amin(1))

    head, background = make_head(known, "lda", SHRINKAGE, 0.01)  # so mild that no logistic function is at its end
    assert background is not None
    with torch.no_grad():
        logits = head(others)
        assert torch.allclose(logits.double(), 0.01 * of.logits, atol=1e-3)
        assert torch.allclose(background(logits)[:, 0].double(), torch.sigmoid(0.01 * relative(of)), atol=1e-4)


def test_groups_are_left_out_together() -> None:
    labels, groups = torch.arange(60) % 3, torch.arange(60) // 4
    folds = held_out(labels, groups)
    assert len(folds) == FOLDS and sum(len(left) for _, left in folds) == 60
    for inside, left in folds:
        assert not set(groups[inside].tolist()) & set(groups[left].tolist())


def test_every_score_finds_images_from_afar() -> None:
    features, labels = made(150, 20)
    far = features[:40, 0] + 8 * torch.randn(20, generator=torch.Generator().manual_seed(2))
    judged, shrinkage = scored(features, labels, held_out(labels, torch.arange(150)), far)
    assert 0 < shrinkage < 1 and judged.left_out.keys() == judged.others.keys() == SCORES.keys()
    for name in SCORES:
        known = judged.left_out[name]
        assert known.mean() == pytest.approx(0, abs=1e-9), name
        found = np.mean(judged.others[name] > np.quantile(known, 0.95))
        assert found > 0.9 or name == "cosine in the span of the classes", name  # blind to what lies outside of it


def test_cosine_in_the_span_is_that_of_the_projection() -> None:
    learnt, labels = made(90, 12)
    of = Gaussians(learnt, labels)
    inside = of.distances(learnt[:, 0].mean(0) + 0 * learnt[:3, 0], SHRINKAGE)
    means = torch.stack([learnt[labels == label].flatten(0, 1).mean(0) for label in range(3)])
    assert torch.allclose(spanned(of.distances(means, SHRINKAGE)), -torch.ones(3, dtype=torch.float64), atol=1e-6)
    assert (spanned(inside) > -1).all()
