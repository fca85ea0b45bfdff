"""The networks that are compared, and what one image costs them."""

import pytest

from benchmarks.networks import TASKS, CostSettings, count_gmac, make_incremental_network
from dynammo.errors import UserError
from dynammo.training.metrics import gmac

TINY = CostSettings(image_size=32, batch_size=8, stages=2, repeats=1, threads=1)


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


@pytest.mark.parametrize("name", ["batch_size", "repeats", "threads"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} is 0; give --{name.replace('_', '-')}"):
        CostSettings(**{name: 0})  # type: ignore[arg-type]
