"""Trainings and classifications in processes of their own, to be killed at any moment of what they do."""

import logging
import math
import multiprocessing
import os
import pkgutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from synthetic.datasets import ROOT

PHASES = {
    "loading": "dynammo.data.images.readable",
    "stage 1": "dynammo.training.stage_trainer.StageTrainer.fit",
    "merging": "dynammo.handlers.merge_adapters.MergeAdapters._merge",
    "exemplars": "dynammo.handlers.exemplars.SelectExemplars._select",
    "head tuning": "dynammo.handlers.head_tuning.TuneHeads._tune",
    "evaluation": "dynammo.handlers.evaluation.EvaluateTasks._evaluate",
    "records": "dynammo.runs.save_run.SaveRun._save",
    "checkpoint writing": "dynammo.runs.resume.save_checkpoint",
    "MLflow": "dynammo.runs.mlflow_store.Store.write",
}
"""What a training does, by the function that does it."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(  # so that MONAI and MLflow, ten seconds, are imported once
    [
        "monai.bundle",
        "mlflow.pytorch",
        "dynammo.runs.resume",
        "dynammo.runs.mlflow",
        "dynammo.clinic.classify",
        "dynammo.inference.classifier",
        "dynammo.handlers.calibration",
        "dynammo.handlers.analytic_head",
    ]
)


@dataclass(frozen=True)
class Moment:
    """A phase that a training entered for the `count`-th time, and how many seconds it took."""

    phase: str
    count: int
    seconds: float


class Training:
    """One training in a process of its own.

    Args:
        data: folder of images.
        output: output folder of the run.
        change: called in the process before the training is made, to break something.
        settings: of the run.
    """

    def __init__(
        self,
        data: Path,
        output: Path,
        change: Callable[[], object] | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self.log = output.with_name(f"{output.name}.log")
        self.span = (math.inf, -math.inf)  # times at which it began and ended to do anything
        self.heard, said = PROCESSES.Pipe(duplex=False)
        self.process: ForkServerProcess = PROCESSES.Process(
            target=_train, args=(data, output, self.log, said, change, settings), daemon=True
        )
        self.process.start()
        said.close()

    def kill_at(self, moment: Moment, share: float) -> None:
        """Kill -9 it when this share of a phase is over; it may have ended by then."""
        entered = 0
        while entered < moment.count:
            try:
                phase, enters, _ = self.heard.recv()
            except EOFError:
                break
            entered += enters and phase == moment.phase
        time.sleep(share * moment.seconds)
        self.kill()

    def kill(self) -> None:
        """Kill -9, and wait for the end."""
        self.process.kill()
        self.process.join()

    def moments(self) -> list[Moment]:
        """Everything that it does, once it has ended."""
        found: list[Moment] = []
        began: dict[str, float] = {}
        while True:
            try:
                phase, enters, now = self.heard.recv()
            except EOFError:
                break
            self.span = min(now, self.span[0]), max(now, self.span[1])
            if enters:
                began[phase] = now
            elif phase in began:
                count = 1 + sum(moment.phase == phase for moment in found)
                found.append(Moment(phase, count, now - began[phase]))
        self.process.join()
        return found

    def end(self) -> str:
        """Wait for its end; what it printed. The exit code is `process.exitcode`."""
        self.moments()
        return self.log.read_text()


def classification(source: Path, out: Path, log: Path, **settings: Any) -> ForkServerProcess:  # noqa: ANN401
    """A classification in a process of its own, started; 0 or 3 is its exit code when it comes to its end.

    Args:
        source: what is classified.
        out: folder of the results.
        log: file of what it prints.
        settings: of `dynammo.clinic.classify.ClassifySettings`.
    """
    process = PROCESSES.Process(target=_classify, args=(source, out, log, settings), daemon=True)
    process.start()
    return process


def _classify(source: Path, out: Path, log: Path, settings: dict[str, Any]) -> None:
    with log.open("w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        import torch

        from dynammo.clinic.classify import ClassifySettings, classify
        from dynammo.errors import UserError

        torch.set_num_threads(1)
        try:
            status = classify(source, out, ClassifySettings(**settings))
        except UserError as error:
            print(f"error: {error}", file=file, flush=True)
            status = 1
    sys.exit(status)


def _train(
    data: Path, output: Path, log: Path, said: Connection, change: Callable[[], object] | None, settings: dict[str, Any]
) -> None:
    os.chdir(ROOT)
    with log.open("w", buffering=1) as file:
        sys.stdout = sys.stderr = file
        os.dup2(file.fileno(), 2)  # where loggers write that were made before
        logging.root.setLevel(logging.WARNING)  # MLflow, imported beforehand, has set it to errors alone
        import torch

        from dynammo.errors import explain_user_errors
        from dynammo.runs import save_run as record
        from synthetic.runs import make_trainer

        torch.set_num_threads(1)
        record.result_figures = lambda *_: {}  # drawing takes most of the time of so small a task
        pkgutil.resolve_name("dynammo.runs.mlflow").result_figures = record.result_figures
        record.OUTPUTS = ("model.pt", "accuracy_matrix.csv")
        for phase, name in PHASES.items():
            _announce(phase, name, said)
        if change is not None:
            change()
        explain_user_errors()
        try:
            make_trainer(data, output, **settings).learn()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.exit(1)


def _announce(phase: str, name: str, said: Connection) -> None:
    """Let a function say when it begins and ends."""
    place, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(place)
    function = getattr(owner, attribute)

    def run(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        said.send((phase, True, time.perf_counter()))
        result = function(*arguments, **named)
        said.send((phase, False, time.perf_counter()))
        return result

    setattr(owner, attribute, run)


def mlflow_runs(output: Path) -> dict[str, Any]:
    """What the local MLflow database knows, as far as two equal runs have it in common."""
    with closing(sqlite3.connect(output.parent / "mlruns.db")) as database:
        parents = "select value from tags where key = 'mlflow.parentRunId'"
        return {
            "runs": database.execute("select name, status from runs order by name").fetchall(),
            "parents": database.execute(
                f"select count(*) from runs where run_uuid not in (select run_uuid from tags where key = "
                f"'mlflow.parentRunId') or run_uuid in ({parents})"
            ).fetchone()[0],
            "points": database.execute(
                "select name, key, step, value from metrics join runs using (run_uuid) "
                "where key not like '%seconds' order by name, key, step"
            ).fetchall(),
            "versions": database.execute("select version from model_versions order by version").fetchall(),
        }
