"""What a person sees: one line for each finished task, a table at the end."""

import math
import time
from dataclasses import asdict
from pathlib import Path

from ignite.engine import Events
from rich import box
from rich.table import Table

from dynammo.runs.record import measured_after
from dynammo.runtime.distributed import is_first
from dynammo.runtime.plain import percent
from dynammo.runtime.progress import WholeProgress
from dynammo.runtime.terminal import Terminal
from dynammo.training.expected_time import expected_passes, expected_seconds
from dynammo.training.metrics import TaskResult, accuracy_matrix, summarise
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["PrintTaskTable"]


class PrintTaskTable:
    """Print a line after every task and the accuracy matrix with its measures after the last.

    Args:
        output_dir: folder named at the end as the place of all files.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)
        self.console = Terminal()
        self._since = 0.0
        self._bar = WholeProgress(())

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks."""
        if not is_first():
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(TaskEvents.TASK_STARTED, lambda engine: self._bar.start(engine.task.index))
        for ended in (Events.COMPLETED, TaskEvents.LEARNING_ENDED):  # the latter after errors, too
            engine.add_event_handler(ended, lambda _: self._bar.stop())
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._line)
        engine.add_event_handler(Events.COMPLETED, self._table)

    def _start(self, engine: IncrementalTrainer) -> None:
        self._since = time.perf_counter()
        test, train = len(engine.data.test()), sum(len(engine.data.train(task)) for task in engine.tasks)
        self._bar = WholeProgress(expected_passes(engine))
        minutes = _rough(sum(expected_seconds(engine)[engine.tasks_learnt :]))
        self.console.print(
            f"{len(engine.tasks.classes)} classes in {len(engine.tasks)} tasks, {train} training, {test} test images, "
            f"about {minutes}",
            soft_wrap=True,
        )

    def _line(self, engine: IncrementalTrainer) -> None:
        result, task = engine.results[-1], engine.task
        seconds, self._since = time.perf_counter() - self._since, time.perf_counter()
        found = measured_after(asdict(result))
        self.console.print(
            f"task {task.index + 1}/{len(engine.tasks)}  {task.seen:>3} classes seen  "
            f"accuracy {percent(result.accuracy):>5} %  mean class recall {percent(result.mean_class_recall):>5} %"
            f"{found.part}  {seconds:>5.0f} s  {', '.join(task.classes)}",
            soft_wrap=True,
        )

    def _table(self, engine: IncrementalTrainer) -> None:
        self.console.print("\naccuracy in % on each task, after learning each task")
        self.console.print(_matrix_table(engine.results, [", ".join(task.classes) for task in engine.tasks]))
        part = measured_after(asdict(engine.results[-1])).part
        for name, value in summarise(engine.results).items():
            of = part if name.startswith("last") else ""
            self.console.print(f"{name.replace('_', ' '):<30}{percent(value):>7} %{of}")
        if engine.cost["gmac_backbone"]:  # embeddings come without one
            ratio = engine.cost["gmac_per_image"] / engine.cost["gmac_backbone"]
            self.console.print(f"{'cost of one image':<30}{ratio:>7.2f} x the backbone")
        self.console.print(f"{'images kept':<30}{engine.cost['images_kept']:>7.0f}")
        self.console.print(f"all files are in {self.output_dir}: model.pt, run.json, plots", soft_wrap=True)


def _rough(seconds: float) -> str:
    """A time as people say one that they do not know well."""
    if seconds < 100:
        return f"{max(10, 10 * math.ceil(seconds / 10))} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.0f} hours"


def _matrix_table(results: list[TaskResult], names: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("after task", overflow="fold")
    for j in range(len(names)):
        table.add_column(f"{j + 1}", justify="right", no_wrap=True)
    table.add_column("all seen", justify="right", no_wrap=True)
    for k, row in enumerate(accuracy_matrix(results)):
        table.add_row(f"{k + 1}  {names[k]}", *[percent(value) for value in row], percent(results[k].accuracy))
    return table
