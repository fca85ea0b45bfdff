"""One fit by several processes, with the numbers of one: batches in parts, gradients and BatchNorm over all of them.

Torch's `DistributedDataParallel` averages over processes, not over images, and its `SyncBatchNorm` needs GPUs; both
would change what is learnt. Here each process takes its part of the batches that one process would have drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from monai.data import set_rnd
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Sampler, get_worker_info

from dynammo.errors import UserError
from dynammo.runtime.distributed import all_reduce_sum, broadcast, rank, shard, world_size

__all__ = [
    "ShardedBatches",
    "broadcast_parameters",
    "check_batch_size",
    "share_gradients",
    "shared_batchnorm",
    "split_loader",
]

Part = Callable[[], float]


class ShardedBatches(Sampler[list[int]]):
    """This process's part of every batch that `batches` draws; all processes draw the same.

    Where a batch has fewer images than there are processes, those without one get its first, which does not count.

    Args:
        batches: sampler of the indices of whole batches.
        total: images in all.
        batch_size: images of a whole batch.
    """

    def __init__(self, batches: Any, total: int, batch_size: int) -> None:  # noqa: ANN401
        self.batches = batches
        self.total = total
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        torch.set_rng_state(broadcast(torch.get_rng_state()))  # a transform may have drawn here and not there
        for batch in self.batches:
            yield [batch[i] for i in shard(len(batch))] or batch[:1]

    def share(self, iteration: int) -> float:
        """Part of the images of a batch that this process has, 0 to 1; iterations count from 1."""
        begin = (iteration - 1) % len(self) * self.batch_size
        images = min(self.batch_size, self.total - begin)
        return len(shard(images)) / images


def split_loader(loader: Any) -> Any:  # noqa: ANN401
    """A loader of this process's `ShardedBatches` of `loader`; itself where there is one process."""
    if world_size() == 1:
        return loader
    return DataLoader(
        loader.dataset,
        batch_sampler=ShardedBatches(loader.batch_sampler, len(loader.dataset), loader.batch_size),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=partial(_seed_worker, rank() * loader.num_workers),
    )


def check_batch_size(batch_size: int) -> None:
    """Refuse batches that leave a process without an image.

    Raises:
        UserError: fewer images in a batch than processes.
    """
    if batch_size < world_size():
        raise UserError(
            f"batch_size is {batch_size}, less than one image for each of {world_size()} processes; type --batch_size "
            f"{world_size()} or more, or start fewer processes."
        )


@torch.no_grad()
def broadcast_parameters(parameters: Sequence[nn.Parameter]) -> None:
    """Give the parameters the values that they have in the first process."""
    if world_size() > 1:
        for parameter, value in zip(parameters, broadcast([p.detach() for p in parameters]), strict=True):
            parameter.copy_(value)


def share_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace the gradients by their sums over all processes, whose losses are parts of the loss of a whole batch."""
    grads = [p.grad for p in parameters if p.grad is not None]
    if world_size() == 1 or not grads:
        return
    total = all_reduce_sum(torch.cat([grad.flatten() for grad in grads]))
    for grad, found in zip(grads, total.split([grad.numel() for grad in grads]), strict=True):  # type: ignore[no-untyped-call]
        grad.copy_(found.view_as(grad))


@contextmanager
def shared_batchnorm(network: nn.Module, share: Part | None = None) -> Iterator[None]:
    """Let every BatchNorm in training normalise by the statistics of the images of all processes.

    A map of one pixel of a batch of one image has no statistics, and torch refuses it: it is normalised by the running
    ones, as in prediction, and adds nothing to them. Every other batch gives what torch gives.

    Args:
        network: its modules, parameters and state dict stay what they are.
        share: part of the images of the batch that this process has; 0: its images do not count. None: no other
            process has any.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.forward = partial(_normalise, norm, share)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalise(norm: Any, share: Part | None, x: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """BatchNorm of x (B, C, ...) over the images of all processes, with gradients through the statistics."""
    alone = x.numel() == x.shape[1]
    if not norm.training or (share is None and not alone):
        return type(norm).forward(norm, x)  # type: ignore[no-any-return]
    if share is None:
        return _by_running_statistics(norm, x)
    counts, axes, shape = float(share() > 0), [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
    values = x.as_subclass(torch.Tensor).float()  # MONAI's tensors with flips of their own refuse to be cut
    here = values.new_tensor([counts * values[:, 0].numel()])
    sums = _total(torch.cat([counts * values.sum(axes), here]))
    if alone and sums[-1] == 1:
        return _by_running_statistics(norm, x)
    images, mean = sums[-1], sums[:-1] / sums[-1]
    centred = values - mean.view(shape)
    variance = _total(counts * centred.square().sum(axes)) / images
    _track(norm, mean.detach(), variance.detach() * images / (images - 1).clamp(min=1))
    scale = norm.weight * (variance + norm.eps).rsqrt()
    normalised: torch.Tensor = (centred * scale.view(shape) + norm.bias.view(shape)).to(x.dtype)
    return normalised


def _by_running_statistics(norm: Any, x: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


@torch.no_grad()
def _track(norm: Any, mean: torch.Tensor, variance: torch.Tensor) -> None:  # noqa: ANN401
    norm.num_batches_tracked += 1
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)


class _Total(torch.autograd.Function):
    """The sum over all processes; the losses of all of them depend on it, so their gradients sum up too."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        return all_reduce_sum(tensor)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        return all_reduce_sum(grad)


def _total(tensor: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = _Total.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def _seed_worker(offset: int, number: int) -> None:
    """Workers of all processes draw each for itself."""
    worker = get_worker_info()
    if worker is not None:
        set_rnd(worker.dataset, seed=worker.seed + offset)
