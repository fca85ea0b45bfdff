"""Slices and window in the page to drop images on, in a real browser, and in the report that it saves."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from flask import Flask

Visit = Callable[..., Any]
GREY = """(shown) => {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [shown.width, shown.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(shown, 0, 0);
  return context.getImageData(0, 0, 1, 1).data[0];
}"""


def volume(file: Path, values: np.ndarray) -> Path:
    """A NIfTI file of values (slices, rows, columns), as a screen shows them."""
    nib.Nifti1Image(values.transpose(2, 1, 0), np.diag([-1, -1, 1, 1])).to_filename(file)
    return file


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """Seven slices with air around tissue; a slice more is denser by 100 in its corner."""
    values = np.full((7, 24, 24), -1000, np.int16)
    values[:, 6:18, 6:18] = 40
    values[:, 0, 0] = np.arange(7) * 100 - 1000
    return volume(tmp_path / "body.nii", values)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Two slices from 0 to 10, as MR might be."""
    return volume(tmp_path / "other.nii", np.linspace(0, 10, 2 * 24 * 24, dtype=np.float32).reshape(2, 24, 24))


def opened(visit: Visit, *files: Path) -> Any:  # noqa: ANN401
    page = visit()
    page.set_input_files("#files", list(files))
    page.wait_for_selector(".result")
    card = page.locator(".result").first
    if not card.locator("details").evaluate("(part) => part.open"):
        card.locator("summary").click()
    card.locator(".viewer:not([hidden])").wait_for()
    return page


def test_slices_and_window_are_those_of_the_report(visit: Visit, body: Path) -> None:
    page = opened(visit, body)
    now = page.locator(".slice-now")
    assert now.inner_text() == "4 of 7" and page.locator("canvas.slice").is_hidden()
    page.locator(".stage").focus()
    page.keyboard.press("ArrowUp")
    assert now.inner_text() == "5 of 7" and page.locator("canvas.slice").is_visible()
    page.locator(".slice-number").fill("6")
    assert now.inner_text() == "7 of 7"
    assert "look like Hounsfield units" in page.locator(".viewer-hint").inner_text()
    page.select_option(".window-preset", label="Soft tissue (40, 400)")
    assert page.locator(".width-now").inner_text() == "400 HU"
    assert page.locator("canvas.slice").evaluate(GREY) == 0  # -400
    page.select_option(".window-preset", label="Full range")
    assert page.locator("canvas.slice").evaluate(GREY) == round(600 / 1040 * 255)
    assert page.locator(".window-preset option:checked").inner_text() == "Full range"
    page.locator(".stage").focus()
    page.keyboard.press("r")
    assert now.inner_text() == "4 of 7" and page.locator("canvas.slice").is_hidden()
    page.select_option("#language", "de")
    page.locator(".viewer:not([hidden])").wait_for()
    assert page.locator(".slice-now").inner_text() == "4 von 7"


def test_values_that_are_no_hounsfield_units_get_windows_of_their_own_range(visit: Visit, other: Path) -> None:
    page = opened(visit, other)
    offered = page.locator(".window-preset option:enabled").all_text_contents()
    assert offered == ["chosen by hand", "Full range", "1 to 99 % of the values"]
    page.select_option(".window-preset", label="1 to 99 % of the values")
    assert page.locator(".centre-now").inner_text() == "5" and page.locator(".width-now").inner_text() == "10"
    assert "Hounsfield" not in page.locator(".viewer-hint").inner_text()


def test_each_card_has_slices_of_its_own(visit: Visit, body: Path, other: Path, png: Path) -> None:
    page = opened(visit, body, other, png)
    for name, seen in (("body.nii", "4 of 7"), ("other.nii", "2 of 2")):
        card = page.locator(".result").filter(has_text=name)
        assert card.locator(".slice-now").text_content() == seen
    assert page.locator(".result").filter(has_text="red.png").locator(".viewer").is_hidden()


def classified(application: Flask, *files: Path) -> dict[str, Any]:
    sent = {"files": [(io.BytesIO(file.read_bytes()), file.name) for file in files]}
    found: dict[str, Any] = application.test_client().post("/classify", data=sent).get_json()
    return found


def test_a_saved_report_has_the_slices(application: Flask, body: Path, png: Path) -> None:
    found = classified(application, body, png)
    viewers = {item["path"]: item["viewer"] for item in found["items"]}
    assert viewers["red.png"] is None and viewers["body.nii"]["count"] == 7 and viewers["body.nii"]["hounsfield"]
    client = application.test_client()
    page = client.post("/report?language=en", json=found).get_data(as_text=True)
    assert json.dumps(viewers["body.nii"]["values"])[1:-1] in page and "1 item can be looked through" in page


def test_of_two_items_of_one_name_a_saved_report_has_no_slices(application: Flask, body: Path) -> None:
    found = classified(application, body)
    twice = {"items": found["items"] * 2}
    page = application.test_client().post("/report?language=en", json=twice).get_data(as_text=True)
    assert found["items"][0]["viewer"]["values"] not in page and "Of 2 more the page holds one picture alone" in page


@pytest.mark.parametrize("change", [{"count": "7"}, {"more": 1}, {"values": None}, {"hounsfield": 1}])
def test_slices_that_this_page_did_not_give_are_refused(application: Flask, body: Path, change: dict[str, Any]) -> None:
    found = classified(application, body)
    found["items"][0]["viewer"] |= change
    answer = application.test_client().post("/report", json=found)
    assert answer.status_code == 400 and "no results of this page" in answer.get_json()["error"]
    found["items"][0]["viewer"] = "slices"
    assert application.test_client().post("/report", json=found).status_code == 400
