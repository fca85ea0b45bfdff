"""The report as a file: what is in it, what cannot be in it, how it is written."""

import base64
import hashlib
import json
import re
import tracemalloc
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError
from synthetic.datasets import ROOT
from synthetic.report import NOTICE, make_item, make_run, make_unreadable, picture_of

from dynammo.clinic.levels import FLAGS
from dynammo.clinic.report import write_report

HOSTILE = [
    "<script>alert(1)</script>.png",
    "\"quotes'.png",
    "</script><img src=x onerror=alert(1)>.png",
    "<!--<script>.png",
    "{{ 7 * 7 }}.png",
    "bytes\udcff\udc80.png",
]


class Page(HTMLParser):
    """Scripts, styles, texts and outward references of a page, as a browser would split it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.references: list[str | None] = []
        self.handlers: list[str] = []
        self.policy = ""
        self.text = ""
        self._inside = ""
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        given = dict(attrs)
        if tag == "script":
            self.scripts.append((given, ""))
        if tag == "style":
            self.styles.append("")
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        self.references += [given[name] for name in ("src", "href", "action", "data", "srcset") if name in given]
        self.handlers += [name for name in given if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            given, text = self.scripts[-1]
            self.scripts[-1] = given, text + data
        elif self._inside == "style":
            self.styles[-1] += data
        else:
            self.text = re.sub(r"\s+", " ", self.text + data)

    def data(self, name: str) -> Any:  # noqa: ANN401
        return json.loads(next(text for given, text in self.scripts if given.get("id") == name))

    def code(self) -> list[str]:
        return [text for given, text in self.scripts if "type" not in given]


def write(file: Path, items: list[dict[str, Any]], run: dict[str, Any] | None = None) -> Page:
    write_report(file, run or make_run(items), items, picture_of(items))
    return Page(file)


def test_page_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    page = write(tmp_path / "report.html", [make_item("a.png"), make_unreadable("b.png")])
    assert page.references == ["data:,"]  # the icon: none
    assert not page.handlers
    assert not re.search(r"https?:|@import|url\(|\bfetch\(|XMLHttpRequest", (tmp_path / "report.html").read_text())


def test_policy_allows_this_script_and_this_style_alone(tmp_path: Path) -> None:
    page = write(tmp_path / "report.html", [make_item("a.png")])

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    policy = dict(part.split(None, 1) for part in page.policy.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert [policy["script-src"]] == [source(text) for text in page.code()]
    assert [policy["style-src"]] == [source(text) for text in page.styles]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(HOSTILE) | st.text(), reason=st.text())
def test_names_stay_names(tmp_path: Path, name: str, reason: str) -> None:
    items = [make_item(name, label=name), make_unreadable(name, reason)]
    run = make_run(items, name=name, classes=[name]) | {"input": name, "command": name}
    page = write(tmp_path / "report.html", items, run)
    assert len(page.code()) == 1
    assert not page.handlers
    assert len(page.scripts) == 6  # settings, items, texts, code, a picture and its heat map
    assert [(row["path"], row["class"], row["reason"]) for row in page.data("items")] == [
        (name, name, None),
        (name, None, reason),
    ]


def test_summary_counts_classes_and_flags(tmp_path: Path) -> None:
    items = [
        make_item("a.png"),
        make_item("b.png", flags=["low confidence", "unknown"]),
        make_item("c.png", "red", flags=["unknown"]),
        make_unreadable("d.png"),
    ]
    text = write(tmp_path / "report.html", items).text
    assert text.count(NOTICE) == 2  # above the page and in the large picture
    assert re.search(r"4 items \(4 files\) on 2026-03-04 05:06\. 3 need a look and stand first", text)
    assert "2 other files are no images and were left out" in text
    for flag, count in zip(FLAGS, (1, 0, 2, 1), strict=True):
        assert re.search(rf"{flag} {count} \w", " ".join(text.split()))
    assert re.search(r"blue 2 \(1 flagged\) red 1 \(1 flagged\) No item: green, white\.", " ".join(text.split()))


def test_sentences_say_the_fitted_numbers(tmp_path: Path) -> None:
    items = [make_item("a.png")]
    text = write(tmp_path / "report.html", items).text
    for words in ("above 0.62", "about 5 % of pictures", "below 50 %", "off by 1.9 %", "8.1 % before", "found 71.2 %"):
        assert words in text
    assert "1 min 15 s" in text


def test_what_was_not_fitted_is_said(tmp_path: Path) -> None:
    items = [make_item("a.png")]
    nothing = {"recall": None, "classes": 0, "of": 4, "images": 0}
    run = make_run(items, measured=nothing, temperature=None, ece_before=None, ece_after=None)
    run["thresholds"] = dict.fromkeys(run["thresholds"])
    page = write(tmp_path / "report.html", items, run)
    assert "no limit for the unknown score" in page.text
    assert "It was not calibrated" in page.text
    assert "it was not measured" in page.text
    assert "no limit for unlike pictures" in page.text
    assert "unknown score none" in page.text
    assert "None" not in page.text
    assert page.data("settings")["unknown"] is None


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    assert write(tmp_path / "report.html", []).data("items") == []


def test_nothing_of_the_patient_gets_in(tmp_path: Path) -> None:
    write(tmp_path / "report.html", [make_item("a.dcm", patient_id="Q-4711", patient_name="Doe^Jane")])
    page = (tmp_path / "report.html").read_text()
    assert "4711" not in page
    assert "Doe" not in page


def test_numbers_that_json_does_not_know_become_null(tmp_path: Path) -> None:
    item = make_item("a.png", unknown=float("nan"), probabilities={"blue": float("inf"), "red": 0.123456})
    row = write(tmp_path / "report.html", [item]).data("items")[0]
    assert row["unknown"] is None
    assert row["probabilities"] == {"blue": None, "red": 0.1235}


def test_pictures_are_embedded_unchanged_and_asked_for_once(tmp_path: Path) -> None:
    asked = []

    def picture(i: int) -> tuple[bytes, bytes | None] | None:
        asked.append(i)
        return [(b"first", b"heat"), None, (b"third", None)][i]

    items = [make_item(name) for name in "abc"]
    write_report(tmp_path / "report.html", make_run(items), items, picture)
    scripts = {given.get("id"): text for given, text in Page(tmp_path / "report.html").scripts}
    found = {name: base64.b64decode(text) for name, text in scripts.items() if name and re.search(r"-\d", name)}
    assert asked == [0, 1, 2]
    assert found == {"jpeg-0": b"first", "heat-0": b"heat", "jpeg-2": b"third"}


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        items = [make_item(f"{i}.png") for i in range(count)]
        tracemalloc.start()
        write_report(tmp_path / "report.html", make_run(items), items, lambda i: (bytes([i]) * 300_000, None))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2)  # the template is compiled once
    assert peak(100) - peak(10) < 1_000_000  # 27 MB more of pictures


def test_a_failure_leaves_the_older_report(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    items = [make_item("a.png"), make_item("b.png")]
    write(file, items)
    before = file.read_bytes()

    def full(i: int) -> None:
        if i:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_report(file, make_run(items), items, full)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_run_without_a_key_is_refused(tmp_path: Path) -> None:
    run = make_run([])
    del run["notice"]
    with pytest.raises(UndefinedError, match="notice"):
        write(tmp_path / "report.html", [], run)


def palettes() -> dict[str, dict[str, str]]:
    """Colours of the light and of the dark scheme."""
    style = (ROOT / "dynammo" / "clinic" / "pages" / "report.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", part)) for part in re.findall(r":root {([^}]+)}", style))
    return {"light": light, "dark": light | dark}


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


GROUNDS = ("page", "panel")
READ = [*product(("text", "quiet", "accent"), GROUNDS)] + [
    (f"{name}-text", name) for name in ("notice", "unreadable", "different", "unknown", "doubt")
]
SEEN = [*product(("edge", "accent", "bar", "bar-flagged"), GROUNDS), ("accent", "notice")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_at_least_aa(scheme: str) -> None:
    colours = palettes()[scheme]
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    found = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in READ + SEEN}
    assert not {pair: found[pair] for pair in READ if found[pair] < 4.5}, "text needs 4.5"
    assert not {pair: found[pair] for pair in SEEN if found[pair] < 3}, "lines, bars and the focus ring need 3"
