"""DynaMMo: class-incremental learning of medical images by merging task adapters.

`import dynammo` is the door for programs: `train`, `load`, `compare` and `Model`, see `dynammo.api`. They are imported
when they are asked for, so that the import itself costs nothing.
"""

import os

TYPE_CHECKING = False  # that of `typing` would be half of the import
if TYPE_CHECKING:
    from dynammo.api import Model, compare, load, train

__all__ = ["NOTICE", "Model", "compare", "load", "train"]

NOTICE = "Research software. Not a medical device."
"""What every result says of itself; longer sentences begin with it."""

# MLflow reports usage to its makers unless told not to; nothing may leave the machine unasked.
# Set before any import of mlflow; whoever wants telemetry sets the variable to "false".
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__version__ = "0.2.0"

FACE = {"Model": "api", "compare": "api", "load": "api", "train": "api"}  # name, and file that holds it


def __getattr__(name: str) -> object:
    from dynammo.runtime.faces import look_up

    return look_up(__name__, FACE, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
