"""Features of the benchmark sets that scores of unknown images are compared on: one pass of the frozen network."""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import Dataset
from numpy.typing import NDArray

from benchmarks.material import shared_folder
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.files import prepare_output_dir
from dynammo.training.copies import copies_of
from dynammo.training.prediction import extract_copies

__all__ = ["Material", "features_of", "groups_in"]

BATCH = 32
CELL = re.compile(r"train_(\d+)_")
METHOD = "configs/methods/analytic.yaml"


@dataclass(frozen=True)
class Material:
    """What the frozen network makes of a set.

    Attributes:
        classes: K names, by label.
        train: (N, C, F) of the training images; the first of C copies is the image itself.
        labels: (N,).
        groups: (N,) numbers; images of one patient, lesion or tile share one where that is known.
        test: (M, F) of the test images.
        test_labels: (M,).
    """

    classes: tuple[str, ...]
    train: torch.Tensor
    labels: torch.Tensor
    groups: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor


def features_of(name: str, folder: Path | None = None, copies: bool = True) -> Material:
    """Features of a benchmark set as the recommended method reads them, all classes in the order of their names.

    Args:
        name: an overlay in configs/datasets.
        folder: where they are kept as npz, and found again while the images are the same; None keeps none.
        copies: read the mirrored and photometric copies of training images too.
    """
    parser = ConfigParser()
    parser.read_config([str(bundle_config("train.yaml")), f"configs/datasets/{name}.yaml", METHOD])
    data_dir = shared_folder() / "data" / name
    parser.update({"dataset_dir": str(data_dir), "increments": "all", "class_order": "sorted"})
    parser.update({"device": torch.device("cpu")})
    if not copies:
        parser.update({"mirrored": "none", "photometric": 0})
    data, tasks = parser.get_parsed_content("data"), parser.get_parsed_content("tasks")
    train, test = data.train(tasks[0]), data.test()
    contents = [Path(METHOD).read_text(), copies, data.contents()]
    stamp = hashlib.sha256(json.dumps(contents).encode()).hexdigest()
    file = None if folder is None else prepare_output_dir(folder) / f"{name}_{stamp[:12]}.npz"
    if file is None or not file.is_file():
        arrays: dict[str, Any] = {"train": _passed(parser, train, copies), "test": _passed(parser, test, False)[:, 0]}
        if file is not None:
            np.savez(file, **arrays)
    else:
        with np.load(file, allow_pickle=False) as kept:
            arrays = dict(kept)
    of_path = groups_in(data_dir)
    groups = [of_path[Path(item["path"])] for item in train]
    return Material(
        tuple(tasks.classes),
        torch.from_numpy(arrays["train"]),
        torch.tensor([item["label"] for item in train]),
        torch.from_numpy(np.unique(groups, return_inverse=True)[1]),
        torch.from_numpy(arrays["test"]),
        torch.tensor([item["label"] for item in test]),
    )


def _passed(parser: ConfigParser, items: Sequence[Any], copies: bool) -> NDArray[np.float32]:
    """Features (N, C, F) of images and of their copies."""
    network = parser.get_parsed_content("network_def").eval()
    classifier = MergedClassifier([1], **{**network.spec, "others": False}).eval()
    classifier.backbone.load_state_dict(network.backbone.state_dict())
    ways = copies_of(parser.get_parsed_content("mirrored"), parser.get_parsed_content("photometric"))
    seeded = [{**item, "seed": crc32(Path(item["path"]).name.encode())} for item in items]
    images = Dataset(seeded, parser.get_parsed_content("preprocessing"))
    features: NDArray[np.float32] = extract_copies(classifier, images, BATCH, ways if copies else ways[:1])[0].numpy()
    return features


def groups_in(folder: Path) -> dict[Path, str]:
    """Patient, lesion, tile or cell of every training image, by path; each image alone where that is not known.

    The manifest has them; a class of one group is a class of which it does not know. The number in the names of
    blood images is the cell that was photographed.
    """
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    groups = Counter(label for label, _ in {(row["class"], row["group"]) for row in rows})
    found = {}
    for row in rows:
        cell = CELL.match(Path(row["path"]).name) if row["class"].startswith("blood_") else None
        group = row["group"] if groups[row["class"]] > 1 else cell[1] if cell else row["path"]
        found[folder / row["path"]] = f"{row['class']} {group}"
    return found
