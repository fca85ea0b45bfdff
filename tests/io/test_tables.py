import csv
from pathlib import Path

import pytest

from dynammo.io.file_sources import files_of_list
from dynammo.runtime.tables import listed_path, read_text, split_table

HEADS = ("path", "label")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_of_every_spreadsheet_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list.csv").write_bytes("path;label\r\nä.png;NV\r\n".encode(encoding))
    text = read_text(tmp_path / "list.csv")
    assert split_table(text, HEADS) == [["path", "label"], ["ä.png", "NV"]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\n", "SEP={}\r\n", '"sep={}"\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_are_found_or_stated(separator: str, first: str, end: str) -> None:
    lines = [f"Path{separator}LABEL", f"a.png{separator}x", "", separator * 3, ""]
    assert split_table(first.format(separator) + end.join(lines), HEADS) == [["Path", "LABEL"], ["a.png", "x"]]


def test_a_stated_separator_wins_and_no_head_means_commas() -> None:
    assert split_table("sep=;\npath,label;split\n", HEADS) == [["path,label", "split"]]
    assert split_table("a;1.png\nb;2.png\n", HEADS) == [["a;1.png"], ["b;2.png"]]
    with pytest.raises(csv.Error):
        split_table("path,label\n" + "a" * 200_000, HEADS)


def test_line_breaks_and_separators_inside_quotes_survive() -> None:
    text = 'path;label\n"a\nb.png";"c; ""d"""\n'
    assert split_table(text, HEADS)[1] == ["a\nb.png", 'c; "d"']


def test_backslashes_are_folders_unless_a_file_is_called_so(tmp_path: Path) -> None:
    assert listed_path(tmp_path, " train\\a\\1.png ") == tmp_path / "train" / "a" / "1.png"
    (tmp_path / "odd\\name.png").write_bytes(b"")
    assert listed_path(tmp_path, "odd\\name.png") == tmp_path / "odd\\name.png"


@pytest.mark.parametrize(
    "content", [b"sep=;\r\nNr;File\r\n1;in\\a.png\r\n;\r\n", "File\tx\nin/a.png\t1\n".encode("utf-16")]
)
def test_what_classify_is_given_is_read_alike(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    (tmp_path / "list.csv").write_bytes(content)
    assert files_of_list(tmp_path / "list.csv").files == [tmp_path / "in" / "a.png"]
    (tmp_path / "list.txt").write_bytes("in\\a.png\r\n".encode("utf-16"))
    assert files_of_list(tmp_path / "list.txt").files == [tmp_path / "in" / "a.png"]
