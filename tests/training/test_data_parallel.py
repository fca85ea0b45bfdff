from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, RandomSampler

from dynammo.runtime import distributed as ranks
from dynammo.training.data_parallel import ShardedBatches, shared_batchnorm


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


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (1, 3, 1, 1, 1)])
def test_one_pixel_of_one_image_is_normalised_by_the_running_statistics(shape: tuple[int, ...]) -> None:
    norm = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}[len(shape)](3).train()
    norm.running_mean += 2
    x = torch.full(shape, 5.0, requires_grad=True)
    with shared_batchnorm(norm):
        found = norm(x)
    torch.testing.assert_close(found, torch.full(shape, 3.0), atol=1e-4, rtol=0)
    found.sum().backward()
    assert x.grad is not None and x.grad.abs().min() > 0
    assert norm.running_mean.eq(2).all() and norm.num_batches_tracked == 0


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 1, 2), (4, 3, 5, 5)])
def test_every_other_batch_is_as_torch_has_it(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    plain, ours = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    with shared_batchnorm(ours):
        assert torch.equal(ours(x), plain(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True))
