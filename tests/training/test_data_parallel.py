from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, RandomSampler

from dynammo.runtime import distributed as ranks
from dynammo.training.data_parallel import ShardedBatches


@contextmanager
def one_of(count: int, number: int) -> Iterator[None]:
    """As if this process were the `number`-th of `count`, for what asks no other."""
    with (
        patch.object(ranks.idist, "get_world_size", lambda: count),
        patch.object(ranks.idist, "get_rank", lambda: number),
    ):
        yield


@settings(deadline=None, max_examples=50)
@given(images=st.integers(1, 40), batch_size=st.integers(1, 12), count=st.integers(2, 5), seed=st.integers(0, 9))
def test_processes_share_every_batch(images: int, batch_size: int, count: int, seed: int) -> None:
    def batches() -> BatchSampler:
        torch.manual_seed(seed)
        return BatchSampler(RandomSampler(range(images)), batch_size, drop_last=False)

    drawn: list[list[int]] = [[] for _ in range(len(batches()))]
    shares = [0.0] * len(drawn)
    for number in range(count):
        with one_of(count, number), patch("dynammo.training.data_parallel.broadcast", lambda state: state):
            sampler = ShardedBatches(batches(), images, batch_size)
            for i, part in enumerate(sampler):
                share = sampler.share(len(sampler) + i + 1)  # the second epoch is as the first
                shares[i] += share
                drawn[i] += part if share else []
    assert drawn == list(batches())
    assert shares == pytest.approx([1.0] * len(shares))
