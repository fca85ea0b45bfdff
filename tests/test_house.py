"""The house keeps its floors: a file of `dynammo/` imports only from floors below its own."""

import ast
import re

from made_up import ROOT

PACKAGE = ROOT / "dynammo"


def floors() -> dict[str, int]:
    """Floor of every module, from the table in docs/developer.md."""
    table: dict[str, int] = {}
    for floor, files in re.findall(
        r"^\| (\d+) \| (.+?) \|", (ROOT / "docs" / "developer.md").read_text(), re.MULTILINE
    ):
        table |= {name: int(floor) for name in re.findall(r"`([\w*]+)\.py`", files)}
    return table


def imports(module: str) -> set[str]:
    found = set()
    for node in ast.parse((PACKAGE / f"{module}.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "dynammo":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dynammo."):
            found.add(str(node.module).removeprefix("dynammo."))
    return found - {"__version__"}


def test_every_module_has_a_floor_and_looks_down() -> None:
    table = floors()
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert modules == set(table), "docs/developer.md lists exactly the modules that exist"
    up = {(m, i) for m in modules for i in imports(m) if table[i] >= table[m] and m != "__main__"}
    assert not up, "imports from the same floor or above"


def test_no_rooms_for_odds_and_ends() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
