"""What a model gains and loses by learning more: recall before and after, on screen and in `learning.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ignite.engine import Events
from monai.data import Dataset
from rich import box
from rich.table import Table

from dynammo import NOTICE
from dynammo.data.increments import IncrementImages
from dynammo.errors import UserError
from dynammo.lifecycle.learning_state import LearntModel
from dynammo.networks.merged_classifier import build_classifier
from dynammo.runs.record import locate_model
from dynammo.runtime.files import load_state, prepare_output_dir, write_json
from dynammo.runtime.plain import decimals, percent
from dynammo.runtime.terminal import Terminal
from dynammo.training.metrics import class_recalls, evaluate_predictions
from dynammo.training.prediction import predict
from dynammo.training.trainer import IncrementalTrainer

__all__ = ["REPORT", "MeasureChange"]

REPORT = "learning.json"
Recalls = npt.NDArray[np.float64]


class MeasureChange:
    """Compare the recall of old and of new classes before and after learning; stands before what records the end.

    Args:
        model: the model before.
        images: its new images, and the available test images.
        transform: deterministic preprocessing of an item.
        output_dir: folder of `learning.json`.
        max_drop: percentage points of mean class recall that old classes may lose.
        batch_size: images for each pass.

    Attributes:
        report: what `learning.json` says.
    """

    def __init__(
        self,
        model: LearntModel,
        images: IncrementImages,
        transform: Any,  # noqa: ANN401
        output_dir: str | Path,
        max_drop: float = 2.0,
        batch_size: int = 32,
    ) -> None:
        if isinstance(max_drop, bool) or not isinstance(max_drop, int | float) or not max_drop >= 0:
            raise UserError(f"max_drop is {max_drop!r}; expected percentage points from 0, such as --max-drop 2.")
        self.model = model
        self.images = images
        self.transform = transform
        self.folder = prepare_output_dir(output_dir)
        self.max_drop = float(max_drop)
        self.batch_size = batch_size
        self.report: dict[str, Any] = {}
        self._before: Recalls = np.zeros(0)

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        engine.add_event_handler(Events.STARTED, self._measure_before)
        engine.add_event_handler(Events.COMPLETED, self._measure_after)

    def check(self) -> None:
        """Refuse the new model where its old classes lost too much.

        Raises:
            UserError: saying how much, and how to accept it.
        """
        if not self.report["accepted"]:
            raise UserError(
                f"the {self._known()} lost {decimals(self.report['lost_points'], 1)} points "
                f"of mean class recall, more than {self.max_drop:g}; to accept that, type --max-drop "
                f"{np.ceil(self.report['lost_points']):.0f}, or give more images of the known classes."
            )

    def _measure_before(self, engine: IncrementalTrainer) -> None:
        count = len(self.model.classes)
        items = [item for item in engine.data.test() if item["label"] < count]
        self._before = np.full(count, np.nan)
        if items:
            located = locate_model(self.model.path)
            state = load_state(located[1]) if located else {}
            network = build_classifier(self.model.record["network"], state)
            network.to(next(engine.network.parameters()).device)
            dataset = Dataset(items, self.transform)
            predicted = predict(network, dataset, self.batch_size, "measuring the model before")
            probabilities, unknown, labels = (part.numpy() for part in predicted)
            confusion = evaluate_predictions(probabilities, unknown, labels, [range(count)], 0).confusion
            self._before = class_recalls(confusion)

    def _measure_after(self, engine: IncrementalTrainer) -> None:
        after = class_recalls(engine.results[-1].confusion)
        old = range(len(self.model.classes))
        lost = 100 * (_mean(self._before) - _mean(after[list(old)]))
        self.report = {
            "model": {"name": self.model.path.name, "sha256": self.model.sha256},
            "new_classes": self.images.new_classes,
            "updated_classes": self.images.updated,
            "images": self.images.images("train"),
            "test_images": self.images.images("test"),
            "before": {"old": _mean(self._before), "recall": dict(zip(self.model.classes, self._before, strict=True))},
            "after": {
                "old": _mean(after[list(old)]),
                "new": _mean(after[len(old) :]),
                "recall": dict(zip(engine.tasks.classes, after, strict=True)),
            },
            "lost_points": lost,
            "max_drop": self.max_drop,
            "measured": not np.isnan(lost),
            "measured_classes": {"old": _count(self._before), "new": _count(after[len(old) :])},
            "accepted": bool(np.isnan(lost) or lost <= self.max_drop),
            "notice": NOTICE,
        }
        engine.refused = not self.report["accepted"]
        write_json(self.folder / REPORT, self.report)
        self._print(engine.tasks.classes, after)

    def _known(self) -> str:
        """What a mean over the known classes is of."""
        known, measured = len(self.model.classes), _count(self._before)
        return f"{known} known classes" if measured in (0, known) else f"{measured} measured of {known} known classes"

    def _print(self, classes: Sequence[str], after: Recalls) -> None:
        console, old = Terminal(), len(self.model.classes)
        table = Table(box=box.SIMPLE_HEAD)
        for name in ("", "test images", "recall before %", "after %"):
            table.add_column(name, justify="right" if name else "left", overflow="fold")
        tests = self.report["test_images"]
        for label, name in enumerate(classes):
            before = percent(self._before[label]) if label < old else "-"
            table.add_row(name, str(tests.get(name, 0)), before, percent(after[label]))
        table.add_section()
        table.add_row(f"mean of the {self._known()}", "", percent(_mean(self._before)), percent(_mean(after[:old])))
        if self.images.new_classes:
            table.add_row("mean of the new classes", "", "-", percent(_mean(after[old:])))
        console.print(table)
        if not self.report["measured"]:
            console.print(
                "of the known classes no test image is available, so nobody knows what they lost; type --test-data "
                "FOLDER to measure it.", soft_wrap=True,
            )  # fmt: skip


def _count(recalls: Recalls) -> int:
    return int(np.isfinite(recalls).sum())


def _mean(recalls: Recalls) -> float:
    """Mean over the classes that have test images; NaN without one."""
    measured = recalls[~np.isnan(recalls)]
    return float(measured.mean()) if len(measured) else float("nan")
