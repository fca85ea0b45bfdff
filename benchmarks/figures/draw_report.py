"""Draw report.png, report_image.png and site.png of docs/images: a report, one image of it, and the site of the docs.

After `make demo docs` type `python -m benchmarks.figures.draw_report` from the repository root; an installed Chromium
draws them.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import sync_playwright

from dynammo.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(
    report: Annotated[Path, typer.Argument()] = Path("demo/report/report.html"),
    site: Path = Path("build/site/index.html"),
    images: Path = Path("docs/images"),
) -> None:
    """Open report and site as a person in front of a screen does, in English, and take pictures."""
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
        page.goto(site.resolve().as_uri())
        page.wait_for_timeout(500)
        page.screenshot(path=images / "site.png")
        chromium.close()


if __name__ == "__main__":
    typer.run(main)
