"""The numbers in the docs are those of the result files."""

import json
from pathlib import Path
from types import ModuleType

import pytest
from synthetic.datasets import ROOT

from benchmarks.studies import results_table

RESULTS = sorted((ROOT / "docs" / "results").glob("derm8_*.json"))


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    return results_table


def test_the_table_is_that_of_the_result_files(tables: ModuleType) -> None:
    assert len(RESULTS) == 6
    assert tables.table(RESULTS) in (ROOT / "docs" / "lab-notebook.md").read_text()


def test_the_table_of_class_orders_is_that_of_the_benchmark(tables: ModuleType) -> None:
    made: str = tables.table_of_orders(ROOT / "docs" / "results" / "benchmark_methods.json")
    assert made in (ROOT / "docs" / "reproducibility.md").read_text()
    last = tables.table_of_last_recall(ROOT / "docs" / "results" / "benchmark_methods.json")
    assert last in (ROOT / "README.md").read_text() and last.count("\n") == 6
    assert all(f"| {name} | analytic |" in made for name in ("derm8", "path11", "radio12"))


def test_results_name_their_command_seed_and_versions() -> None:
    for file in RESULTS:
        record = json.loads(file.read_text())
        assert {"command", "seed", "commit", "versions", "machine", "config"} <= set(record)
        assert record["tasks_learnt"] == 4


def test_the_table_of_recipes_is_that_of_the_result_files() -> None:
    page = (ROOT / "docs" / "lab-notebook.md").read_text()
    for data, recipe in (("derm8", "dermoscopy"), ("path11", "histology"), ("radio12", "radiology")):
        for method in ("dynammo", "analytic"):
            files = [ROOT / "docs" / "results" / f"{start}{data}_{method}.json" for start in ("", "recipe_")]
            assert f"| {data} | {method} | {_recall(files[0])} | {recipe} | {_recall(files[1])} |" in page


def _recall(file: Path) -> str:
    """Average / last mean class recall of a result file, in percent; dashes where there is none."""
    if not file.is_file():
        return "- / -"
    record = json.loads(file.read_text())
    assert record["tasks_learnt"] == len(record["tasks"])
    values = (record["metrics"][f"{name}_mean_class_recall"] for name in ("average", "last"))
    return " / ".join(f"{100 * value:.1f}" for value in values)
