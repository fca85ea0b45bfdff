"""Draw docs/images/readme.png: the demo's report beside mean class recall on derm8 by three methods.

Type `make demo`, then `python -m benchmarks.figures.draw_readme` from the repository root; Chromium takes the picture.
The report shows phantoms, the curves are those of docs/results.
"""

import io
import json
import shutil
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from dynammo.runs.curves import Curve, chance, curve_figure

RECORDS = {
    "derm8_finetune": "fine-tuning", "derm8_dynammo": "DynaMMo (paper)", "recommended_derm8": "dynammo train"
}  # fmt: skip
HEIGHT, GAP, MARGIN = 1000, 40, 24  # pixels; shown at half of them
WINDOW = (500, 940)  # of the browser
LIKELY = 0.8  # probability of the class of the picture that is shown
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def curves(results: Path) -> list[Curve]:
    """Recall of the methods on derm8, and chance."""
    found = []
    for file, name in RECORDS.items():
        record = json.loads((results / f"{file}.json").read_text())
        seen = list(accumulate(map(len, record["tasks"])))
        found.append(Curve(name, seen, [result["mean_class_recall"] for result in record["results"]]))
    return [*found, chance(found[0].classes_seen)]


def photograph(page: Path) -> Image.Image:
    """The card of one picture of a report in Chromium at twice the size: one whose class was found."""
    from playwright.sync_api import sync_playwright  # late: it comes with the extra of developers

    items = json.loads(page.with_name("predictions.json").read_text(encoding="utf-8"))["items"]
    right = [item for item in items if not item["flags"] and item["path"].startswith(f"{item['class']}/")]
    shown = min(right, key=lambda item: abs(item["probability"] - LIKELY))
    with sync_playwright() as playwright:
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        width, height = WINDOW
        tab = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=2)
        tab.goto(page.resolve().as_uri())
        tab.fill("#by-text", shown["path"])
        tab.click("#rows tr button")
        tab.evaluate("document.activeElement.blur()")
        taken = tab.locator("#large").screenshot()
        browser.close()
    return Image.open(io.BytesIO(taken)).convert("RGB")


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures of one height on white, the left one in a frame."""
    left, right = (
        p.resize((round(p.width * HEIGHT / p.height), HEIGHT), Image.Resampling.LANCZOS) for p in (left, right)
    )
    whole = Image.new("RGB", (left.width + GAP + right.width + 2 * MARGIN, HEIGHT + 2 * MARGIN), "white")
    whole.paste(Image.new("RGB", (left.width + 4, HEIGHT + 4), "#c8ccd0"), (MARGIN - 2, MARGIN - 2))
    whole.paste(left, (MARGIN, MARGIN))
    whole.paste(right, (MARGIN + left.width + GAP, MARGIN))
    return whole


def main(
    report: Annotated[Path, typer.Option(exists=True, help="Page of a classification of phantoms.")] = Path(
        "demo/report/report.html"
    ),
) -> None:
    """Draw the picture."""
    stream = io.BytesIO()
    title = "Eight skin lesions learnt two by two\n(derm8, dermoscopy photographs)"
    curve_figure(title, "mean class recall", curves(Path("docs/results"))).savefig(stream, dpi=220)
    target = Path("docs/images/readme.png")
    picture = beside(photograph(report), Image.open(stream).convert("RGB"))
    picture.quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"wrote {target}, {picture.width} x {picture.height}")


if __name__ == "__main__":
    typer.run(main)
