"""The handler that loads a finished model before its next task, and brings its known classes more images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events

from dynammo.data.exemplars import Item
from dynammo.data.increments import Source
from dynammo.errors import UserError
from dynammo.handlers.analytic_head import AnalyticHeads
from dynammo.handlers.out_of_distribution import FitOutOfDistribution
from dynammo.heads.scatters import ClassScatters, add_images, join_scatters, replace_classes, select_classes
from dynammo.lifecycle.learning_state import LearntModel
from dynammo.runs.contributions import SaveContributions
from dynammo.runs.record import contribution_file
from dynammo.runtime.files import save_state
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["ContinueFrom"]


class ContinueFrom:
    """Load a model at the start; where no task is left to learn, let it be evaluated and recorded as it is.

    New images of known classes go into the statistics of closed-form heads; for heads that are tuned they join the
    exemplars while the new task is learnt. Stands first in the list of handlers.

    Args:
        model: the model to continue from.
        sources: where test images of its classes may be found, kept for the next time.
        without_exemplars: continue without the exemplars of the model.
    """

    def __init__(self, model: LearntModel, sources: Sequence[Source] = (), without_exemplars: bool = False) -> None:
        self.model = model
        self.sources = [dict(source) for source in sources]
        self.without_exemplars = without_exemplars
        self._budget: int | str | None = None

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(TaskEvents.LEARNING_STARTED, self._restore)
        engine.add_event_handler(Events.EPOCH_STARTED, self._use_statistics)
        engine.add_event_handler(TaskEvents.TASK_STARTED, self._rehearse)
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._end_rehearsal)

    def state_dict(self) -> dict[str, Any]:
        """Where test images were found."""
        return {"sources": self.sources}

    def _restore(self, engine: IncrementalTrainer) -> None:
        exemplars = {} if self.without_exemplars else self._exemplars(engine)
        engine.load_learning_state({**self.model.state, "memory": exemplars})
        alone = len(engine.tasks) == engine.tasks_learnt and engine.network.head_layout != "analytic"
        if alone and _known_items(engine):
            raise UserError(
                "the folder has images of known classes alone, from which heads that are tuned learn only beside a new "
                "class; add a folder of a new class."
            )

    def _exemplars(self, engine: IncrementalTrainer) -> Mapping[str, Any]:
        kept: Mapping[str, Any] = self.model.state["memory"]
        paths = [path for pairs in kept.values() for _, path in pairs]
        if len(engine.tasks) == len(self.model.tasks):
            return kept  # nothing is learnt from them
        gone = [path for path in paths if not Path(path).is_file()]
        if gone or (engine.memory.budget != 0 and not paths):
            what = f"{len(gone)} of the {len(paths)} exemplars" if paths else f"the exemplars ({engine.memory.budget})"
            raise UserError(
                f"{what} of {self.model.path} are not available{self._looked(gone)}; put the images back, give --model "
                "the run on the machine that has them, or type --without-exemplars to continue without those."
            )
        return kept

    def _looked(self, gone: Sequence[str]) -> str:
        """Where the first of these was looked for."""
        if not gone:
            return ""
        places = "" if Path(gone[0]).is_absolute() else f", looked for in {', '.join(map(str, self.model.places))}"
        return f" ({gone[0]}{places})"

    def _use_statistics(self, engine: IncrementalTrainer) -> None:
        items = _known_items(engine) if engine.tasks_learnt == len(self.model.tasks) else []
        if items:
            for handler in engine.handlers:
                analytic = isinstance(handler, AnalyticHeads) and engine.network.head_layout == "analytic"
                if analytic or isinstance(handler, FitOutOfDistribution):
                    self._update(engine, handler, items)  # type: ignore[arg-type]
            self._note(engine, items)
        if engine.tasks_learnt == len(engine.tasks):
            engine.record_again()

    def _update(
        self, engine: IncrementalTrainer, handler: AnalyticHeads | FitOutOfDistribution, items: list[Item]
    ) -> None:
        """Let a handler add the images to its statistics, and what their classes have contributed follow."""
        labels = sorted({item["label"] for item in items})
        before = self._contributed(engine, type(handler).__name__, labels)
        if before is None:
            if isinstance(handler, FitOutOfDistribution):
                return  # without its part the out-of-distribution score stays as it is: it only warns
            names = ", ".join(engine.tasks.classes[label] for label in labels)
            raise UserError(
                f"the folder has images of {names}, which {self.model.path} knows, but what these classes contributed "
                "to its statistics was not kept; give --model the run that learnt them (an export has no tasks/), or "
                "take these folders out."
            )
        known = handler.statistics
        if known is None or not torch.equal(known.counts[labels], before.counts):
            return  # done before an interruption
        more = handler.add_images(engine, items, before, labels)
        self._store(engine, type(handler).__name__, labels, add_images(before, more))

    def _contributed(self, engine: IncrementalTrainer, name: str, labels: list[int]) -> ClassScatters | None:
        """What known classes have contributed to the statistics of a handler; None where that was not kept."""
        parts = []
        for index, rows in _places(engine, labels).items():
            contribution = self.model.contribution(index) or {"handlers": {}}
            if name not in contribution["handlers"]:
                return None
            parts.append(select_classes(ClassScatters(**contribution["handlers"][name]), rows))
        return join_scatters(parts)

    def _store(self, engine: IncrementalTrainer, name: str, labels: list[int], after: ClassScatters) -> None:
        saver = next(handler for handler in engine.handlers if isinstance(handler, SaveContributions))
        saver.bring_earlier(engine.tasks_learnt)
        done = 0
        for index, rows in _places(engine, labels).items():
            contribution = saver.kept(index)
            scatters = ClassScatters(**contribution["handlers"][name])
            changed = select_classes(after, range(done, done + len(rows)))
            contribution["handlers"][name] = replace_classes(scatters, rows, changed).state_dict()
            save_state(contribution_file(saver.folder, index), contribution)
            done += len(rows)

    def _note(self, engine: IncrementalTrainer, items: list[Item]) -> None:
        counts = Counter(engine.tasks.classes[item["label"]] for item in items)
        for handler in engine.handlers:
            if isinstance(handler, SaveContributions):
                handler.note("more images", classes=list(counts), images=dict(counts))

    def _rehearse(self, engine: IncrementalTrainer) -> None:
        items, memory = _known_items(engine), engine.memory
        if not items or engine.network.head_layout == "analytic":
            return
        self._budget = memory.budget
        if memory.budget == 0:  # what is kept for one task alone is no memory
            memory.budget = "all"
        for label in sorted({item["label"] for item in items}):
            memory.add(label, memory.items([label]) + [item for item in items if item["label"] == label])

    def _end_rehearsal(self, engine: IncrementalTrainer) -> None:
        if self._budget is not None:
            engine.memory.budget, self._budget = self._budget, None


def _known_items(engine: IncrementalTrainer) -> list[Item]:
    """Training images of classes that the model knew before: all of them are new to it."""
    tasks = list(engine.tasks)
    learnt = tasks[: engine.tasks_learnt]
    return [item for task in learnt for item in engine.data.train(task)]


def _places(engine: IncrementalTrainer, labels: list[int]) -> dict[int, list[int]]:
    """For each task, by index, the places of those of its classes that are among `labels`."""
    tasks = list(engine.tasks)[: engine.tasks_learnt]
    places = {task.index: [label - task.first_label for label in labels if label in task.labels] for task in tasks}
    return {index: rows for index, rows in places.items() if rows}
