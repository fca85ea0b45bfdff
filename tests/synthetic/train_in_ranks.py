"""What `torchrun` starts in tests/runtime/test_distributed.py: trainings typed as a user would, in one pair of
processes.
"""

import json
import runpy
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from dynammo.runs import mlflow as tracking
from dynammo.runs import save_run as record
from dynammo.runs.resume import ResumeRun
from synthetic.runs import Interrupted, interrupted

# drawing takes most of the time of so small a task
record.result_figures = tracking.result_figures = lambda *_: {}
record.OUTPUTS = ("model.pt", "accuracy_matrix.csv")


def typed(*options: str) -> None:
    """`python -m monai.bundle run training ...` in this process."""
    sys.argv = ["monai.bundle", "run", "training", *options]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def in_second_task(_: ResumeRun, name: str, state: dict[str, Any]) -> bool:
    """The snapshot after the first epoch of the second task has been written."""
    return name == "stage" and (state["task"], state["epoch"]) == (1, 1)


def main(trainings: dict[str, list[str]]) -> None:
    for name, options in trainings.items():
        if name != "interrupted":
            typed(*options)
            continue
        save = ResumeRun._save
        ResumeRun._save = interrupted(save, in_second_task)  # type: ignore[method-assign]
        with suppress(Interrupted):
            typed(*options)
        ResumeRun._save = save  # type: ignore[method-assign]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
