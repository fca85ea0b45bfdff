"""Exemplar memory: references to a few images of every known class, never pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dynammo.errors import UserError

__all__ = ["ExemplarMemory", "Item", "herd"]

Item = dict[str, Any]
"""One image as MONAI's datasets take it: `image` (path, for a part of a file with its `#fragment`), `label` (index of
its class), `path` (the file: the parts of one file are one study)."""


def herd(features: torch.Tensor, count: int) -> list[int]:
    """Indices of the `count` rows whose running mean stays closest to the mean of all (Rebuffi, 1611.07725).

    Args:
        features: (N, F); compared after scaling every row to length 1, as iCaRL does.
        count: number of rows to choose, at most N.

    Returns:
        Indices in the order of choice, so that a prefix is the best smaller set.
    """
    rows = torch.nn.functional.normalize(features.double(), dim=1)
    target, total = rows.mean(0), torch.zeros_like(rows[0])
    chosen: list[int] = []
    left = torch.ones(len(rows), dtype=torch.bool)
    for size in range(1, min(count, len(rows)) + 1):
        distance = (target - (total + rows) / size).norm(dim=1)
        best = int(distance.masked_fill(~left, torch.inf).argmin())
        chosen.append(best)
        left[best] = False
        total = total + rows[best]
    return chosen


class ExemplarMemory:
    """Items of known classes, in the order of herding, within a budget shared by all classes.

    Args:
        budget: number of images in all; 0 keeps none, `all` keeps every image.
    """

    def __init__(self, budget: int | str = 0) -> None:
        if budget != "all" and (not isinstance(budget, int) or isinstance(budget, bool) or budget < 0):
            raise UserError(f"exemplars is {budget!r}; expected a number of images from 0, or all.")
        self.budget = budget
        self._items: dict[int, list[Item]] = {}

    def __len__(self) -> int:
        return sum(len(items) for items in self._items.values())

    def quota(self, classes: int) -> int | None:
        """Images for each of so many classes; None without a limit."""
        if self.budget == "all":
            return None
        return int(self.budget) // max(1, classes)

    def items(self, labels: Sequence[int] | None = None) -> list[Item]:
        """The exemplars of these labels, or of all, in label order."""
        wanted = sorted(self._items) if labels is None else labels
        return [item for label in wanted for item in self._items.get(label, ())]

    def add(self, label: int, ranked: Sequence[Item]) -> None:
        """Keep the items of a new class, the most representative first."""
        self._items[label] = list(ranked)

    def trim(self) -> None:
        """Drop the least representative exemplars until every known class has its quota."""
        quota = self.quota(len(self._items))
        self._items = {label: items[:quota] for label, items in self._items.items()}

    def state_dict(self) -> dict[str, Any]:
        """Paths and labels of the exemplars."""
        return {str(label): [[item["image"], item["path"]] for item in items] for label, items in self._items.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Load the exemplars of `state_dict`."""
        self._items = {
            int(label): [{"image": image, "label": int(label), "path": path} for image, path in pairs]
            for label, pairs in state.items()
        }
