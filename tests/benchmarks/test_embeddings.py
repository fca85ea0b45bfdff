"""The benchmark of embeddings learns what it draws, and holds its bar."""

import json
from pathlib import Path

import pytest

from benchmarks.embeddings import EmbeddingsSettings, benchmark_embeddings
from dynammo.errors import UserError


def test_times_are_written_before_the_bar_is_judged(tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    with pytest.raises(UserError, match="expected at most"):
        benchmark_embeddings(EmbeddingsSettings(200, 8, 4, bar_seconds=0.0), file)
    found = json.loads(file.read_text())
    assert found["settings"]["vectors"] == 200
    assert 0 < found["train_seconds"] <= found["whole_seconds"]
