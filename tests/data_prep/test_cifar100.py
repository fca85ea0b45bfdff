"""CIFAR-100 on made-up archives, and pickles that would do harm."""

import io
import os
import pickle
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from synthetic.downloads import cifar100, cifar100_files, noise, rows, run

from data_prep.array_pickle import PickleRefused, read_pickle


def test_images_are_unpacked_with_their_class(tmp_path: Path) -> None:
    status, output = run("cifar100", "-i", cifar100(tmp_path / "c.tar.gz"), "-o", tmp_path / "out", "--unchecked")
    assert status == 0, output
    found = rows(tmp_path / "out")
    assert Counter(row["split"] for row in found) == {"train": 12, "test": 8}
    for row in (row for row in found if row["split"] == "test"):
        index = int(Path(row["path"]).stem.split("_")[1])
        assert row["label"] == f"class_{index % 4}"
        planes = noise(1, (8, 3072))[index].reshape(3, 32, 32)
        assert (np.asarray(Image.open(tmp_path / "out" / row["path"])) == planes.transpose(1, 2, 0)).all()


def test_the_unpacked_folder_gives_the_same_list(tmp_path: Path) -> None:
    for name, content in cifar100_files().items():
        (tmp_path / "cifar-100-python").mkdir(exist_ok=True)
        (tmp_path / "cifar-100-python" / name).write_bytes(content)
    assert run("cifar100", "-i", tmp_path, "-o", tmp_path / "a", "--unchecked")[0] == 0
    assert run("cifar100", "-i", cifar100(tmp_path / "c.tar.gz"), "-o", tmp_path / "b", "--unchecked")[0] == 0
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_another_sum_than_the_published_one_is_refused(tmp_path: Path) -> None:
    status, output = run("cifar100", "-i", cifar100(tmp_path / "c.tar.gz"), "-o", tmp_path / "out")
    assert status == 1 and "eb9058c3a382ffc7106e4002c42a8d85" in output and not (tmp_path / "out").exists()


class Harm:
    """Unpickled, it writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_is_refused_and_nothing_in_it_runs(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    harm = pickle.dumps({b"data": Harm(trace)}, protocol=protocol)
    archive = cifar100(tmp_path / "c.tar.gz", train=harm)
    status, output = run("cifar100", "-i", archive, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and "system" in output and "nothing in it was run" in output
    assert not trace.exists()
    pickle.loads(harm)
    assert trace.exists(), "the pickle would have done harm"


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", b"\x80\x02}q\x00", b"cbuiltins\neval\n(S'1'\ntR.", b"(i__main__\nX\n."]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    archive = cifar100(tmp_path / "c.tar.gz", meta=content)
    status, output = run("cifar100", "-i", archive, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and output.startswith("error: the file meta")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_damaged_pickles_are_refused_in_words(noise: bytes, place: int) -> None:
    whole = cifar100_files(classes=1)["test"]
    damaged = whole[:place] + noise + whole[place + len(noise) :]
    try:
        read_pickle(damaged)
    except PickleRefused as error:
        assert str(error)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.binary(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(plain, st.integers(0, 5))
def test_plain_values_are_read_as_pickle_reads_them(value: object, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol=protocol)) == value


@settings(deadline=None)
@given(arrays(np.uint8, array_shapes(max_dims=3)), st.integers(0, 4))
def test_arrays_of_bytes_are_read_as_pickle_reads_them(value: np.ndarray, protocol: int) -> None:
    found = read_pickle(pickle.dumps([value, value], protocol=protocol))
    assert all(np.array_equal(item, value) and item.dtype == np.uint8 for item in found)


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(PickleRefused, match="not of bytes"):
        read_pickle(pickle.dumps(np.array([None, "a"], dtype=object), protocol=2))


def test_a_link_in_the_archive_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(cifar100_files()["meta"])
    archive = tmp_path / "c.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("train", "test", "meta"):
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, str(secret)
            tar.addfile(member)
    status, output = run("cifar100", "-i", archive, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and "no plain file" in output


def test_members_that_lead_out_of_the_archive_write_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "in" / "c.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("../../train", "/tmp/train", "../escaped"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    status, output = run("cifar100", "-i", archive, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and "train, test, meta" in output
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_incomplete_folder_or_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "train").write_bytes(b"")
    assert "test, meta" in run("cifar100", "-i", tmp_path, "-o", tmp_path / "out", "--unchecked")[1]
    assert "cs.toronto.edu" in run("cifar100", "-i", tmp_path / "none.tar.gz", "-o", tmp_path / "out")[1]
    archive = cifar100(tmp_path / "c.tar.gz")
    archive.write_bytes(archive.read_bytes()[:2000])
    status, output = run("cifar100", "-i", archive, "-o", tmp_path / "out", "--unchecked")
    assert status == 1 and "not a whole archive" in output
