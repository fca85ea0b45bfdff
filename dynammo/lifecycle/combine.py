"""Two models that started from the same backbone become one that knows the classes of both, without an image."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError
from dynammo.heads.analytic import ClassStatistics
from dynammo.heads.scatters import ClassScatters, add_images, combine, replace_classes, select_classes, update_classes
from dynammo.lifecycle.forget import STATISTICS, places_of, scatters_of, without
from dynammo.lifecycle.learning_state import LearntModel, sources_of
from dynammo.lifecycle.state_parts import (
    Parts,
    adapter_parts,
    head_parts,
    heads_of,
    heads_together,
    out_of_distribution_parts,
    relabelled,
    threshold_parts,
    unmeasured,
)
from dynammo.merging import STRATEGIES, Merged, merge_next
from dynammo.runs.contributions import event
from dynammo.runs.record import Record, contribution_file
from dynammo.runtime.files import save_state
from dynammo.training.settings import recorded_names

__all__ = ["combined"]

SAME = recorded_names(lambda setting: setting.combines)
"""Settings that decide what features, heads and adapters are; they must be the same at both sites."""


def combined(first: LearntModel, second: LearntModel, same_classes: bool, folder: Path) -> LearntModel:
    """One model of the classes of `first`, then those of `second` that `first` does not know.

    Statistics are those of one model that learnt both sequences. Adapters are averaged by the number of tasks (or
    merged by their strategy), heads with an "others" output are put side by side.

    Args:
        first: keeps its labels.
        second: a model from the same backbone.
        same_classes: classes of the same name are the same, and their images count together. Classes that both
            sites inherited from one model are counted once, with or without it.
        folder: existing one, for what the tasks contributed.

    Raises:
        UserError: models that do not fit, naming what differs, or classes of the same name.
    """
    _check_fit(first, second)
    inherited = _inherited(first, second)
    shared = _shared(first, second, same_classes, inherited)
    if shared:
        first = _with_images(first, second, shared, folder / "first")
    labels, history = [second.classes.index(name) for name in [*inherited, *shared]], second.history
    if len(labels) == len(second.classes):
        return _noted(first, history, first.folder)
    if labels:
        (folder / "second").mkdir()
        second = without(second, labels, folder / "second")
    (folder / "both").mkdir()
    _write_contributions(first, second, folder / "both")
    return _noted(_side_by_side(first, second), history, folder / "both")


def _check_fit(first: LearntModel, second: LearntModel) -> None:
    differing = [name for name in SAME if first.setting(name) != second.setting(name)]
    made = [model.record["config"].get("encoder") for model in (first, second)]  # of vectors, where it is known
    averaged = [model.record["config"].get("average") == "vectors" for model in (first, second)]
    differing += ["the encoder that made the vectors"] * (all(made) and made[0] != made[1])
    differing += ["whether the vectors of a group are averaged"] * (averaged[0] != averaged[1])
    if not differing and _digest(first.state["backbone"]) != _digest(second.state["backbone"]):
        differing = ["the weights of the backbone"]
    widths = {len(known["gram"]) for model in (first, second) if (known := _known(model, "FitOutOfDistribution"))}
    if not differing and len(widths) > 1:
        differing = ["the maps that tell which images look different, of which 0.1 read fewer"]
    layout = first.setting("head_layout")
    if not differing and layout == "analytic" and _digest(first.state["branches"]) != _digest(second.state["branches"]):
        differing = ["the adapters, hence the features that statistics speak of"]
    origins = [model.state["handlers"]["MergeAdapters"]["origin"] for model in (first, second)]
    if not differing and first.setting("merge_strategy") == "ties" and _digest(origins[0]) != _digest(origins[1]):
        differing = ["what the adapters started from"]
    if differing:
        raise UserError(
            f"the two models differ in {', '.join(differing)}, so they cannot be combined; train both from the same "
            "weights (--weights FILE) with the same settings."
        )
    if layout == "softmax":
        raise UserError(
            "models with one softmax head over all classes cannot be combined, since each was tuned without the "
            "other's classes; train them with head_layout others or analytic."
        )


def _inherited(first: LearntModel, second: LearntModel) -> list[str]:
    """Names of the classes that both know from the very same images, since they began as one model."""
    sums = []
    for model in (first, second):
        statistics = next((_known(model, name) for name in reversed(STATISTICS) if _known(model, name)), None)
        sums.append(dict(zip(model.classes, statistics["sums"], strict=True)) if statistics else {})
    return [name for name, found in sums[0].items() if name in sums[1] and torch.equal(found, sums[1][name])]


def _known(model: LearntModel, handler: str) -> Parts:
    """The statistics of a handler; of vectors there is no stem, and of tuned heads there are none."""
    statistics: Parts = model.state["handlers"].get(handler, {}).get("statistics", {})
    return statistics


def _shared(first: LearntModel, second: LearntModel, same_classes: bool, inherited: list[str]) -> list[str]:
    """Names of the classes that both sites have images of their own of, in the label order of `first`."""
    known = {name.strip().casefold() for name in second.classes if name not in inherited}
    shared = [name for name in first.classes if name not in inherited and name.strip().casefold() in known]
    if not shared:
        return []
    names = ", ".join(shared)
    if first.setting("head_layout") != "analytic":
        raise UserError(
            f"both models know {names}, and tuned heads of the same class cannot be put side by side; let one of them "
            "forget these first: dynammo forget."
        )
    if not same_classes or any(name not in second.classes for name in shared):
        raise UserError(
            f"both models know {names}; if these are the same at both sites, and written alike, type --same-classes to "
            "count their images together."
        )
    return shared


def _with_images(first: LearntModel, second: LearntModel, shared: list[str], folder: Path) -> LearntModel:
    """`first` as if it had seen the second site's images of the shared classes."""
    folder.mkdir()
    mine, theirs = (sorted(model.classes.index(name) for name in shared) for model in (first, second))
    order = [sorted(shared, key=second.classes.index).index(name) for name in shared]
    changed: dict[str, ClassScatters] = {}
    parts: dict[str, ClassStatistics] = {}
    for handler in filter(lambda name: _known(first, name), STATISTICS):
        before = scatters_of(first, places_of(first, mine, inside=True), handler)
        more = select_classes(scatters_of(second, places_of(second, theirs, inside=True), handler), order)
        known = ClassStatistics(**_known(first, handler))
        parts[handler], changed[handler] = update_classes(known, before, more, mine), add_images(before, more)
    _write_changed(first, mine, changed, folder)
    handlers = first.state["handlers"]
    heads, analytic = head_parts(first, parts["AnalyticHeads"], handlers["AnalyticHeads"]["losses"])
    distance_handler: Parts = handlers["FitOutOfDistribution"]
    distance: Parts = {}
    trust: Parts = {}
    if "FitOutOfDistribution" in parts:
        distances, of = (distance_handler[name] for name in ("distances", "labels"))
        distance, distance_handler, trust = out_of_distribution_parts(
            first, parts["FitOutOfDistribution"], distances, of
        )
    state = {
        **first.state, **heads, **distance, "trust": {**first.state["trust"], **trust},
        "handlers": {**handlers, "AnalyticHeads": analytic, "FitOutOfDistribution": distance_handler},
    }  # fmt: skip
    return replace(first, state=state, folder=folder)


