import errno
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynammo.clinic.sort_files import class_folder, sort_into
from dynammo.errors import UserError
from dynammo.io.studies import Study


def study_of(*files: Path, name: str = "", reason: str = "") -> Study:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text(str(file))
    return Study(files, name or files[0].name, "png", reason=reason)


def test_images_are_copied_and_stay(tmp_path: Path) -> None:
    study = study_of(tmp_path / "in" / "a b.png")
    assert sort_into(tmp_path / "out", study, "MEL") == [tmp_path / "out" / "MEL" / "a b.png"]
    assert (tmp_path / "out" / "MEL" / "a b.png").read_text() == study.files[0].read_text()
    assert [path.name for path in (tmp_path / "out" / "MEL").iterdir()] == ["a b.png"], "nothing half copied"


def test_collisions_get_a_number_and_sorting_again_changes_nothing(tmp_path: Path) -> None:
    studies = [study_of(tmp_path / "in" / str(i) / "x.nii.gz") for i in range(3)]
    first = [sort_into(tmp_path / "out", study, "NV")[0] for study in studies]
    assert [path.name for path in first] == ["x.nii.gz", "x (2).nii.gz", "x (3).nii.gz"]
    assert [sort_into(tmp_path / "out", study, "NV")[0] for study in studies] == first
    assert [path.read_text() for path in first] == [study.files[0].read_text() for study in studies]
    assert len(list((tmp_path / "out" / "NV").iterdir())) == 3


def test_a_series_stays_together(tmp_path: Path) -> None:
    one = study_of(tmp_path / "p1" / "IM1", tmp_path / "p1" / "IM2", name="p1/CT series 3")
    two = study_of(tmp_path / "p2" / "IM1", tmp_path / "p2" / "IM2", name="p2/CT series 3")
    split = study_of(tmp_path / "p3" / "a" / "IM1", tmp_path / "p3" / "b" / "IM1", name="p3/CT series 3")
    other = study_of(tmp_path / "p4" / "IM8", tmp_path / "p4" / "IM9", name="p4/CT series 3")
    made = [
        path.relative_to(tmp_path / "out").as_posix()
        for s in (one, two, split, other)
        for path in sort_into(tmp_path / "out", s, "x")
    ]
    assert made == [
        "x/CT series 3/IM1", "x/CT series 3/IM2", "x/CT series 3 (2)/IM1", "x/CT series 3 (2)/IM2",
        "x/CT series 3 (3)/00001 IM1", "x/CT series 3 (3)/00002 IM1", "x/CT series 3 (4)/IM8",
        "x/CT series 3 (4)/IM9",
    ]  # fmt: skip


def test_an_interrupted_series_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(tmp_path / "IM1", tmp_path / "IM2", name="series 1")
    copyfile = shutil.copyfile

    def full_disk(source: Path, target: str) -> None:
        if source.name == "IM2":
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", full_disk)
    with pytest.raises(UserError, match="No space left"):
        sort_into(tmp_path / "out", study, "x")
    assert [path.name for path in (tmp_path / "out" / "x" / "series 1").iterdir()] == ["IM1"]
    monkeypatch.undo()
    sort_into(tmp_path / "out", study, "x")
    assert sorted(path.name for path in (tmp_path / "out" / "x" / "series 1").iterdir()) == ["IM1", "IM2"]
    assert len(list((tmp_path / "out" / "x").iterdir())) == 1


def test_unreadable_studies_are_not_copied(tmp_path: Path) -> None:
    assert sort_into(tmp_path / "out", study_of(tmp_path / "x.png", reason="it is empty"), "MEL") == []
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="--sort-into"):
        sort_into(tmp_path / "out", study_of(tmp_path / "x.png"), "MEL")


@given(st.text(max_size=300))
def test_every_class_has_a_folder_inside(name: str) -> None:
    folder = class_folder(name)
    assert Path(folder).name == folder and folder not in ("", ".", "..")
    assert not set(folder) & set('<>:"/\\|?*\0\n') and not folder.endswith((".", " "))
    assert len(folder.encode("utf-8", "surrogatepass")) <= 255 - len(" (999)")


def test_classes_keep_their_names_and_stay_apart() -> None:
    assert class_folder("Squamous cell carcinoma") == "Squamous cell carcinoma"
    assert class_folder("Ödem") == "Ödem"
    assert len({class_folder(name) for name in ("a/b", "a:b", "a_b", "CON", "con", "..", ".", "")}) == 8
