"""Merge strategies: pure functions that turn the adapters of several tasks into one.

A strategy takes the adapters' states, one weight for each, and the state that all of them started from, and
returns one state. A weight is a number, or a state of per-parameter importances. Every strategy returns the
adapter itself when there is one, or n equal ones. A new strategy is one function here and one row in `STRATEGIES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch

__all__ = [
    "STRATEGIES",
    "Merged",
    "State",
    "Strategy",
    "Weight",
    "add_weights",
    "average",
    "fisher",
    "latest",
    "merge_all",
    "merge_next",
    "ties",
    "to_device",
]

State = dict[str, torch.Tensor]
"""Tensors of a module by name, as `state_dict` gives them."""
Weight = float | State
MergeFunction = Callable[[Sequence[State], Sequence[Weight], State], State]


def average(states: Sequence[State], weights: Sequence[Weight], origin: State) -> State:
    """Weighted mean of every floating tensor, `sum_i n_i w_i / sum_i n_i` (DynaMMo, arXiv 2404.14099).

    With the running mean of t - 1 adapters at weight t - 1 and the new one at weight 1 it is the mean of all t.
    Integer counters (BatchNorm's number of batches) are not averaged: the newest is kept.
    """
    numbers = [weight for weight in weights if not isinstance(weight, dict)]
    shares = [number / sum(numbers) for number in numbers]
    return {name: _mean([state[name] for state in states], shares) for name in states[0]}


def fisher(states: Sequence[State], weights: Sequence[Weight], origin: State) -> State:
    """Mean weighted by diagonal Fisher information, `sum_i F_i w_i / sum_i F_i` (Matena and Raffel, 2111.09832).

    `weights` are states that hold F_i for every parameter and, under the key "tasks", the number of tasks each
    state stands for; tensors without importance (BatchNorm statistics) are averaged by that number.
    """
    importances = [weight for weight in weights if isinstance(weight, dict)]
    counts = [float(weight["tasks"]) for weight in importances]
    merged = average(states, counts, origin)
    for name in importances[0].keys() - {"tasks"}:
        total = torch.stack([f[name] for f in importances]).sum(0)
        weighted = torch.stack([f[name] * s[name] for f, s in zip(importances, states, strict=True)]).sum(0)
        merged[name] = torch.where(total > 1e-12, weighted / total.clamp_min(1e-12), merged[name])
    return merged


def ties(states: Sequence[State], weights: Sequence[Weight], origin: State, density: float = 0.5) -> State:
    """Trim, elect sign, disjoint mean of the changes since `origin` (Yadav et al., arXiv 2306.01708).

    Of every adapter's change the `density` largest entries stay; the sign with the larger sum is elected; the
    entries of that sign are averaged. Entries that every adapter trims keep their plain mean instead of falling
    back to the origin, so that equal adapters merge to themselves.
    """
    merged = average(states, weights, origin)
    for name, start in origin.items():
        if not start.is_floating_point() or "running_" in name:
            continue
        change = torch.stack([state[name] - start for state in states])  # (T, ...)
        size = change[0].numel()
        smallest = (
            change.reshape(len(states), -1).abs().kthvalue(size - max(1, round(density * size)) + 1, dim=1).values
        )
        kept = change.abs() >= smallest.view(-1, *[1] * start.dim())
        sign = torch.sign((change * kept).sum(0))
        agree = kept & (torch.sign(change) == sign) & (sign != 0)
        mean = (change * agree).sum(0) / agree.sum(0).clamp_min(1)
        merged[name] = torch.where(agree.any(0), start + mean, merged[name])
    return merged


def latest(states: Sequence[State], weights: Sequence[Weight], origin: State) -> State:
    """The newest adapter alone, as plain fine-tuning has it."""
    return dict(states[-1])


@dataclass(frozen=True)
class Strategy:
    """How the adapters of several tasks become those of the network that predicts.

    Attributes:
        merge: the function, or None to keep every adapter apart (one pass for each task).
        running: the result and the summed weight stand for all adapters so far, so that memory does not grow
            with the number of tasks; otherwise every adapter is kept.
        importance: weights are per-parameter importances, not the number of tasks.
    """

    merge: MergeFunction | None
    running: bool = True
    importance: bool = False


STRATEGIES: dict[str, Strategy] = {
    "average": Strategy(average),
    "fisher": Strategy(fisher, importance=True),
    "ties": Strategy(ties, running=False),
    "latest": Strategy(latest),
    "none": Strategy(None, running=False),
}
"""Merge strategies by the name that the config uses."""


@dataclass(frozen=True)
class Merged:
    """Adapters of several tasks after merging.

    Attributes:
        branches: states of the adapters that predict, one unless the strategy keeps them apart.
        states: what the next merge needs of the tasks so far.
        weights: of these states.
    """

    branches: tuple[State, ...] = ()
    states: tuple[State, ...] = ()
    weights: tuple[Weight, ...] = ()

    def to(self, device: torch.device) -> "Merged":
        """The same on a device."""
        branches, states = (tuple(to_device(state, device) for state in part) for part in (self.branches, self.states))
        weights = tuple(to_device(w, device) if isinstance(w, dict) else w for w in self.weights)
        return Merged(branches, states, weights)


def to_device(state: State, device: torch.device) -> State:
    """The tensors of a state on a device."""
    return {name: value.to(device) for name, value in state.items()}


def merge_next(strategy: Strategy, merged: Merged, state: State, weight: Weight, origin: State) -> Merged:
    """Merge the adapters of one more task with those of all tasks before."""
    states, weights = (*merged.states, state), (*merged.weights, weight)
    if strategy.merge is None:
        return Merged(states, states, weights)
    result = strategy.merge(states, weights, origin)
    if strategy.running:
        return Merged((result,), (result,), (reduce(add_weights, weights),))
    return Merged((result,), states, weights)


def merge_all(strategy: Strategy, states: Sequence[State], weights: Sequence[Weight], origin: State) -> Merged:
    """Merge task after task: without one of the tasks, exactly what there would be had it not been merged."""
    merged = Merged()
    for state, weight in zip(states, weights, strict=True):
        merged = merge_next(strategy, merged, state, weight, origin)
    return merged


def add_weights(first: Weight, second: Weight) -> Weight:
    """Weight of a merged adapter: the sum of the weights of its parts."""
    if isinstance(first, dict) and isinstance(second, dict):
        return {name: first[name] + second[name] for name in first}
    if isinstance(first, dict) or isinstance(second, dict):
        raise TypeError("a number and per-parameter importances do not add up")
    return first + second


def _mean(tensors: list[torch.Tensor], shares: list[float]) -> torch.Tensor:
    if not tensors[0].is_floating_point():
        return tensors[-1].clone()
    if all(torch.equal(tensor, tensors[0]) for tensor in tensors[1:]):
        return tensors[0].clone()  # exact, where a sum of shares would round
    # float64, so that a running mean over many tasks does not drift from the mean of all
    parts = [tensor.double() * share for tensor, share in zip(tensors, shares, strict=True)]
    return torch.stack(parts).sum(0).to(tensors[0].dtype)
