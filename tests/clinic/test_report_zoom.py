"""The large picture comes nearer and is moved, by keyboard and mouse, in a real browser."""

from collections.abc import Callable
from typing import Any

import pytest

Open = Callable[..., Any]
MATRIX = """(id) => {
  const { a, e } = new DOMMatrix(getComputedStyle(document.getElementById(id)).transform);
  return [a, e / document.getElementById("stage").clientWidth];
}"""


def opened(show: Open) -> Any:  # noqa: ANN401
    page = show()
    page.locator("#rows button").nth(2).press("Enter")
    page.wait_for_selector("#heat[width='8']")
    return page


def test_keys_bring_nearer_move_and_show_the_whole(show: Open) -> None:
    page = opened(show)
    assert page.locator(".zoom-now").inner_text() == "100 %" and page.locator(".zoom-out").is_disabled()
    for _ in range(3):
        page.keyboard.press("+")
    assert page.locator(".zoom-now").inner_text() == "195 %"
    assert page.evaluate(MATRIX, "image") == page.evaluate(MATRIX, "heat") == pytest.approx([1.25**3, 0], abs=1e-3)
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")  # moves the picture, not on to the next one
    assert page.locator("#large-path").inner_text() == "bone.dcm"
    assert page.evaluate(MATRIX, "heat") == pytest.approx([1.25**3, -0.1], abs=1e-3)
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(MATRIX, "image")[1] == pytest.approx(-(1.25**3 - 1) / 2, abs=1e-3)  # its edge is the end
    page.keyboard.press("0")
    assert page.evaluate(MATRIX, "image") == pytest.approx([1, 0])
    for _ in range(20):
        page.keyboard.press("+")
    assert page.locator(".zoom-now").inner_text() == "800 %" and page.locator(".zoom-in").is_disabled()


def test_the_next_picture_is_whole_and_texts_keep_their_keys(show: Open) -> None:
    page = opened(show)
    page.fill("#comment", "")
    page.locator("#comment").press_sequentially("1+0-0")
    assert page.input_value("#comment") == "1+0-0" and page.locator(".zoom-now").inner_text() == "100 %"
    page.locator(".zoom-in").click()
    page.locator("#close").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#large-path").inner_text() == "doubt.png"
    assert page.locator(".zoom-now").inner_text() == "100 %"


def test_a_double_click_and_a_drag(show: Open) -> None:
    page = opened(show)
    box = page.locator("#stage").bounding_box()
    left, middle = box["x"] + box["width"] / 4, box["y"] + box["height"] / 2
    page.mouse.dblclick(left, middle)
    assert page.evaluate(MATRIX, "image") == pytest.approx([2, 0.25], abs=0.01)  # what was there stays there
    page.mouse.move(left, middle)
    page.mouse.down()
    page.mouse.move(left - box["width"] / 4, middle, steps=4)
    page.mouse.up()
    assert page.evaluate(MATRIX, "heat") == pytest.approx([2, 0], abs=0.02)
    page.mouse.wheel(0, -100)  # the picture has the focus
    page.wait_for_function("document.querySelector('.zoom-now').textContent === '250 %'")