def _write_changed(model: LearntModel, labels: list[int], changed: Mapping[str, ClassScatters], folder: Path) -> None:
    """Write what the tasks contributed, the scatters of some classes changed."""
    rows, done = dict(places_of(model, labels, inside=True)), 0
    for index in range(len(model.tasks)):
        contribution = model.contribution(index)
        if contribution is None:
            continue
        for name, scatters in changed.items() if index in rows else ():
            new = select_classes(scatters, range(done, done + len(rows[index])))
            old = ClassScatters(**contribution["handlers"][name])
            contribution["handlers"][name] = replace_classes(old, rows[index], new).state_dict()
        done += len(rows.get(index, []))
        save_state(contribution_file(folder, index), contribution)


def _side_by_side(first: LearntModel, second: LearntModel) -> LearntModel:
    handlers, shift = dict(first.state["handlers"]), len(first.classes)
    theirs = second.state["handlers"]
    adapters, handlers["MergeAdapters"] = adapter_parts(first, _merged(first, second), second.state["adapters"])
    heads, analytic = _heads(first, second)
    distance: Parts = {}
    distance_trust: Parts = {}
    if _known(first, "FitOutOfDistribution"):
        distance, handlers["FitOutOfDistribution"], distance_trust = out_of_distribution_parts(
            first,
            combine(*(ClassStatistics(**_known(model, "FitOutOfDistribution")) for model in (first, second))),
            torch.cat([handlers["FitOutOfDistribution"]["distances"], theirs["FitOutOfDistribution"]["distances"]]),
            torch.cat([handlers["FitOutOfDistribution"]["labels"], theirs["FitOutOfDistribution"]["labels"] + shift]),
        )
    found = [(threshold, images) for h in (handlers, theirs) for threshold, images in h["Calibrate"]["found"]]
    handlers["Calibrate"], trust = threshold_parts(found)
    handlers["ContinueFrom"] = {"sources": [*sources_of(first), *sources_of(second)]}
    handlers["MeasureCost"] = {"seconds": handlers["MeasureCost"]["seconds"] + theirs["MeasureCost"]["seconds"]}
    temperatures = [model.state["temperature"] * len(model.tasks) for model in (first, second)]
    tasks, classes = first.tasks + second.tasks, first.classes + second.classes
    state = {
        **first.state, **adapters, **heads, **distance,
        "memory": _memories(first, second),
        "results": [*first.state["results"], *_unmeasured(first, second)],
        "temperature": sum(temperatures) / len(tasks),
        "trust": {**first.state["trust"], **distance_trust, **trust},
        "tasks_learnt": len(tasks),
        "handlers": {**handlers, **analytic},
    }  # fmt: skip
    record: Record = {**first.record, "classes": classes, "tasks": tasks, "tasks_learnt": len(tasks)}
    return replace(first, record=record, state=state)


