"""The recording of the demo and the picture of the README."""

import json
import re
from pathlib import Path

from PIL import Image
from synthetic.datasets import ROOT

from benchmarks.figures.draw_readme import HEIGHT, beside, curves
from benchmarks.figures.record_demo import commands_of_demo, recorded

PAGE = ROOT / "docs" / "demo.md"


def test_the_page_names_the_commands_of_the_makefile(in_root: Path) -> None:
    shown = PAGE.read_text(encoding="utf-8").splitlines()
    marked = [line.split(" $ ", 1)[1] for line in shown if re.match(r"\[\d+ s\] \$ ", line)]
    planned = [line for line in commands_of_demo(["-o", ".venv/installed"]) if re.match("python|dynammo", line)]
    assert marked == planned and len(planned) == 6


def test_the_page_shows_the_recommended_method_ahead_and_no_path_of_a_machine() -> None:
    page = PAGE.read_text(encoding="utf-8")
    last = {name: float(re.findall(rf"^ {name} +[\d.]+ +([\d.]+)", page, re.M)[0]) for name in ("finetune", "analytic")}
    assert last["analytic"] > last["finetune"]
    assert not re.search(r"(?<![\w.])/(home|work|root|Users|tmp)/", page)


def test_commands_are_marked_with_the_time_and_paths_shortened() -> None:
    lines = [(0.2, "dynammo x \\\n"), (0.3, "  --y\n"), (3.6, f"wrote {ROOT.resolve()}/demo\n"), (4.0, "\n")]
    made = list(recorded(lines, ["dynammo x \\", "  --y"], ROOT))
    assert made == ["[0 s] $ dynammo x \\", "  --y", "wrote dynammo/demo", ""]


def test_the_curves_of_the_picture_are_those_of_the_result_files() -> None:
    results = ROOT / "docs" / "results"
    *methods, chance = curves(results)
    assert [curve.name for curve in methods] == ["fine-tuning", "DynaMMo (paper)", "dynammo train"]
    record = json.loads((results / "recommended_derm8.json").read_text())
    assert methods[-1].values[-1] == record["metrics"]["last_mean_class_recall"] and chance.name == "chance"


def test_pictures_stand_beside_each_other_at_one_height() -> None:
    whole = beside(Image.new("RGB", (10, 20), "red"), Image.new("RGB", (40, 10), "blue"))
    assert whole.getpixel((100, whole.height // 2)) == (255, 0, 0)
    assert whole.getpixel((whole.width - 100, whole.height // 2)) == (0, 0, 255)
    assert whole.height > HEIGHT and whole.width > 4.5 * HEIGHT
