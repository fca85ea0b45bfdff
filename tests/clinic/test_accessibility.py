"""Report and page to drop images on break no rule of axe-core: in light, dark and narrow, in every language."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-core is not installed: pip install axe-playwright-python"
)

Open = Callable[..., Any]
KINDS = {"light": {}, "dark": {"color_scheme": "dark"}, "narrow": {"viewport": {"width": 390, "height": 800}}}
ABOUT = {"red": {"name": "Rubor", "code": "123456", "mark": "malignant"}, "blue": {"mark": "benign"}}
UNFOLD = "for (const part of document.querySelectorAll('details')) part.open = true"


def check(page: Any) -> None:  # noqa: ANN401
    """All rules, those of good practice too; what is broken is told with element and reason."""
    found = axe.Axe().run(page)
    assert not found.violations_count, found.generate_report()


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_breaks_no_rule(show: Open, kind: str) -> None:
    page = show(about=ABOUT, **KINDS[kind])
    check(page)
    page.evaluate(UNFOLD)
    page.locator("#rows button").nth(4).press("Enter")
    page.locator("#accept").press("Enter")
    page.keyboard.press("Escape")
    page.select_option("#language", "de")
    page.select_option("#by-flag", "any")
    check(page)
    for row in (0, 2):  # without a picture, with a heat map
        page.locator("#rows .path button").nth(row).press("Enter")
        check(page)
        page.keyboard.press("Escape")


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_to_drop_images_on_breaks_no_rule(visit: Open, kind: str, png: Path, tmp_path: Path) -> None:
    page = visit(**KINDS[kind])
    check(page)
    broken, notes = tmp_path / "broken.png", tmp_path / "notes.txt"
    for file in (broken, notes):
        file.write_bytes(b"no image")
    volume = tmp_path / "volume.nii"
    nib.Nifti1Image(np.arange(3 * 24 * 24, dtype=np.int16).reshape(24, 24, 3), np.eye(4)).to_filename(volume)
    page.set_input_files("#files", [png, broken, notes, volume])
    page.wait_for_selector(".result")
    check(page)
    page.select_option("#language", "de")
    page.evaluate(UNFOLD)
    page.wait_for_selector(".viewer:not([hidden])")
    check(page)
    page.set_input_files("#files", [notes] * 13)  # too many
    page.wait_for_selector("#status.failed")
    check(page)
