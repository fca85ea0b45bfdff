"""What is promised of the cost of the method."""

from benchmarks.cost import Costs, compare
from benchmarks.learning_cost import HeadTuning, Training
from benchmarks.networks import TASKS
from benchmarks.timing import Spread


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
