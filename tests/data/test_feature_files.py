"""Slides: an HDF5 file for each beside a table, read, averaged and refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from dynammo.data import feature_files
from dynammo.data.feature_files import open_features
from dynammo.data.features import FeatureSet, TaskFeatures, read_features
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError

h5py = pytest.importorskip("h5py", reason="the extra hdf5 is not installed: pip install -e .[hdf5]")
SLIDES = {f"s{i}": np.arange(2 * (i + 2), dtype=np.float32).reshape(-1, 2) + 100 * i for i in range(6)}
LABELS = ["NV", "MEL"] * 3


def write(file: Path, **datasets: NDArray[Any]) -> Path:
    with h5py.File(file, "w") as opened:
        for name, values in datasets.items():
            opened[name] = values
    return file


def table(folder: Path, **columns: list[str] | None) -> Path:
    """A CSV of six slides below `slides/`."""
    (folder / "slides").mkdir(exist_ok=True)
    for name, vectors in SLIDES.items():
        write(folder / "slides" / f"{name}.h5", features=vectors, coords=np.zeros((len(vectors), 2)))
    files = [f"slides/{name}.h5" for name in SLIDES]
    frame = {"id": [*SLIDES], "label": LABELS, "file": files, "magnification": ["20x"] * 6} | columns
    pd.DataFrame({k: v for k, v in frame.items() if v is not None}).to_csv(folder / "slides.csv", index=False)
    return folder / "slides.csv"


def test_every_vector_of_a_slide_is_learnt_and_the_slide_is_one(tmp_path: Path) -> None:
    found = read_features(table(tmp_path))
    assert found.average == "probabilities"
    assert np.array_equal(found.vectors, np.concatenate([*SLIDES.values()]))
    assert found.ids[:3] == ("s0#0", "s0#1", "s1#0")
    assert found.studies[:3] == found.groups[:3] == ("s0", "s0", "s1")
    assert found.labels[:3] == ("NV", "NV", "MEL")
    features = FeatureSet(tmp_path / "slides.csv")
    tasks = TaskSequence(features.classes, "all")
    assert {item["path"] for item in TaskFeatures(features, tasks).test()} < {*SLIDES}
    sides = {split: {r.group for r in features.records if r.split == split} for split in ("train", "test")}
    assert not sides["train"] & sides["test"]


def test_a_slide_becomes_its_mean_or_every_vector_stands_alone(tmp_path: Path) -> None:
    means = read_features(table(tmp_path, group=["p", "q"] * 3), average="vectors")
    assert (means.ids, means.studies, means.groups) == (tuple(SLIDES), tuple(SLIDES), ("p", "q") * 3)
    assert np.array_equal(means.vectors, [vectors.mean(0) for vectors in SLIDES.values()])
    alone = read_features(tmp_path / "slides.csv", average="none")
    assert alone.studies == alone.ids and len(alone.ids) == sum(map(len, SLIDES.values()))
    with pytest.raises(UserError, match="average is 'max'; expected none, vectors, probabilities"):
        read_features(tmp_path / "slides.csv", average="max")


def test_what_a_table_says_is_read_before_its_vectors(tmp_path: Path) -> None:
    opened = open_features(table(tmp_path))
    assert opened.texts == {"id": tuple(SLIDES), "label": tuple(LABELS)}
    assert opened.counts == tuple(map(len, SLIDES.values()))
    assert [file.name for file in opened.slides] == [f"{name}.h5" for name in SLIDES]
    assert opened.vectors(True).shape == (6, 2)


def test_one_slide_is_a_file_too(tmp_path: Path) -> None:
    found = read_features(write(tmp_path / "case 7.hdf5", features=SLIDES["s1"].astype(np.float16)), labelled=False)
    assert found.studies == ("case 7",) * 3 and found.vectors.dtype == np.float32


def test_a_slide_that_changes_is_read_again(tmp_path: Path) -> None:
    file = table(tmp_path)
    first = read_features(file)
    slide = write(tmp_path / "slides" / "s0.h5", features=np.ones((1, 2)))
    os.utime(slide, (1, 1))
    assert len(read_features(file).ids) == len(first.ids) - 1


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["s0", "s0", "s2", "s3", "s4", "s5"]}, "1 vectors of .* come more than once .s0"),
        ({"id": None}, "vectors without an id"),
        ({"label": ["", *LABELS[1:]]}, "1 vectors of .* have no label .s0"),
        ({"split": ["left"] * 6}, "has the split 'left'"),
        ({"file": [f"slides/{name}.svs" for name in SLIDES]}, "the column file of .* names 'slides/s0.svs'; expected"),
        ({"file": [*[f"slides/{name}.h5" for name in SLIDES][:5], ""]}, "names ''; expected an HDF5"),
        ({"file": ["slides/gone.h5"] * 6}, "6 of 6 files of .* are missing"),
        ({"file": ["slides/../../s.h5"] * 6}, "names files outside its folder"),
        ({"file": ["/etc/s.h5"] * 6}, "names files outside its folder"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_before_a_vector_is_read(
    columns: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_files, "_blocks", lambda *_: pytest.fail("a vector was read"))
    with pytest.raises(UserError, match=words):
        read_features(table(tmp_path, **columns))


def test_a_patient_on_both_sides_is_refused(tmp_path: Path) -> None:
    splits = ["train"] * 4 + ["test"] * 2
    with pytest.raises(UserError, match="both in train and in test"):
        FeatureSet(table(tmp_path, group=["p", "q"] * 3, split=splits))


def other_name(file: Path) -> None:
    write(file, feats=SLIDES["s0"])


def no_hdf5(file: Path) -> None:
    file.write_text("none")


def empty(file: Path) -> None:
    write(file, features=np.zeros((0, 2)))


def one_row(file: Path) -> None:
    write(file, features=np.zeros(2))


def words(file: Path) -> None:
    write(file, features=np.array([[b"a", b"b"]]))


def folder(file: Path) -> None:
    with h5py.File(file, "w") as opened:
        opened.create_group("features")


def link(file: Path) -> None:
    write(file.with_name("other.h5"), features=SLIDES["s0"])
    with h5py.File(file, "w") as opened:
        opened["features"] = h5py.ExternalLink("other.h5", "features")


def outside(file: Path) -> None:
    file.with_name("secret").write_bytes(bytes(16))
    with h5py.File(file, "w") as opened:
        opened.create_dataset("features", (2, 2), "f4", external=[(str(file.with_name("secret")), 0, 16)])


def virtual(file: Path) -> None:
    write(file.with_name("other.h5"), features=SLIDES["s0"])
    layout = h5py.VirtualLayout((2, 2), "f4")
    layout[:] = h5py.VirtualSource(file.with_name("other.h5"), "features", (2, 2))
    with h5py.File(file, "w") as opened:
        opened.create_virtual_dataset("features", layout)


def wider(file: Path) -> None:
    write(file, features=np.zeros((2, 3)))


def missing_value(file: Path) -> None:
    write(file, features=np.array([[1, np.nan]]))


def too_large(file: Path) -> None:
    write(file, features=np.array([[1, 1e300]]))


def huge(file: Path) -> None:  # chunks that are not written take no room
    with h5py.File(file, "w") as opened:
        opened.create_dataset("features", (2**40, 2), "f4", chunks=(1024, 2))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_name, "has no dataset features of its own"),
        (no_hdf5, r"s0.h5 cannot be read"),
        (empty, r"the features of .*s0.h5 are \(0, 2\)"),
        (one_row, r"the features of .*s0.h5 are \(2,\)"),
        (words, r"the features of .*s0.h5 are .*; expected numbers"),
        (folder, "has no dataset features of its own"),
        (link, "has no dataset features of its own"),
        (outside, "has no dataset features of its own"),
        (virtual, "has no dataset features of its own"),
        (wider, "vectors of unequal width .2 in s5.h5; 3 in s0.h5"),
        (missing_value, "1 vectors .* missing, NaN or infinite .s0#0"),
        (too_large, "1 vectors .* missing, NaN or infinite .s0#0"),
        (huge, "GB, but this machine has .* GB of memory; type --average vectors"),
    ],
)
def test_what_is_wrong_with_a_slide_is_one_sentence(spoil: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    file = table(tmp_path)
    spoil(tmp_path / "slides" / "s0.h5")
    with pytest.raises(UserError, match=said):
        read_features(file)
