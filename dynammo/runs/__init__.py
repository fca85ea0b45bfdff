"""What a run leaves behind, written and read in one place."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "LogTaskToMLflow": "mlflow",
    "Model": "load",
    "PrintTaskTable": "console",
    "ResumeRun": "resume",
    "SaveContributions": "contributions",
    "SaveRun": "save_run",
    "check_unfinished": "resume",
    "find_models": "find",
    "load_model": "load",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
