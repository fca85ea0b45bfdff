import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.heads.analytic import (
    HEADS,
    INVERSE_TEMPERATURES,
    SHRINKAGES,
    ClassStatistics,
    Shard,
    add_classes,
    choose,
)
from dynammo.heads.cross_validation import FOLDS, assign_folds, fit_with_folds, held_out_logits
from dynammo.heads.linear import grow_head, tune_heads
from dynammo.heads.linear_algebra import LARGE
from dynammo.heads.scatters import pool, scatter_classes

FEATURES = 6


def made_up(counts: list[int], copies: int = 1, seed: int = 0, known: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, C, F) of classes with means of their own, in no order, and labels (N,) behind the known classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    means = 2 * torch.randn(len(counts), FEATURES, generator=generator)
    noise = torch.randn(len(labels), copies, FEATURES, generator=generator)
    return means[labels][:, None] + noise @ torch.randn(FEATURES, FEATURES, generator=generator), labels + known


def assert_same(found: ClassStatistics, expected: ClassStatistics) -> None:
    for name in ("counts", "sums", "gram"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-8, rtol=1e-10)


@settings(deadline=None, max_examples=20)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    copies=st.integers(1, 3),
    balanced=st.booleans(),
    head=st.sampled_from(sorted(HEADS)),
    seed=st.integers(0, 1000),
)
def test_statistics_without_a_fold_are_those_of_the_other_images(
    counts: list[int], copies: int, balanced: bool, head: str, seed: int
) -> None:
    known = add_classes(ClassStatistics.empty(FEATURES, balanced), *made_up([7, 9], copies, seed + 1))
    features, labels = made_up(counts, copies, seed, known=2)
    fitted = fit_with_folds(known, features, labels, head, [0.1, 0.3], keep_scatters=True)
    assert_same(fitted.statistics, add_classes(known, features, labels))
    assert fitted.scatters is not None
    torch.testing.assert_close(
        known.gram + pool(fitted.scatters, balanced).gram, fitted.statistics.gram, atol=1e-8, rtol=1e-10
    )
    expected = scatter_classes(features, labels)
    torch.testing.assert_close(fitted.scatters.scatters, expected.scatters, atol=1e-8, rtol=1e-10)
    assert len(fitted.folds) == (min(5, min(counts)) if min(counts) > 1 else 0)
    if fitted.folds:
        assert torch.stack([fold.left.int() for fold in fitted.folds]).sum(0).eq(1).all()
    for fold in fitted.folds:
        without = add_classes(known, features[~fold.left], labels[~fold.left])
        assert_same(fold.statistics, without)
        torch.testing.assert_close(fold.heads.weight, HEADS[head](without, [0.1, 0.3]).weight, atol=1e-6, rtol=1e-6)


def test_losses_are_those_of_the_images_left_out() -> None:
    features, labels = made_up([11, 8, 5], 2)
    fitted = fit_with_folds(ClassStatistics.empty(FEATURES), features, labels, "lda", [0.1, 0.3])
    expected = torch.zeros(3, 2, dtype=torch.float64)
    column, factor = 20, INVERSE_TEMPERATURES[20]
    for fold in fitted.folds:
        logits = factor * fold.heads.logits(features[fold.left, 0])
        for row, of_shrinkage in enumerate(logits):
            losses = torch.nn.functional.cross_entropy(of_shrinkage, labels[fold.left], reduction="none")
            expected[:, row].index_add_(0, labels[fold.left], losses)
    torch.testing.assert_close(fitted.losses[..., column], expected / torch.tensor([11.0, 8.0, 5.0])[:, None])


