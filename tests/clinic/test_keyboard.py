"""By keyboard alone: Tab reaches every control in its order, is seen where it is, and nothing traps it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]
# What can be used now, in the order of the page.
CONTROLS = """(root) => {
  const kinds = "a[href], button, input, select, summary, [tabindex='0']";
  const usable = (element) => !element.disabled && element.checkVisibility({ visibilityProperty: true });
  window.controls = [...document.querySelector(root).querySelectorAll(kinds)].filter(usable);
  return window.controls.length;
}"""
# Which of them has the focus, and what hides it or its mark: the notice, or the edge of the window.
FOCUSED = """() => {
  const [now, notice] = [document.activeElement, document.querySelector(".notice").getBoundingClientRect()];
  const [{ top, bottom }, { outlineStyle, outlineWidth }] = [now.getBoundingClientRect(), getComputedStyle(now)];
  const hidden = [];
  if (`${outlineStyle} ${outlineWidth}` !== "solid 3px") hidden.push("it has no mark");
  if (!now.closest(".notice, dialog") && top < notice.bottom) hidden.push(`${top} is above ${notice.bottom}`);
  if (bottom > innerHeight + 1 && bottom - top < innerHeight / 2) hidden.push(`${bottom} is below ${innerHeight}`);
  return [window.controls.indexOf(now), hidden.join(", ")];
}"""
NARROW = {"viewport": {"width": 390, "height": 640}}


def walk(page: Any, root: str, key: str = "Tab", first: int = 0) -> None:  # noqa: ANN401
    """Go through all controls of `root` once, from before `first`, or by Shift+Tab from behind the last."""
    count = page.evaluate(CONTROLS, root)
    order = list(range(first, count))
    for expected in order if key == "Tab" else reversed(order):
        page.keyboard.press(key)
        found, hidden = page.evaluate(FOCUSED)
        what = page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        assert found == expected, f"{found} in place of {expected} of {count}: {what}"
        assert not hidden, f"{what}: {hidden}"


@pytest.mark.parametrize("context", [{}, NARROW], ids=["wide", "narrow"])
def test_every_control_of_the_report_is_reached_there_and_back(show: Open, context: dict[str, Any]) -> None:
    page = show(**context)
    walk(page, "body")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED)[0] in (-1, 0)  # out of the page, or at its beginning again
    page.evaluate("document.activeElement.blur(); window.controls.at(-1).focus()")
    page.keyboard.press("Tab")
    walk(page, "body", "Shift+Tab")


def test_a_large_picture_is_used_by_keyboard_and_left_by_it(show: Open) -> None:
    page = show()
    page.locator("#rows button").nth(2).press("Enter")
    page.wait_for_selector("#heat[width='8']")
    assert page.evaluate("document.activeElement.id") == "close"
    walk(page, "#large", first=1)
    page.locator("#large .zoom-in").press("Space")
    assert page.locator(".zoom-now").inner_text() == "125 %"
    page.locator("#accept").press("Space")
    assert page.locator("#accept").get_attribute("aria-pressed") == "true"
    page.locator("#on").press("Enter")
    assert page.locator("#large-path").inner_text() == "doubt.png"
    page.locator("#close").press("Space")
    assert not page.locator("#large").is_visible()
    page.wait_for_function("document.activeElement.innerText === 'doubt.png'")  # once the browser has closed it


def test_sorting_and_filtering_need_no_mouse(show: Open) -> None:
    page = show()
    page.locator("th[data-sort=path] button").press("Space")
    assert page.locator("#rows .path").first.inner_text() == "bone.dcm"
    page.locator("button.flag[data-flag=unknown]").press("Space")
    assert page.evaluate("document.activeElement.id") == "by-flag"
    assert page.locator("#rows tr").count() == 2
    page.locator("button[type=reset]").press("Space")
    page.wait_for_selector("#rows tr:nth-child(7)")


def test_every_control_of_the_page_to_drop_images_on_is_reached(visit: Open, png: Path, dicom: Path) -> None:
    page = visit(**NARROW)
    walk(page, "body")
    page.set_input_files("#files", [png, dicom])
    page.wait_for_selector(".result")
    assert page.evaluate("document.activeElement.id") == "results-title"  # what came is read from here
    first = page.locator(".result summary").first
    first.press("Enter")
    assert page.locator(".result details").first.evaluate("(part) => part.open")
    page.evaluate("document.activeElement.blur()")
    page.locator("#language").focus()
    page.keyboard.press("Shift+Tab")
    walk(page, "body")
    first.press("Space")
    assert not page.locator(".result details").first.evaluate("(part) => part.open")
