"""Slices and window of an item, flagged images on paper, rows by study, in a real browser."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from synthetic.images import COLOUR, dicom, save
from synthetic.report import ITEMS, make_item, make_unreadable

from dynammo.inference.slices import Viewers, viewer_of
from dynammo.io.studies import Study

Open = Callable[..., Any]
GREY = """() => {
  const [shown, copy] = [document.querySelector("#large .slice"), document.createElement("canvas")];
  [copy.width, copy.height] = [shown.width, shown.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(shown, 0, 0);
  const pixels = context.getImageData(0, 0, copy.width, copy.height).data;
  return [...pixels].filter((_, i) => i % 4 === 0);
}"""
STEPS = np.repeat(np.arange(40, dtype=np.int16), 12).reshape(40, 3, 4) * 100 - 1000  # a value for each slice
STEPS[:, :, 0] = -1000  # and a dark column


@pytest.fixture(scope="module")
def viewers(tmp_path_factory: pytest.TempPathFactory) -> Viewers:
    folder = tmp_path_factory.mktemp("volumes")
    nib.Nifti1Image(STEPS.transpose(2, 1, 0), np.diag([-1, -1, 1, 1])).to_filename(folder / "steps.nii")
    save(dicom(np.stack([COLOUR, 255 - COLOUR]), NumberOfFrames=2), folder / "film.dcm")
    volume = viewer_of(Study((folder / "steps.nii",), "steps", "nifti"))
    film = viewer_of(Study((folder / "film.dcm",), "film", "dicom"))
    assert volume and film
    return Viewers({"ct.dcm": volume, "film.dcm": film}, ["left.nii"], 25)


FOUND = [
    make_item("ct.dcm", format="dicom", modality="CT"),
    make_item("film.dcm", format="dicom", modality="US"),
    make_item("left.nii", format="nifti"),
    make_item("plain.png"),
]


def opened(show: Open, viewers: Viewers, name: str, **context: Any) -> Any:  # noqa: ANN401
    page = show(FOUND, None, viewers, **context)
    page.locator("#rows tr", has_text=name).locator("button").press("Enter")
    return page


def test_keys_slider_and_wheel_scroll_through_the_slices(show: Open, viewers: Viewers) -> None:
    page = opened(show, viewers, "ct.dcm")
    page.wait_for_selector(".viewer:not([hidden])")
    assert page.locator(".slice-now").inner_text() == "21 of 40" and page.locator("#large .slice").is_hidden()
    assert page.locator("#image").is_visible() and page.locator("#heat").is_visible()  # as classified
    page.keyboard.press("ArrowUp")
    assert page.locator(".slice-now").inner_text() != "21 of 40" and page.locator("#large .slice").is_visible()
    assert not page.locator("#heat").is_visible() and not page.locator("#image").is_visible()
    assert "The heat map is of slice 21 alone." in page.locator(".viewer-hint").inner_text()
    page.keyboard.press("ArrowDown")  # back at the slice of the heat map
    assert page.locator("#heat").is_visible() and page.locator(".slice-now").inner_text() == "21 of 40"
    for _ in range(40):
        page.keyboard.press("ArrowDown")
    assert page.locator(".slice-now").inner_text() == "1 of 40"
    page.locator(".slice-number").fill("31")
    assert page.locator(".slice-now").inner_text() == "40 of 40"
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, 100)
    page.wait_for_function("document.querySelector('.slice-now').textContent === '39 of 40'")
    assert page.locator(".zoom-now").inner_text() == "100 %"
    page.locator("#close").focus()
    page.keyboard.press("r")
    assert page.locator("#large .slice").is_hidden() and page.locator(".slice-now").inner_text() == "21 of 40"
    page.keyboard.press("ArrowRight")  # to the next item, as ever
    assert page.locator("#large-path").inner_text() == "film.dcm"


def test_the_window_makes_measured_values_grey(show: Open, viewers: Viewers) -> None:
    page = opened(show, viewers, "ct.dcm")
    page.wait_for_selector(".viewer:not([hidden])")
    page.select_option(".window-preset", label="Bone (400, 1,800)")
    assert [page.locator(f".{name}-now").inner_text() for name in ("centre", "width")] == ["400 HU", "1,800 HU"]
    bright = round((1000 - (400 - 900)) / 1800 * 255)  # slice 21 has 1000
    assert page.evaluate(GREY) == [0, bright, bright, bright] * 3
    page.locator(".window-preset").focus()
    page.keyboard.press("ArrowUp")  # in the list it chooses another window, and is no slice
    assert page.locator(".slice-now").inner_text() == "21 of 40"
    page.locator(".window-width").fill("1000")
    page.locator(".window-centre").fill("1000")
    assert page.evaluate(GREY) == [0, 128, 128, 128] * 3 and page.input_value(".window-preset") == ""
    box = page.locator("#stage").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + box["width"] / 4, middle[1], steps=3)
    page.mouse.up()
    assert page.locator(".width-now").inner_text() == "1,500 HU"
    page.mouse.move(*middle)
    assert page.locator(".width-now").inner_text() == "1,500 HU"  # let go
    page.click(".as-classified")
    assert page.locator("#large .slice").is_hidden() and page.locator(".as-classified").is_disabled()


def test_a_film_has_slices_and_no_window_and_others_have_neither(show: Open, viewers: Viewers) -> None:
    page = opened(show, viewers, "film.dcm")
    page.wait_for_selector(".viewer:not([hidden])")
    assert page.locator(".window-centre").is_hidden() and page.locator(".window-preset").is_hidden()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#large .slice:not([hidden])")
    assert page.locator(".slice-now").inner_text() == "1 of 2"
    page.keyboard.press("ArrowRight")
    assert page.locator("#no-viewer").is_visible() and page.locator(".viewer").is_hidden()
    page.keyboard.press("ArrowRight")
    assert page.locator("#no-viewer").is_hidden() and page.locator(".viewer").is_hidden()
    page.keyboard.press("ArrowUp")
    assert page.locator("#image").is_visible()
    page.keyboard.press("Escape")
    text = page.locator("main").text_content()
    assert "2 items can be looked through" in text and "Of 1 more the page holds one picture alone" in text
    assert "more than 25 MB" in text


def test_paper_has_flagged_images_large_before_the_sign_off(show: Open, tmp_path: Path) -> None:
    hostile = make_item("<b>x.png", flags=["unknown"], reason="<i>odd")
    page = show([*ITEMS, hostile, make_unreadable("gone.png")])
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    figures = page.locator("#appendix figure")
    assert figures.count() == 4  # what cannot be read has no picture
    words = page.locator("#appendix figure", has_text="bone.dcm").inner_text()
    for expected in ("Probably none of the classes (nearest: blue)", "unknown", "check", "The picture probably shows"):
        assert expected in words
    assert "<b>x.png" in page.locator("#appendix").inner_text() and page.locator("#appendix b").count() == 0
    heights = [figures.nth(i).bounding_box()["height"] for i in range(4)]
    assert all(h > 300 for h in heights)
    assert figures.last.bounding_box()["y"] < page.locator(".sign-off").bounding_box()["y"]
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert figures.count() == 0
    reader = shutil.which("pdftotext") or pytest.skip("no pdftotext is installed: apt-get install poppler-utils")
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    text = subprocess.run([reader, tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True).stdout
    last = text.split("\f")[-2]
    assert (
        "bone.dcm" in last and "doubt.png" in last and "<b>x.png" not in last and "Reviewed by" in last
    )  # two images a page, and the line to sign


def test_paper_takes_so_many_flagged_images_of_the_filter(show: Open) -> None:
    page = show([make_item(f"{i}.png", flags=["unknown"]) for i in range(100)])
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#appendix figure").count() == 60
    assert "first 60 of 100 flagged images" in page.locator("#appendix").text_content()


def by_uid(count: int, studies: int) -> list[dict[str, Any]]:
    return [make_item(f"{i:04}.dcm", study_uid=f"1.2.{i % studies}", flags=[]) for i in range(count)]


def test_rows_of_a_study_stand_under_one_heading(show: Open) -> None:
    items = [*by_uid(5, 2), make_item("loose.png"), make_item("z.dcm", study_uid="1.2.1", flags=["unknown"])]
    page = show(items)
    page.check("#by-study")
    shown = [line.split("\n")[0].split("\t")[0].strip() for line in page.locator("#rows tr").all_inner_texts()]
    heads = page.locator("#rows tr.study").all_inner_texts()
    assert [head.strip() for head in heads] == [
        "Study 1.2.1 3 items, 1 with a flag", "Study 1.2.0 3 items", "Without a study 1 item",
    ]  # fmt: skip
    assert len(shown) == 10 and page.locator("#rows tr").nth(1).get_attribute("data-item") == "6"  # flagged first
    page.locator("#rows tr").nth(3).locator("button").focus()
    page.keyboard.press("ArrowDown")  # over the heading
    assert page.evaluate("document.activeElement.closest('tr').dataset.item") == "0"
    page.locator("#rows tr.study").first.click()
    assert not page.locator("#large").is_visible()
    page.uncheck("#by-study")
    assert page.locator("#rows tr.study").count() == 0


def test_without_studies_there_is_no_switch(show: Open) -> None:
    assert show([make_item("a.png")]).locator("#study-switch").is_hidden()


def test_five_thousand_items_of_studies_stay_quick(show: Open, viewers: Viewers) -> None:
    page = show(by_uid(5000, 700), None, viewers)
    page.check("#by-study")
    taken = page.evaluate("""() => {
      const start = performance.now();
      document.querySelector('[data-sort=path] button').click();
      document.getElementById('page-on').click();
      return performance.now() - start;
    }""")
    assert taken < 2000
    assert page.locator("#rows tr[data-item]").count() == 50
    assert "continued" in page.locator("#rows tr.study").first.inner_text()
