import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic.datasets import CLASSES
from synthetic.records import RECORD, export

from dynammo.errors import UserError
from dynammo.runs.record import (
    Measured,
    check_usable,
    embedded_record,
    locate_model,
    measured,
    measured_after,
    read_record,
)


@pytest.mark.parametrize(
    ("recall", "confusion", "words", "whole"),
    [
        (0.75, [[3, 1], [1, 3]], "75.0 %", 0.75),
        (0.75, [[3, 1], [0, 0]], "75.0 % on 1 of 2 classes", None),
        (None, [[0, 0], [0, 0]], "not measured", None),
    ],
)
def test_a_recall_of_a_part_is_never_that_of_the_model(
    recall: float | None, confusion: list[list[int]], words: str, whole: float | None
) -> None:
    result = {**RECORD["results"][0], "mean_class_recall": recall, "confusion": confusion}
    found = measured({**RECORD, "results": [result]})
    assert (str(found), found.whole, found.images) == (words, whole, sum(map(sum, confusion)))
    assert measured_after(result) == found and isinstance(found, Measured)
    assert str(measured({**RECORD, "results": []})) == "not measured"


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_any_json_is_a_record_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:  # noqa: ANN401
    folder = tmp_path_factory.getbasetemp() / "any_json"
    folder.mkdir(exist_ok=True)
    for content in (value, {**RECORD, "network": value}, {**RECORD, "config": value}, {**RECORD, "classes": value}):
        if content == {**RECORD, "classes": value} and _are_two_names(value):
            continue  # as good a record as any
        (folder / "run.json").write_text(json.dumps(content))
        with pytest.raises(UserError):
            check_usable(read_record("run", folder / "model.pt"), "it")


def _are_two_names(value: object) -> bool:
    texts = value if isinstance(value, list) else []
    return len(texts) == len({text for text in texts if isinstance(text, str) and text.strip()}) == 2


@pytest.mark.parametrize("form", ["run", "bundle", "torchscript"])
def test_every_form_has_its_record_and_weights(form: str, run: Path, tmp_path: Path) -> None:
    path = run if form == "run" else export(run, tmp_path / "out").parent
    path = path / "models" / "model.ts" if form == "torchscript" else path
    located = locate_model(path)
    assert located is not None and located[0] == form and located[1].is_file()
    record = read_record(*located)
    assert record["classes"] == list(CLASSES)
    check_usable(record, "it")


def test_a_folder_without_a_model_is_none(tmp_path: Path) -> None:
    assert locate_model(tmp_path) is None and locate_model(tmp_path / "nowhere") is None


def test_a_record_stands_in_torchscript(run: Path, tmp_path: Path) -> None:
    text = embedded_record(export(run, tmp_path / "out") / "model.ts")
    assert text is not None and json.loads(text)["classes"] == list(CLASSES)
    assert embedded_record(run / "run.json") is None


def test_a_record_without_its_recipe_is_of_an_earlier_version() -> None:
    check_usable(RECORD, "it")
    with pytest.raises(UserError, match="earlier version"):
        check_usable({**RECORD, "config": {"image_size": 32}}, "it")
