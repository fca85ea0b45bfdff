"""Records of runs beside files that no test reads as weights, and exports of real ones without ONNX."""

import json
from pathlib import Path
from typing import Any

from dynammo.export.export_run import ExportSettings, export_run
from dynammo.training.settings import RECIPE

RECIPE_VALUES = dict.fromkeys(RECIPE, False) | {
    "spatial_dims": 2, "volumes": "middle", "grey": "percentile", "window": [0, 1]
}  # fmt: skip


RECORD: dict[str, Any] = {
    "method": "dynammo",
    "classes": ["MEL", "NV"],
    "network": {"heads": [2], "in_channels": 3},
    "config": {"image_size": 32, "recipe": RECIPE_VALUES},
    "metrics": {"last_mean_class_recall": 0.75},
    "seed": 0,
    "commit": None,
    "versions": {"dynammo": "0"},
    "tasks": [["MEL", "NV"]],
    "tasks_learnt": 1,
    "results": [{"mean_class_recall": 0.75, "accuracy": 0.75, "ece": 0.1, "confusion": [[3, 1], [1, 3]]}],
    "finished": "2026-01-02T03:04:05+0000",
}


def write_run(folder: Path, finished: str = "2026-01-02T03:04:05+0000", **changes: Any) -> Path:  # noqa: ANN401
    """A record beside a file that no test reads as weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pt").write_bytes(b"weights")
    (folder / "run.json").write_text(json.dumps({**RECORD, "finished": finished, **changes}))
    return folder


def export(run: Path, to: Path) -> Path:
    """The models of a bundle without ONNX, which test_export_run.py tests."""
    return export_run(run, to, ExportSettings(onnx=False)).bundle / "models"


def edit(record: Path, **changes: Any) -> None:  # noqa: ANN401
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))
