"""The house keeps its shape: rooms one folder deep, imports one way, short files."""

import ast
import pkgutil
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from synthetic.datasets import ROOT
from synthetic.processes import PHASES

PACKAGE = ROOT / "dynammo"
ROOMS = {
    "io", "data", "networks", "heads", "training", "handlers", "runs", "inference", "clinic", "lifecycle", "export",
    "runtime",
}  # fmt: skip
BESIDE = {
    "__init__",
    "__main__",
    "api",
    "cli",
    "cli_clinic",
    "cli_models",
    "cli_options",
    "cli_training",
    "doctor",
    "errors",
    "merging",
}  # files that belong to no room
MOST_FILES, MOST_LINES = 16, 350
CODE = (PACKAGE, ROOT / "benchmarks", ROOT / "data_prep")
# what files were called; several of these words are good names of functions
FORMER_FILES = {
    "allocator", "benchmark_accuracy", "benchmark_classify", "benchmark_cost", "benchmark_growth", "benchmark_heads",
    "benchmark_inference", "benchmark_material", "benchmark_precision", "benchmark_reading", "benchmark_stage",
    "benchmark_training", "benchmark_turns", "caching", "checkpoint", "class_scatters", "classification",
    "cli_benchmark", "combining", "continuing", "data", "deploy_app", "device_ceilings", "dicom_series", "drop_page",
    "earlier_adapters", "engine_onnx", "engine_openvino", "export_checks", "folding", "forgetting", "grams",
    "growing_images", "heads", "heatmaps", "held_out", "increment_images", "intake", "label_app",
    "learnt_model", "learnt_parts", "lifecycle", "looks", "memory", "model_card", "model_export",
    "model_files", "model_list", "model_records", "network", "one_pass", "onnx_model", "options", "random_states",
    "rank_start", "ranks", "read_dicom", "read_nifti", "read_pictures", "readers", "resuming", "serve", "shared_fit",
    "shares", "shrunk_systems", "sorting", "standalone", "table", "tracking", "trust", "unpacking",
}  # fmt: skip
# what classes and functions were called, private ones too; with a module where the word is good elsewhere
FORMER = {
    "Found", "GrowImages", "Intake", "LearnLooks", "Lesson", "Looks", "OnePass", "Seen", "Share", "TakeAdapters",
    "Took", "agree", "distributed.count", "distributed.number", "distributed.part", "extract_looks", "gathered",
    "held_back", "joined", "learn_in_folds", "look_features", "looks", "looks_parts", "make_looks", "of_first",
    "one_pass", "rank_start", "ranks", "strangeness", "summed", "take_turns", "take_up", "times_by_turns", "turn",
    "turns", "watcher", "watchers",
}  # fmt: skip


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
            files = {name for name in deeper if Path(ROOT, f"{name.replace('.', '/')}.py").is_file()}
            found |= files or {str(node.module)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "dynammo"}
    return found - {"dynammo"}


def definitions(tree: ast.Module) -> set[str]:
    """Names of a module's classes and functions, nested ones too, and of what it assigns; without underscores."""
    named = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return {name.lstrip("_") for name in named | {target.id for target in targets if isinstance(target, ast.Name)}}


def mirror(module: Path) -> Path:
    """The file that tests a module."""
    return ROOT / "tests" / module.parent.relative_to(PACKAGE) / f"test_{module.stem}.py"


def names_under_test(module: Path) -> set[str]:
    """Public names of a module that its mirrored test file imports and then uses inside a function or class.

    They come from the module or by way of its room, or are attributes of the imported module.
    """
    tree, own = ast.parse(mirror(module).read_text()), definitions(ast.parse(module.read_text()))
    dotted = ".".join(module.relative_to(ROOT).with_suffix("").parts)
    names, modules_named = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in (dotted, dotted.rpartition(".")[0]):
            for alias in node.names:
                bound = alias.asname or alias.name
                if alias.name == module.stem and node.module != dotted:
                    modules_named.add(bound)
                elif alias.name in own:
                    names.add(bound)
    inside = [
        node for part in ast.walk(tree) if isinstance(part, ast.FunctionDef | ast.ClassDef) for node in ast.walk(part)
    ]
    used = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)} & names
    return used | {
        node.attr
        for node in inside
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules_named
        if node.attr in own
    }


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
        for folder in CODE
        for file in modules(folder)
    }
    tuple(TopologicalSorter(graph).static_order())


def test_rooms_and_files_stay_small() -> None:
    for room in ROOMS:
        assert len(list((PACKAGE / room).glob("*.py"))) - 1 <= MOST_FILES, room
    long = {
        str(file.relative_to(ROOT))
        for folder in CODE
        for file in modules(folder)
        if len(file.read_text().splitlines()) > MOST_LINES
    }
    assert not long


def test_no_rooms_for_odds_and_ends() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}


MODULES = [file for file in modules(PACKAGE) if not file.stem.startswith("__")]


@pytest.mark.parametrize("module", MODULES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_every_module_is_tested_in_its_mirror(module: Path) -> None:
    assert mirror(module).is_file()
    assert names_under_test(module), f"{mirror(module)} uses no public name of {module}"


def test_test_files_stay_short() -> None:
    long = {file.name for file in (ROOT / "tests").rglob("*.py") if len(file.read_text().splitlines()) > MOST_LINES}
    assert not long


def test_former_names_are_gone() -> None:
    found = set()
    for folder in CODE:
        for file in modules(folder):
            names = definitions(ast.parse(file.read_text()))
            former = (names | {f"{file.stem}.{name}" for name in names}) & FORMER
            found |= {f"{file.relative_to(ROOT)}: {name}" for name in former}
            found |= {f"{file.relative_to(ROOT)}: the file"} if file.stem in FORMER_FILES else set()
    assert not found


def test_the_phases_at_which_trainings_are_killed_exist() -> None:
    """The fault suite, which runs apart, finds them by name."""
    for phase, name in PHASES.items():
        assert callable(pkgutil.resolve_name(name)), phase
