"""Which copies class statistics should count, and at which image size: docs/results/copies.json.

Type `python -m benchmarks.studies.copies [DATASET ...]` from the repository root: names of overlays in
configs/datasets. Training images alone are used: in five folds, groups together, heads of `methods/analytic.yaml`
(all classes at once) are computed from four folds with each choice of copies, and judge the fifth as it is and as
other cameras would have taken it. The shrinkage is the one of the best sum over all the looks.
"""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from monai.bundle import ConfigParser
from monai.data import Dataset
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.material import SETS
from benchmarks.report import table
from dynammo.heads.analytic import SHRINKAGES, ClassStatistics, add_classes, lda
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json
from dynammo.runtime.plain import decimals
from dynammo.runtime.terminal import Terminal
from dynammo.training.copies import DEVIATION, MEAN, Copy, copies_of
from dynammo.training.prediction import extract_copies

RESULT = Path("docs/results/copies.json")
SIZES = (96, 128)
FOLDS = 5
MIRRORED, OTHERS = 4, 4
CHOICES: dict[str, tuple[int, int]] = {  # mirrored ones, the image itself among them, and photometric ones
    "1": (1, 0), "4": (4, 0), "1 + 2": (1, 2), "2 + 2": (2, 2), "4 + 2": (4, 2), "4 + 4": (4, 4),
}  # fmt: skip
LOOKS: dict[str, tuple[float, float, float]] = {
    "as is": (1, 1, 1), "0.65 x": (0.65,) * 3, "0.8 x": (0.8,) * 3, "1.2 x": (1.2,) * 3,
    "warm": (1.1, 1.0, 0.85), "cold": (0.85, 1.0, 1.1),
}  # fmt: skip
Names = Annotated[list[str] | None, typer.Argument(metavar="DATASET")]


def main(datasets: Names = None) -> None:
    """Measure the choices on every data set, or on those named."""
    for name in datasets or SETS:
        for size in SIZES:
            found = recalls(*features_of(name, size))
            record(name, size, found)


def features_of(dataset: str, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
    """Features (N, C, F) of all copies and (N, L, F) of all looks of the training images, labels (N,), groups."""
    parser = ConfigParser()
    parser.read_config(
        ["bundle/configs/train.yaml", f"configs/datasets/{dataset}.yaml", "configs/methods/analytic.yaml"]
    )
    parser.update({"image_size": size})
    network = parser.get_parsed_content("network_def").eval()
    data, tasks = parser.get_parsed_content("data"), list(parser.get_parsed_content("tasks"))
    items = [{**item, "seed": number} for number, item in enumerate(i for task in tasks for i in data.train(task))]
    ways = [*copies_of("both", OTHERS), *map(_look, LOOKS.values())]
    classifier = MergedClassifier([1], **{**network.spec, "others": False}).eval()
    classifier.backbone.load_state_dict(network.backbone.state_dict())
    images = Dataset(items, parser.get_parsed_content("preprocessing"))
    features, labels = extract_copies(classifier, images, 32, ways)
    of_copies = MIRRORED + OTHERS
    groups = groups_in(Path(parser.get_parsed_content("dataset_dir")))
    return features[:, :of_copies], features[:, of_copies:], labels, [groups[Path(item["path"])] for item in items]


def groups_in(folder: Path) -> dict[Path, str]:
    """Which images belong to one patient, lesion or slide, by path; each alone where a class has too few groups."""
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    groups = Counter(label for label, _ in {(row["class"], row["group"]) for row in rows})
    return {folder / row["path"]: row["group"] if groups[row["class"]] >= FOLDS else row["path"] for row in rows}


def recalls(
    copies: torch.Tensor, looks: torch.Tensor, labels: torch.Tensor, groups: list[str]
) -> dict[str, dict[str, Any]]:
    """Mean class recall in percent of held-out images, by choice of copies and look, and the shrinkage taken."""
    hits = {name: torch.zeros(len(SHRINKAGES), len(labels), len(LOOKS)) for name in CHOICES}
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for inside, left in folds.split(np.zeros(len(labels)), labels, groups):
        for name, (mirrored, others) in CHOICES.items():
            columns = [*range(mirrored), *range(MIRRORED, MIRRORED + others)]
            # the classes of a fold are all classes, so labels start from 0 without a gap
            known = add_classes(ClassStatistics.empty(copies.shape[2]), copies[inside][:, columns], labels[inside])
            heads = lda(known, SHRINKAGES)
            for look in range(len(LOOKS)):
                hits[name][:, left, look] = (heads.logits(looks[left, look]).argmax(2) == labels[left]).float()
    found = {}
    for name, hit in hits.items():
        by_class = torch.stack([hit[:, labels == label].mean(1) for label in labels.unique()]).mean(0)  # (G, L)
        best = int(by_class.sum(1).argmax())
        values = dict(zip(LOOKS, (100 * by_class[best]).tolist(), strict=True))
        found[name] = {"shrinkage": SHRINKAGES[best], "recall": values}
    return found


def record(dataset: str, size: int, found: dict[str, dict[str, Any]]) -> None:
    """Print the recalls and put them into the result file, by data set and size."""
    shown = table(f"{dataset}, {size} pixels: held-out training images, mean class recall %", "copies", *LOOKS)
    for name, it in found.items():
        shown.add_row(name, *(decimals(it["recall"][look], 1) for look in LOOKS))
    Terminal().print(shown)
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known.setdefault(dataset, {})[str(size)] = found
    write_json(RESULT, known | provenance.origin())


def _look(factors: tuple[float, float, float]) -> Copy:
    def changed(images: torch.Tensor, _: Any) -> torch.Tensor:  # noqa: ANN401
        mean, deviation, gain = (images.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION, factors))
        return (((images * deviation + mean) * gain).clamp(0, 1) - mean) / deviation

    return changed


if __name__ == "__main__":
    typer.run(main)
