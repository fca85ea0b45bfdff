import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=12, unique=True)


@given(NAMES, st.data())
def test_every_class_has_one_label_in_one_task(names: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(names) - 1), max_size=5))) if len(names) > 1 else []
    sizes = [end - start for start, end in zip([0, *cuts], [*cuts, len(names)], strict=True)]
    tasks = TaskSequence(names, sizes, "random", seed=data.draw(st.integers(0, 99)))
    assert [len(task.classes) for task in tasks] == sizes
    assert [label for task in tasks for label in task.labels] == list(range(len(names)))
    assert all(tasks.label(name) == i for i, name in enumerate(tasks.classes))
    assert tasks[-1].seen == len(names)


@given(NAMES.filter(lambda names: len(names) > 1))
def test_labels_do_not_move_when_classes_are_appended(names: list[str]) -> None:
    first = TaskSequence(names[:-1], [len(names) - 1], names[:-1])
    longer = TaskSequence(names, [len(names) - 1, 1], names)
    assert [longer.label(name) for name in names[:-1]] == [first.label(name) for name in names[:-1]]


def test_local_labels_send_other_tasks_to_others() -> None:
    task = TaskSequence(list("abcd"), 2)[1]
    assert [task.local_label(label) for label in range(4)] == [2, 2, 0, 1]


def test_all_classes_at_once() -> None:
    assert [task.classes for task in TaskSequence(list("cab"), "all")] == [("a", "b", "c")]
    with pytest.raises(UserError, match="increments is 'some'; expected all, a number, or a list"):
        TaskSequence(list("cab"), "some")


def test_named_increments_set_the_order() -> None:
    tasks = TaskSequence(["AK", "BCC", "NV"], [["NV"], ["AK", "BCC"]])
    assert tasks.classes == ("NV", "AK", "BCC")


def test_random_order_follows_the_seed() -> None:
    names = [f"class_{i}" for i in range(20)]
    orders = [TaskSequence(names, 2, "random", seed).classes for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize(
    ("names", "increments", "order", "sentence"),
    [
        (["a", "b", "c"], [2, 2], "sorted", "sum to 4, but the data has 3 classes"),
        (["a", "b", "c"], 2, "sorted", "does not divide 3 classes"),
        (["a", "b"], [2, 0], "sorted", "whole numbers above 0"),
        (["a", "b"], [["a"], ["x"]], "sorted", r"unknown \['x'\], missing \['b'\]"),
        (["a", "b"], [["a", "b"], ["a"]], "sorted", "repeat"),
        (["NV", "nv "], 1, "sorted", "differ by more than case"),
        (["a", "b"], 1, "alphabet", "expected sorted, random or a list"),
        (["a", "b"], 1, ["a"], r"missing \['b'\]"),
    ],
)
def test_mistakes_are_explained(names: list[str], increments: object, order: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        TaskSequence(names, increments, order)  # type: ignore[arg-type]
