"""Draw docs/images/report.png and report_image.png: the report of a classification, and one image of it.

Type `python -m benchmarks.figures.draw_report REPORT` from the repository root, REPORT a report.html; an installed
Chromium draws it.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import sync_playwright

from dynammo.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(report: Annotated[Path, typer.Argument()], images: Path = Path("docs/images")) -> None:
    """Open the report as a person in front of a screen does, in English, and take two pictures."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError(f"the report is drawn by {BROWSERS[0]}, which is not installed here.")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1280, "height": 960}, locale="en-GB")
        page.goto(report.resolve().as_uri())
        page.locator("#rows tr").first.wait_for()
        page.screenshot(path=images / "report.png")
        page.locator("#rows tr").last.click()
        page.locator("#image").wait_for()
        page.wait_for_timeout(500)  # the heat map is painted behind the picture
        page.screenshot(path=images / "report_image.png")
        chromium.close()


if __name__ == "__main__":
    typer.run(main)
