"""Classes of few images on a made-up set."""

import json
from pathlib import Path

import pytest
import torch
from synthetic.benchmark_sets import make_shared

from benchmarks import few_shot
from benchmarks.few_shot import LEARNERS, benchmark_few_shot, few_shot_figure, new_disease, new_field
from benchmarks.frozen import Frozen
from benchmarks.peers import CONTENDERS
from dynammo.data.tasks import TaskSequence

pytestmark = pytest.mark.usefixtures("in_root")


def frozen(apart: float) -> Frozen:
    labels = torch.arange(4).repeat_interleave(30)
    centres = apart * torch.eye(4, 6)[labels]
    generator = torch.Generator().manual_seed(0)
    train = centres[:, None] + torch.randn(len(labels), 1, 6, generator=generator)
    test = centres + torch.randn(len(labels), 6, generator=generator)
    return Frozen(tuple("abcd"), train, labels, test, labels, 1.0)


@pytest.mark.parametrize("name", LEARNERS)
def test_more_images_of_a_new_disease_help(name: str) -> None:
    tasks = TaskSequence("abcd", 2, "random", 0)
    found = new_disease(CONTENDERS[name], frozen(2.5), tasks, (1, 20), range(5))
    assert all(len(values) == 5 for row in found.values() for values in row.values())
    few, more = (sum(found[images]["all_classes"]) / 5 for images in (1, 20))
    assert 30 < few < more
    assert sum(found[1]["new_classes"]) < sum(found[20]["new_classes"])


@pytest.mark.parametrize("name", LEARNERS)
def test_classes_that_are_far_apart_need_few_images(name: str) -> None:
    found = new_field(CONTENDERS[name], frozen(40.0), (2, 5), seed=0)
    assert found == {2: 100, 5: 100}


def test_the_command_writes_figures_and_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DYNAMMO_SHARED", str(make_shared(tmp_path)))
    monkeypatch.setattr(few_shot, "IMAGES", (1, 3))
    names = ("light", "logistic regression, features of light")
    benchmark_few_shot(tmp_path / "few.json", None, tmp_path / "few.png", 1, ["derm8"], names)
    record = json.loads((tmp_path / "few.json").read_text())
    assert record["images"] == [1, 3]
    rows = record["sets"]["derm8"]
    assert tuple(rows) == names
    for row in rows.values():
        assert {"commit", "command", "versions"} <= row.keys() and row["draws"] == 1
        assert row["recall"].keys() == {"all_classes", "new_classes", "every_class_few"}
        assert all(len(one["values"]) == 3 for measure in row["recall"].values() for one in measure.values())
    assert (tmp_path / "few.png").stat().st_size > 10_000
    assert "a new disease" in capsys.readouterr().out
    assert len(few_shot_figure(record["sets"]).axes) == 3
