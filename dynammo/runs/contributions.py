"""What each task contributed, kept apart in `tasks/` of a run, so that it can be taken out again; and the history."""

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dynammo.errors import UserError
from dynammo.runs.record import FOLDER, HISTORY, contribution_file, measured_after
from dynammo.runtime.distributed import is_first
from dynammo.runtime.files import load_state, prepare_output_dir, save_state, sha256, write_json
from dynammo.runtime.plain import expanded
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = [
    "SaveContributions",
    "event",
    "load_contribution",
    "weights_sha256",
]


class SaveContributions:
    """Write `tasks/<n>.pt` when task n is learnt, and `tasks/history.json`; stands before what records the run.

    A file holds what the handlers with a method `contribution` say of the newest task: its adapters and their weight
    in merging, and count, sum and scatter of each of its classes. It is written once and not read by the training.

    Args:
        output_dir: folder of the run.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.folder = expanded(output_dir) / FOLDER
        self.history: list[dict[str, Any]] = []
        self.source = ""  # folder with the files of the tasks that another run has learnt
        self._fitted = False

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if not is_first():
            return
        engine.add_event_handler(TaskEvents.TASK_FITTED, self._note_fit)
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._save)

    def state_dict(self) -> dict[str, Any]:
        """The history so far, and where the files of earlier tasks come from."""
        return {"history": self.history, "source": self.source}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the history of `state_dict`."""
        self.history, self.source = list(state["history"]), state["source"]

    def bring_earlier(self, tasks: int) -> None:
        """Copy the files of the first tasks from the run that has learnt them, as far as they are not here yet."""
        prepare_output_dir(self.folder)
        for index in range(tasks if self.source else 0):
            file, here = contribution_file(Path(self.source), index), contribution_file(self.folder, index)
            if file.is_file() and not here.exists():
                shutil.copyfile(file, here)

    def kept(self, task: int) -> dict[str, Any]:
        """What the task with this index contributed, as it is kept in this run."""
        contribution = load_contribution(self.folder, task)
        if contribution is None:
            raise ValueError(f"of task {task + 1} nothing was kept")
        return contribution

    def note(self, name: str, **facts: Any) -> None:  # noqa: ANN401
        """Add an event to the history, with the time."""
        self.history = [*self.history, event(name, **facts)]

    def _note_fit(self, engine: IncrementalTrainer) -> None:
        self._fitted = True

    def _save(self, engine: IncrementalTrainer) -> None:
        self.bring_earlier(engine.tasks_learnt)
        if self._fitted:
            self._note_task(engine, self._save_contribution(engine))
        self._fitted = False
        write_json(self.folder / HISTORY, self.history)

    def _save_contribution(self, engine: IncrementalTrainer) -> Path:
        parts = {type(h).__name__: h.contribution() for h in engine.handlers if hasattr(h, "contribution")}
        known = {name: part for name, part in parts.items() if part}
        file = contribution_file(self.folder, engine.task.index)
        save_state(file, {"classes": list(engine.task.classes), "handlers": known})
        return file

    def _note_task(self, engine: IncrementalTrainer, file: Path) -> None:
        task, counts = engine.task, Counter(item["label"] for item in engine.data.train(engine.task))
        model = weights_sha256(engine.network.classifier().cpu().state_dict())
        self.note(
            "learnt",
            task=task.index + 1,
            classes=list(task.classes),
            images={name: counts[label] for name, label in zip(task.classes, task.labels, strict=True)},
            metrics=measures(engine),
            sha256={"model.pt": model, f"{FOLDER}/{file.name}": sha256(file)},
        )


def event(name: str, **facts: Any) -> dict[str, Any]:  # noqa: ANN401
    """An entry of the history, with the time of this moment."""
    return {"event": name, "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}


def measures(engine: IncrementalTrainer) -> dict[str, float]:
    """Accuracy and mean class recall of the network of this moment; NaN where no test image is available."""
    if not engine.results:
        return {}
    result = engine.results[-1]
    found = measured_after(asdict(result))
    return {
        "accuracy": result.accuracy, "mean_class_recall": result.mean_class_recall,
        "measured_classes": found.classes, "known_classes": found.of,
    }  # fmt: skip


def load_contribution(folder: Path | None, index: int, classes: Sequence[str] | None = None) -> dict[str, Any] | None:
    """What the task with this index contributed: `classes`, and `handlers` by name; None where it was not kept.

    Args:
        folder: `tasks` of a run.
        index: of the task, from 0.
        classes: that the task brought; None where nobody knows.

    Raises:
        UserError: a damaged file, or one of a task with other classes.
    """
    file = contribution_file(folder, index) if folder is not None else None
    if file is None or not file.is_file():
        return None
    contribution: dict[str, Any] = load_state(file)
    if not isinstance(contribution, dict) or {"classes", "handlers"} - contribution.keys():
        raise UserError(f"the file {file} is damaged; put a copy of it back, or train again.")
    if classes is not None and list(contribution["classes"]) != list(classes):
        raise UserError(
            f"{file} is of a task of {', '.join(map(str, contribution['classes']))}, but task {index + 1} "
            f"has {', '.join(classes)}; copy all files from the same run."
        )
    return contribution


def weights_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the file that `dynammo.runtime.files.save_state` would write of this state dict."""
    digest = _Digest()
    torch.save(dict(state), digest)  # type: ignore[arg-type]
    return digest.hexdigest()


class _Digest:
    """A file that is only hashed."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.hexdigest = self._sha256.hexdigest

    def write(self, content: bytes) -> int:
        self._sha256.update(content)
        return len(content)

    def flush(self) -> None:
        pass
