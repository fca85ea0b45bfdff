import json
from pathlib import Path

import pytest
from synthetic.mlflow_runs import CLASSES, PATIENT, Learner, handler, made_up_result

from dynammo.runs.mlflow_summary import (
    MOST_CHARACTERS,
    datasets_of,
    description_of,
    markdown,
    record_without_folders,
)

RESULTS = [made_up_result(0), made_up_result(1)]


def test_the_description_is_the_accuracy_of_every_task() -> None:
    lines = description_of(RESULTS, [("BCC", "BKL"), ("MEL", "N|V"), ("late",)]).splitlines()
    assert lines[0] == (
        "Accuracy after 2 of 3 tasks: all classes seen 65.0 %, average over the tasks 77.5 %, forgetting 30.0 %."
    )
    assert "| 1 | BCC, BKL&emsp; | 90.0 | 60.0 | 90.0 | 80.0 |" in lines
    assert "| 2 | MEL, N\\|V&emsp; | 70.0 | 70.0 | 65.0 | 60.0 |" in lines
    assert not any("late" in line for line in lines)
    assert description_of(RESULTS, [("a",), ("b",)], refused=True).startswith("**Refused: the known classes lost")


def test_a_description_is_never_longer_than_mlflow_takes() -> None:
    tasks = [tuple(f"*{number}* {'_' * 30}" for number in range(30))] * 2
    text = description_of([RESULTS[1]] * 2, tasks)
    assert "30\\: " in text and len(text) < MOST_CHARACTERS
    result = RESULTS[0].__class__(0, (0.9,) * 400, 0.9, 0.8, 0.7, 0.05, ((1,),))
    text = description_of([result] * 400, [("a name",)] * 400)
    assert len(text) < MOST_CHARACTERS and "accuracy_matrix.csv" in text


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("[x](http://evil)", "\\[x\\]\\(http\\:\\/\\/evil\\)".replace("\\/", "/")),
        ("<script>&\n# title", "&lt;script\\>&amp; \\# title"),
        ("a\x1b[31m", "a\\\\x1b\\[31m"),
        ("Nävus 2", "Nävus 2"),
    ],
)
def test_names_mean_nothing_to_markdown(name: str, written: str) -> None:
    assert markdown(name) == written


def test_images_are_counted_and_not_named(tmp_path: Path) -> None:
    train, test = datasets_of(Learner(handler(tmp_path / "run")))  # type: ignore[arg-type]
    assert [found.dataset.name for found in (train, test)] == ["train: 8 images", "test: 4 images"]
    assert json.loads(train.dataset.profile) == {"num_rows": 8, "images": dict.fromkeys(CLASSES, 2)}
    assert {tag.value for found in (train, test) for tag in found.tags} == {"training", "testing"}
    assert len(train.dataset.digest) <= 36 and PATIENT not in f"{train.to_dictionary()}{test.to_dictionary()}"


def test_the_record_goes_without_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNAMMO_WHOLE_PATHS", raising=False)
    config = {"dataset_dir": f"/clinic/{PATIENT}/images", "class_order": ["a/b", "c"], "seed": 3}
    (tmp_path / "run.json").write_text(json.dumps({"run": "key", "config": config, "classes": ["a/b", "c"]}))
    record = record_without_folders(tmp_path, "key")
    assert record == {
        "run": "key",
        "config": {"dataset_dir": "images", "class_order": ["a/b", "c"], "seed": 3},
        "classes": ["a/b", "c"],
    }
    assert record_without_folders(tmp_path, "another") is None
    assert record_without_folders(tmp_path / "none", "key") is None
