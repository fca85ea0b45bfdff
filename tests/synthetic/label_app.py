"""What an export leaves, as far as the MONAI Label app looks at it."""

import importlib
import json
from pathlib import Path
from types import ModuleType

NAME = "dynammo_skin_classification"


CLASSES = ["MEL", "NV"]


SOURCE = "0" * 64


def write_bundle(folder: Path, network: bytes = b"network", named: list[str] | None = None) -> Path:
    """What an export leaves, as far as the app looks at it before it loads anything."""
    (folder / "models").mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "models" / "model.ts").write_bytes(network)
    digest = lib("bundle_checks").file_sha256(folder / "models" / "model.ts")
    record = {
        "classes": CLASSES,
        "network": {"heads": [2]},
        "config": {"image_size": 32, "head_layout": "analytic"},
        "tasks": [CLASSES],
        "files": {"model.ts": digest},
        "source": SOURCE,
    }
    names = [*CLASSES, "unknown"] if named is None else named
    output = {"pred": {"channel_def": {str(i): name for i, name in enumerate(names)}}}
    (folder / "models" / "run.json").write_text(json.dumps(record))
    (folder / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": {"outputs": output}}))
    (folder / "configs" / "inference.yaml").write_text("{}")
    return folder


def lib(name: str) -> ModuleType:
    return importlib.import_module(f"lib.{name}")


def write_run(folder: Path, weights: str) -> Path:
    (folder / "tasks").mkdir(parents=True)
    record = {"classes": CLASSES, "network": {"heads": [2]}, "config": {"image_size": 32}}
    (folder / "run.json").write_text(json.dumps({**record, "files": {"model.pt": weights}}))
    for name in ("model.pt", "checkpoint.pt", "tasks/1.pt", "mlruns.db"):
        (folder / name).write_text(name)
    return folder
