"""docs/developer.md shows the house as it is."""

import ast
import re
from pathlib import Path

import pytest
from synthetic.datasets import ROOT

from benchmarks.figures import draw_house

PAGE = (ROOT / "docs" / "developer.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| `(\S+?)` \| `(\S+?)` \|$", PAGE, re.MULTILINE)


def test_ten_likely_changes_have_a_place_that_is_there() -> None:
    assert len(ROWS) == 10
    for change, place, test in ROWS:
        assert (ROOT / place).is_file(), change
        assert (ROOT / test).is_file(), change


def test_twelve_rooms_in_twelve_lines() -> None:
    rooms = re.findall(r"^\| `(\w+)/` \|", PAGE, re.MULTILINE)
    assert sorted(rooms) == sorted(p.parent.name for p in (ROOT / "dynammo").glob("*/__init__.py"))


def test_every_file_that_the_page_names_is_there() -> None:
    for name in re.findall(r"`((?:dynammo|data_prep|tests|benchmarks|bundle|configs)/[\w/.]+)`", PAGE):
        assert (ROOT / name.replace("NAME", "isic2019")).exists(), name
    for name in re.findall(r"`((?:runs|runtime|training|handlers|heads|networks|io)/\w+\.py)`", PAGE):
        assert (ROOT / "dynammo" / name).is_file(), name


def test_the_picture_is_drawn_from_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    floors = draw_house.levels(draw_house.arrows())
    assert floors["errors"] == 0 and floors["cli"] == max(floors.values())
    assert {path.parent.name for path in Path("dynammo").glob("*/__init__.py")} <= floors.keys()
    assert draw_house.draw().axes


def test_the_strategy_of_the_page_merges() -> None:
    code = re.search(r"```python\n(def median.+?)\n\n\nSTRATEGIES", PAGE, re.DOTALL)
    assert code and isinstance(ast.parse(code[1]).body[0], ast.FunctionDef)


LAMBDAS = {  # strings that begin with one; the page says why each is there
    "bundle/configs/train.yaml": 0, "bundle/configs/increment.yaml": 0, "bundle/configs/evaluate.yaml": 0,
    "bundle/configs/preprocessing.yaml": 6, "bundle/configs/inference.yaml": 2,
    "dynammo/export/bundle_templates/loading.yaml": 17, "dynammo/export/bundle_templates/inference.yaml": 4,
    "dynammo/export/bundle_templates/evaluate.yaml": 1,
}  # fmt: skip


def test_no_lambda_is_in_a_config_without_a_reason() -> None:
    counts = {name: len(re.findall(r'"\$\(?lambda', (ROOT / name).read_text())) for name in LAMBDAS}
    assert counts == LAMBDAS
    assert "## Lambdas in configs" in PAGE