def test_shares_of_images_sum_to_the_whole() -> None:
    """Two processes, played by two runs of the same steps: the second hears what the first has summed, and so on."""
    features, labels = made_up([9, 7], 2)
    here = torch.arange(16) % 3 == 0
    parts: list[list[torch.Tensor]] = [[], []]

    def silent(part: int) -> Shard:
        def total(tensor: torch.Tensor) -> torch.Tensor:
            parts[part].append(tensor.clone())
            return tensor

        return Shard(labels, here if part == 0 else ~here, total)

    for part, mine in enumerate((here, ~here)):
        fit_with_folds(
            ClassStatistics.empty(FEATURES), features[mine], labels[mine], "lda", [0.1], shard=silent(part),
            keep_scatters=True,
        )  # fmt: skip
    assert len(parts[0]) == len(parts[1])
    sums = [a + b for a, b in zip(*parts, strict=True)]
    whole = fit_with_folds(ClassStatistics.empty(FEATURES), features, labels, "lda", [0.1], keep_scatters=True)
    assert whole.scatters is not None
    torch.testing.assert_close(torch.stack(sums[:2]), whole.scatters.scatters, atol=1e-9, rtol=0)
    torch.testing.assert_close(sums[2][-1], whole.statistics.sums, atol=1e-9, rtol=0)
    torch.testing.assert_close(sums[-2], whole.statistics.gram, atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_many_features_choose_as_if_each_fold_were_learnt_and_solved_apart(seed: int) -> None:
    """The slow way: statistics of the other images, a Cholesky factor in float64 for every fold and shrinkage."""
    generator = torch.Generator().manual_seed(seed)
    size, count = LARGE + 8, 20 + 40 * seed
    known = torch.randn(60, 2, size, generator=generator), torch.arange(60) % 2
    labels = torch.arange(2 * count) % 2
    shift = (0.1 + 0.1 * seed) * torch.randn(2, 1, size, generator=generator)
    features = torch.randn(2 * count, 2, size, generator=generator) + shift[labels]
    statistics, labels = add_classes(ClassStatistics.empty(size), *known), labels + 2
    fitted = fit_with_folds(statistics, features, labels, "lda")
    losses = torch.zeros_like(fitted.losses)
    fold = assign_folds(labels, FOLDS)
    for i in range(FOLDS):
        without = add_classes(statistics, features[fold != i], labels[fold != i])
        for row, shrinkage in enumerate(SHRINKAGES):
            logits = HEADS["lda"](without, [shrinkage]).logits(features[fold == i, 0])[0]
            for column, factor in enumerate(INVERSE_TEMPERATURES):
                loss = torch.nn.functional.cross_entropy(factor * logits, labels[fold == i], reduction="none")
                losses[:, row, column].index_add_(0, labels[fold == i] - 2, loss / count)
    torch.testing.assert_close(fitted.losses, losses, rtol=1e-4, atol=1e-6)
    assert choose(fitted.losses) == choose(losses)


@pytest.mark.parametrize("count", [2, 5, 13])
def test_folds_are_runs_of_nearly_one_length(count: int) -> None:
    labels = torch.arange(3).repeat(count)
    fold = assign_folds(labels, 2)
    for label in range(3):
        of_class = fold[labels == label]
        assert (of_class.diff() >= 0).all()
        assert abs(int((of_class == 0).sum()) - int((of_class == 1).sum())) <= 1


def test_a_class_comes_once_and_without_a_gap() -> None:
    known = add_classes(ClassStatistics.empty(FEATURES), *made_up([4, 4]))
    with pytest.raises(ValueError, match="without a gap"):
        fit_with_folds(known, torch.randn(2, 1, FEATURES), torch.tensor([1, 2]), "lda")


def test_few_noisy_images_ask_for_more_shrinkage_than_many() -> None:
    generator = torch.Generator().manual_seed(0)

    def chosen(count: int) -> tuple[float, float]:
        labels = torch.arange(2).repeat_interleave(count)
        noise = torch.randn(len(labels), 1, 40, generator=generator)
        mix = torch.eye(40) + 0.9 * torch.randn(40, 40, generator=torch.Generator().manual_seed(1)) / 6
        features = noise @ mix
        features[labels == 1, 0, :5] += 1.5
        return choose(fit_with_folds(ClassStatistics.empty(40), features, labels, "lda").losses)

    assert chosen(12)[0] > chosen(400)[0]
    assert chosen(12)[1] < chosen(400)[1]  # and for less confidence


def test_held_out_images_do_not_judge_heads_that_saw_them() -> None:
    """Labels that say nothing cost at least as much as guessing, where a fitted head would look perfect."""
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(30, 1, 60, generator=generator), torch.arange(2).repeat(15)
    losses = fit_with_folds(ClassStatistics.empty(60), features, labels, "lda").losses
    assert losses.shape == (2, len(SHRINKAGES), len(INVERSE_TEMPERATURES))
    assert losses.mean(0).min() > 0.95 * math.log(2)
    assert choose(losses)[1] < 0.1


def test_nothing_to_judge_leaves_the_defaults() -> None:
    features, labels = made_up([5])
    assert choose(fit_with_folds(ClassStatistics.empty(FEATURES), features, labels, "ridge").losses) == (0.85, 0.01)
    features, labels = made_up([5, 1])
    assert choose(fit_with_folds(ClassStatistics.empty(FEATURES), features, labels, "lda").losses) == (0.85, 0.01)


def test_held_back_images_do_not_know_their_own_label() -> None:
    """On labels that are noise, heads that saw an image are right about it, held-back ones are not."""
    torch.manual_seed(0)
    features, labels = [torch.randn(40, 60)], [torch.randint(2, (40,))]
    heads = torch.nn.ModuleList([grow_head(None, 60, 2)])

    def tune(h: torch.nn.ModuleList, x: list[torch.Tensor], y: list[torch.Tensor]) -> float:
        return tune_heads(h, x, y, epochs=60, learning_rate=1e-2)

    state = torch.random.get_rng_state()
    held_out = held_out_logits(heads, features, labels, 40, 5, tune)[0].argmax(1)
    assert torch.equal(state, torch.random.get_rng_state())
    tune(heads, features, labels)
    seen = heads[0](features[0]).argmax(1)
    assert (seen == labels[0]).float().mean() > 0.95 > 0.8 > (held_out == labels[0]).float().mean()


@settings(deadline=None, max_examples=50)
@given(
    sizes=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=3),
    folds=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_folds_keep_groups_together_and_leave_every_class_others(sizes: list[list[int]], folds: int, seed: int) -> None:
    labels = torch.cat([torch.full((sum(of_class),), label) for label, of_class in enumerate(sizes)])
    groups = torch.cat([torch.arange(len(of)).repeat_interleave(torch.tensor(of)) for of in sizes])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    labels, groups = labels[order], groups[order]
    found = assign_folds(labels, folds, groups=groups)
    for label, of_class in enumerate(sizes):
        mine = labels == label
        if len(of_class) == 1:  # as without groups
            assert torch.equal(found[mine], assign_folds(labels[mine], folds))
            continue
        assert len(found[mine].unique()) > 1
        for group in range(len(of_class)):
            assert len(found[mine & (groups == group)].unique()) == 1


def test_folds_without_groups_are_those_of_groups_of_one() -> None:
    labels = torch.arange(3).repeat(11)
    assert torch.equal(assign_folds(labels, 5), assign_folds(labels, 5, groups=torch.arange(33)))
