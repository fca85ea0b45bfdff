"""Labelled images, tasks, exemplars, preprocessing."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ExemplarMemory": "exemplars",
    "FeatureSet": "features",
    "ImageSet": "images",
    "IncrementFeatures": "feature_increments",
    "IncrementImages": "increments",
    "Task": "tasks",
    "TaskFeatures": "features",
    "TaskImages": "images",
    "TaskSequence": "tasks",
    "describe_classes": "class_file",
    "VectorReader": "features",
    "cached_dataset": "preprocessing",
    "images_in": "images",
    "make_preprocessing": "preprocessing",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
