import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine

from dynammo.runtime.files import write_json
from dynammo.runtime.tables import cell_text, csv_bytes

DANGEROUS = [
    "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a",
    "\ufe661", " =1", "\u3000=1",
]  # fmt: skip


@pytest.mark.parametrize("text", DANGEROUS)
def test_nothing_in_a_table_is_a_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(csv_bytes([text, "b"], [{text: text, "b": -1.5}]).decode(), newline="")))
    assert rows == [[f"'{text}", "b"], [f"'{text}", "-1.5"]], "numbers stay as they are"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_guarded_text_is_read_as_it_was(text: str) -> None:
    cell = list(csv.reader(io.StringIO(csv_bytes(["a"], [{"a": text}]).decode(), newline="")))[1][0]
    assert cell_text(cell) == text


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    name = os.fsdecode(b'B\xe4r, "4".png')
    assert csv_bytes(["path"], [{"path": name}]).decode().splitlines() == ["path", '"B\ufffdr, ""4"".png"']
    write_json(tmp_path / "a.json", {name: [name, Path(name)]})
    assert json.loads((tmp_path / "a.json").read_text()) == {'B\ufffdr, "4".png': ['B\ufffdr, "4".png'] * 2}


def test_the_table_of_the_bundle_holds_no_formula(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from dynammo.inference.evaluators import SavePredictions

    name = "=cmd|' /C calc'!A0.png"
    output = {"pred": torch.tensor([0.25, 0.75]), "unknown": torch.tensor([0.5])}
    engine = Engine(lambda engine, batch: [output])
    SavePredictions(str(tmp_path / "out"), str(tmp_path), ["a", "@b"]).attach(engine)
    engine.run([[{"path": str(tmp_path / name)}]])
    (row,) = csv.DictReader((tmp_path / "out" / "predictions.csv").open())
    assert row["path"] == f"'{name}" and row["predicted_class"] == "'@b"
