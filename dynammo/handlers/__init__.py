"""The method: what acts at the events of the loop, one handler a file."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "AnalyticHeads": "analytic_head",
    "Calibrate": "calibration",
    "EvaluateTasks": "evaluation",
    "FitOutOfDistribution": "out_of_distribution",
    "LearnWithoutForgetting": "distillation",
    "MeasureCost": "evaluation",
    "MergeAdapters": "merge_adapters",
    "MixedPrecision": "mixed_precision",
    "SelectExemplars": "exemplars",
    "TrainBackbone": "backbone",
    "TuneHeads": "head_tuning",
    "wants_mixed_precision": "mixed_precision",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
