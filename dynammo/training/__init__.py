"""The loop over tasks and what it needs."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "IncrementalTrainer": "trainer",
    "TaskEvents": "trainer",
    "check_batch_size": "data_parallel",
    "check_settings": "config_checks",
    "refuse_unknown_options": "config_checks",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
