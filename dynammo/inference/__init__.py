"""A trained model at work."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ENGINES": "engines",
    "PrintEvaluation": "evaluators",
    "SavePredictions": "evaluators",
    "StudyClassifier": "classifier",
    "make_engine": "engines",
    "test_items": "evaluators",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
