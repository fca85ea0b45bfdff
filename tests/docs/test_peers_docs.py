"""The page of peers and the row of README are those of the result files."""

import json
from typing import Any

import pytest
from synthetic.datasets import ROOT

from benchmarks.studies.peers_table import (
    FEW_SHOT,
    PEERS,
    row_of_readme,
    table_of_few_shot,
    table_of_peers,
    table_of_quoted,
)


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "peers.md").read_text()


@pytest.fixture(scope="module")
def peers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / PEERS).read_text())
    return found


def test_the_tables_are_those_of_the_result_files(page: str, peers: dict[str, Any]) -> None:
    assert table_of_peers(peers) in page and table_of_quoted(peers) in page
    record = json.loads((ROOT / FEW_SHOT).read_text())
    for measure in ("all_classes", "new_classes", "every_class_few"):
        assert table_of_few_shot(record, measure) in page
    assert "quoted, not rerun" in table_of_quoted(peers)


def test_the_readme_has_the_joint_reference(peers: dict[str, Any]) -> None:
    assert row_of_readme(peers) in (ROOT / "README.md").read_text().splitlines()


def test_every_row_names_its_commit_and_command(peers: dict[str, Any]) -> None:
    record = json.loads((ROOT / FEW_SHOT).read_text())
    rows = [row for of in (peers, record) for methods in of["sets"].values() for row in methods.values()]
    assert rows
    for row in rows:
        assert {"commit", "command", "versions", "machine", "date"} <= row.keys()
        assert "scikit-learn" in row["versions"]


def test_our_small_head_is_the_one_of_the_benchmark(peers: dict[str, Any]) -> None:
    methods = json.loads((ROOT / "docs" / "results" / "benchmark_methods.json").read_text())
    for name, rows in peers["sets"].items():
        for measure in ("recall_average", "recall_last"):
            assert rows["light"][measure]["mean"] == pytest.approx(methods[name]["light"][measure]["mean"], abs=0.5)
