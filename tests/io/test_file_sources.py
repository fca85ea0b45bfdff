import stat
import zipfile
from pathlib import Path

import pytest

from dynammo.errors import UserError
from dynammo.io import file_sources as unpacking
from dynammo.io.file_sources import unpack


def pack(file: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_files_and_folders_are_unpacked(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.zip", **{"a.png": b"1", "b/ü [1]/c.png": b"2", "win\\dows.png": b"3"})
    assert unpack(archive, tmp_path / "out") == {}
    assert files_in(tmp_path / "out") == ["a.png", "b/ü [1]/c.png", "win/dows.png"]
    assert (tmp_path / "out" / "win" / "dows.png").read_bytes() == b"3"


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/etc/x.png", "..\\x.png", "C:\\x.png"])
def test_no_file_leaves_the_folder(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "x.zip", **{"good.png": b"1", name: b"2"})
    with pytest.raises(UserError, match="leads out of its folder"):
        unpack(archive, tmp_path / "in" / "out")
    assert files_in(tmp_path) == ["x.zip"], "nothing was written"


def test_links_are_left_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc")
        archive.writestr("a.png", b"1")
    unpack(tmp_path / "x.zip", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_bombs_are_refused_by_what_they_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "HARMLESS", 1000)
    archive = pack(tmp_path / "x.zip", **{"zeros.dcm": bytes(10_000_000)})
    with pytest.raises(UserError, match="fill disks"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bombs_are_refused_by_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's zipfile stops at the stated size; should it ever not, the copy itself is counted."""
    monkeypatch.setattr(unpacking, "HARMLESS", 1000)
    archive = pack(tmp_path / "x.zip", **{"zeros.dcm": bytes(10_000_000)})
    monkeypatch.setattr(unpacking, "_check", lambda *_: (tmp_path / "out").mkdir())
    with pytest.raises(UserError, match="fill disks"):
        unpack(archive, tmp_path / "out")
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) < 5_000_000


def test_too_many_files_too_little_room_and_passwords_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tmp_path / "x.zip", a=b"1", b=b"2")
    monkeypatch.setattr(unpacking, "MOST_FILES", 1)
    with pytest.raises(UserError, match="2 files"):
        unpack(archive, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1}))
    with pytest.raises(UserError, match="make room"):
        unpack(archive, tmp_path / "out")
    content = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        unpack(archive, tmp_path / "out")


def test_a_compression_that_is_not_read_is_the_fault_of_one_file(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.zip", a=b"1" * 100, b=b"2" * 100)
    content = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + place] = 9  # deflate64, as Windows uses it beyond 2 GB
    archive.write_bytes(content)
    faults = unpack(archive, tmp_path / "out")
    assert [path.name for path in faults] == ["a"] and files_in(tmp_path / "out") == ["b"]


def test_a_file_in_the_place_of_a_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(pack(tmp_path / "x.zip", **{"a": b"1", "a/b": b"2"}), tmp_path / "out")
