"""What can be done to classes apart equals learning from scratch, whatever the classes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.heads.analytic import HEADS, ClassStatistics, add_classes
from dynammo.heads.scatters import (
    ClassScatters,
    add_images,
    combine,
    pool,
    remove_classes,
    scatter_classes,
    select_classes,
    update_classes,
)

FEATURES = 5
COUNTS = st.lists(st.integers(1, 12), min_size=2, max_size=5)
SEEDS = st.integers(0, 1000)
COPIES = st.integers(1, 3)
quickly = settings(deadline=None, max_examples=25)


def made_up(counts: list[int], copies: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, C, F) of classes with means of their own, images of all classes mixed, and labels (N,)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    means = 2 * torch.randn(len(counts), 1, FEATURES, generator=generator)
    return means[labels] + torch.randn(len(labels), copies, FEATURES, generator=generator), labels


def learnt(features: torch.Tensor, labels: torch.Tensor, balanced: bool) -> ClassStatistics:
    return add_classes(ClassStatistics.empty(FEATURES, balanced), features, labels)


def assert_same(found: ClassStatistics, expected: ClassStatistics) -> None:
    """Equal statistics, and equal heads of them."""
    assert found.balanced == expected.balanced
    for name in ("counts", "sums", "gram"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-8, rtol=1e-10)
    if len(found.counts) > 1 and float(torch.linalg.cond(expected.within)) < 1e5:  # enough images to tell apart
        for head in HEADS.values():
            first, second = (head(statistics, [0.3]).weight for statistics in (found, expected))
            torch.testing.assert_close(first / second.abs().max(), second / second.abs().max(), atol=1e-8, rtol=0)


@quickly
@given(counts=COUNTS, copies=COPIES, balanced=st.booleans(), seed=SEEDS)
def test_pooled_scatters_are_the_statistics(counts: list[int], copies: int, balanced: bool, seed: int) -> None:
    features, labels = made_up(counts, copies, seed)
    assert_same(pool(scatter_classes(features, labels), balanced), learnt(features, labels, balanced))


@quickly
@given(counts=COUNTS, copies=COPIES, balanced=st.booleans(), seed=SEEDS, data=st.data())
def test_a_removed_class_was_never_learnt(
    counts: list[int], copies: int, balanced: bool, seed: int, data: st.DataObject
) -> None:
    features, labels = made_up(counts, copies, seed)
    gone = data.draw(st.lists(st.sampled_from(range(len(counts))), min_size=1, max_size=len(counts) - 1, unique=True))
    rest = [label for label in range(len(counts)) if label not in gone]
    scatters = scatter_classes(features, labels)
    found = remove_classes(learnt(features, labels, balanced), select_classes(scatters, gone), gone)
    kept = torch.isin(labels, torch.tensor(rest))
    moved_up = torch.tensor([rest.index(int(label)) for label in labels[kept]])
    assert_same(found, learnt(features[kept], moved_up, balanced))


@quickly
@given(counts=COUNTS, copies=COPIES, balanced=st.booleans(), seed=SEEDS, data=st.data())
def test_more_images_of_known_classes_equal_all_images_at_once(
    counts: list[int], copies: int, balanced: bool, seed: int, data: st.DataObject
) -> None:
    changed = data.draw(st.lists(st.sampled_from(range(len(counts))), min_size=1, unique=True).map(sorted))
    features, labels = made_up(counts, copies, seed)
    more, more_labels = made_up([2] * len(counts), copies, seed + 1)
    of_changed = torch.isin(more_labels, torch.tensor(changed))
    more, more_labels = more[of_changed], more_labels[of_changed]
    before = select_classes(scatter_classes(features, labels), changed)
    found = update_classes(learnt(features, labels, balanced), before, scatter_classes(more, more_labels), changed)
    assert_same(found, learnt(torch.cat([features, more]), torch.cat([labels, more_labels]), balanced))


@quickly
@given(counts=COUNTS, others=COUNTS, copies=COPIES, balanced=st.booleans(), seed=SEEDS)
def test_combined_sites_equal_one_sequence(
    counts: list[int], others: list[int], copies: int, balanced: bool, seed: int
) -> None:
    here, there = made_up(counts, copies, seed), made_up(others, copies, seed + 1)
    together = add_classes(learnt(*here, balanced), there[0], there[1] + len(counts))
    assert_same(combine(learnt(*here, balanced), learnt(*there, balanced)), together)


@quickly
@given(counts=COUNTS, copies=COPIES, balanced=st.booleans(), seed=SEEDS)
def test_two_sites_of_the_same_classes_equal_one_with_all_images(
    counts: list[int], copies: int, balanced: bool, seed: int
) -> None:
    here, there = made_up(counts, copies, seed), made_up(counts[::-1], copies, seed + 1)
    found = pool(add_images(scatter_classes(*here), scatter_classes(*there)), balanced)
    both = [torch.cat(pair) for pair in zip(here, there, strict=True)]
    assert_same(found, learnt(both[0], both[1], balanced))


def test_scatters_hold_nothing_of_an_image_and_half_a_matrix() -> None:
    few, many = (scatter_classes(*made_up([count] * 3, 2, 0)) for count in (3, 300))
    for scatters in (few, many):
        assert {name: tuple(part.shape) for name, part in scatters.state_dict().items()} == {
            "counts": (3,), "sums": (3, FEATURES), "scatters": (3, FEATURES * (FEATURES + 1) // 2)
        }  # fmt: skip
        assert all(part.dtype == torch.float64 for part in scatters.state_dict().values())


def test_scatters_of_other_images_are_refused() -> None:
    features, labels = made_up([4, 5], 1, 0)
    statistics, others = learnt(features, labels, True), scatter_classes(*made_up([4, 5], 1, 1))
    with pytest.raises(ValueError, match="not those of"):
        remove_classes(statistics, select_classes(others, [1]), [1])
    with pytest.raises(ValueError, match="not those of"):
        update_classes(statistics, others, ClassScatters(**others.state_dict()), [0, 1])


def test_statistics_of_other_features_or_weights_do_not_combine() -> None:
    features, labels = made_up([4, 5], 1, 0)
    for other in (ClassStatistics.empty(FEATURES + 1), ClassStatistics.empty(FEATURES, balanced=False)):
        with pytest.raises(ValueError, match="same features"):
            combine(learnt(features, labels, True), other)
