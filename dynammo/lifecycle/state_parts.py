"""Parts of a learning state, taken apart and put together again; what forgetting and combining share."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from dynammo.handlers.analytic_head import make_head, shrinkages_of
from dynammo.handlers.calibration import mean_threshold
from dynammo.handlers.out_of_distribution import out_of_distribution_of
from dynammo.heads.analytic import ClassStatistics, choose
from dynammo.lifecycle.learning_state import LearntModel
from dynammo.merging import Merged, State
from dynammo.networks.adapters import FOLDABLE
from dynammo.training.metrics import TaskResult, threshold_at

__all__ = [
    "adapter_parts",
    "head_parts",
    "heads_of",
    "heads_together",
    "out_of_distribution_parts",
    "relabelled",
    "threshold_parts",
    "unmeasured",
]

Parts = dict[str, Any]


def heads_of(state: Mapping[str, Any]) -> list[State]:
    """Weight and bias of every head."""
    heads: dict[int, State] = {}
    for name, value in state["heads"].items():
        number, _, part = name.partition(".")
        heads.setdefault(int(number), {})[part] = value
    return [heads[number] for number in sorted(heads)]


def heads_together(heads: Sequence[State]) -> State:
    """The state of all heads, side by side."""
    return {f"{number}.{part}": value for number, head in enumerate(heads) for part, value in head.items()}


def adapter_parts(model: LearntModel, merged: Merged, adapters: State) -> tuple[Parts, Parts]:
    """Merged adapters as they lie in the state, and in that of `MergeAdapters`.

    Args:
        model: whose settings and origin count.
        merged: of all tasks.
        adapters: from which those of the next task start.
    """
    foldable = model.setting("adapter") in FOLDABLE
    together = heads_together(merged.branches) if not foldable else merged.branches[0]
    count = model.state["branch_count"] if foldable else len(merged.branches)
    origin = model.state["handlers"]["MergeAdapters"]["origin"]
    handler = {"origin": origin, "states": list(merged.states), "weights": list(merged.weights)}
    return {"branches": together, "branch_count": count, "adapters": adapters}, handler


def head_parts(model: LearntModel, statistics: ClassStatistics, losses: torch.Tensor) -> tuple[Parts, Parts]:
    """The closed-form head of these statistics as it lies in the state, and the state of `AnalyticHeads`."""
    chosen = choose(losses, shrinkages_of(model.setting("shrinkage")))
    head, background = make_head(statistics, model.setting("analytic_head"), *chosen)
    score = background.state_dict() if background is not None else {}
    handler = {"statistics": statistics.state_dict(), "losses": losses}
    return {"heads": heads_together([dict(head.state_dict())]), "background": score}, handler


def out_of_distribution_parts(
    model: LearntModel, statistics: ClassStatistics, distances: torch.Tensor, labels: torch.Tensor
) -> tuple[Parts, Parts, Parts]:
    """Statistics of the stem as they lie in the state, the state of `FitOutOfDistribution`, what trust says of it."""
    handler = {"statistics": statistics.state_dict(), "distances": distances, "labels": labels}
    rate = model.state["trust"]["out_of_distribution_false_alarm_rate"]
    trust = {
        "out_of_distribution_threshold": threshold_at(distances.numpy(), rate),
        "out_of_distribution_false_alarm_rate": rate,
    }
    return {"out_of_distribution": out_of_distribution_of(statistics).state_dict()}, handler, trust


def threshold_parts(found: Sequence[tuple[float, int]]) -> tuple[Parts, Parts]:
    """The state of `Calibrate` for the thresholds found after these tasks, and what trust says of them."""
    return {"found": [list(pair) for pair in found]}, {"unknown_threshold": mean_threshold(found)}


def relabelled(memory: Mapping[str, Any], labels: Mapping[int, int]) -> dict[str, Any]:
    """Exemplars under their new labels; those of classes without one are dropped."""
    return {str(labels[int(label)]): pairs for label, pairs in memory.items() if int(label) in labels}


def unmeasured(task: int, groups: int, classes: int) -> Parts:
    """The result of a network that no test image has met."""
    nan = float("nan")
    empty = tuple((0,) * classes for _ in range(classes))
    return asdict(TaskResult(task, (nan,) * groups, nan, nan, nan, nan, empty))
