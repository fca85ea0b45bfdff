"""The report in a real browser: a clinician looks, sorts, filters, opens, prints."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic.report import NOTICE, make_item, make_unreadable

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

HOSTILE = [
    "<script>alert(1)</script>.png",
    "</script><img src=x onerror=alert(1)>.png",
    "\"><svg onload='alert(1)'>.png",
    "<!--<script>.png",
]
NEEDS_A_LOOK_FIRST = "broken.dcm volume.nii bone.dcm doubt.png image9.png image10.png sure.png"
Open = Callable[..., Any]


def paths(page: Any) -> list[str]:  # noqa: ANN401
    """File names of the rows on the screen, from top to bottom."""
    return page.locator("#rows .path").all_inner_texts()


def title(page: Any) -> str:  # noqa: ANN401
    """File name of the large picture."""
    return page.locator("#large-path").inner_text()


def test_what_needs_a_look_stands_first(show: Open) -> None:
    page = show()
    assert paths(page) == NEEDS_A_LOOK_FIRST.split()
    assert page.locator("#rows tr").first.inner_text().split("\t")[2].strip() == "the file ends early."
    shown = page.locator("#rows .class").nth(1).inner_text().split("\n")
    assert [line.strip() for line in shown if line.strip()] == ["nearest: red", "20.0 % blue", "20.0 % green"]
    assert page.locator("#status").inner_text() == "7 items"
    assert page.locator("#rows img:visible").count() == 6
    assert page.evaluate(
        "[...document.querySelectorAll('#rows img[src]')].every((image) => image.naturalWidth === 120)"
    )


# by column: the rows from low to high, then the first row from high to low
SORTED = {
    "path": ("bone.dcm broken.dcm doubt.png image9.png image10.png sure.png volume.nii", "volume.nii"),
    "class": ("bone.dcm doubt.png image9.png image10.png volume.nii sure.png broken.dcm", "volume.nii"),
    "probability": ("doubt.png volume.nii image9.png image10.png bone.dcm sure.png broken.dcm", "sure.png"),
    "unknown": ("doubt.png image9.png image10.png sure.png bone.dcm volume.nii broken.dcm", "volume.nii"),
    "flags": (NEEDS_A_LOOK_FIRST, "image9.png"),
    "kind": ("bone.dcm volume.nii broken.dcm doubt.png image9.png image10.png sure.png", "broken.dcm"),
    "slices": ("broken.dcm bone.dcm doubt.png image9.png image10.png sure.png volume.nii", "volume.nii"),
}


def test_every_column_sorts(show: Open) -> None:
    page = show()
    assert {head.get_attribute("data-sort") for head in page.locator("th[data-sort]").all()} == set(SORTED)
    for column, (up, down_first) in SORTED.items():
        head = page.locator(f"th[data-sort={column}]")
        head.locator("button").press("Enter")
        assert paths(page) == up.split(), column
        assert head.get_attribute("aria-sort") == "ascending"
        assert page.locator("th[aria-sort]").count() == 1
        head.locator("button").click()
        assert paths(page)[0] == down_first, column
        assert head.get_attribute("aria-sort") == "descending"


def test_filters_join_and_reset(show: Open) -> None:
    page = show()
    page.select_option("#by-flag", "unknown")
    assert paths(page) == ["volume.nii", "bone.dcm"]
    page.select_option("#by-class", label="blue (2)")
    assert paths(page) == ["bone.dcm"]
    assert page.locator("#status").inner_text().startswith("1 of 7 items")
    page.fill("#by-text", "image")
    assert paths(page) == []
    assert page.locator("#nothing").is_visible()
    page.click("button[type=reset]")
    api.expect(page.locator("#rows tr")).to_have_count(7)
    page.select_option("#by-flag", "none")
    assert paths(page) == ["image9.png", "image10.png", "sure.png"]


def test_text_finds_names_reasons_kinds_and_uids(show: Open) -> None:
    page = show()
    for text, found in (
        ("IMAGE", ["image9.png", "image10.png"]),
        ("ends early", ["broken.dcm"]),
        ("cr dicom", ["bone.dcm"]),
        ("1.2.3", ["bone.dcm"]),
    ):
        page.fill("#by-text", text)
        assert paths(page) == found


def test_a_click_in_the_summary_filters(show: Open) -> None:
    page = show()
    page.click(".summary button[data-flag='low confidence']")
    assert paths(page) == ["doubt.png"]
    page.click(".summary button[data-class=green]")
    assert paths(page) == ["image9.png", "image10.png"]


def test_levels_are_told_and_filter(show: Open) -> None:
    page = show()
    marks = page.locator("#rows .level").all_inner_texts()
    assert marks == ["do not use", "do not use", "check", "check", "fine", "fine", "fine"]
    assert " ".join(page.locator(".levels").inner_text().split()) == "do not use 2 check 2 fine 3"
    page.click(".summary button[data-level=check]")
    assert paths(page) == ["bone.dcm", "doubt.png"]
    assert page.locator("#filtered-by").text_content() == "Only: level check"
    page.locator("#rows button").first.press("Enter")
    assert page.locator("#large-flags span").all_inner_texts() == ["check", "unknown"]


def test_walk_through_the_large_pictures_by_keyboard(show: Open) -> None:
    page = show()
    page.locator("#rows button").nth(1).press("Enter")
    assert title(page) == "volume.nii"
    assert page.locator("#position").inner_text() == "2 of 7"
    page.keyboard.press("ArrowRight")
    assert title(page) == "bone.dcm"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # there is none before the first
    assert title(page) == "broken.dcm"
    assert page.locator("#no-picture").is_visible()
    assert page.locator("#large-reason").inner_text() == "the file ends early."
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()
    assert page.evaluate("document.activeElement.innerText") == "volume.nii"
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.innerText") == "bone.dcm"


def test_large_picture_tells_everything(show: Open) -> None:
    page = show()
    assert "1.2.3" not in page.locator("body").inner_text()  # UIDs stand in the large view alone
    page.locator("#rows tr").nth(2).locator("td.thumbnail").click()
    assert page.locator("#large-class").inner_text() == "Probably none of the classes (nearest: blue)"
    assert page.locator("#bars li").all_inner_texts() == ["blue\n95.0 %", "green\n2.5 %", "red\n2.5 %"]
    widths = page.evaluate("[...document.querySelectorAll('#bars .track span')].map((bar) => bar.style.width)")
    assert widths == ["95%", "2.5%", "2.5%"]
    assert page.locator("#unknown-bar").inner_text() == "flag above 0.62\n0.70"
    assert "1.2.3" in page.locator("#facts").inner_text()
    assert page.locator("#large").get_by_text(NOTICE).is_visible()


def test_heat_map_lies_over_the_picture(show: Open) -> None:
    page = show()
    page.locator("#rows button").nth(2).press("Enter")
    page.wait_for_selector("#heat[width='8']")
    pixels = page.evaluate("[...document.getElementById('heat').getContext('2d').getImageData(0, 0, 8, 1).data]")
    assert pixels[:4] == [253, 231, 37, 255]  # hot at the left: yellow, opaque
    assert pixels[-1] == 0  # nothing at the right: clear
    boxes = page.evaluate(
        "['image', 'heat'].map((id) => JSON.stringify(document.getElementById(id).getBoundingClientRect()))"
    )
    assert boxes[0] == boxes[1]
    size = page.locator("#image").bounding_box()
    assert size["width"] / size["height"] == pytest.approx(2, abs=0.02)
    opacity = "Number(document.getElementById('heat').style.opacity)"
    page.locator("#heat-strength").press("ArrowRight")  # moves the slider, not on to the next picture
    assert page.evaluate(opacity) == pytest.approx(0.61)
    assert title(page) == "bone.dcm"
    page.keyboard.press("h")
    assert page.locator("#heat-on").is_checked()  # the slider keeps its keys
    page.locator("#close").focus()
    page.keyboard.press("h")
    assert page.evaluate(opacity) == 0
    page.keyboard.press("ArrowLeft")
    assert page.locator("#no-heat").is_visible()
    assert "No heat map" in page.locator("#no-heat").inner_text()
    assert not page.locator("#heat-controls").is_visible()


def test_hostile_names_are_only_shown(show: Open) -> None:
    page = show([make_item(name, label=name) for name in HOSTILE] + [make_unreadable(name, name) for name in HOSTILE])
    assert sorted(paths(page)) == sorted(HOSTILE * 2)
    page.locator("#rows button").last.press("Enter")
    for _ in range(8):
        assert title(page) in HOSTILE
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    page.click(".summary button[data-class] >> nth=0")
    assert len(paths(page)) == 1
    assert page.locator("#rows script, #rows svg, dialog script, dialog svg").count() == 0


def test_five_thousand_items_come_in_pages(show: Open) -> None:
    page = show([make_item(f"{i}.png", ("blue", "green", "red")[i % 3], 0.5 + i / 1e4) for i in range(5000)])
    assert paths(page) == [f"{i}.png" for i in range(50)]
    assert page.locator("#status").inner_text() == "5,000 items, 1 to 50 shown"
    assert page.locator("img").count() == 51
    page.click("#page-on")
    assert paths(page)[0] == "50.png"
    page.fill("#page", "999")
    page.keyboard.press("Enter")
    assert paths(page)[-1] == "4999.png"
    assert page.locator("#page-on").is_disabled()
    page.fill("#by-text", "49")
    assert len(paths(page)) == 50
    page.locator("#rows button").last.press("Enter")
    page.keyboard.press("ArrowRight")
    shown = title(page)
    page.keyboard.press("Escape")  # the table turns to the page of the picture
    assert page.input_value("#page") == "2"
    assert paths(page)[0] == page.evaluate("document.activeElement.innerText") == shown


def test_notice_stays_in_sight(show: Open) -> None:
    page = show([make_item(f"{i}.png") for i in range(50)], viewport={"width": 390, "height": 800})
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    box = page.get_by_text(NOTICE).first.bounding_box()
    assert 0 <= box["y"] < 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out on a telephone


def test_focus_is_seen(show: Open) -> None:
    page = show()
    for _ in range(25):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", "3px"]


def test_paper_gets_all_rows_of_the_filter_and_no_controls(show: Open) -> None:
    page = show([make_item(f"{i}.png", ("blue", "red")[i % 2]) for i in range(200)])
    page.select_option("#by-class", label="red (100)")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert len(paths(page)) == 100
    assert page.locator("#filtered-by").inner_text() == "Only: class red"
    assert page.get_by_text("SHA-256 of the model").is_visible()
    for control in (".filter", ".pager", "dialog"):
        assert not page.locator(control).is_visible()
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert len(paths(page)) == 50


def test_print_button_waits_for_all_rows(show: Open) -> None:
    page = show([make_item(f"{i}.png") for i in range(120)])
    page.evaluate(
        "window.print = () => { document.body.id = `printed-${document.querySelectorAll('#rows tr').length}` }"
    )
    page.click("#print")
    page.wait_for_selector("#printed-120")


def test_notice_and_columns_stand_on_every_sheet(show: Open, tmp_path: Path) -> None:
    reader = shutil.which("pdftotext") or pytest.skip("no pdftotext is installed: apt-get install poppler-utils")
    page = show([make_item(f"{i}.png") for i in range(120)])
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    text = subprocess.run([reader, tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True).stdout
    sheets = text.split("\f")[:-1]
    assert len(sheets) > 3
    assert all(NOTICE in sheet and "Model colours" in sheet for sheet in sheets)
    assert all("Predicted class\n" in sheet for sheet in sheets[2:])


def test_dark_scheme_follows_the_system(show: Open) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    assert show().evaluate(shade) == "rgb(255, 255, 255)"
    assert show(color_scheme="dark").evaluate(shade) == "rgb(18, 24, 30)"
