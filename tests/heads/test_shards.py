"""Statistics of images spread over processes are those of all images, however they are spread."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.heads.analytic import ClassStatistics, Shard, add_classes
from dynammo.heads.cross_validation import fit_with_folds
from dynammo.heads.scatters import pool, scatter_classes

FEATURES, SHARES = 5, 4
COUNTS = st.lists(st.integers(1, 12), min_size=1, max_size=5)
quickly = settings(deadline=None, max_examples=25)
T = TypeVar("T")


def made_up(counts: list[int], first: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, 2, F) of classes from `first`, all mixed, and labels (N,)."""
    labels = first + torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    means = 2 * torch.randn(len(counts), 1, FEATURES, generator=generator)
    return means[labels - first] + torch.randn(len(labels), 2, FEATURES, generator=generator), labels


def in_shares(features: torch.Tensor, labels: torch.Tensor, owner: torch.Tensor, learn: Callable[..., T]) -> list[T]:
    """What `learn` gives in each of four threads, which hold the images that they own and sum up together."""
    barrier = Barrier(SHARES, timeout=30)
    sent: list[torch.Tensor] = [torch.empty(0)] * SHARES

    def work(number: int) -> T:
        def total(tensor: torch.Tensor) -> torch.Tensor:
            sent[number] = tensor.clone()
            barrier.wait()
            found = torch.stack(sent).sum(0)
            barrier.wait()
            return found

        here = owner == number
        return learn(features[here], labels[here], Shard(labels, here, total))

    with ThreadPoolExecutor(SHARES) as pool_of_threads:
        return list(pool_of_threads.map(work, range(SHARES)))


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * max(1.0, float(expected.abs().max())))


def assert_same_statistics(found: ClassStatistics, expected: ClassStatistics) -> None:
    for name in ("counts", "sums", "gram"):
        assert_same(getattr(found, name), getattr(expected, name))


@quickly
@given(known=COUNTS, counts=COUNTS, balanced=st.booleans(), seed=st.integers(0, 1000))
def test_four_shares_are_one(known: list[int], counts: list[int], balanced: bool, seed: int) -> None:
    """Some shares lack a class, some are empty."""
    generator = torch.Generator().manual_seed(seed)
    before = add_classes(ClassStatistics.empty(FEATURES, balanced), *made_up(known, 0, generator))
    features, labels = made_up(counts, len(known), generator)
    owner = torch.randint(SHARES, labels.shape, generator=generator)
    whole = add_classes(before, features, labels)
    for found in in_shares(features, labels, owner, lambda f, y, shard: add_classes(before, f, y, shard)):
        assert_same_statistics(found, whole)
    apart = pool(scatter_classes(features, labels), balanced)
    for scatters in in_shares(features, labels, owner, scatter_classes):
        assert_same_statistics(pool(scatters, balanced), apart)


@quickly
@given(counts=st.lists(st.integers(2, 12), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_held_out_losses_of_four_shares_are_those_of_one(counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    known = add_classes(ClassStatistics.empty(FEATURES), *made_up([20, 20], 0, generator))
    features, labels = made_up(counts, 2, generator)
    owner = torch.randint(SHARES, labels.shape, generator=generator)
    whole = fit_with_folds(known, features, labels, "lda", [0.1, 0.5])
    lessons = in_shares(
        features, labels, owner, lambda f, y, shard: fit_with_folds(known, f, y, "lda", [0.1, 0.5], shard=shard)
    )
    for fitted in lessons:
        assert_same_statistics(fitted.statistics, whole.statistics)
        torch.testing.assert_close(fitted.losses, whole.losses, rtol=0, atol=1e-6)  # their exponentials are float32
    for i, fold in enumerate(whole.folds):  # every image is left out by the same fold, wherever it lies
        left = torch.zeros(len(labels), dtype=torch.bool)
        for number, fitted in enumerate(lessons):
            left[owner == number] = fitted.folds[i].left
        assert torch.equal(left, fold.left)
