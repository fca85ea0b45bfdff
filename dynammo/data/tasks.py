"""Tasks: the class order cut into increments. A class keeps its index for ever."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dynammo.errors import UserError

__all__ = ["Task", "TaskSequence", "task_sizes"]


@dataclass(frozen=True)
class Task:
    """One increment of new classes.

    Attributes:
        index: position in the sequence, from 0.
        classes: names of the new classes, in label order.
        first_label: label of the first of them; the others follow without a gap.
    """

    index: int
    classes: tuple[str, ...]
    first_label: int

    @property
    def labels(self) -> range:
        """Labels of the new classes."""
        return range(self.first_label, self.first_label + len(self.classes))

    @property
    def seen(self) -> int:
        """Number of classes known once this task is learnt."""
        return self.first_label + len(self.classes)

    def local_label(self, label: int) -> int:
        """Index of `label` among the outputs of this task's head; other tasks' labels become "others"."""
        return label - self.first_label if label in self.labels else len(self.classes)


class TaskSequence(Sequence[Task]):
    """Class order cut into tasks.

    Args:
        classes: every class name of the data set.
        increments: number of classes of each task (`[2, 2, 4]`), one number for all tasks (`2`), `all` classes at
            once, or the class names themselves (`[[NV, MEL], [BCC]]`), which then also set the order.
        class_order: `sorted`, `random` (shuffled by `seed`) or a list of all names.
        seed: seed of the random order.

    Raises:
        UserError: for duplicate, unknown or missing names and for increments that do not sum to the
            number of classes.
    """

    def __init__(
        self,
        classes: Sequence[str],
        increments: int | str | Sequence[int] | Sequence[Sequence[str]] = 2,
        class_order: str | Sequence[str] = "sorted",
        seed: int = 0,
    ) -> None:
        _check_names(classes, classes)
        if isinstance(increments, str):
            increments = _all_at_once(increments, len(classes))
        if isinstance(increments, Sequence) and increments and not isinstance(increments[0], int):
            groups = [tuple(str(name) for name in group) for group in increments]  # type: ignore[union-attr]
            order = [name for group in groups for name in group]
            _check_names(order, classes)
        else:
            order = _order(classes, class_order, seed)
            groups = _cut(order, increments)  # type: ignore[arg-type]
        self.classes = tuple(order)
        self._labels = {name: label for label, name in enumerate(order)}
        starts = [sum(len(group) for group in groups[:i]) for i in range(len(groups))]
        self._tasks = tuple(Task(i, group, starts[i]) for i, group in enumerate(groups))

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
        return self._tasks[index]

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def label(self, name: str) -> int:
        """Label of a class name."""
        return self._labels[name]


def task_sizes(classes: int, each: int) -> list[int]:
    """Numbers of classes of tasks of `each` classes; a single class that is left joins the last task.

    Args:
        classes: number of all classes, from 1.
        each: classes of a task, from 1; 7 classes by twos are 2, 2, 3, and 8 by threes 3, 3, 2.
    """
    sizes = [min(each, classes - start) for start in range(0, classes, each)]
    if len(sizes) > 1 and sizes[-1] == 1 < each:
        sizes[-2:] = [each + 1]
    return sizes


def _all_at_once(word: str, classes: int) -> int:
    if word != "all":
        raise UserError(f'increments is {word!r}; expected all, a number, or a list such as "[2,2,4]".')
    return classes


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    folded = [name.strip().casefold() for name in names]
    twice = sorted({name for name, key in zip(names, folded, strict=True) if folded.count(key) > 1})
    if twice:
        raise UserError(f"class names must differ by more than case or spaces, but {twice} repeat; rename or drop one.")
    unknown, missing = sorted(set(names) - set(known)), sorted(set(known) - set(names))
    if unknown or missing:
        raise UserError(
            f"the class order must name every class of the data once: unknown {unknown}, missing {missing}; "
            f"the data has {sorted(known)}. Mend `class_order` or `increments`."
        )


def _order(classes: Sequence[str], class_order: str | Sequence[str], seed: int) -> list[str]:
    if not isinstance(class_order, str):
        order = [str(name) for name in class_order]
        _check_names(order, classes)
        return order
    if class_order not in ("sorted", "random"):
        raise UserError(f"class_order is {class_order!r}; expected sorted, random or a list of class names.")
    order = sorted(classes)
    if class_order == "random":
        random.Random(seed).shuffle(order)
    return order


def _cut(order: Sequence[str], increments: int | Sequence[int]) -> list[tuple[str, ...]]:
    total = len(order)
    if isinstance(increments, int):
        if increments < 1 or total % increments:
            sizes = ",".join(map(str, task_sizes(total, max(increments, 2))))
            raise UserError(
                f"increments is {increments}, which does not divide {total} classes; "
                f'give a divisor or a list that sums to {total}, such as --increments "[{sizes}]".'
            )
        increments = [increments] * (total // increments)
    if not increments or min(increments) < 1 or sum(increments) != total:
        raise UserError(
            f"increments {list(increments)} sum to {sum(increments)}, but the data has {total} classes "
            f"({', '.join(order)}); give whole numbers above 0 that sum to {total}."
        )
    starts = [sum(increments[:i]) for i in range(len(increments))]
    return [tuple(order[start : start + size]) for start, size in zip(starts, increments, strict=True)]
