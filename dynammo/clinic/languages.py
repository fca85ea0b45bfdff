"""What pages say, in every language: one catalogue each, `pages/<language>.json`; texts of files are none of it.

A page carries all languages and is shown in that of the browser, so what is said is made here in each of them.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from string import Formatter
from typing import Any

from markupsafe import Markup, escape

from dynammo.runtime.plain import percent, rounded, say

__all__ = ["ENGLISH", "PageTexts", "choose_language", "flag_meaning", "languages", "sentence"]

ENGLISH = "en"
LIMITS = {"looks different": "looks_different", "unknown": "unknown", "low confidence": "low_confidence"}  # of flags


@cache
def languages() -> dict[str, dict[str, Any]]:
    """The catalogues by the code of their language, English first.

    Each has `language`, its own name, `decimal` and `thousands`, the marks in numbers, and tables of texts by key:
    `page` for what stands in a page, `script` for what its script says, `reasons` for why a file was not read, which
    come in English and are known by these sentences. A key that ends in `_one` is for a single one.
    """
    folder = resources.files("dynammo.clinic") / "pages"
    codes = sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))
    found = {code: json.loads((folder / f"{code}.json").read_text("utf-8")) for code in codes}
    return {ENGLISH: found.pop(ENGLISH), **found}


def choose_language(typed: str | None) -> str:
    """The code of a language; "" where none was typed, which leaves the choice to the browser.

    Args:
        typed: such as `de`, `DE` or `de-AT`; where there is no such catalogue it is English, and one line says so.
    """
    if typed is None:
        return ""
    code = typed.strip().lower().replace("_", "-").split("-")[0]
    if code in languages():
        return code
    say(f"the pages do not speak {typed[:20]!r}, so they are in English; languages: {', '.join(languages())}")
    return ENGLISH


def sentence(language: str, key: str, **values: Any) -> str:  # noqa: ANN401
    """A text of a catalogue, with values in it as the language writes them.

    Args:
        language: its code.
        key: in `page` or `script`; with `count=1` that which ends in `_one`, where there is one.
        values: text, which is never looked into, numbers, or lists of text.

    Raises:
        KeyError: no such text, or a value that lacks.
    """
    catalogue = languages()[language]
    texts = {**catalogue["page"], **catalogue["script"]}
    single = f"{key}_one"
    text = texts[single] if values.get("count") == 1 and single in texts else texts[key]
    return _Writer(catalogue).vformat(text, (), values)


def flag_meaning(flag: str, limits: Mapping[str, float | None], classes: int) -> tuple[str, dict[str, Any]]:
    """Key and values of what a flag means, in a sentence.

    Args:
        flag: one of `dynammo.clinic.levels.FLAGS`.
        limits: `StudyClassifier.thresholds`.
        classes: how many the model knows.
    """
    key = flag.replace(" ", "_")
    if flag in LIMITS and limits[LIMITS[flag]] is None:
        return f"no_limit_{key}", {}
    return f"meaning_{key}", {**limits, "classes": classes}


class PageTexts:
    """The texts of one page, in all languages, in the order in which its template asks for them.

    Args:
        language: shown first and where no script runs; "" for English, until the script asks the browser.
    """

    def __init__(self, language: str = "") -> None:
        self.language = language
        self._shown = language or ENGLISH
        self._texts: list[dict[str, str]] = []

    def number(self, key: str, **values: Any) -> int:  # noqa: ANN401
        """Keep a text; its place in the list."""
        self._texts.append({code: sentence(code, key, **values) for code in languages()})
        return len(self._texts) - 1

    def text(self, key: str, **values: Any) -> Markup:  # noqa: ANN401
        """An element with a text."""
        return self._element(self.number(key, **values))

    def content(self, key: str, **values: Any) -> Markup:  # noqa: ANN401
        """What an element's tag says for the script to fill it with a text, such as an option."""
        return Markup('data-text="{}"').format(self.number(key, **values))

    def attribute(self, name: str, key: str, **values: Any) -> Markup:  # noqa: ANN401
        """An attribute that holds a text: title, placeholder or aria-label."""
        place = self.number(key, **values)
        return Markup('{}="{}" data-text-{}="{}"').format(name, self._texts[place][self._shown], name, place)

    def known(self, text: str) -> Markup:
        """An English sentence of dynammo's in all languages, where the catalogues have it; else as it is."""
        key = next((key for key, value in languages()[ENGLISH]["page"].items() if value == text), None)
        return escape(text) if key is None else self.text(key)

    def meaning(self, flag: str, limits: Mapping[str, float | None], classes: Sequence[str]) -> Markup:
        """What a flag means, see `flag_meaning`."""
        return self._element(self.meaning_number(flag, limits, classes))

    def meaning_number(self, flag: str, limits: Mapping[str, float | None], classes: Sequence[str]) -> int:
        """The place of a flag's meaning in the list, for a script."""
        key, values = flag_meaning(flag, limits, len(classes))
        return self.number(key, **values)

    def data(self) -> dict[str, Any]:
        """What the script of the page takes; ask for it when the page has all its texts."""
        return {
            "language": self.language,
            "names": {code: catalogue["language"] for code, catalogue in languages().items()},
            "page": {code: [texts[code] for texts in self._texts] for code in languages()},
            "script": {code: catalogue["script"] for code, catalogue in languages().items()},
            "reasons": {code: catalogue["reasons"] for code, catalogue in languages().items()},
        }

    def _element(self, place: int) -> Markup:
        return Markup('<span data-text="{}">{}</span>').format(place, self._texts[place][self._shown])


class _Writer(Formatter):
    """Writes values as a language does: `{share:percent}`, `{share:whole}`, `{value:limit}`, `{value:.2f}`."""

    def __init__(self, catalogue: Mapping[str, Any]) -> None:
        self.catalogue = catalogue

    def format_field(self, value: Any, format_spec: str) -> str:  # noqa: ANN401
        if isinstance(value, str):
            return value
        if isinstance(value, Sequence):
            return ", ".join(map(str, value))
        if format_spec == "percent":
            share = rounded(value, 0) is not None
            return f"{self._marks(percent(value))} %" if share else str(self.catalogue["page"]["not_measured"])
        if format_spec == "limit":
            return str(self.catalogue["page"]["no_value"]) if value is None else self._marks(f"{value:.3g}")
        if format_spec == "whole":
            return f"{100 * value:.0f}"
        return self._marks(format(value, format_spec or (",d" if isinstance(value, int) else "")))

    def _marks(self, number: str) -> str:
        return number.translate(str.maketrans({",": self.catalogue["thousands"], ".": self.catalogue["decimal"]}))
