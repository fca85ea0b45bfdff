"""A made-up classification: run, items and pictures as the report gets them."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

NOTICE = "Research software. Not a medical device."
NAMES = ("blue", "green", "red")


def make_run(items: list[dict[str, Any]], **model: Any) -> dict[str, Any]:  # noqa: ANN401
    """A run over `items`; `model` replaces entries of the model."""
    return {
        "notice": NOTICE,
        "version": "1.2.3",
        "finished": "2026-03-04T05:06:07+00:00",
        "command": "dynammo classify -i studies -o results",
        "model": {
            "name": "colours",
            "sha256": "0123456789abcdef" * 4,
            "trained": "2026-03-01T10:00:00",
            "classes": [*NAMES, "white"],
            "about_classes": {},
            "method": "dynammo",
            "measured": {"recall": 0.7123, "classes": 4, "of": 4, "images": 317},
            "temperature": 1.4,
            "ece_before": 0.081,
            "ece_after": 0.019,
            "calibrates_itself": False,
            "wanted_accuracy": 0.9,
            "confidence_limit": 0.62,
            "worth": {
                "images": 317,
                "top_1": 0.61,
                "top_3": 0.94,
                "unflagged": 0.4,
                "right_unflagged": 0.89,
                "right_flagged": 0.42,
            },
            **model,
        },
        "rule": "mean over slices",
        "thresholds": {"unknown": 0.62, "false_alarm_rate": 0.05, "low_confidence": 0.5, "looks_different": 3.1},
        "counts": {
            "items": len(items),
            "unreadable": sum("unreadable" in item["flags"] for item in items),
            "ignored_files": 2,
            "flagged": sum(bool(item["flags"]) for item in items),
        },
        "seconds": 75.2,
        "input": "studies",
    }


def make_item(path: str, label: str = "blue", probability: float = 0.9, **rest: Any) -> dict[str, Any]:  # noqa: ANN401
    """An image of a class; `rest` replaces entries."""
    others = {name: (1 - probability) / 2 for name in NAMES if name != label}
    return {
        "path": path,
        "files": 1,
        "slices": 1,
        "format": "PNG",
        "modality": None,
        "study_uid": None,
        "series_uid": None,
        "instance_uid": None,
        "class": label,
        "probability": probability,
        "probabilities": {label: probability, **others},
        "unknown": 0.1,
        "flags": [],
        "reason": None,
        "content": hashlib.sha256(repr(path).encode()).hexdigest(),
        **rest,
    }


def make_unreadable(path: str, reason: str = "the file is empty.") -> dict[str, Any]:
    """A file without prediction."""
    nothing = {"class": None, "probability": None, "probabilities": {}, "unknown": None, "slices": 0}
    return {**make_item(path), **nothing, "flags": ["unreadable"], "reason": reason}


def encode(pixels: np.ndarray, kind: str) -> bytes:
    """An image file of 8-bit pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind)
    return file.getvalue()


def picture_of(items: list[dict[str, Any]]) -> Callable[[int], tuple[bytes, bytes | None] | None]:
    """A wide grey picture, hot at its left, for every readable item; NIfTI items have no heat map."""
    jpeg = encode(np.full((60, 120, 3), 128), "JPEG")
    heat = encode(np.repeat(np.linspace(255, 0, 8)[None], 4, 0), "PNG")

    def picture(i: int) -> tuple[bytes, bytes | None] | None:
        if items[i]["class"] is None:
            return None
        return jpeg, None if items[i]["format"] == "NIfTI" else heat

    return picture


ITEMS = [
    make_item("sure.png", "red", 0.97),
    make_item("image10.png", "green", 0.8),
    make_item("image9.png", "green", 0.75),
    make_item("doubt.png", "blue", 0.4, flags=["low confidence"]),
    make_item(
        "bone.dcm", "blue", 0.95, format="DICOM", modality="CR", unknown=0.7, flags=["unknown"], study_uid="1.2.3"
    ),
    make_item("volume.nii", "red", 0.6, format="NIfTI", slices=30, unknown=0.9, flags=["looks different", "unknown"]),
    make_unreadable("broken.dcm", "the file ends early."),
]
