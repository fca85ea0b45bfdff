"""A folder of pictures in class folders."""

from pathlib import Path

import pytest
from synthetic.downloads import class_folders, picture, rows, run, table


def sides(out: Path) -> dict[str, set[str]]:
    return {split: {row["group"] for row in rows(out) if row["split"] == split} for split in ("train", "test")}


def test_groups_by_pattern_and_by_table_give_the_same_split(tmp_path: Path) -> None:
    data = class_folders(tmp_path / "in")
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    table(tmp_path / "groups.csv", "file,group", [f"{name},{Path(name).name.split('_')[0]}" for name in names])
    assert run("image_folder", "-i", data, "-o", tmp_path / "a", "--groups", tmp_path / "groups.csv")[0] == 0
    assert run("image_folder", "-i", data, "-o", tmp_path / "b", "--group-pattern", "(P[0-9]+)_")[0] == 0
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    found = sides(tmp_path / "a")
    assert len(found["train"] | found["test"]) == 12 and not found["train"] & found["test"]


def test_train_and_test_folders_are_kept(tmp_path: Path) -> None:
    for i, (split, kind) in enumerate((s, k) for s in ("train", "test") for k in ("a", "b")):
        picture(tmp_path / "in" / split / kind / "one.png", i)
    assert run("image_folder", "-i", tmp_path / "in", "-o", tmp_path / "out")[0] == 0
    assert all(row["path"].split("/")[:2] == [row["split"], row["label"]] for row in rows(tmp_path / "out"))


def test_hidden_files_and_links_to_folders_are_passed_over(tmp_path: Path) -> None:
    data = class_folders(tmp_path / "in")
    (data / "benign" / ".DS_Store").write_bytes(b"")
    (data / "benign" / "Thumbs.db").write_bytes(b"")
    (data / "benign" / "loop").symlink_to(data)
    assert run("image_folder", "-i", data, "-o", tmp_path / "out")[0] == 0
    assert len(rows(tmp_path / "out")) == 24


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--group-pattern", "(P"), "no regular expression"),
        (("--group-pattern", "P[0-9]+"), "0 brackets"),
        (("--group-pattern", "(Q[0-9]+)"), "24 of 24 images have no group"),
        (("--groups", "none.csv"), "no file none.csv"),
        (("--groups", "none.csv", "--group-pattern", "(P)"), "one of them"),
    ],
)
def test_bad_groups_are_one_sentence(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    status, output = run("image_folder", "-i", class_folders(tmp_path / "in"), "-o", tmp_path / "out", *arguments)
    assert status == 1 and words in output


def test_an_image_without_a_row_and_a_file_with_two_groups_are_refused(tmp_path: Path) -> None:
    data = class_folders(tmp_path / "in")
    table(tmp_path / "groups.csv", "file,group", ["P000_0.png,P0"])
    assert "23 of 24" in run("image_folder", "-i", data, "-o", tmp_path, "--groups", tmp_path / "groups.csv")[1]
    table(tmp_path / "groups.csv", "file,group", ["P000_0.png,P0", "P000_0.png,P1"])
    assert "two groups" in run("image_folder", "-i", data, "-o", tmp_path, "--groups", tmp_path / "groups.csv")[1]


def test_empty_and_missing_folders_are_one_sentence(tmp_path: Path) -> None:
    assert "0 class folders" in run("image_folder", "-i", tmp_path, "-o", tmp_path / "out")[1]
    assert "no folder" in run("image_folder", "-i", tmp_path / "none", "-o", tmp_path / "out")[1]
    (class_folders(tmp_path / "in") / "empty").mkdir()
    assert "empty" in run("image_folder", "-i", tmp_path / "in", "-o", tmp_path / "out")[1]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, output = run("image_folder", "-i", class_folders(tmp_path / "in"), "-o", tmp_path / "file")
    assert status == 1 and "choose another one with -i or -o" in output
