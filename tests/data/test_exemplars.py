import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.data.exemplars import ExemplarMemory, Item, herd
from dynammo.errors import UserError


def items(label: int, count: int) -> list[Item]:
    return [{"image": f"{label}/{i}", "label": label, "path": f"{label}/{i}"} for i in range(count)]


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 40), st.integers(0, 99))
def test_herding_chooses_distinct_rows(rows: int, count: int, seed: int) -> None:
    features = torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed))
    chosen = herd(features, count)
    assert len(chosen) == len(set(chosen)) == min(rows, count)
    assert herd(features, count // 2) == chosen[: count // 2]  # a prefix is the best smaller set


def test_herding_takes_the_row_nearest_to_the_mean_first() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert herd(features, 1) == [2]


def test_the_budget_is_shared_by_the_classes() -> None:
    memory = ExemplarMemory(10)
    memory.add(0, items(0, 20))
    memory.trim()
    assert len(memory) == 10
    memory.add(1, items(1, 10))
    memory.add(2, items(2, 10))
    memory.trim()
    assert [len(memory.items([label])) for label in range(3)] == [3, 3, 3]
    assert memory.items([0]) == items(0, 3)


def test_no_budget_and_no_limit() -> None:
    none, everything = ExemplarMemory(0), ExemplarMemory("all")
    for memory in (none, everything):
        memory.add(0, items(0, 7))
        memory.trim()
    assert (len(none), len(everything)) == (0, 7)


def test_state_survives() -> None:
    memory, again = ExemplarMemory(4), ExemplarMemory(4)
    memory.add(3, items(3, 2))
    again.load_state_dict(memory.state_dict())
    assert again.items() == memory.items()


@pytest.mark.parametrize("budget", [-1, "many", 2.5, True])
def test_mistakes_are_explained(budget: object) -> None:
    with pytest.raises(UserError, match="expected a number of images from 0, or all"):
        ExemplarMemory(budget)  # type: ignore[arg-type]
