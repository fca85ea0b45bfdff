from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynammo.clinic.journal import Journal
from dynammo.errors import UserError

KEY = {"model": "abc"}


def test_results_and_pictures_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", KEY, resume=False)
    journal.add({"path": "a"}, (b"jpeg", b"png"))
    journal.add({"path": "b"}, None)
    journal.add({"path": "c"}, (b"other", None))
    assert [journal.picture(i) for i in range(3)] == [(b"jpeg", b"png"), None, (b"other", None)]
    journal.close(remove=False)
    again = Journal(tmp_path / "j", KEY, resume=True)
    assert [item["path"] for item in again.items] == ["a", "b", "c"] and again.picture(2) == (b"other", None)
    again.close(remove=True)
    assert not (tmp_path / "j").exists()


@given(st.integers(0, 400))
def test_wherever_a_crash_cuts_what_is_whole_is_kept(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    file = tmp_path_factory.mktemp("cut") / "j"
    journal = Journal(file, KEY, resume=False)
    sizes = [file.stat().st_size]
    for name in "abcde":
        journal.add({"path": name}, (name.encode() * 20, None))
        sizes.append(file.stat().st_size)
    journal.close(remove=False)
    file.write_bytes(file.read_bytes()[:cut])
    again = Journal(file, KEY, resume=True)
    whole = max(sum(size <= cut for size in sizes) - 1, 0)
    assert [item["path"] for item in again.items] == list("abcde")[:whole]
    again.add({"path": "new"}, (b"new", None))
    assert again.picture(whole) == (b"new", None)
    again.close(remove=True)


def test_other_work_is_not_gone_on_with(tmp_path: Path) -> None:
    Journal(tmp_path / "j", KEY, resume=False).close(remove=False)
    with pytest.raises(UserError, match=r"another model; type the same command as then, or leave --resume out"):
        Journal(tmp_path / "j", {"model": "other"}, resume=True)
