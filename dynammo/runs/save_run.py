"""What a run leaves in its output folder: model, checkpoint, accuracy matrix, plots and `run.json`."""

import io
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import IO, Any

from dynammo import NOTICE
from dynammo.errors import UserError
from dynammo.runs.plots import result_figures, save_figure
from dynammo.runs.record import digests, measured_after
from dynammo.runtime import provenance
from dynammo.runtime.distributed import is_first
from dynammo.runtime.files import prepare_output_dir, save_state, sha256, write_atomically, write_json
from dynammo.runtime.plain import expanded
from dynammo.training.metrics import matrix_csv, summarise
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["SaveRun"]

OUTPUTS = (
    "model.pt",
    "accuracy_matrix.csv",
    "accuracy_matrix.png",
    "accuracy_curve.png",
    "class_recall.png",
    "confusion.png",
)


class SaveRun:
    """Write what people and other programs take from a run, each file whole or not at all, after every task.

    `model.pt` is the plain state dict of the `MergedClassifier`, `run.json` says how to build it and what it does.

    Args:
        output_dir: folder for all files, made if need be.
        method: name of the method.
        settings: the config values that define the run.
        about_classes: what `dynammo.data.describe_classes` says of them.
    """

    def __init__(
        self,
        output_dir: str,
        method: str,
        settings: Mapping[str, Any],
        about_classes: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = prepare_output_dir(output_dir) if is_first() else expanded(output_dir)
        self.method = method
        self.settings = dict(settings)
        self.about_classes = dict(about_classes or {})
        self._test_images: str | None = None
        # read now: by the end of a long run the source tree may have moved on
        self._source = {"versions": provenance.versions(), "commit": provenance.commit()}

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if is_first():
            engine.add_event_handler(TaskEvents.LEARNING_STARTED, self._note_images)
            engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._save)

    def _note_images(self, engine: IncrementalTrainer) -> None:
        self._test_images = engine.data.test_digest()

    def _save(self, engine: IncrementalTrainer) -> None:
        try:
            self._save_files(engine)
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror}); make room or mend it, and type the same command "
                "to resume."
            ) from error

    def _save_files(self, engine: IncrementalTrainer) -> None:
        save_state(self.folder / "model.pt", engine.network.classifier().cpu().state_dict())
        write_atomically(self.folder / "accuracy_matrix.csv", partial(_write, matrix_csv(engine.results).encode()))
        self._save_figures(engine)
        write_json(self.folder / "run.json", self._record(engine))

    def _save_figures(self, engine: IncrementalTrainer) -> None:
        figures = result_figures(engine.results, [task.classes for task in engine.tasks])
        for name, figure in figures.items():
            image = io.BytesIO()
            save_figure(figure, image)
            write_atomically(self.folder / name, partial(_write, image.getvalue()))

    def _record(self, engine: IncrementalTrainer) -> dict[str, Any]:
        learnt = list(engine.tasks)[: len(engine.results)]
        classes = list(engine.tasks.classes[: learnt[-1].seen])
        return {
            "method": self.method,
            "run": engine.key,  # as in the checkpoint that belongs to it
            "seed": engine.seed,
            "classes": classes,
            "about_classes": {name: self.about_classes[name] for name in classes if name in self.about_classes},
            "tasks": [list(task.classes) for task in engine.tasks],
            "tasks_learnt": len(learnt),
            "network": engine.network.classifier_spec(),
            "metrics": summarise(engine.results),
            "measured": asdict(measured_after(asdict(engine.results[-1]))),  # what they were measured on
            "cost": engine.cost,
            "trust": engine.trust,
            "test_images": self._test_images,  # by which runs are known to be comparable
            "results": [asdict(result) for result in engine.results],
            "config": self.settings,
            **self._source,
            "device": str(engine.trainer.state.device),
            "machine": provenance.machine(),
            "command": provenance.command(),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "files": {name: sha256(self.folder / name) for name in OUTPUTS} | digests(self.folder, len(learnt)),
            "notice": NOTICE,
        }


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)
