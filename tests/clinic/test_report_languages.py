"""The report in the language of the browser, in a real one, and switched."""

from collections.abc import Callable
from typing import Any

from synthetic.report import make_item, make_unreadable

Open = Callable[..., Any]


def test_the_language_of_the_browser_is_taken_and_can_be_switched(show: Open) -> None:
    page = show(locale="de-AT")
    assert page.evaluate("document.documentElement.lang") == "de"
    assert "Forschungssoftware. Kein Medizinprodukt." in page.locator(".notice").inner_text()
    assert page.locator("#status").inner_text() == "7 Untersuchungen"
    assert page.locator("#rows .probability").nth(1).inner_text() == "60,0 %"
    assert page.locator("#rows .level").first.inner_text() == "nicht verwenden"
    page.locator("#rows button").nth(2).press("Enter")
    assert page.locator("#large-class").inner_text() == "Wahrscheinlich keine der Klassen (am nächsten: blue)"
    page.keyboard.press("Escape")
    page.select_option("#by-flag", "unknown")
    assert page.locator("#filtered-by").text_content() == "Nur: Hinweis unbekannt"
    page.select_option("#language", "en")
    assert page.locator("#filtered-by").text_content() == "Only: flag unknown"
    assert page.locator("#status").inner_text() == "2 of 7 items"
    assert page.title() == "Classification of studies"
    assert page.locator("#print").inner_text() == "Print"
    assert page.locator("#by-text").get_attribute("placeholder") == "file, kind, reason or UID"


def test_another_language_is_english(show: Open) -> None:
    page = show(locale="fr-FR")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("#status").inner_text() == "7 items"


def test_names_and_marks_of_a_class_file_are_shown(show: Open) -> None:
    about = {"red": {"name": "Rubor", "code": "123456", "mark": "malignant"}, "blue": {"mark": "benign"}}
    page = show(about=about, locale="de")
    # of four items; where a class is only the nearest, its mark would mislead
    assert page.locator("#rows .class-mark").all_inner_texts() == ["gutartig", "bösartig"]
    assert page.locator("#rows .class").nth(1).inner_text().startswith("am nächsten: red (Rubor)")
    assert page.locator(".chart .class-mark").count() == 2
    page.fill("#by-text", "rubor")
    page.locator("#rows button").last.press("Enter")
    assert page.locator("#large-class").inner_text() == "red (Rubor), Wahrscheinlichkeit 97,0 %"
    assert "123456" in page.locator("#facts").inner_text()


def test_names_are_never_taken_for_texts(show: Open) -> None:
    names = ["{count}", "constructor", "{class}", "$& <b>x</b>"]
    page = show([make_item(name, label=name) for name in names], locale="de")
    assert sorted(page.locator("#rows .path").all_inner_texts()) == sorted(names)
    for _ in names:
        page.locator("#rows button").first.press("Enter")
        assert page.locator("#large-class").inner_text().startswith(page.locator("#large-path").inner_text())
        page.keyboard.press("Escape")
    assert page.locator("main b, dialog b").count() == 0


REASONS = {
    "it is empty": "sie ist leer",
    "a (b).png cannot be read: it is damaged (OSError).": "a (b).png ist nicht zu lesen: sie ist beschädigt (OSError).",
    "2 of 9 images of it cannot be read; the first: it ends early": (
        "2 von 9 ihrer Bilder sind nicht zu lesen; das erste: sie endet vor der Zeit"
    ),
    "HEIC is not read; save it as PNG, JPEG, TIFF or NIfTI": (
        "HEIC wird nicht gelesen; speichern Sie es als PNG, JPEG, TIFF oder NIfTI"
    ),
    "x.png cannot be read: it is odd {reason} $& <b>.": None,  # no sentence of the catalogue: English, and marked so
    "it is empty indeed": None,
}


def test_reasons_are_in_the_language_of_the_page_or_marked_as_english(show: Open) -> None:
    page = show([make_unreadable(f"{i}.png", reason) for i, reason in enumerate(REASONS)], locale="de")
    cells = page.locator("#rows td.class")
    for i, (english, german) in enumerate(REASONS.items()):
        assert cells.nth(i).inner_text() == (german or english)
        assert cells.nth(i).get_attribute("lang") == (None if german else "en")
    page.locator("#rows button").nth(4).press("Enter")
    assert page.locator("#large-reason").get_attribute("lang") == "en"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#large-reason[lang]").count() == 0
    page.keyboard.press("Escape")
    page.fill("#by-text", "beschädigt")
    assert page.locator("#rows .path").all_inner_texts() == ["1.png"]
    page.fill("#by-text", "")
    page.select_option("#language", "en")
    assert cells.all_inner_texts() == list(REASONS)
    assert page.locator("#rows [lang]").count() == 0
