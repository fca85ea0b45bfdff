"""Learn, forget, combine, history."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ContinueFrom": "continue_from",
    "LearnSettings": "commands",
    "MeasureChange": "change_report",
    "ReuseAdapters": "reuse_adapters",
    "learn": "commands",
    "load_learnt": "learning_state",
    "sources_of": "learning_state",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
