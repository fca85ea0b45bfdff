"""Contenders of learning do the same work: they end at the same weights."""

import copy

import pytest
import torch

from benchmarks import learning_cost
from benchmarks.learning_cost import (
    TensorItems,
    fit_bare,
    make_trainer,
    new_heads,
    random_items,
    tune_by_rerunning,
    tune_on_cached_features,
)
from benchmarks.networks import CostSettings, learnt_tasks, make_incremental_network

TINY = CostSettings(image_size=32, batch_size=8, stages=2, repeats=1, threads=1)


def test_rerunning_trains_the_same_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow contender does the same work: in one batch, where shuffling changes nothing, it ends at equal heads."""
    monkeypatch.setattr(learning_cost, "HEAD_EPOCHS", 3)
    tasks = learnt_tasks()
    classifier = make_incremental_network(TINY).classifier()
    items = random_items(8, TINY, len(tasks.classes))
    torch.manual_seed(1)
    cached = tune_on_cached_features(classifier, tasks, items, batch_size=8)
    torch.manual_seed(1)
    rerun = tune_by_rerunning(classifier, tasks, items, batch_size=8, epochs=3)
    start = new_heads(classifier, tasks)
    assert len(cached) == 4
    for a, b, c in zip(cached.parameters(), rerun.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
        assert not torch.allclose(a, c)


def test_bare_loop_trains_the_same_adapters() -> None:
    network = make_incremental_network(TINY)
    other = copy.deepcopy(network)
    start = copy.deepcopy(network.adapters.state_dict())
    items = random_items(8, TINY, 3)
    make_trainer(network, items, batch_size=8).fit(items, network, network.trainable_parameters(), "adapters")
    loader = torch.utils.data.DataLoader(TensorItems(items), batch_size=8, shuffle=True)
    fit_bare(other, loader)
    moved = 0.0
    for name, value in network.adapters.state_dict().items():
        torch.testing.assert_close(value, other.adapters.state_dict()[name], rtol=1e-4, atol=1e-5)
        moved += float((value - start[name]).abs().sum())
    assert moved > 0
