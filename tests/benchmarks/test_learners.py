"""Learners know all classes after every task and say what they keep."""

from collections.abc import Callable

import pytest
import torch

from benchmarks.learners import ClosedForm, Learner, Refitted, discriminant, logistic, unbalanced

MAKE: dict[str, Callable[[], Learner]] = {
    "ours": ClosedForm, "logistic": lambda: Refitted(logistic), "unbalanced": lambda: Refitted(unbalanced),
    "discriminant": lambda: Refitted(discriminant),
}  # fmt: skip


def made(counts: list[int], apart: float = 6.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, 2, 5) of two copies around a corner for each class, and labels (N,)."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    noise = torch.randn(len(labels), 2, 5, generator=torch.Generator().manual_seed(0))
    return apart * torch.eye(5)[labels][:, None] + noise, labels


@pytest.mark.parametrize("name", MAKE)
def test_classes_that_differ_are_told_apart_after_each_task(name: str) -> None:
    learner, (features, labels) = MAKE[name](), made([20, 20, 20, 20])
    for known in (2, 4):
        new = (labels >= known - 2) & (labels < known)
        learner.learn(features[new], labels[new])
        seen = labels < known
        assert (learner.classify(features[seen, 0]) == labels[seen]).float().mean() > 0.95


def test_what_is_kept() -> None:
    features, labels = made([20, 20])
    refitted, both, ours = Refitted(logistic), Refitted(logistic, copies=True), ClosedForm()
    for learner in (refitted, both, ours):
        learner.learn(features, labels)
    assert (refitted.kept, refitted.state_bytes) == (40, 40 * 5 * 4 + 40 * 8)
    assert (both.kept, both.state_bytes) == (40, 40 * 2 * 5 * 4 + 40 * 8)
    before = ours.state_bytes
    more = made([0, 0, 400, 400])
    ours.learn(*more)
    added = 2 * (5 * 8 + 8 + 9 * 33 * 8 + 5 * 4 + 4)  # sums, counts, losses, weights and bias of two classes
    assert ours.kept == 0 and ours.state_bytes == before + added


@pytest.mark.parametrize("make", [logistic, discriminant])
def test_a_rare_class_weighs_as_much_as_a_frequent_one(make: Callable[[int], object]) -> None:
    features, labels = made([400, 8], apart=1.0)
    learner = Refitted(make)
    learner.learn(features, labels)
    tests, truth = made([200, 200], apart=1.0)
    found = learner.classify(tests[:, 1])
    assert (found[truth == 1] == 1).float().mean() > 0.4


def test_nothing_learnt_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing has been learnt"):
        ClosedForm().classify(torch.zeros(1, 5))
