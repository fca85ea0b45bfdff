"""Peers on a made-up set: figures of every class order, what is quoted, what is said."""

import json
from pathlib import Path

import pytest
import torch
from synthetic.benchmark_sets import make_shared

from benchmarks import peers
from benchmarks.__main__ import main
from benchmarks.frozen import Frozen
from benchmarks.peers import CONTENDERS, QUOTED, learn_order, recall, summary
from dynammo.data.tasks import TaskSequence

pytestmark = pytest.mark.usefixtures("in_root")


def frozen(classes: int = 4, images: int = 12) -> Frozen:
    labels = torch.arange(classes).repeat_interleave(images)
    centres = 6 * torch.eye(classes, 6)[labels]
    generator = torch.Generator().manual_seed(0)
    train = centres[:, None] + torch.randn(len(labels), 2, 6, generator=generator)
    test = centres + torch.randn(len(labels), 6, generator=generator)
    return Frozen(tuple("abcdefgh"[:classes]), train, labels, test, labels, 1.0)


LIGHT = ("light", "logistic regression, features of light")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["peers", "--set", "derm8", *words])
    return int(stopped.value.code or 0)


def test_the_command_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DYNAMMO_SHARED", str(make_shared(tmp_path)))
    monkeypatch.setenv("COLUMNS", "200")  # no name in two lines
    file, kept = tmp_path / "peers.json", tmp_path / "features"
    for name in LIGHT[::-1]:  # what is there stays
        assert run("--json", str(file), "--features", str(kept), "--method", name) == 0
    out, record = capsys.readouterr().out, json.loads(file.read_text())
    rows = record["sets"]["derm8"]
    assert list(rows) == list(LIGHT) and record["penalty"] == 0.01
    for row in rows.values():
        assert {"commit", "command", "versions", "machine", "date"} <= row.keys() and row["features"] == 256
        assert row["seeds"] == [0, 1, 2] and len(row["recall_last"]["values"]) == 3
        assert "scikit-learn" in row["versions"]
    assert [rows[name]["images_kept"] for name in LIGHT] == [0, 24]
    assert record["quoted"]["note"].startswith("quoted, not rerun") and len(record["quoted"]["rows"]) == len(QUOTED)
    assert "quoted, not rerun" in out and all(row["name"] in out for row in QUOTED)


def test_an_unknown_method_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DYNAMMO_SHARED", str(make_shared(tmp_path)))
    assert run("--method", "magic") == 1
    assert capsys.readouterr().err.startswith("error: --method is 'magic'; expected one of light, ")


def test_what_is_not_installed_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DYNAMMO_SHARED", str(make_shared(tmp_path)))
    monkeypatch.setattr(peers, "at_hand", lambda: False)
    few = {name: CONTENDERS[name] for name in (LIGHT[0], "Avalanche replay")}
    monkeypatch.setattr(peers, "CONTENDERS", few)
    assert run("--json", str(tmp_path / "peers.json")) == 0
    assert "make peers" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "peers.json").read_text())["sets"]["derm8"]) == ["light"]


@pytest.mark.parametrize("name", [name for name in CONTENDERS if not name.startswith("Avalanche")])
def test_recall_is_measured_after_every_task_among_the_classes_seen(name: str) -> None:
    found = learn_order(CONTENDERS[name], frozen(), TaskSequence("abcd", 2, "random", 1))
    assert len(found.recalls) == len(found.seconds) == 2
    assert min(found.recalls) > 90 and found.kept in (0, 48)


def test_recall_of_some_classes_counts_their_images_alone() -> None:
    class Stubborn:
        state_bytes = kept = 0

        def learn(self, features: torch.Tensor, labels: torch.Tensor) -> None:
            """Nothing."""

        def classify(self, features: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(features), dtype=torch.long)

    assert recall(Stubborn(), frozen(), range(4), 4) == pytest.approx(25)
    assert recall(Stubborn(), frozen(), range(2), 2) == pytest.approx(50)
    assert recall(Stubborn(), frozen(), range(2, 4), 4) == 0


def test_mean_and_spread_over_orders() -> None:
    learnt = {
        0: peers.Learnt((90.0, 50.0), (1.0, 2.0), 10, 3),
        1: peers.Learnt((80.0, 60.0), (1.0, 4.0), 12, 3),
    }
    found = summary(learnt)
    assert (found["recall_average"]["mean"], found["recall_last"]["mean"]) == (70, 55)
    assert found["recall_last"]["deviation"] == pytest.approx(50**0.5)
    assert (found["seconds_last_task"]["mean"], found["seconds_all_tasks"]["mean"]) == (3, 4)
    assert (found["state_bytes"], found["images_kept"]) == (12, 3)
