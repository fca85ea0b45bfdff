"""The README of an exported bundle: what the model does, how well, how to use it, where it ends."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from dynammo.export.bundle_metadata import class_recalls
from dynammo.runs.record import Record

__all__ = ["model_card"]

ABOUT = {
    "model.pt": "weights, a state dict",
    "model.ts": "TorchScript with metadata and inference config inside",
    "model.onnx": "ONNX, opset 18 and up, for ONNX Runtime",
    "learning.pt": "what `dynammo learn` needs to teach one more class: statistics and adapters, no image",
}


def model_card(record: Record, metadata: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Markdown text.

    Args:
        record: `run.json`.
        metadata: of `dynammo.export.bundle_metadata.metadata`.
        digests: sha256 of every file of `models/`.
    """
    tasks = record["tasks"][: record["tasks_learnt"]]
    last, trust = record["results"][-1], record.get("trust") or {}
    size = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    text = (files("dynammo.export") / "bundle_templates" / "README.md.j2").read_text(encoding="utf-8")
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(text)
    return template.render(
        {key: metadata[key] for key in ("name", "intended_use", "version", "data_source")},
        dimensions=len(size),
        size=", ".join(map(str, size)),
        classes=record["classes"],
        tasks=tasks,
        loop_task={name: number for number, task in enumerate(tasks, start=1) for name in task},
        recalls={name: _percent(value) for name, value in class_recalls(record).items()},
        mean_class_recall=_percent(last["mean_class_recall"]),
        accuracy=_percent(last["accuracy"]),
        ece=_percent(last["ece"]),
        files=digests,
        about=ABOUT,
        slices=record["config"]["recipe"]["volumes"] == "slices",
        false_alarms=_percent(trust.get("false_alarm_rate")),
        threshold=_number(trust.get("unknown_threshold")),
        versions=record["versions"],
        **{key: record[key] for key in ("method", "seed", "commit")},
    )


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"
