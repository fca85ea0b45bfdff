"""Stage 1 of an earlier run in the place of its own: other merging, exemplars and heads, without training again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynammo.errors import UserError
from dynammo.runs.contributions import load_contribution
from dynammo.runs.record import FOLDER, check_usable, read_record, refuse_other_files
from dynammo.runtime.plain import expanded, plain
from dynammo.training.settings import POOLING, recorded_names, updated
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["ReuseAdapters"]

# what decides how adapters of a task come out; exemplars do too, by the merged features that chose them
SAME = recorded_names(lambda setting: setting.reuses)


class ReuseAdapters:
    """Give every task the adapters and the head that an earlier run has fitted for it; the loop then fits none.

    Stands behind the handler that merges. The earlier run must have learnt the same classes in the same tasks with
    the same settings of stage 1. Its exemplars may have been others: they were chosen on features of its own merging.
    Where this run pools other features, its heads start anew and must be fitted to them (`head_refit`).

    Args:
        run: folder of the earlier run.
        settings: the config values that define this run.
    """

    def __init__(self, run: str | Path, settings: Mapping[str, Any]) -> None:
        self.run = expanded(run)
        self.settings = settings
        self.same_features = True

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks.

        Raises:
            UserError: no finished run there, or one with another stage 1 or other tasks.
        """
        self._check(engine)
        engine.add_event_handler(TaskEvents.TASK_STARTED, self._take)

    def _check(self, engine: IncrementalTrainer) -> None:
        if not (self.run / "run.json").is_file():
            raise UserError(
                f"adapters_from is {self.run}, which holds no run.json of a training; give the folder of a run."
            )
        record = read_record("run", self.run / "model.pt")
        check_usable(record, str(self.run), self.run)
        refuse_other_files(self.run, record)
        config: dict[str, Any] = updated(record["config"])
        if record.get("tasks") != [list(task.classes) for task in engine.tasks]:
            raise UserError(f"the run {self.run} learnt other tasks; give its increments, class_order and seed.")
        ours = plain(dict(self.settings))
        self.same_features = all(ours.get(name) == config.get(name) for name in POOLING)
        if not self.same_features and not ours.get("head_refit"):
            raise UserError(
                f"the heads of {self.run} read other features ({', '.join(POOLING)}); "
                "type --head_refit True to fit new ones, or give the same."
            )
        for name in SAME:
            if ours.get(name) != config.get(name):
                raise UserError(
                    f"{name} is {ours.get(name)!r}, but the adapters of {self.run} were fitted with "
                    f"{config.get(name)!r}; type --{name} {config.get(name)!r}, or leave adapters_from out."
                )

    def _take(self, engine: IncrementalTrainer) -> None:
        contribution = load_contribution(self.run / FOLDER, engine.task.index, engine.task.classes)
        fitted = contribution["handlers"].get("MergeAdapters", {}) if contribution else {}
        if not fitted.get("adapters") or not fitted.get("head"):
            raise UserError(
                f"the run {self.run} has not kept the adapters and the head of task {engine.task.index + 1}; leave "
                "adapters_from out, or train that run again."
            )
        network = engine.network
        network.adapters.load_state_dict(fitted["adapters"])
        if self.same_features:
            network.heads[-1].load_state_dict(fitted["head"])
        loader: Any = engine.trainer.data_loader
        loader.dataset.set_data(engine.stage_1_items())  # handlers look at what stage 1 has seen
