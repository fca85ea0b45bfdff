"""`python -m benchmarks unknown` on made-up features."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import unknown
from benchmarks.unknown import REFERENCE, SPLITS, Told, benchmark_unknown, compare, split, summary
from benchmarks.unknown_features import Material
from benchmarks.unknown_scores import SCORES
from dynammo.errors import UserError

pytestmark = pytest.mark.usefixtures("in_root")


def material() -> Material:
    """Six classes that lie far apart."""
    generator = torch.Generator().manual_seed(0)
    centres = 6 * torch.randn(6, 8, generator=generator)
    labels, test = torch.arange(120) % 6, torch.arange(60) % 6
    train = centres[labels][:, None] + torch.randn(120, 2, 8, generator=generator)
    seen = centres[test] + torch.randn(60, 8, generator=generator)
    return Material(tuple("abcdef"), train, labels, torch.arange(120), seen, test)


def test_splits_are_fixed_and_know_half() -> None:
    assert [split(11, seed).tolist() for seed in range(2)] == [split(11, seed).tolist() for seed in range(2)]
    assert len(split(11, 0)) == 5 and len(split(8, 1)) == 4
    assert len({tuple(split(8, seed).tolist()) for seed in range(SPLITS)}) == SPLITS


def test_classes_far_apart_are_told_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "derm8").mkdir(parents=True)
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))
    monkeypatch.setattr(unknown, "features_of", lambda *_: material())
    benchmark_unknown(["derm8"], tmp_path / "out.json")
    record = json.loads((tmp_path / "out.json").read_text())
    assert {"commit", "command", "versions", "splits", "folds", "false_alarm_rate", "bars", "summary"} <= set(record)
    found = record["sets"]["derm8"]
    assert set(found) == {*SCORES, REFERENCE} and all(len(told) == SPLITS for told in found.values())
    assert record["summary"]["today"]["derm8"]["auroc"] > 95
    one = found["today"][0]
    assert one["known"] == one["unknown"] == 30 and 0 <= one["flagged"] <= 30


def told(auroc: float, flagged: int = 5) -> list[Told]:
    return [Told(auroc, auroc, flagged, 100, 50, 100)]


def test_bars_of_a_score_that_wins() -> None:
    better = next(name for name in SCORES if name != "today")
    found = {}
    for name, lower in (("derm8", 0), ("path11", 1)):
        more = {score: 4 * (score == better) for score in SCORES}
        found[name] = {score: told(70 + more[score] - lower, 5 + more[score]) for score in SCORES}
    assert summary(found)["today"]["all"]["auroc"] == pytest.approx(69.5)
    met = {bar.name: bar.met for bar in compare(found)}
    assert [met[name] for name in met if name.startswith(f"{better}:")] == [True, True, False]


def test_a_set_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--set is 'skin'; expected one of derm8"):
        benchmark_unknown(["skin"])
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))
    with pytest.raises(UserError, match="set DYNAMMO_SHARED to the folder that holds data/"):
        benchmark_unknown(["derm8"])
