import json
from pathlib import Path

import pytest
from synthetic.datasets import make_data

from benchmarks import analytic_heads
from benchmarks.analytic_heads import HeadSeconds
from benchmarks.timing import Spread
from benchmarks.training import SetTraining, TrainingSettings, benchmark_training, compare, measure_set
from dynammo.errors import UserError

TINY = TrainingSettings(images=8, epochs=2, repeats=1, image_size=32, stages=1)


def test_both_contenders_learn_the_same(tmp_path: Path) -> None:
    found = measure_set(make_data(tmp_path, train=6, test=1), TINY)
    assert found.losses_apart < 1e-5  # flips, order, steps: the same
    assert found.recalls["plain"] == found.recalls["ours"] and found.preparing > 0
    assert all(0 <= recall <= 1 for recalls in found.recalls.values() for recall in recalls)
    plain = found.milliseconds["plain"].median
    for name, ratio in found.ratios.items():
        assert ratio.median == pytest.approx(plain / found.milliseconds[name].median)


def test_what_another_network_costs_is_the_mean_difference() -> None:
    one = Spread.of([1.0])
    recalls = {"plain": [0.5, 0.6], "ours": [0.5, 0.6], "mixed": [0.51, 0.57]}
    found = SetTraining({}, {"ours": one, "mixed": one}, recalls, 1.0, 0.0)
    assert found.points("ours") == (0.0, 0.0)
    assert found.points("mixed") == pytest.approx((-1.0, 8**0.5))


def test_the_command_writes_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photographs are made up where there are no shared sets."""
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path / "nowhere"))
    monkeypatch.setattr(analytic_heads, "VECTORS", 200)
    monkeypatch.setattr(analytic_heads, "FEATURES", 32)
    benchmark_training(TINY, tmp_path / "training.json")
    record = json.loads((tmp_path / "training.json").read_text())
    assert list(record["sets"]) == ["made-up photographs"]
    assert record["sets"]["made-up photographs"]["losses_apart"] < 1e-5
    assert record["heads"]["given"][0]["lowest"] > 0
    assert "made-up photographs" in capsys.readouterr().out


def bars(ratio: float, seconds: float, recall: float = 0.5) -> list[bool]:
    ratios = dict.fromkeys(("ours", "mixed"), Spread.of([ratio]))
    recalls = {"plain": [0.5, 0.5], "ours": [0.5, 0.5], "mixed": [recall, recall]}
    sets = {"a": SetTraining({}, ratios, recalls, 1.0, 0.0)}
    spread = Spread.of([0.9 * seconds, seconds, 2 * seconds])
    return [bar.met for bar in compare(sets, HeadSeconds((spread, spread), (spread, spread)))]


def test_bars_are_met_from_the_promised_ratio_on() -> None:
    assert bars(1.3, 1.0) == [True] * 4
    assert bars(1.29, 1.01) == [False] * 4


def test_speed_bought_with_recall_does_not_count() -> None:
    assert bars(1.5, 1.0, recall=0.49) == [True, False, True, True]


@pytest.mark.parametrize("name", ["images", "epochs", "repeats", "classes"])
def test_small_numbers_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0; give --{name}"):
        TrainingSettings(**{name: 0})
