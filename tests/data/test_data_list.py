import json
import os
from pathlib import Path
from typing import Any

import pytest

from dynammo.data.data_list import class_name, read_data_list
from dynammo.errors import UserError


def written(file: Path, content: Any) -> Path:  # noqa: ANN401
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


def row(**values: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"path": "a.png", "label": "NV", **values}


def test_a_list_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    content = 'sep=;\r\nPath;LABEL;Split; Group \r\ntrain\\NV\\1.png;"a; b";Train;12\r\n;;;\r\n'.encode("utf-16")
    (record,) = read_data_list(written(tmp_path / "list.csv", content), tmp_path)
    assert record.path == tmp_path / "train" / "NV" / "1.png"
    assert (record.class_name, record.split, record.group) == ("a; b", "train", "12")


@pytest.mark.parametrize("heads", ["file;class", "path,class", "Pfad\tlabel", "path,label,label", "path,path,label"])
def test_other_heads_are_named(tmp_path: Path, heads: str) -> None:
    with pytest.raises(UserError, match=r"has the heads .*expected the columns path, label") as caught:
        read_data_list(written(tmp_path / "list.csv", f"{heads}\n1,2,3\n".encode()), tmp_path)
    assert all(repr(head) in str(caught.value) for head in heads.replace(";", ",").replace("\t", ",").split(",")) or (
        repr(heads) in str(caught.value)
    )


def test_a_row_with_more_values_than_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 2 of .* has 3 values for 2 heads"):
        read_data_list(written(tmp_path / "list.csv", b"path,label\na.png,x\nb,c.png,x\n"), tmp_path)


@pytest.mark.parametrize(
    ("written_as", "group"), [(0, "0"), (0.0, "0.0"), ("0", "0"), (None, ""), ("", ""), (" ", ""), (float("nan"), "")]
)
def test_number_0_is_a_patient_and_nothing_is_none(tmp_path: Path, written_as: Any, group: str) -> None:  # noqa: ANN401
    (record,) = read_data_list(written(tmp_path / "list.json", [row(group=written_as)]), tmp_path)
    assert record.group == group


@pytest.mark.parametrize("other", ["12.0", 12, 12.0, " 12 ", "12,0", "\uff11\uff12"])
def test_two_spellings_of_a_group_are_one(tmp_path: Path, other: Any) -> None:  # noqa: ANN401
    rows = [row(group="12"), row(path="b.png", group=other), row(path="c.png", group="13")]
    groups = [record.group for record in read_data_list(written(tmp_path / "list.json", rows), tmp_path)]
    assert groups == ["12", "12", "13"]


def test_groups_that_differ_stay_apart(tmp_path: Path) -> None:
    names = ["1", "10", "100", "1.5", "v1.05", "p"]
    rows = [row(path=f"{name}.png", group=name) for name in names]
    groups = [record.group for record in read_data_list(written(tmp_path / "list.json", rows), tmp_path)]
    assert groups == names


@pytest.mark.parametrize("values", [{"label": "  "}, {"label": ""}, {"label": None}, {"path": " \t"}])
def test_blanks_are_no_label_and_no_path(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"row 1 of .* has no path or no label"):
        read_data_list(written(tmp_path / "list.json", [row(**values)]), tmp_path)


@pytest.mark.parametrize("values", [{"label": ["NV"]}, {"path": {"a": 1}}, {"group": True}, {"split": ["train"]}])
def test_what_is_no_text_is_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"row 1 of .*expected text or a number"):
        read_data_list(written(tmp_path / "list.json", [row(**values)]), tmp_path)


@pytest.mark.parametrize("label", ["a\nb", "\x1b[31mred", "x" * 256])
def test_labels_that_no_record_could_hold_are_refused(tmp_path: Path, label: str) -> None:
    (tmp_path / "list.json").write_text(json.dumps([{"path": "a.png", "label": label, "split": "train"}]))
    with pytest.raises(UserError, match=r"row 1 of .* gives the class name .*expected one line"):
        read_data_list(tmp_path / "list.json", tmp_path)
    assert class_name(os.fsdecode(b"B\xe4r"), "a folder") == "B\ufffdr"


def test_label_0_is_a_class(tmp_path: Path) -> None:
    (record,) = read_data_list(written(tmp_path / "list.json", [{"PATH": "a.png", "Label": 0}]), tmp_path)
    assert record.class_name == "0"
