"""What the page to drop images on gives out: table and report of the results that it shows, and a made-up image.

The server keeps nothing: the page sends back what it was answered, and gets it as a file.
"""

import base64
import io
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dynammo.clinic.levels import FLAGS, count_levels
from dynammo.clinic.predictions_table import predictions_csv
from dynammo.clinic.report import model_facts, write_report
from dynammo.errors import UserError
from dynammo.inference.slices import Viewers, is_viewer
from dynammo.runs.load import Model

__all__ = ["report_of", "sample_image", "table_of"]

NEEDED = {
    "path": str, "files": int, "slices": int, "flags": list, "probabilities": dict, "reason": str,
}  # fmt: skip
OTHERS = (
    "format", "modality", "study_uid", "series_uid", "instance_uid", "class", "probability", "unknown", "ood_score",
    "picture", "heat", "viewer", "viewer_left_out",
)  # fmt: skip


def sample_image() -> bytes:
    """A PNG for who has no image at hand: a brown spot on skin, drawn here, of nobody, and the same every time.

    It says in the picture that it is made up, so that it does so in every report too.
    """
    random = np.random.default_rng(0)
    down, across = np.mgrid[-1:1:288j, -1.3:1.3:384j]
    angle = np.arctan2(down, across)
    distance = np.hypot(down, across / 1.2) / (0.55 + 0.05 * np.sin(3 * angle) + 0.03 * np.cos(5 * angle))
    spot = 1 / (1 + np.exp(14 * (distance - 1)))  # 1 inside, soft at the border
    net = 0.75 + 0.25 * np.cos(24 * across) * np.cos(24 * down)
    absorbed = np.array([0.4, 0.8, 1.15])  # of red, green and blue, by brown pigment
    colours = np.array([235, 196, 174]) * np.exp(-1.1 * (spot * net)[..., None] * absorbed)
    pixels = np.clip(colours + random.normal(0, 3, colours.shape), 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels)
    ImageDraw.Draw(picture).text((8, 262), "MADE UP", (70, 40, 30), ImageFont.load_default(18))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def table_of(sent: object, classes: Sequence[str]) -> bytes:
    """`predictions.csv` of results.

    Raises:
        UserError: what was sent are no results of this page.
    """
    return predictions_csv(_items(sent, classes), classes)


def report_of(sent: object, model: Model, about: Mapping[str, Any], folder: Path, language: str) -> bytes:
    """The report of results, as `dynammo classify` writes it.

    Args:
        sent: what `POST /classify` answered: items with their pictures.
        model: of the results.
        about: notice, version, rule and thresholds.
        folder: where it is written before it is sent.
        language: see `write_report`.

    Raises:
        UserError: what was sent are no results of this page.
    """
    items = _items(sent, model.record["classes"])
    run = {
        **about,
        "model": model_facts(model),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": "dynammo serve",
        "input": f"{model.name}, dynammo serve",
        "seconds": 0.0,
        "counts": {
            "items": len(items),
            "unreadable": sum("unreadable" in item["flags"] for item in items),
            "ignored_files": 0,
            "flagged": sum(bool(item["flags"]) for item in items),
            "levels": count_levels(item["flags"] for item in items),
        },
    }
    file = folder / "report.html"
    write_report(file, run, items, _pictures(items), language, _viewers(items))
    return file.read_bytes()


def _items(sent: object, classes: Sequence[str]) -> list[dict[str, Any]]:
    items = sent.get("items") if isinstance(sent, Mapping) else None
    if not isinstance(items, list) or not items or not all(_is_item(item, classes) for item in items):
        raise UserError("these are no results of this page; drop the images again.")
    return [{**{key: item[key] for key in (*NEEDED, *OTHERS)}, "content": ""} for item in items]


def _is_item(item: object, classes: Sequence[str]) -> bool:
    if not isinstance(item, Mapping) or not all(key in item for key in OTHERS):
        return False
    texts = all(isinstance(item.get(key), kind) for key, kind in NEEDED.items())
    slices = item["viewer"] is None or is_viewer(item["viewer"])
    return texts and slices and item["class"] in (None, *classes) and all(flag in FLAGS for flag in item["flags"])


def _viewers(items: Sequence[Mapping[str, Any]]) -> Viewers:
    """Slices of the items; of items that bear one name nothing tells whose they are, so these have none."""
    names = Counter(item["path"] for item in items)
    shown = {item["path"]: item["viewer"] for item in items if item["viewer"] and names[item["path"]] == 1}
    left = [item["path"] for item in items if item["viewer_left_out"] or (item["viewer"] and item["path"] not in shown)]
    return Viewers(shown, left)


def _pictures(items: Sequence[Mapping[str, Any]]) -> Callable[[int], tuple[bytes, bytes | None] | None]:
    def picture(number: int) -> tuple[bytes, bytes | None] | None:
        jpeg, heat = (_bytes(items[number][key]) for key in ("picture", "heat"))
        return None if jpeg is None else (jpeg, heat)

    return picture


def _bytes(url: object) -> bytes | None:
    if not isinstance(url, str):
        return None
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except ValueError as error:
        raise UserError("a picture of these results is damaged; drop the images again.") from error
