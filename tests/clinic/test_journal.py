import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.clinic.journal import Contents, Journal
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


@settings(deadline=None)  # it waits for the disk
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


def test_results_whose_content_is_another_are_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", KEY, resume=False)
    for path, content in (("a", "1"), ("b", "1"), ("gone", "1"), ("a", "2")):
        journal.add({"path": path, "of": content}, (f"{path}{content}".encode(), None), content)
    journal.close(remove=False)
    again = Journal(tmp_path / "j", KEY, resume=True)
    again.keep(lambda path, content: (path, content) in {("a", "1"), ("a", "2"), ("b", "1")})
    assert again.items == [{"path": "b", "of": "1"}, {"path": "a", "of": "2"}]
    assert [again.picture(i) for i in range(2)] == [(b"b1", None), (b"a2", None)]
    again.keep(lambda *_: False)
    again.add({"path": "c"}, (b"c", None), "")
    assert again.picture(0) == (b"c", None)
    again.close(remove=True)


def test_contents_are_told_apart(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1, 1))
    files = {"ab": [tmp_path / "a", tmp_path / "b"], "c": [tmp_path / "c"], "d": [tmp_path / "d"]}
    before = Contents(files)
    digests = {name: before.digest(name) for name in files}
    assert len({*digests.values()}) == 3 and digests["d"] == ""
    for name, text in (("a", "b"), ("b", "a")):  # exchanged, with the same size and time
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (1, 1))
    assert Contents(files).digest("ab") != digests["ab"] and Contents(files).digest("c") == digests["c"]
    (tmp_path / "c").write_text("longer")
    (tmp_path / "a").unlink()
    assert before.exchanged("c") and before.digest("c") == "" and not before.exchanged("ab")
