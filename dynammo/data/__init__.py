"""Labelled images, tasks, exemplars, preprocessing."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ExemplarMemory": "exemplars",
    "ImageSet": "images",
    "IncrementImages": "increments",
    "Task": "tasks",
    "TaskImages": "images",
    "TaskSequence": "tasks",
    "describe_classes": "class_file",
    "cached_dataset": "preprocessing",
    "images_in": "images",
    "make_preprocessing": "preprocessing",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
