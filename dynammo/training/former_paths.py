"""Where configs of 0.1 found classes, and where they are now: an overlay with a former path is told the new one."""

from collections.abc import Iterator
from typing import Any

from dynammo.errors import UserError

__all__ = ["FORMER_PATHS", "refuse_former_paths"]

FORMER_PATHS = {
    "dynammo.analytic_heads.AnalyticHeads": "dynammo.handlers.AnalyticHeads",
    "dynammo.caching.cached_dataset": "dynammo.data.cached_dataset",
    "dynammo.change_report.MeasureChange": "dynammo.lifecycle.MeasureChange",
    "dynammo.continuing.ContinueFrom": "dynammo.lifecycle.ContinueFrom",
    "dynammo.contributions.SaveContributions": "dynammo.runs.SaveContributions",
    "dynammo.distillation.LearnWithoutForgetting": "dynammo.handlers.LearnWithoutForgetting",
    "dynammo.earlier_adapters.TakeAdapters": "dynammo.lifecycle.ReuseAdapters",
    "dynammo.increment_images.IncrementImages": "dynammo.data.IncrementImages",
    "dynammo.memory.ExemplarMemory": "dynammo.data.ExemplarMemory",
    "dynammo.mixed_precision.MixedPrecision": "dynammo.handlers.MixedPrecision",
    "dynammo.network.IncrementalNetwork": "dynammo.networks.IncrementalNetwork",
    "dynammo.readers.ClinicalReader": "dynammo.io.ClinicalReader",
    "dynammo.record.MeasureCost": "dynammo.handlers.MeasureCost",
    "dynammo.record.SaveRun": "dynammo.runs.SaveRun",
    "dynammo.resuming.ResumeRun": "dynammo.runs.ResumeRun",
    "dynammo.table.PrintTaskTable": "dynammo.runs.PrintTaskTable",
    "dynammo.tasks.TaskSequence": "dynammo.data.TaskSequence",
    "dynammo.tracking.LogTaskToMLflow": "dynammo.runs.LogTaskToMLflow",
    "dynammo.trainer.IncrementalTrainer": "dynammo.training.IncrementalTrainer",
    "dynammo.trust.Calibrate": "dynammo.handlers.Calibrate",
    "dynammo.trust.LearnLooks": "dynammo.handlers.FitOutOfDistribution",
}
REMOVED = "dynammo.growing_images.GrowImages"  # the handler behind small_epochs


def refuse_former_paths(config: Any) -> None:  # noqa: ANN401
    """Refuse a config that names a class where 0.1 had it.

    Args:
        config: as it was read from a file: mappings, lists and plain values.

    Raises:
        UserError: with the path to write instead.
    """
    for target in _targets(config):
        if target in FORMER_PATHS:
            raise UserError(f"{target} is now {FORMER_PATHS[target]}; write that as _target_ (docs/migration.md).")
        if target == REMOVED:
            raise UserError(f"{target} was taken out in 0.2.0 with small_epochs; leave it out (docs/migration.md).")


def _targets(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, dict):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _targets(part)
