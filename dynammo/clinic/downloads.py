"""What the page to drop images on gives to keep: the table and the report of the results that it shows.

The server keeps nothing: the page sends back what it was answered, and gets it as a file.
"""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dynammo.clinic.levels import FLAGS, count_levels
from dynammo.clinic.predictions_table import predictions_csv
from dynammo.clinic.report import model_facts, write_report
from dynammo.errors import UserError
from dynammo.runs.load import Model

__all__ = ["report_of", "table_of"]

NEEDED = {
    "path": str, "files": int, "slices": int, "flags": list, "probabilities": dict, "reason": str,
}  # fmt: skip
OTHERS = (
    "format", "modality", "study_uid", "series_uid", "instance_uid", "class", "probability", "unknown", "ood_score",
    "picture", "heat",
)  # fmt: skip


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
    write_report(file, run, items, _pictures(items), language)
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
    return texts and item["class"] in (None, *classes) and all(flag in FLAGS for flag in item["flags"])


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
