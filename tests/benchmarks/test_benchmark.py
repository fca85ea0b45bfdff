import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import benchmark_training
from benchmarks import cost as benchmark_cost
from benchmarks import report as benchmark
from benchmarks.benchmark_training import (
    HeadTuning,
    Training,
    fit_bare,
    make_incremental_network,
    make_trainer,
    random_items,
    tune_by_rerunning,
    tune_on_cached_features,
)
from benchmarks.cost import TASKS, CostSettings, Spread, count_gmac, take_turns
from benchmarks.report import Costs, check_writable, compare
from dynammo.errors import UserError
from dynammo.training.metrics import gmac

TINY = CostSettings(image_size=32, batch_size=8, stages=2, repeats=1, threads=1)
CPU = torch.device("cpu")


def test_gmac_of_a_small_case_by_hand() -> None:
    # one stage on 32 pixels: the stem leaves 16 x 16 and, pooled, 8 x 8; the adapter works on 6 x 6
    stem = 3 * 64 * 7 * 7 * 16 * 16
    layer = 4 * 64 * 64 * 3 * 3 * 8 * 8
    adapter = 2 * 64 * 64 * 3 * 3 * 6 * 6
    counted = count_gmac(CostSettings(image_size=32, stages=1))
    assert counted["backbone"] * 1e9 == pytest.approx(stem + layer, abs=0.5)
    for tasks in TASKS:
        heads = tasks * 64 * 3
        assert counted[f"merged {tasks}"] * 1e9 == pytest.approx(stem + layer + adapter + heads, abs=0.5)
        assert counted[f"acl {tasks}"] * 1e9 == pytest.approx(stem + tasks * (layer + adapter) + heads, abs=0.5)


def test_gmac_at_full_size() -> None:
    counted = count_gmac(CostSettings())
    assert counted["backbone"] == pytest.approx(1.81, abs=0.005)
    assert [counted[f"merged {tasks}"] for tasks in TASKS] == pytest.approx([2.61] * 3, abs=0.005)
    assert counted["acl 4"] == pytest.approx(10.1, abs=0.05)
    assert counted["acl 10"] == pytest.approx(25.1, abs=0.05)


def test_gmac_does_not_depend_on_the_device() -> None:
    classifier = make_incremental_network(TINY).classifier()  # has weights, unlike the networks that are counted
    assert gmac(classifier, TINY.shape) == count_gmac(TINY)["merged 4"]


def test_contenders_take_turns_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    clock = iter([1.0, 10.0, 30.0, 3.0, 5.0, 50.0, 70.0, 7.0])

    def timed(call: Callable[[], object], device: torch.device) -> float:
        call()
        return next(clock)

    monkeypatch.setattr(benchmark_cost, "_seconds", timed)
    seconds = take_turns(calls, repeats=2, device=CPU, rounds=2)
    assert "".join(order) == "ab" + "abba" * 2  # warmed up first
    assert seconds == {"a": [2.0, 6.0], "b": [20.0, 60.0]}


def test_spread_is_median_and_range() -> None:
    assert Spread.of([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)


def test_rerunning_trains_the_same_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow contender does the same work: in one batch, where shuffling changes nothing, it ends at equal heads."""
    monkeypatch.setattr(benchmark_training, "HEAD_EPOCHS", 3)
    tasks = benchmark_training._tasks()
    classifier = make_incremental_network(TINY).classifier()
    items = random_items(8, TINY, len(tasks.classes))
    torch.manual_seed(1)
    cached = tune_on_cached_features(classifier, tasks, items, batch_size=8)
    torch.manual_seed(1)
    rerun = tune_by_rerunning(classifier, tasks, items, batch_size=8, epochs=3)
    start = benchmark_training._new_heads(classifier, tasks)
    assert len(cached) == 4
    for a, b, c in zip(cached.parameters(), rerun.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
        assert not torch.allclose(a, c)


def test_bare_loop_trains_the_same_adapters() -> None:
    network = make_incremental_network(TINY)
    other = copy.deepcopy(network)
    start = copy.deepcopy(network.adapters.state_dict())
    items = random_items(8, TINY, 3)
    make_trainer(network, items, batch_size=8).fit(items, network, network.trainable_parameters(), "adapters")
    loader = torch.utils.data.DataLoader(benchmark_training.TensorItems(items), batch_size=8, shuffle=True)
    fit_bare(other, loader)
    moved = 0.0
    for name, value in network.adapters.state_dict().items():
        torch.testing.assert_close(value, other.adapters.state_dict()[name], rtol=1e-4, atol=1e-5)
        moved += float((value - start[name]).abs().sum())
    assert moved > 0


def _costs(acl: float, speedup: float, ratio: float) -> Costs:
    gmac = {"backbone": 1.0, **{f"merged {t}": 2.0 for t in TASKS}, **{f"acl {t}": acl for t in TASKS}}
    spreads = {name: Spread.of([1 / value]) for name, value in gmac.items()}
    one = Spread.of([1.0])
    tuning = HeadTuning(one, one, Spread.of([speedup]))
    return Costs(gmac, spreads, tuning, Training(one, one, Spread.of([ratio])), "cpu")


def test_bars_are_met_from_the_promised_ratio_on() -> None:
    assert all(bar.met for bar in compare(_costs(acl=10.0, speedup=20.0, ratio=0.9)))
    missed = compare(_costs(acl=9.9, speedup=19.9, ratio=0.89))
    assert [bar.met for bar in missed] == [True, False, False, False, False]
    assert missed[-1].ratio == 0.89


@pytest.mark.parametrize("value", [0.894, 12.34, 1234.5, 0.0123, 0.0])
def test_numbers_keep_three_digits(value: float) -> None:
    assert float(benchmark.shown_number(value)) == pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize("name", ["batch_size", "repeats", "threads"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} is 0; give --{name.replace('_', '-')}"):
        CostSettings(**{name: 0})  # type: ignore[arg-type]


def test_unwritable_files_are_refused(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(tmp_path / "missing" / "new.json")
    with pytest.raises(UserError, match="is not a file"):
        check_writable(tmp_path)
