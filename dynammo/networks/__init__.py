"""Backbones, adapters, pooling and the two networks; nothing here knows of tasks."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ADAPTERS": "adapters",
    "Backbone": "backbones",
    "FOLDABLE": "adapters",
    "IncrementalNetwork": "incremental_network",
    "MergedClassifier": "merged_classifier",
    "OutOfDistribution": "out_of_distribution",
    "Pooling": "pooling",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
