"""Handlers of MONAI's evaluator: write predictions of a folder, print the measures of a test set."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from dynammo import NOTICE
from dynammo.data.exemplars import Item
from dynammo.data.images import ImageSet, items_of
from dynammo.errors import UserError
from dynammo.runs.record import Record, check_tasks
from dynammo.runtime.files import prepare_output_dir, write_atomically, write_json
from dynammo.runtime.plain import expanded, percent, rounded, say
from dynammo.runtime.tables import csv_bytes
from dynammo.training.metrics import TaskResult, evaluate_predictions, study_means

__all__ = ["PrintEvaluation", "SavePredictions", "refuse_strangers", "test_items"]


def test_items(images: ImageSet, classes: list[str]) -> list[Item]:
    """Test images of a data set, labelled by the class order of a trained run.

    Raises:
        UserError: a class of the data that the run does not know.
    """
    refuse_strangers(images.classes, classes)
    return [item for r in images.records if r.split == "test" for item in items_of(r, classes.index(r.class_name))]


def refuse_strangers(names: Iterable[str], classes: Sequence[str]) -> None:
    """Refuse classes of a data set that a trained run, which knows `classes`, does not know.

    Raises:
        UserError: naming them.
    """
    strangers = sorted(set(names) - set(classes))
    if strangers:
        raise UserError(
            f"the data has the classes {strangers}, which the model has not learnt; it knows {[*classes]}. "
            "Remove them, or give a model that learnt them."
        )


class SavePredictions:
    """Write `predictions.csv` and `predictions.json` when an evaluator has seen all images.

    Args:
        output_dir: folder of the files, made if need be.
        dataset_dir: folder that the written paths start from.
        classes: class names in label order.
    """

    def __init__(self, output_dir: str, dataset_dir: str, classes: list[str]) -> None:
        self.folder = prepare_output_dir(output_dir)
        self.start = expanded(dataset_dir)
        self.classes = classes
        self.outputs: list[tuple[str, list[float], float]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose outputs hold `path`, `pred` (K,) and `unknown` (1,)."""
        engine.add_event_handler(Events.STARTED, lambda _: self.outputs.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            self.outputs.append((item["path"], output["pred"].tolist(), float(output["unknown"])))

    def _write(self, engine: Engine) -> None:
        rows = self._rows()
        write_atomically(self.folder / "predictions.csv", lambda file: file.write(csv_bytes(list(rows[0]), rows)))
        write_json(self.folder / "predictions.json", {"notice": NOTICE, "classes": self.classes, "images": rows})
        counts = {name: sum(row["predicted_class"] == name for row in rows) for name in self.classes}
        say(f"{len(rows)} images: " + ", ".join(f"{n} {name}" for name, n in counts.items() if n))
        say(f"predictions are in {self.folder / 'predictions.csv'}. {NOTICE}")

    def _rows(self) -> list[dict[str, Any]]:
        paths, probabilities, unknown = zip(*self.outputs, strict=True)
        studies, slices, (means, scores) = study_means(paths, np.array(probabilities), np.array(unknown))
        return [
            {
                "path": Path(path).relative_to(self.start).as_posix(),
                "slices": count,
                "predicted_class": self.classes[int(row.argmax())],
                "probability": rounded(float(row.max()), 6),
                "unknown": rounded(float(score), 6),
                "unknown_score": rounded(float(score), 6),  # its name in 0.1, beside the new one for one release
                **{f"p_{name}": rounded(float(p), 6) for name, p in zip(self.classes, row, strict=True)},
            }
            for path, count, row, score in zip(studies, slices, means, scores, strict=True)
        ]


class PrintEvaluation:
    """Print the measures of a test set and write `evaluation.json`.

    Args:
        output_dir: folder of the file, made if need be; None to write none.
        record: the `run.json` of the trained run.

    Attributes:
        result: the measures, once the evaluator has seen all images.

    Raises:
        UserError: a record that does not tell the tasks.
    """

    def __init__(self, output_dir: str | Path | None, record: Record) -> None:
        check_tasks(record, "the model")
        self.folder = None if output_dir is None else prepare_output_dir(output_dir)
        self.result: TaskResult | None = None
        self.classes: list[str] = record["classes"]
        self.tasks: list[list[str]] = record["tasks"][: record["tasks_learnt"]]
        self.outputs: list[tuple[str, list[float], float, int]] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose outputs hold `pred` (K,), `unknown` (1,) and `label`."""
        engine.add_event_handler(Events.STARTED, lambda _: self.outputs.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._report)

    def _collect(self, engine: Engine) -> None:
        state: Any = engine.state
        for item, output in zip(state.batch, state.output, strict=True):
            row = (item["path"], output["pred"].tolist(), float(output["unknown"]), int(output["label"]))
            self.outputs.append(row)

    def _report(self, engine: Engine) -> None:
        paths, *columns = zip(*self.outputs, strict=True)
        _, _, (probabilities, unknown, labels) = study_means(paths, *map(np.array, columns))
        present = [range(self.classes.index(t[0]), self.classes.index(t[0]) + len(t)) for t in self.tasks]
        result = evaluate_predictions(probabilities, unknown, labels.astype(int), present, len(self.tasks) - 1)
        self.result = result
        say(f"{len(labels)} test images of {len(self.classes)} classes")
        for name, value in (
            ("accuracy", result.accuracy),
            ("mean class recall", result.mean_class_recall),
            ("expected calibration error", result.ece),
        ):
            say(f"{name:<30}{percent(value):>7} %")
        for name, row, label in zip(self.classes, result.confusion, range(len(self.classes)), strict=True):
            say(f"{'recall of ' + name:<30}{percent(row[label] / sum(row) if sum(row) else np.nan):>7} %")
        if self.folder is not None:
            file = self.folder / "evaluation.json"
            write_json(file, {**asdict(result), "classes": self.classes, "notice": NOTICE})
            say(f"the confusion matrix is in {file}.")
        say(NOTICE)
