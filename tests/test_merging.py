import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.merging import STRATEGIES, Merged, State, Weight, add_weights, average, fisher, merge_all, merge_next, ties
from dynammo.networks.adapters import copy_state, make_adapters

MERGING = sorted(name for name, strategy in STRATEGIES.items() if strategy.merge is not None)


def random_state(seed: int) -> State:
    torch.manual_seed(seed)
    adapters = make_adapters("conv", [3, 4])
    adapters.train()
    adapters[0](torch.randn(2, 3, 8, 8))  # gives BatchNorm statistics of its own
    return copy_state(adapters)


def weight_for(name: str, state: State, seed: int = 0) -> Weight:
    if not STRATEGIES[name].importance:
        return 1.0
    generator = torch.Generator().manual_seed(seed)
    importances = {
        k: torch.rand(v.shape, generator=generator) for k, v in state.items() if k.endswith(("weight", "bias", "alpha"))
    }
    return {**importances, "tasks": torch.tensor(1.0)}


@pytest.mark.parametrize("name", MERGING)
@settings(deadline=None, max_examples=10)
@given(count=st.integers(1, 4), seed=st.integers(0, 99))
def test_equal_adapters_merge_to_themselves(name: str, count: int, seed: int) -> None:
    state, origin = random_state(seed), random_state(seed + 1)
    weights = [weight_for(name, state, i) for i in range(count)]
    merge = STRATEGIES[name].merge
    assert merge is not None
    merged = merge([state] * count, weights, origin)
    assert merged.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(merged[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MERGING)
def test_merging_leaves_its_inputs_alone(name: str) -> None:
    states, origin = [random_state(1), random_state(2)], random_state(0)
    before = [{k: v.clone() for k, v in state.items()} for state in (*states, origin)]
    merge = STRATEGIES[name].merge
    assert merge is not None
    merge(states, [weight_for(name, states[0], 1), weight_for(name, states[1], 2)], origin)
    for state, copy in zip((*states, origin), before, strict=True):
        assert all(torch.equal(state[k], copy[k]) for k in state)


@pytest.mark.parametrize("name", [n for n in MERGING if STRATEGIES[n].running and n != "latest"])
def test_running_merge_equals_merging_all_at_once(name: str) -> None:
    states = [random_state(seed) for seed in range(5)]
    weights = [weight_for(name, state, seed) for seed, state in enumerate(states)]
    merge, origin = STRATEGIES[name].merge, states[0]
    assert merge is not None
    merged, weight = states[0], weights[0]
    for state, other in zip(states[1:], weights[1:], strict=True):
        merged, weight = merge([merged, state], [weight, other], origin), add_weights(weight, other)
    for key, value in merge(states, weights, origin).items():
        torch.testing.assert_close(merged[key], value, rtol=1e-4, atol=1e-6)


def test_average_by_hand() -> None:
    states = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([3.0, 8.0]), "n": torch.tensor(5)},
    ]
    merged = average(states, [3.0, 1.0], states[0])
    assert merged["w"].tolist() == [1.5, 3.5]
    assert merged["n"].item() == 5  # counters are not averaged


def test_fisher_by_hand() -> None:
    states = [{"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([3.0, 5.0])}]
    weights: list[Weight] = [
        {"w": torch.tensor([3.0, 0.0]), "tasks": torch.tensor(1.0)},
        {"w": torch.tensor([1.0, 0.0]), "tasks": torch.tensor(1.0)},
    ]
    assert fisher(states, weights, states[0])["w"].tolist() == [1.5, 3.0]  # no importance: plain mean


def test_ties_by_hand() -> None:
    origin = {"w": torch.zeros(4)}
    states = [{"w": torch.tensor([4.0, -1.0, 3.0, 0.1])}, {"w": torch.tensor([2.0, 5.0, -1.0, 0.3])}]
    # halves kept: (4, 3) and (2, 5); signs +, +, +; the last entry is trimmed by both and keeps its mean
    assert ties(states, [1.0, 1.0], origin)["w"].tolist() == pytest.approx([3.0, 5.0, 3.0, 0.2])


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@settings(deadline=None, max_examples=5)
@given(gone=st.integers(0, 3), seed=st.integers(0, 99))
def test_without_an_adapter_is_as_if_it_had_never_been_merged(name: str, gone: int, seed: int) -> None:
    strategy = STRATEGIES[name]
    states = [random_state(seed + number) for number in range(4)]
    weights = [weight_for(name, state, number) for number, state in enumerate(states)]
    never = Merged()
    for number, (state, weight) in enumerate(zip(states, weights, strict=True)):
        if number != gone:
            never = merge_next(strategy, never, state, weight, states[0])
    rest = [number for number in range(4) if number != gone]
    left = merge_all(strategy, [states[n] for n in rest], [weights[n] for n in rest], states[0])
    assert len(left.branches) == len(never.branches) == (3 if strategy.merge is None else 1)
    for mine, other in zip(left.branches, never.branches, strict=True):
        assert all(torch.equal(mine[key], other[key]) for key in mine)
    assert len(left.states) == (1 if strategy.running else 3)
