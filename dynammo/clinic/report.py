"""The page a clinician reads: one HTML file with summary, table, pictures and heat maps that opens offline."""

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dynammo.clinic.languages import PageTexts
from dynammo.clinic.levels import FLAGS, LEVELS, count_levels, level_of
from dynammo.data.class_file import describe_classes
from dynammo.inference.slices import Viewers
from dynammo.runs.load import Model
from dynammo.runs.record import measured
from dynammo.runtime.files import write_atomically
from dynammo.runtime.plain import rounded

__all__ = ["Picture", "model_facts", "page_asset", "page_environment", "policy_source", "write_report"]

TRUST = ("temperature", "ece_before", "ece_after", "wanted_accuracy", "confidence_limit", "worth")

STYLES = ("card.css", "report.css", "viewer.css")
SCRIPTS = (
    "words.js",
    "card.js",
    "zoom.js",
    "slices.js",
    "review.js",
    "paper.js",
    "studies.js",
    "report.js",
)  # in their order

Picture = Callable[[int], tuple[bytes, bytes | None] | None]
"""Item number -> JPEG and, as grey 8-bit PNG that covers the same area, its heat map; None where there is no image."""

# Nothing else of an item goes into the page: a patient's name that a caller might add stays outside.
_TEXTS = ("path", "format", "modality", "study_uid", "series_uid", "instance_uid", "class", "reason", "content")
_DIGITS = 4  # of probabilities in the page


def write_report(
    file: Path,
    run: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    picture: Picture,
    language: str = "",
    viewers: Viewers | None = None,
) -> None:
    """Write the report as one self-contained page that asks nothing of any other machine.

    The page is written piece by piece: memory does not grow with the pictures.

    Args:
        file: the page, made or replaced as a whole.
        run: notice, version, time, command, model, rule, thresholds and counts of the run. Measures
            of the model and thresholds (the looks-different distance and shares between 0 and 1) may be
            None where they were not fitted.
        items: one mapping per study item: path, files, slices, format, modality, UIDs, class,
            probability and probabilities (0 to 1), unknown score (0 to 1), flags out of `FLAGS`, reason, and content,
            the digest of its files.
        picture: called once for each item, in order; its answer is written and forgotten.
        language: code of the one that is shown first; "" for that of the browser.
        viewers: slices and measured values to look through; none if left out.

    Raises:
        jinja2.UndefinedError: `run` lacks a key that the page shows.
        OSError: the file cannot be written; an older one is still whole.
    """
    style, script = ("".join(map(page_asset, names)) for names in (STYLES, SCRIPTS))
    viewers = viewers or Viewers()
    left_out = set(viewers.left_out)
    page = page_environment().get_template("report.html.j2")
    pieces = page.generate(
        run=run,
        words=PageTexts(language),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        settings={
            "flags": FLAGS,
            "levels": tuple(LEVELS),
            "unknown": rounded(run["thresholds"]["unknown"], _DIGITS),
            "model": run["model"]["sha256"],
            "about": run["model"]["about_classes"],
            "left_out": [i for i, item in enumerate(items) if item["path"] in left_out],
        },
        viewers=viewers,
        classes=_count_classes(items),
        levels=count_levels(item["flags"] for item in items),
        flags=Counter(flag for item in items for flag in set(item["flags"])),
        files=sum(item["files"] for item in items),
        rows=map(_row, items),
        pictures=_pictures(items, picture, viewers),
    )
    # A file name may hold bytes that are no text; the page shows "?" for them.
    write_atomically(file, lambda out: out.writelines(piece.encode("utf-8", "replace") for piece in pieces))


def model_facts(model: Model, class_file: Path | None = None) -> dict[str, Any]:
    """What the report says of the model: where it comes from, and how far it can be trusted."""
    record, trust = model.record, model.record.get("trust", {})
    return {
        "name": model.name,
        "sha256": model.sha256,
        "trained": record.get("finished", ""),
        "classes": record["classes"],
        "about_classes": describe_classes(class_file, record["classes"], record.get("about_classes")),
        "method": record.get("method", ""),
        "measured": asdict(measured(record)),
        "calibrates_itself": record["config"].get("head_layout") == "analytic",
        **{name: trust.get(name) for name in TRUST},
    }


@cache
def page_environment() -> Environment:
    """How pages are made of their templates: every name is escaped, and what is missing is an error."""
    environment = Environment(
        loader=PackageLoader("dynammo.clinic", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"minute": _minute, "duration": _duration}
    return environment


def page_asset(name: str) -> str:
    """A style or script of `pages/`, which a page carries inside."""
    return (resources.files("dynammo.clinic") / "pages" / name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Content security policy: this style, this script and embedded pictures, nothing else."""
    return (
        f"default-src 'none'; style-src {policy_source(style)}; script-src {policy_source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def policy_source(text: str) -> str:
    """A style or script as a content security policy names it: by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _count_classes(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Predicted class, its items, how many of them carry a flag; the most frequent class first."""
    total = Counter(item["class"] for item in items if item["class"] is not None)
    flagged = Counter(item["class"] for item in items if item["class"] is not None and item["flags"])
    return [(name, count, flagged[name]) for name, count in total.most_common()]


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    """What the page knows of an item."""
    return {
        **{key: item[key] for key in _TEXTS},
        "files": item["files"],
        "slices": item["slices"],
        "flags": [flag for flag in FLAGS if flag in item["flags"]],
        "level": level_of(item["flags"]),
        "probability": rounded(item["probability"], _DIGITS),
        "unknown": rounded(item["unknown"], _DIGITS),
        "probabilities": {name: rounded(value, _DIGITS) for name, value in (item["probabilities"] or {}).items()},
    }


def _pictures(
    items: Sequence[Mapping[str, Any]], picture: Picture, viewers: Viewers
) -> Iterator[tuple[int, str, str | None, dict[str, Any] | None]]:
    for index, item in enumerate(items):
        found = picture(index)
        if found is not None:
            jpeg, heat = found
            grey = None if heat is None else base64.b64encode(heat).decode()
            yield index, base64.b64encode(jpeg).decode(), grey, viewers.shown.get(item["path"])


def _minute(moment: str) -> str:
    """An ISO time to the minute."""
    return moment[:16].replace("T", " ")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{value} {unit}" for value, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if value]
    return " ".join(parts) or "less than a second"
