"""A model without some of its classes: what they contributed is taken out of adapters, statistics, heads and memory.

Statistics are exactly those of a model that never learnt the classes, and so are averages of adapters. What later tasks
learnt while the classes were known (their adapters start from earlier ones), and a backbone that was trained on the
first task, stay as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError
from dynammo.heads.analytic import ClassStatistics
from dynammo.heads.scatters import ClassScatters, join_scatters, pool, remove_classes, select_classes
from dynammo.lifecycle.learning_state import LearntModel
from dynammo.lifecycle.state_parts import (
    Parts,
    adapter_parts,
    head_parts,
    heads_of,
    heads_together,
    out_of_distribution_parts,
    relabelled,
    threshold_parts,
)
from dynammo.merging import STRATEGIES, State, merge_all
from dynammo.runs.contributions import event
from dynammo.runs.record import Record, contribution_file
from dynammo.runtime.files import save_state

__all__ = ["STATISTICS", "Places", "labels_to_forget", "places_of", "scatters_of", "without"]

Places = list[tuple[int, list[int]]]
"""Tasks by index, and for each the places of some of its classes."""
STATISTICS = ("AnalyticHeads", "FitOutOfDistribution")


def labels_to_forget(model: LearntModel, task: int | None, class_name: str | None) -> list[int]:
    """Labels of the classes of a task, counted from 1, or of one class.

    Raises:
        UserError: not exactly one of the two is given, or the model has no such task or class.
    """
    if (task is None) == (class_name is None):
        raise UserError("give either --task NUMBER or --class NAME; dynammo history lists both.")
    if class_name is not None:
        if class_name not in model.classes:
            raise UserError(f"the model does not know the class {class_name!r}; it knows {', '.join(model.classes)}.")
        return [model.classes.index(class_name)]
    if task is None or not 1 <= task <= len(model.tasks):
        raise UserError(f"the model has no task {task}; it has learnt tasks 1 to {len(model.tasks)}.")
    return [model.classes.index(name) for name in model.tasks[task - 1]]


def without(model: LearntModel, labels: Sequence[int], folder: Path) -> LearntModel:
    """The model without these classes; those behind them move up.

    Args:
        model: a run; an exported model has not kept what its tasks contributed.
        labels: of the classes to forget.
        folder: existing one, for what the remaining tasks contributed.

    Raises:
        UserError: no class would be left, or what must be known of the classes was not kept.
    """
    kept = places_of(model, labels, inside=False)
    if not kept:
        raise UserError("the model would know nothing any more; leave it at least one class, or delete it.")
    state, handlers = dict(model.state), dict(model.state["handlers"])
    if len(kept) < len(model.tasks):
        parts, handlers["MergeAdapters"] = _adapters(model, [index for index, _ in kept])
        state |= parts
    parts, heads = _heads(model, labels, kept)
    state |= parts
    handlers |= heads
    parts, handlers["FitOutOfDistribution"], distance_trust = _out_of_distribution(model, labels)
    state |= parts
    handlers["Calibrate"], trust = threshold_parts(_thresholds(handlers["Calibrate"]["found"], kept))
    names = [model.classes[label] for label in labels]
    history = [*model.history, event("forgotten", classes=names)]
    handlers["SaveContributions"] = {"history": history, "source": str(folder)}
    _write_contributions(model, kept, folder)
    state |= {
        "memory": relabelled(state["memory"], _new_labels(model, labels)),
        "results": _results(model, labels, kept),
        "trust": {**state["trust"], **distance_trust, **trust},
        "tasks_learnt": len(kept),
        "handlers": handlers,
    }
    tasks = [[model.tasks[index][place] for place in places] for index, places in kept]
    classes = [name for task in tasks for name in task]
    record: Record = {**model.record, "classes": classes, "tasks": tasks, "tasks_learnt": len(tasks)}
    return replace(model, record=record, state=state, history=history, folder=folder)


def places_of(model: LearntModel, labels: Sequence[int], inside: bool) -> Places:
    """Places of the classes that are, or are not, among the labels; only tasks that have some."""
    found, label = [], 0
    for index, task in enumerate(model.tasks):
        places = [place for place in range(len(task)) if (label + place in labels) == inside]
        label += len(task)
        found += [(index, places)] if places else []
    return found


def _new_labels(model: LearntModel, labels: Sequence[int]) -> dict[int, int]:
    kept = [label for label in range(len(model.classes)) if label not in labels]
    return {old: new for new, old in enumerate(kept)}


def _needed(model: LearntModel, index: int, handler: str) -> dict[str, Any]:
    """What the task contributed to a handler."""
    contribution = model.contribution(index)
    if contribution is None or handler not in contribution["handlers"]:
        raise UserError(
            f"what task {index + 1} contributed was not kept in {model.path}, so it cannot be taken apart; give the "
            "run that learnt it, with its folder tasks/ (an exported model has none), or train again."
        )
    part: dict[str, Any] = contribution["handlers"][handler]
    return part


def scatters_of(model: LearntModel, places: Places, handler: str) -> ClassScatters:
    """What the classes at these places contributed to the statistics of a handler.

    Raises:
        UserError: it was not kept.
    """
    parts = [select_classes(ClassScatters(**_needed(model, index, handler)), rows) for index, rows in places]
    return join_scatters(parts)


def statistics_without(model: LearntModel, handler: str, labels: Sequence[int]) -> ClassStatistics:
    """Statistics of a handler without these classes: what the others contributed, or else less what these did.

    Raises:
        UserError: neither of both was kept.
    """
    known = ClassStatistics(**model.state["handlers"][handler]["statistics"])
    gone, kept = (places_of(model, labels, inside) for inside in (True, False))
    if all(_keeps(model, index, handler) for index, _ in kept):
        return pool(scatters_of(model, kept, handler), known.balanced)
    return remove_classes(known, scatters_of(model, gone, handler), list(labels))


def _keeps(model: LearntModel, index: int, handler: str) -> bool:
    contribution = model.contribution(index)
    return contribution is not None and handler in contribution["handlers"]


def _adapters(model: LearntModel, indices: list[int]) -> tuple[Parts, Parts]:
    """The adapters of these tasks, merged as if there had never been another."""
    if model.setting("merge_batchnorm") == "recalibrate":
        raise UserError(
            "the adapters were merged with merge_batchnorm recalibrate, which measured images; a task can be taken out "
            "of adapters merged with merge_batchnorm average alone. Train again without it."
        )
    name, origin = model.setting("merge_strategy"), model.state["handlers"]["MergeAdapters"]["origin"]
    if name not in STRATEGIES:
        raise UserError(f"merge_strategy of {model.path} is {name!r}; expected one of {', '.join(STRATEGIES)}.")
    parts = [_needed(model, index, "MergeAdapters") for index in indices]
    merged = merge_all(STRATEGIES[name], [part["state"] for part in parts], [part["weight"] for part in parts], origin)
    return adapter_parts(model, merged, parts[-1]["adapters"])


def _heads(model: LearntModel, labels: Sequence[int], kept: Places) -> tuple[Parts, Parts]:
    layout, heads = model.setting("head_layout"), heads_of(model.state)
    if layout == "analytic":
        losses = model.state["handlers"]["AnalyticHeads"]["losses"][list(_new_labels(model, labels))]
        parts, handler = head_parts(model, statistics_without(model, "AnalyticHeads", labels), losses)
        return parts, {"AnalyticHeads": handler}
    if layout == "softmax":
        return {"heads": heads_together([_rows(heads[0], list(_new_labels(model, labels)))])}, {}
    # behind the classes of a head comes its "others"
    left = [_rows(heads[index], [*places, len(model.tasks[index])]) for index, places in kept]
    return {"heads": heads_together(left)}, {}


def _rows(head: State, rows: list[int]) -> State:
    return {name: value[rows] for name, value in head.items()}


def _out_of_distribution(model: LearntModel, labels: Sequence[int]) -> tuple[Parts, Parts, Parts]:
    known = model.state["handlers"]["FitOutOfDistribution"]
    if not known["statistics"]:  # of vectors there is no stem
        return {}, known, {}
    statistics = statistics_without(model, "FitOutOfDistribution", labels)
    new, stays = _new_labels(model, labels), ~torch.isin(known["labels"], torch.tensor(list(labels)))
    moved = torch.tensor([new[int(label)] for label in known["labels"][stays]], dtype=torch.long)
    return out_of_distribution_parts(model, statistics, known["distances"][stays], moved)


def _thresholds(found: Sequence[Sequence[Any]], kept: Places) -> list[tuple[float, int]]:
    """Those of the tasks that stay; where the newest spoke for all, it still does."""
    pairs = [(threshold, images) for threshold, images in found]
    left = [pairs[index] for index, _ in kept]
    return left if any(images for _, images in left) else [*left[:-1], pairs[-1]]


def _results(model: LearntModel, labels: Sequence[int], kept: Places) -> list[Parts]:
    """Measures after the tasks that stay, on what stays, as they were when there were more classes."""
    left, stays = [index for index, _ in kept], list(_new_labels(model, labels))
    return [_cut(model.state["results"][index], number, left, stays) for number, index in enumerate(left)]


def _cut(result: Mapping[str, Any], number: int, tasks: list[int], labels: list[int]) -> Parts:
    confusion = result["confusion"]
    rows = [label for label in labels if label < len(confusion)]
    return {
        **result,
        "task": number,
        "task_accuracy": tuple(result["task_accuracy"][index] for index in tasks[: number + 1]),
        "confusion": tuple(tuple(confusion[row][column] for column in rows) for row in rows),
    }


def _write_contributions(model: LearntModel, kept: Places, folder: Path) -> None:
    """Write what the tasks that stay contributed, under their new numbers and without the classes that go."""
    for number, (index, places) in enumerate(kept):
        contribution = model.contribution(index)
        if contribution is None:
            continue
        handlers = dict(contribution["handlers"])
        for name in STATISTICS:
            if name in handlers:
                handlers[name] = select_classes(ClassScatters(**handlers[name]), places).state_dict()
        classes = [contribution["classes"][place] for place in places]
        save_state(contribution_file(folder, number), {"classes": classes, "handlers": handlers})
