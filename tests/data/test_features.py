"""Files of embeddings: what is read, what is refused in one sentence, how rows are divided."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset

from dynammo.data.features import FeatureSet, TaskFeatures, VectorReader, read_features
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError

VECTORS = np.arange(24, dtype=np.float32).reshape(12, 2)
IDS = [f"v{i}" for i in range(12)]
LABELS = ["NV", "MEL"] * 6
GROUPS = [f"p{i // 2 % 3 * 2 + i % 2}" for i in range(12)]  # three patients of each class


def npz(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    file = folder / "vectors.npz"
    arrays = {"features": VECTORS, "ids": IDS, "labels": LABELS} | changes
    np.savez(file, **{name: value for name, value in arrays.items() if value is not None})
    return file


def frame() -> pd.DataFrame:
    return pd.DataFrame({"id": IDS, "Label": LABELS, "group": GROUPS, "f0": VECTORS[:, 0], "f1": VECTORS[:, 1]})


def write_csv(folder: Path) -> Path:
    frame().to_csv(folder / "vectors.csv", index=False)
    return folder / "vectors.csv"


def write_semicolons(folder: Path) -> Path:
    frame().to_csv(folder / "vectors.csv", index=False, sep=";", encoding="utf-8-sig")
    return folder / "vectors.csv"


def write_parquet(folder: Path) -> Path:
    frame().to_parquet(folder / "vectors.parquet")
    return folder / "vectors.parquet"


def write_lists(folder: Path) -> Path:
    lists = frame().drop(columns=["f0", "f1"]).assign(features=list(VECTORS))
    lists.to_parquet(folder / "vectors.parquet")
    return folder / "vectors.parquet"


def write_npz(folder: Path) -> Path:
    return npz(folder, groups=GROUPS)


@pytest.mark.parametrize("write", [write_csv, write_semicolons, write_parquet, write_lists, write_npz])
def test_every_kind_of_file_gives_the_same_table(write: Callable[[Path], Path], tmp_path: Path) -> None:
    file = write(tmp_path)
    table = read_features(file)
    assert (table.ids, table.labels, table.groups) == (tuple(IDS), tuple(LABELS), tuple(GROUPS))
    assert table.splits == ("",) * 12
    assert table.vectors.dtype == np.float32
    assert np.array_equal(table.vectors, VECTORS)


def test_ids_and_labels_are_texts_whatever_they_look_like(tmp_path: Path) -> None:
    texts = ["NA", "=1+1", "007", "$5_group"] * 3
    pd.DataFrame({"id": [f"0{i}" for i in range(12)], "label": texts, "f": 1.0}).to_csv(tmp_path / "a.csv", index=False)
    table = read_features(tmp_path / "a.csv")
    assert table.labels == tuple(texts)
    assert table.ids[0] == "00"
    numbered = read_features(npz(tmp_path, ids=np.arange(12), labels=np.array([0.0, 1.0] * 6)))
    assert numbered.ids[:2] == numbered.labels[:2] == ("0", "1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": ["v0", "v0", *IDS[2:]]}, "1 vectors of .* come more than once .v0"),
        ({"ids": None}, "vectors without an id"),
        ({"features": VECTORS[:5]}, "has 5 vectors, but 12 values of id"),
        ({"features": np.where(VECTORS == 5, np.nan, VECTORS)}, "1 vectors .* missing, NaN or infinite .v2"),
        ({"features": np.where(VECTORS == 5, np.inf, VECTORS)}, "missing, NaN or infinite"),
        ({"features": VECTORS.astype(np.float64) * 1e40}, "missing, NaN or infinite"),
        ({"features": VECTORS[:, 0]}, "the features of .* are"),
        ({"features": np.array([[1], [1, 2]], dtype=object)}, "cannot be read"),
        ({"features": None}, "has no array features"),
        ({"labels": ["", *LABELS[1:]]}, "1 vectors of .* have no label .v0"),
        ({"labels": None}, "12 vectors of .* have no label"),
        ({"labels": ["a\nb", *LABELS[1:]]}, "gives the class name"),
        ({"splits": ["valid"] * 12}, "has the split 'valid'"),
    ],
)
def test_what_is_wrong_is_one_sentence(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        read_features(npz(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "id,label,f0,f1\na,NV,1,2\nb,MEL,1\n", "missing, NaN or infinite .b"),
        ("a.csv", "id,label,f0\na,NV,1\nb,MEL,1,2\n", "cannot be read"),
        ("a.csv", "id,label,hospital\na,NV,Bern\nb,MEL,Basel\n", "the column 'hospital' .* holds no numbers"),
        ("a.csv", "id,label\na,NV\n", "the features of"),
        ("a.csv", "", "cannot be read"),
        ("a.npz", "no archive", "cannot be read"),
        ("a.parquet", "no table", "cannot be read"),
        ("a.txt", "", "is none of .npz, .csv, .parquet"),
    ],
)
def test_other_files_are_refused(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words):
        read_features(tmp_path / name)


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_features(tmp_path / "none.npz")


def test_vectors_of_a_group_become_their_mean(tmp_path: Path) -> None:
    table = read_features(npz(tmp_path, groups=GROUPS), average="vectors")
    assert table.ids == ("p0", "p1", "p2", "p3", "p4", "p5")
    assert table.vectors[0].tolist() == VECTORS[[0, 6]].mean(0).tolist()
    with pytest.raises(UserError, match="two labels or splits"):
        read_features(npz(tmp_path, groups=["p"] * 12), average="vectors")


def test_vectors_of_a_group_are_one_where_probabilities_are_averaged(tmp_path: Path) -> None:
    file = npz(tmp_path, groups=GROUPS)
    assert read_features(file).studies == tuple(IDS)
    together = read_features(file, average="probabilities")
    assert (together.studies, together.ids) == (tuple(GROUPS), tuple(IDS))
    with pytest.raises(UserError, match="two labels or splits"):
        read_features(npz(tmp_path, groups=["p"] * 12), average="probabilities")


def test_a_group_that_is_named_like_a_vector_alone_is_refused(tmp_path: Path) -> None:
    ids, groups = [f"v{i}" for i in range(12)], ["", *["v0"] * 2, *[f"p{i}" for i in range(9)]]
    with pytest.raises(UserError, match=r"v0 of .* is a group and the id of a vector without one"):
        read_features(npz(tmp_path, ids=ids, groups=groups), average="vectors")


def test_groups_stay_on_one_side_and_both_sides_have_every_class(tmp_path: Path) -> None:
    features = FeatureSet(npz(tmp_path, groups=GROUPS))
    sides = {split: {r.group for r in features.records if r.split == split} for split in ("train", "test")}
    assert features.classes == ["MEL", "NV"]
    assert not sides["train"] & sides["test"]
    without = FeatureSet(npz(tmp_path, groups=None))
    assert {r.class_name for r in without.records if r.split == "test"} == {"MEL", "NV"}
    splits = ["train"] * 6 + ["test"] * 6
    with pytest.raises(UserError, match="both in train and in test"):
        FeatureSet(npz(tmp_path, groups=GROUPS, splits=splits))


def test_items_lead_to_their_vectors_and_digests_to_their_content(tmp_path: Path) -> None:
    file = npz(tmp_path, splits=["train"] * 6 + ["test"] * 6)
    features = FeatureSet(file)
    data = TaskFeatures(features, TaskSequence(features.classes, 1))
    first = data.train(data.tasks[0])
    assert [item["image"] for item in first] == ["v1", "v3", "v5"]
    assert VectorReader(features)(first[0])["image"].flatten().tolist() == VECTORS[1].tolist()
    assert len(data.test()) == 6
    reader = VectorReader(features)
    loader = DataLoader(Dataset(data.test(), reader), batch_size=4)
    for batch, loaded in zip(reader.batches(data.test(), 4), loader, strict=True):
        assert torch.equal(batch["image"], loaded["image"]) and torch.equal(batch["label"], loaded["label"])
        assert batch["path"] == loaded["path"]
    other = FeatureSet(npz(tmp_path, features=VECTORS + 1, splits=["train"] * 6 + ["test"] * 6))
    changed = TaskFeatures(other, data.tasks)
    assert (changed.digest(), changed.test_digest()) == (data.digest(), data.test_digest())
    assert changed.contents() != data.contents()
