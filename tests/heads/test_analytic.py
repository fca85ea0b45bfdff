import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch.distributions import MultivariateNormal

from dynammo.heads.analytic import (
    HEADS,
    ClassStatistics,
    add_classes,
    background,
    lda,
    ridge,
)

FEATURES = 6


def made_up(counts: list[int], copies: int = 1, seed: int = 0, apart: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, C, F) of classes with means of their own and one covariance, and labels (N,)."""
    generator = torch.Generator().manual_seed(seed)
    means = apart * torch.randn(len(counts), FEATURES, generator=generator)
    mix = torch.randn(FEATURES, FEATURES, generator=generator)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    noise = torch.randn(len(labels), copies, FEATURES, generator=generator)
    return means[labels][:, None] + noise @ mix, labels


def learnt(features: torch.Tensor, labels: torch.Tensor, balanced: bool = True) -> ClassStatistics:
    return add_classes(ClassStatistics.empty(features.shape[2], balanced), features, labels)


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.integers(2, 12), min_size=2, max_size=6),
    copies=st.integers(1, 3),
    balanced=st.booleans(),
    head=st.sampled_from(sorted(HEADS)),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_learning_class_by_class_in_any_order_is_learning_all_at_once(
    counts: list[int], copies: int, balanced: bool, head: str, seed: int, data: st.DataObject
) -> None:
    features, labels = made_up(counts, copies, seed)
    joint = HEADS[head](learnt(features, labels, balanced), [0.01, 0.3])
    order = data.draw(st.permutations(range(len(counts))))
    statistics = ClassStatistics.empty(FEATURES, balanced)
    for position, label in enumerate(order):
        new = features[labels == label]
        statistics = add_classes(statistics, new, torch.full((len(new),), position))
    parts = HEADS[head](statistics, [0.01, 0.3])
    size = joint.weight.abs().max()
    torch.testing.assert_close(parts.weight / size, joint.weight[:, order] / size, atol=1e-8, rtol=0)
    torch.testing.assert_close(parts.bias / size, joint.bias[:, order] / size, atol=1e-8, rtol=0)


def test_state_grows_with_neither_images_nor_tasks() -> None:
    few, many = (learnt(*made_up([count] * 3)) for count in (3, 300))
    assert [v.shape for v in (few.counts, few.sums, few.gram)] == [v.shape for v in (many.counts, many.sums, many.gram)]
    assert all(v.dtype == torch.float64 for v in (many.counts, many.sums, many.gram))


@pytest.mark.parametrize("balanced", [True, False])
def test_ridge_is_that_of_scikit_learn(balanced: bool) -> None:
    features, labels = made_up([5, 40, 12])
    rows, targets = features[:, 0].double().numpy(), np.eye(3)[labels.numpy()]
    weights = (1 / np.bincount(labels)[labels]) if balanced else np.ones(len(labels))
    mean = np.average(rows, axis=0, weights=weights)
    scale = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    penalty = 0.25  # 0.2 / (1 - 0.2)
    model = Ridge(alpha=penalty * weights.sum()).fit(rows / scale, targets, sample_weight=weights)
    head = ridge(learnt(features, labels, balanced), [0.2])
    np.testing.assert_allclose(head.logits(features[:, 0])[0].numpy(), model.predict(rows / scale), atol=1e-9)


def test_lda_is_the_ratio_of_gaussian_densities() -> None:
    features, labels = made_up([30, 20, 25])
    rows = features[:, 0].double()
    means = torch.stack([rows[labels == c].mean(0) for c in range(3)])
    covariance = torch.from_numpy(np.mean([np.cov(rows[labels == c].T, bias=True) for c in range(3)], axis=0))
    shrunk = 0.7 * covariance + 0.3 * covariance.diagonal().diag()
    densities = torch.stack([MultivariateNormal(mean, shrunk).log_prob(rows) for mean in means], dim=1)
    logits = lda(learnt(features, labels), [0.3]).logits(features[:, 0])[0]
    torch.testing.assert_close(torch.softmax(logits, 1), torch.softmax(densities, 1))


def test_the_unknown_score_is_background_against_nearest_class() -> None:
    features, labels = made_up([30, 20, 25, 40])
    rows = features[:, 0].double()
    statistics = learnt(features, labels)
    score, logits = background(statistics, 0.3), lda(statistics, [0.3]).logits(rows)[0]
    shifted = logits + score.shift
    energy = 0.5 * ((shifted @ score.form) * shifted).sum(1) - score.constant - logits.amax(1)
    inside = 0.7 * statistics.within + 0.3 * statistics.within.diagonal().diag()
    between = statistics.total - statistics.within
    classes = torch.stack([MultivariateNormal(mean, inside).log_prob(rows) for mean in statistics.means], dim=1)
    outside = MultivariateNormal(statistics.means.mean(0), inside + between).log_prob(rows)
    torch.testing.assert_close(energy, outside - classes.amax(1))


def test_balanced_statistics_do_not_depend_on_how_many_images_a_class_has() -> None:
    features, labels = made_up([10, 10])
    twice = torch.cat([features, features[labels == 1]]), torch.cat([labels, labels[labels == 1]])
    for head in HEADS.values():
        once, more = (head(learnt(*data), [0.1]) for data in ((features, labels), twice))
        torch.testing.assert_close(once.weight, more.weight)
    plain = [ridge(learnt(*data, balanced=False), [0.1]).bias for data in ((features, labels), twice)]
    assert not torch.allclose(*plain)


def test_copies_weigh_as_one_image() -> None:
    features, labels = made_up([10, 7])
    one, three = learnt(features, labels), learnt(features.expand(-1, 3, -1), labels)
    torch.testing.assert_close(one.gram, three.gram)
    torch.testing.assert_close(one.sums, three.sums)
    assert torch.equal(one.counts, three.counts)


@pytest.mark.parametrize("labels", [[0, 0], [3, 3], [1, 3], [2, 4]])
def test_a_class_comes_once_and_without_a_gap(labels: list[int]) -> None:
    known = learnt(*made_up([4, 4]))
    with pytest.raises(ValueError, match="without a gap"):
        add_classes(known, torch.randn(2, 1, FEATURES), torch.tensor(labels))


def test_one_shrinkage_is_solved_as_several_are() -> None:
    statistics = learnt(*made_up([20, 15, 30]))
    for head in HEADS.values():
        together, alone = head(statistics, [0.1, 0.5]), head(statistics, [0.5])
        torch.testing.assert_close(together.weight[1:], alone.weight)


def test_features_that_never_vary_do_no_harm() -> None:
    features, labels = made_up([20, 20])
    dead = torch.cat([features, torch.zeros(40, 1, 2)], dim=2)
    for head in HEADS.values():
        logits = head(learnt(dead, labels), [0.1]).logits(dead[:, 0])[0]
        torch.testing.assert_close(logits, head(learnt(features, labels), [0.1]).logits(features[:, 0])[0])
