"""Avalanche's strategies learn features task by task; `make peers` has the environment that runs these tests."""

from typing import Any

import pytest
import torch

from benchmarks.avalanche_learners import SETTINGS, InAvalanche, at_hand, icarl, replay, streaming_lda
from dynammo.errors import UserError

installed = pytest.mark.skipif(not at_hand(), reason="Avalanche is not installed; type make peers")


def images_of(classes: range, count: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.tensor([*classes]).repeat_interleave(count)
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(classes.start))
    return 4 * torch.eye(8)[labels] + noise, labels


@installed
@pytest.mark.parametrize(("make", "kept"), [(streaming_lda, 0), (replay, 40), (icarl, 40)])
def test_a_strategy_learns_two_tasks_and_chooses_among_classes_seen(make: Any, kept: int) -> None:  # noqa: ANN401
    learner = InAvalanche(make, kept)
    for classes, seen in ((range(2), 2), (range(2, 5), 5)):
        features, labels = images_of(classes)
        learner.learn(features[:, None], labels)
        everything, truth = images_of(range(seen))
        found = learner.classify(everything)
        assert int(found.max()) < seen
        assert (found == truth).float().mean() > 0.7  # replay forgets
    assert learner.kept == kept and learner.state_bytes > kept * 8 * 4


@pytest.mark.skipif(at_hand(), reason="Avalanche is installed")
def test_without_avalanche_it_says_what_to_type() -> None:
    with pytest.raises(UserError, match="type make peers"):
        InAvalanche(replay, SETTINGS["images"])
