"""The numbers in the docs are those of the result files."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up import ROOT

RESULTS = sorted((ROOT / "docs" / "results").glob("derm8_*.json"))


@pytest.fixture(scope="module")
def table() -> Callable[[list[Path]], str]:
    spec = importlib.util.spec_from_file_location("results_table", ROOT / "docs" / "results_table.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[[list[Path]], str] = module.table
    return made


@pytest.mark.parametrize("page", ["README.md", "docs/reproducibility.md"])
def test_the_table_is_that_of_the_result_files(page: str, table: Callable[[list[Path]], str]) -> None:
    assert len(RESULTS) == 6
    assert table(RESULTS) in (ROOT / page).read_text()


def test_results_name_their_command_seed_and_versions() -> None:
    for file in RESULTS:
        record = json.loads(file.read_text())
        assert {"command", "seed", "commit", "versions", "machine", "config"} <= set(record)
        assert record["tasks_learnt"] == 4