def _merged(first: LearntModel, second: LearntModel) -> Merged:
    """Adapters of both sites under the strategy of both; the plain average for `latest`, which favours neither."""
    name = first.setting("merge_strategy")
    mine, theirs = (model.state["handlers"]["MergeAdapters"] for model in (first, second))
    counts = {id(mine): len(first.tasks), id(theirs): len(second.tasks)}
    merged = Merged(tuple(mine["states"]), tuple(mine["states"]), tuple(mine["weights"]))
    if name == "latest":
        strategy, merged = STRATEGIES["average"], replace(merged, weights=(float(counts[id(mine)]),))
        return merge_next(strategy, merged, theirs["states"][0], float(counts[id(theirs)]), mine["origin"])
    for state, weight in zip(theirs["states"], theirs["weights"], strict=True):
        merged = merge_next(STRATEGIES[name], merged, state, weight, mine["origin"])
    return merged


def _heads(first: LearntModel, second: LearntModel) -> tuple[Parts, Parts]:
    if first.setting("head_layout") != "analytic":
        return {"heads": heads_together([*heads_of(first.state), *heads_of(second.state)])}, {}
    known = [model.state["handlers"]["AnalyticHeads"] for model in (first, second)]
    statistics = combine(*(ClassStatistics(**part["statistics"]) for part in known))
    parts, handler = head_parts(first, statistics, torch.cat([part["losses"] for part in known]))
    return parts, {"AnalyticHeads": handler}


def _memories(first: LearntModel, second: LearntModel) -> dict[str, Any]:
    """The exemplars of both whose images are on this machine."""
    labels = {label: label + len(first.classes) for label in range(len(second.classes))}
    moved = relabelled(second.state["memory"], labels)
    both = {**first.state["memory"], **moved}
    return {label: [pair for pair in pairs if Path(pair[1]).is_file()] for label, pairs in both.items()}


def _unmeasured(first: LearntModel, second: LearntModel) -> list[Parts]:
    """Results after the tasks of the second site: no network ever was at these points."""
    classes, results = len(first.classes), []
    for number, task in enumerate(second.tasks, start=len(first.tasks)):
        classes += len(task)
        results.append(unmeasured(number, number + 1, classes))
    return results


def _write_contributions(first: LearntModel, second: LearntModel, folder: Path) -> None:
    for model, start in ((first, 0), (second, len(first.tasks))):
        for index in range(len(model.tasks)):
            contribution = model.contribution(index)
            if contribution is not None:
                save_state(contribution_file(folder, start + index), contribution)


def _noted(model: LearntModel, theirs: list[dict[str, Any]], folder: Path | None) -> LearntModel:
    """The model with what happened at both sites in its history; tasks of the second are numbered as there."""
    of_second = [{**entry, "site": 2} for entry in theirs if entry not in model.history]
    history = [*model.history, *of_second, event("combined", classes=model.classes)]
    handlers = {**model.state["handlers"], "SaveContributions": {"history": history, "source": str(folder or "")}}
    return replace(model, state={**model.state, "handlers": handlers}, history=history, folder=folder)


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names and numbers, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
