import pytest

from dynammo.clinic.levels import FLAGS, LEVELS, count_levels, level_of


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ([], "fine"),
        (["low confidence"], "check"),
        (["unknown"], "check"),
        (["looks different"], "do not use"),
        (["unreadable"], "do not use"),
        (["low confidence", "unknown"], "check"),
        (["low confidence", "looks different"], "do not use"),
        (["of a later version"], "check"),
    ],
)
def test_the_gravest_flag_decides(flags: list[str], level: str) -> None:
    assert level_of(flags) == level == level_of(flags[::-1])


def test_every_flag_has_one_level_and_all_levels_are_counted() -> None:
    assert len(set(FLAGS)) == len(FLAGS) == 4 and FLAGS[0] == "unreadable"
    assert count_levels([["unknown"], [], [], ["unreadable", "unknown"]]) == {"do not use": 1, "check": 1, "fine": 2}
    assert list(count_levels([])) == list(LEVELS)
