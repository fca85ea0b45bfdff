"""A clinician reviews the items of a report in a real browser, saves what was said and goes on later."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic.report import ITEMS

Open = Callable[..., Any]


def review_of(page: Any, index: int, label: str, comment: str = "") -> None:  # noqa: ANN401
    """Open the picture of a row, say what is right, close it."""
    page.locator("#rows .path button").nth(index).click()
    page.fill("#right-class", label)
    page.fill("#comment", comment)
    page.click("#close")


def saved(page: Any) -> str:  # noqa: ANN401
    with page.expect_download() as download:
        page.click("#save-review")
    assert download.value.suggested_filename == "review.csv"
    return str(Path(download.value.path()).read_bytes().decode())


def test_a_review_is_given_saved_and_loaded_again(show: Open, tmp_path: Path) -> None:
    page = show()
    assert page.locator("#reviewed").inner_text() == "0 of 7 reviewed, 0 corrected"
    page.locator("#rows .path button").nth(1).click()  # volume.nii, called red
    page.keyboard.press("a")
    assert page.locator("#accept").get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    page.fill("#right-class", "violet")
    page.keyboard.press("ArrowLeft")  # moves in the text alone
    assert page.locator("#large-path").inner_text() == "bone.dcm"
    page.click("#close")
    review_of(page, 3, "green", '=1+1, "sure"')
    assert page.locator("#reviewed").inner_text() == "3 of 7 reviewed, 2 corrected"
    assert page.locator("#rows .said").all_inner_texts() == [
        "accepted", "corrected: violet", 'corrected: green, =1+1, "sure"'
    ]  # fmt: skip
    page.select_option("#by-review", "corrected")
    assert page.locator("#rows .path").all_inner_texts() == ["bone.dcm", "doubt.png"]
    text = saved(page)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["path"], row["predicted"], row["review"], row["label"], row["comment"]) for row in rows] == [
        ("doubt.png", "blue", "corrected", "green", '\'=1+1, "sure"'),
        ("bone.dcm", "blue", "corrected", "violet", ""),
        ("volume.nii", "red", "accepted", "red", ""),
    ]
    file = tmp_path / "review.csv"
    file.write_text(text, newline="")
    again = show()
    again.set_input_files("#load-review", file)
    again.wait_for_function("document.getElementById('reviewed').textContent.includes('loaded')")
    assert again.locator("#reviewed").inner_text() == "3 of 7 reviewed, 2 corrected. 3 reviews loaded."
    assert saved(again) == text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("0123456789abcdef", "fedcba9876543210"), "another model"),
        (lambda text: text.replace("sure.png", "gone.png"), "1 of images that are not in this report were left out"),
        (lambda _: "a,b\n1,2\n", "no review.csv"),
        (lambda text: text.replace("red", '"red'), "no review.csv"),
    ],
)
def test_a_review_of_others_is_not_loaded(show: Open, tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    page = show([ITEMS[0]])
    review_of(page, 0, "red")
    file = tmp_path / "review.csv"
    file.write_text(change(saved(page)), newline="")
    again = show([ITEMS[0]])
    again.set_input_files("#load-review", file)
    again.wait_for_function("document.getElementById('reviewed').textContent.includes('. ')")
    assert words in again.locator("#reviewed").inner_text() and again.locator("#rows .said").count() == 0
