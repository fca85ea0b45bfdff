"""The house keeps its shape: rooms one folder deep, imports one way, short files."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from synthetic.datasets import ROOT

PACKAGE = ROOT / "dynammo"
ROOMS = {
    "io", "data", "networks", "heads", "training", "handlers", "runs", "inference", "clinic", "lifecycle", "export",
    "runtime",
}  # fmt: skip
BESIDE = {"__init__", "__main__", "api", "cli", "doctor", "errors", "merging"}  # files that belong to no room
MOST_FILES, MOST_LINES = 16, 350


def modules(folder: Path) -> Iterator[Path]:
    """Python files of a folder; the apps that run where dynammo is not installed are no part of the house."""
    return (p for p in sorted(folder.rglob("*.py")) if not {"monai_deploy_app", "monai_label_app"} & set(p.parts))


def room_of(module: str) -> str:
    """`dynammo.io.dicom` lies in `io`; what lies beside the rooms is a room of its own."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(file: Path) -> set[str]:
    """Modules of dynammo that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dynammo":
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {
                d if (ROOT / d.replace(".", "/")).with_suffix(".py").is_file() else str(node.module) for d in deeper
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "dynammo"}
    return found - {"dynammo"}


def test_twelve_rooms_one_folder_deep() -> None:
    assert {p.parent.name for p in modules(PACKAGE) if p.parent != PACKAGE} == ROOMS
    assert {p.stem for p in PACKAGE.glob("*.py")} <= BESIDE
    assert all(p.parent.parent == PACKAGE for p in modules(PACKAGE) if p.parent != PACKAGE)


def test_arrows_between_rooms_go_one_way() -> None:
    graph: dict[str, set[str]] = {}
    for file in modules(PACKAGE):
        room = file.stem if file.parent == PACKAGE else file.parent.name
        graph.setdefault(room, set()).update(room_of(module) for module in imports(file))
        graph[room].discard(room)
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError and names the circle


def test_arrows_between_files_go_one_way() -> None:
    graph = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): imports(file)
        for folder in (PACKAGE, ROOT / "benchmarks", ROOT / "data_prep")
        for file in modules(folder)
    }
    tuple(TopologicalSorter(graph).static_order())


def test_rooms_and_files_stay_small() -> None:
    for room in ROOMS:
        assert len(list((PACKAGE / room).glob("*.py"))) - 1 <= MOST_FILES, room
    long = {
        str(file.relative_to(ROOT))
        for folder in (PACKAGE, ROOT / "benchmarks", ROOT / "data_prep")
        for file in modules(folder)
        if len(file.read_text().splitlines()) > MOST_LINES
    }
    assert not long


def test_no_rooms_for_odds_and_ends() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}
