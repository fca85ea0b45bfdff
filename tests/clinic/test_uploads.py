"""What a browser sends becomes studies; nothing leaves the folder, and limits hold."""

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic.datasets import write_image
from werkzeug.datastructures import FileStorage

from dynammo.clinic.uploads import UploadLimits, find_uploaded, without_folder
from dynammo.errors import UserError
from dynammo.io.studies import Study


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("image") / "red.png"
    write_image(file, "red", 0)
    return file.read_bytes()


def upload(name: str, data: bytes) -> FileStorage:
    return FileStorage(io.BytesIO(data), filename=name)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/") + ".png", data)
    return out.getvalue()


def names(studies: list[Study]) -> list[str]:
    return [study.name for study in studies]


def test_images_and_zips_are_found_and_others_counted(image: bytes, tmp_path: Path) -> None:
    uploads = [
        upload("a.png", image),
        upload("notes.txt", b"hello"),
        upload("more.zip", zipped(b=image, deep__c=image)),
    ]
    studies, ignored = find_uploaded(uploads, tmp_path, UploadLimits())
    assert names(studies) == ["a.png", "b.png", "deep/c.png"]
    assert ignored == 1
    assert not any(study.reason for study in studies)


def test_a_zip_that_cannot_be_used_does_not_stop_the_images(image: bytes, tmp_path: Path) -> None:
    uploads = [upload("a.png", image), upload("cut.zip", zipped(b=image)[:-30])]
    studies, _ = find_uploaded(uploads, tmp_path, UploadLimits())
    assert names(studies) == ["a.png", "cut.zip"]
    assert studies[1].reason.startswith("cut.zip is damaged or no zip")
    assert str(tmp_path) not in studies[1].reason


def test_same_names_stay_apart(image: bytes, tmp_path: Path) -> None:
    studies, _ = find_uploaded([upload("IM1.png", image) for _ in range(3)], tmp_path, UploadLimits())
    assert names(studies) == ["IM1 (2).png", "IM1 (3).png", "IM1.png"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=4))
@pytest.mark.parametrize("always", ["../../../evil.png", "/etc/passwd", "..", "C:\\x.png", "a\0b", "x" * 500 + ".png"])
def test_no_name_leads_out_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, always: str, others: list[str]
) -> None:
    above = tmp_path_factory.mktemp("above")
    folder = above / "inside"
    folder.mkdir()
    sent = [upload(name, b"no image") for name in [always, *others]]
    try:
        find_uploaded(sent, folder, UploadLimits())
    except UserError as error:
        assert str(above) not in str(error)
    assert list(above.iterdir()) == [folder]
    assert len(list((folder / "files").iterdir())) == len(sent)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (UploadLimits(files=1), "2 files: this page takes at most 1 files"),
        (UploadLimits(studies=1), "2 images or series: this page takes at most 1"),
    ],
)
def test_more_than_the_limits_is_refused(image: bytes, tmp_path: Path, limits: UploadLimits, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        find_uploaded([upload("a.png", image), upload("b.png", image)], tmp_path, limits)


def test_a_zip_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    bomb = zipped(a=bytes(30 * 10**6))
    studies, _ = find_uploaded([upload("bomb.zip", bomb)], tmp_path, UploadLimits(megabytes=1))
    assert "bomb.zip, which unpacks to 30 MB: this page takes at most 10 MB" in studies[0].reason
    assert not (tmp_path / "unpacked").exists()


def test_nothing_sent_and_no_image_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file came"):
        find_uploaded([], tmp_path, UploadLimits())
    with pytest.raises(UserError, match=r"there is no image in the upload \(1 other files\)"):
        find_uploaded([upload("notes.txt", b"hello")], tmp_path, UploadLimits())


def test_sentences_lose_the_folder() -> None:
    assert without_folder("/tmp/x/files/a.png in /tmp/x", Path("/tmp/x")) == "a.png in the upload"
