import re
import string
from typing import Any

import pytest
from synthetic.datasets import ROOT
from synthetic.report import NOTICE

from dynammo.clinic.languages import PageTexts, choose_language, flag_meaning, languages, sentence
from dynammo.clinic.levels import FLAGS, LEVELS

PAGES = ROOT / "dynammo" / "clinic" / "pages"
LIMITS = {"unknown": 0.62, "false_alarm_rate": 0.05, "low_confidence": 0.5, "looks_different": 3.1}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_catalogues_say_the_same_things_with_the_same_values() -> None:
    english, *others = languages().values()
    for other in others:
        for table in ("page", "script", "reasons"):
            assert list(other[table]) == list(english[table])
            for key, text in english[table].items():
                assert fields(other[table][key]) == fields(text), key
                assert other[table][key].strip(), key
    assert not english["page"].keys() & english["script"].keys()


def test_pages_use_every_text_and_no_other() -> None:
    sources = "".join(file.read_text() for file in PAGES.iterdir() if file.suffix in (".js", ".j2"))
    code = (ROOT / "dynammo" / "clinic" / "languages.py").read_text()
    made = {f"flag_{flag}" for flag in FLAGS} | {f"level_{level}" for level in LEVELS}
    made |= {f"{kind}_{flag}" for kind in ("meaning", "no_limit") for flag in FLAGS}
    made |= {f"only_{kind}" for kind in ("class", "level", "flag", "review", "text")}
    made |= {f"mark_{mark}" for mark in ("malignant", "benign", "urgent")}
    made = {key.replace(" ", "_") for key in made}
    known = {key for table in ("page", "script") for key in languages()["en"][table]}
    shown_as_they_are = {"notice", "volumes_whole", "rule_middle", "rule_maximum", "rule_slices"}
    for key in known - made - shown_as_they_are:
        assert f'"{key.removesuffix("_one")}"' in sources + code, f"nothing says {key}"
    asked = set(re.findall(r'words\.(?:text|content|attribute)\((?:"[a-z-]+", )?"(\w+)"[,)]', sources))
    asked |= set(re.findall(r'\bsay\("(\w+)"', sources))
    assert asked <= known


def test_fixed_sentences_are_known_word_for_word() -> None:
    english = languages()["en"]["page"]
    source = (ROOT / "dynammo" / "inference" / "classifier.py").read_text()
    assert english["notice"] == NOTICE and english["volumes_whole"] in source
    for kind in ("the middle slice", "the maximum projection", "every slice"):
        rule = f"of a volume {kind} is classified; probabilities are the mean over the files of a series, over slices "
        assert sum(text.startswith(rule) for text in english.values()) == 1 and kind in source


def test_reasons_are_known_word_for_word() -> None:
    """What the pages translate is what readers say, apart from what stands in its gaps."""
    folders = (ROOT / "dynammo" / "io", ROOT / "dynammo" / "inference", ROOT / "dynammo" / "clinic")
    source = "".join(file.read_text() for folder in folders for file in folder.glob("*.py"))
    source = re.sub(r'"\n\s+f?"', "", source)  # strings that are written on two lines
    for key, text in languages()["en"]["reasons"].items():
        for part in re.split(r"\{\w+\}", text):
            assert part.strip(" .():") in source, key


@pytest.mark.parametrize(
    ("typed", "found", "said"),
    [
        (None, "", ""),
        ("en", "en", ""),
        ("DE", "de", ""),
        ("de_AT.UTF-8", "de", ""),
        ("tlh", "en", "do not speak 'tlh'"),
        ("../en", "en", "do not speak"),
    ],
)
def test_a_language_that_there_is_not_is_english_and_says_so(
    typed: str | None, found: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose_language(typed) == found
    out = capsys.readouterr().out
    assert said in out and (not said or "languages: en, de" in out)


@pytest.mark.parametrize(
    ("key", "values", "english", "german"),
    [
        ("count_items", {"count": 1}, "1 item", "1 Untersuchung"),
        ("count_items", {"count": 4321}, "4,321 items", "4.321 Untersuchungen"),
        ("recall_whole", {"recall": 0.7125}, "71.3 %", "71,3 %"),
        ("recall_whole", {"recall": None}, "not measured", "nicht gemessen"),
        ("no_item", {"names": ["{a}", "b"]}, "No item: {a}, b.", "Keine Untersuchung: {a}, b."),
        ("title", {"input": "{0.__class__}"}, "Classification of {0.__class__}", "Klassifikation von {0.__class__}"),
    ],
)
def test_values_are_written_as_the_language_does(key: str, values: dict[str, Any], english: str, german: str) -> None:
    assert (sentence("en", key, **values), sentence("de", key, **values)) == (english, german)


def test_meanings_of_flags_say_limits_or_that_there_is_none() -> None:
    for flag in FLAGS:
        for limits in (LIMITS, dict.fromkeys(LIMITS)):
            key, values = flag_meaning(flag, limits, 8)
            assert "None" not in sentence("en", key, **values)
            assert ("no limit" in sentence("en", key, **values)) == (limits["unknown"] is None and flag != "unreadable")


def test_texts_of_a_page_are_escaped_and_numbered() -> None:
    words = PageTexts("de")
    assert words.text("classes") == '<span data-text="0">Klassen</span>'
    assert words.text("title", input="<b>{x}") == '<span data-text="1">Klassifikation von &lt;b&gt;{x}</span>'
    assert words.known("<i>no sentence of ours") == "&lt;i&gt;no sentence of ours"
    assert words.attribute("title", "close") == 'title="Schließen" data-text-title="2"'
    assert words.data()["page"]["en"] == ["Classes", "Classification of <b>{x}", "Close"]
    assert words.data()["names"] == {"en": "English", "de": "Deutsch"}
