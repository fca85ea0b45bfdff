"""`metadata.json` of an exported bundle: version, classes, measures and formats of one trained run."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from dynammo import NOTICE
from dynammo.runs.record import Record, learns_vectors, measured, measured_after
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.plain import percent_or_words, rounded

__all__ = ["INTENDED_USE", "changes", "class_recalls", "has_adapters", "metadata", "model_card"]

INTENDED_USE = f"{NOTICE} Not for diagnosis."
NEEDED = ("pydicom", "nibabel", "pillow", "pytorch-ignite")  # by inference with MONAI alone
UNKNOWN = "unknown"
DIGITS = 4  # decimals of measures


def metadata(
    record: Record,
    name: str,
    changelog: Mapping[str, str],
    intended_use: str = INTENDED_USE,
    data_source: str = "",
    modality: str = "",
) -> dict[str, Any]:
    """The metadata of MONAI's schema, from that of the training bundle and the record of a run.

    MONAI parses this file as a config: whoever writes it writes `dynammo.runtime.config.inert` of it.

    Args:
        record: `run.json`.
        name: of the bundle.
        changelog: what every version brought, the newest last; it is the version of the bundle.
        intended_use: a sentence.
        data_source: where the training images came from; the data set's folder where nothing is said.
        modality: of the images, such as dermoscopy or CR; MONAI Deploy's application takes series of it. All that
            dynammo reads where nothing is said.
    """
    base: dict[str, Any] = json.loads(bundle_config("metadata.json").read_text(encoding="utf-8"))
    size = [record["config"]["image_size"]] * record["network"].get("spatial_dims", 2)
    formats = base["network_data_format"]
    formats["inputs"]["image"]["spatial_shape"] = size
    formats["inputs"]["image"]["modality"] = modality or formats["inputs"]["image"]["modality"]
    classes, found = list(record["classes"]), measured(record)
    _describe(formats["outputs"]["pred"], [*classes, UNKNOWN])
    _describe(formats["post_processed_outputs"]["pred"], classes)
    return {
        **base,
        "name": name,
        "version": list(changelog)[-1],
        "changelog": dict(changelog),
        "required_packages_version": {package: version(package) for package in NEEDED},
        "task": (
            f"Classification of {len(size)}-D medical images into {len(classes)} classes, learnt {_in_tasks(record)}"
        ),
        "description": _description(record),
        "image_classes": f"one {len(size)}-D image, RGB or grey",
        "references": base["references"] if has_adapters(record) else [],
        "data_source": data_source or f"data set {record['config'].get('dataset_dir') or 'of the user'}",
        "about_classes": record.get("about_classes", {}),
        "data_type": "DICOM, NIfTI, PNG, JPEG, TIFF",
        "intended_use": intended_use,
        "eval_metrics": {
            "mean_class_recall": rounded(found.whole, DIGITS),
            "measured": {"classes": found.classes, "images": found.images},
            "accuracy": None if found.whole is None else rounded(record["results"][-1]["accuracy"], DIGITS),
            "recall": {name: rounded(value, DIGITS) for name, value in class_recalls(record).items()},
        },
    }


def has_adapters(record: Record) -> bool:
    """Whether the network has adapters, which is what the paper is about; embeddings and some methods have none."""
    return not learns_vectors(record) and bool(record["network"].get("adapter", "conv") != "none")


def _in_tasks(record: Record) -> str:
    count = record["tasks_learnt"]
    return "at once" if count == 1 else f"in {count} tasks, one after another"


def _description(record: Record) -> str:
    """How the network came about and what an image costs, of this run and not of what dynammo can do."""
    passes = record["network"].get("branches", 1)
    if not has_adapters(record):
        way = "without adapters"
    elif passes > 1:
        way = "with an adapter for each task, kept apart"
    elif record["tasks_learnt"] == 1 or record["config"].get("merge_strategy") == "latest":
        way = "with one adapter"
    else:
        way = "with an adapter for each task, all merged into one"
    cost = "one pass" if passes == 1 else f"{passes} passes"
    return f"Learnt {_in_tasks(record)}, {way}; an image costs {cost} through the network."


def class_recalls(record: Record) -> dict[str, float | None]:
    """Recall of every class on the test images after the last task; None for a class without any."""
    confusion: Sequence[Sequence[int]] = record["results"][-1]["confusion"]
    rows = zip(record["classes"], confusion, range(len(confusion)), strict=True)
    return {name: row[label] / sum(row) if sum(row) else None for name, row, label in rows}


def changes(record: Record, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """The changelog of a bundle: one version for every task learnt, and one for other weights of the same tasks.

    Args:
        record: `run.json` of what is exported now.
        before: changelog of the bundle of other weights that lies there.
    """
    tasks = list(zip(record["tasks"][: record["tasks_learnt"]], record["results"], strict=False))
    entries = [f"task {number}: {', '.join(names)}{_after(result)}" for number, (names, result) in enumerate(tasks, 1)]
    known = dict(before or {})
    new = entries[sum(text.startswith("task ") for text in known.values()) :]
    first = 1 + max((int(number.split(".")[1]) for number in known), default=0)
    added = new or [f"other weights for {len(tasks)} tasks{_after(record['results'][-1])}"]
    return known | {f"0.{first + step}.0": text for step, text in enumerate(added)}


def _after(result: Mapping[str, Any]) -> str:
    found = measured_after(result)
    return f"; mean class recall {found}" + ("" if found.recall is None else " on its test images")


def _describe(output: dict[str, Any], names: Sequence[str]) -> None:
    output["num_channels"] = len(names)
    output["channel_def"] = {str(number): name for number, name in enumerate(names)}


ABOUT = {
    "model.pt": "weights, a state dict",
    "model.ts": "TorchScript with metadata and inference config inside",
    "model.onnx": "ONNX, opset 18 and up, for ONNX Runtime",
    "learning.pt": "what `dynammo learn` needs to teach one more class; no image",
}


def model_card(record: Record, metadata: Mapping[str, Any], digests: Mapping[str, str]) -> str:
    """Markdown text.

    Args:
        record: `run.json`.
        metadata: of `dynammo.export.bundle_metadata.metadata`.
        digests: sha256 of every file of `models/`.
    """
    tasks = record["tasks"][: record["tasks_learnt"]]
    last, trust = record["results"][-1], record.get("trust", {})
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
        recalls={name: percent_or_words(value) for name, value in class_recalls(record).items()},
        measured=measured(record),
        recall=percent_or_words(last["mean_class_recall"]),
        forgetting=percent_or_words((record.get("metrics") or {}).get("forgetting")),
        branches=record["network"].get("branches", 1),
        adapters=has_adapters(record),
        accuracy=percent_or_words(last["accuracy"]),
        ece=percent_or_words(last["ece"]),
        files=digests,
        about=ABOUT,
        slices=record["config"]["recipe"]["volumes"] == "slices",
        false_alarms=percent_or_words(trust.get("false_alarm_rate")),
        threshold=None if (limit := trust.get("unknown_threshold")) is None else f"{limit:.2f}",
        versions={"dynammo": UNKNOWN, **record["versions"]},
        **{key: record[key] for key in ("method", "seed", "commit")},
    )
