"""Features of the benchmark sets as the heads of our methods read them, and the orders in which classes come.

The backbone is frozen, so a set passes it once, whatever the head, the order and the number of images learnt.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import Dataset

from benchmarks.accuracy import plan
from benchmarks.material import SETS, shared_folder
from benchmarks.timing import Stopwatch
from dynammo.data.tasks import Task, TaskSequence
from dynammo.errors import UserError
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.files import fingerprint, prepare_output_dir
from dynammo.training.copies import Copy, copies_of
from dynammo.training.prediction import extract_copies

__all__ = [
    "BENCHMARK", "METHODS", "Frozen", "check_names", "check_sets", "draw", "extract", "of_tasks", "orders",
    "read_record",
]  # fmt: skip

METHODS = ("light", "analytic")
"""Overlays in configs/methods whose features are read."""
BENCHMARK = Path("configs/benchmark.yaml")
BATCH = 32


@dataclass(frozen=True)
class Frozen:
    """What the frozen network makes of a set.

    Attributes:
        classes: names, by label.
        train: (N, C, F) of the training images; the first of C copies is the image itself.
        labels: (N,).
        test: (M, F) of the test images.
        test_labels: (M,).
        seconds: that the copies of all training images took, of all cores together.
    """

    classes: tuple[str, ...]
    train: torch.Tensor
    labels: torch.Tensor
    test: torch.Tensor
    test_labels: torch.Tensor
    seconds: float

    def ordered(self, tasks: TaskSequence) -> "Frozen":
        """The same with labels as the tasks count them."""
        places = torch.tensor([tasks.label(name) for name in self.classes])
        return replace(self, classes=tasks.classes, labels=places[self.labels], test_labels=places[self.test_labels])


def check_sets(names: Sequence[str]) -> None:
    """Prove that these benchmark sets and the configs are at hand.

    Raises:
        UserError: they are not.
    """
    check_names("set", names, SETS)
    folders = [shared_folder() / "data" / name for name in names]
    if not all(folder.is_dir() for folder in folders):
        raise UserError(
            f"there are no benchmark sets {', '.join(names)} in {folders[0].parent}; set DYNAMMO_SHARED to the folder "
            "that holds data/ and weights/."
        )
    if not BENCHMARK.is_file():
        raise UserError(f"there is no {BENCHMARK}; type this command in a checkout, which has the configs.")


def check_names(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Prove that every name given to an option is known.

    Raises:
        UserError: one is not.
    """
    for name in names:
        if name not in known:
            raise UserError(f"--{option} is {name!r}; expected one of {', '.join(known)}.")


def read_record(file: Path | None) -> dict[str, Any]:
    """What an earlier call has written, of which this one replaces a part; empty where there is none."""
    if file is None or not file.is_file():
        return {}
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record


def extract(name: str, method: str, folder: Path | None = None) -> Frozen:
    """Features of a benchmark set as `configs/methods/<method>.yaml` has them.

    Args:
        name: of the set.
        method: a name of `METHODS`.
        folder: where features are kept, and found again while images and settings are the same; None keeps none.
    """
    parser = ConfigParser()
    overlays = (f"configs/datasets/{name}.yaml", f"configs/methods/{method}.yaml")
    parser.read_config([str(bundle_config("train.yaml")), *overlays])
    parser.update({"dataset_dir": str(shared_folder() / "data" / name), "increments": "all", "class_order": "sorted"})
    parser.update({"device": torch.device("cpu")})
    if folder is None:
        return _extract(parser)
    settings = {key: value for key, value in parser.get_parsed_content("settings").items() if key in _READ}
    stamp = hashlib.sha256(json.dumps([settings, parser.get_parsed_content("data").contents()]).encode()).hexdigest()
    file = prepare_output_dir(folder) / f"{name}_{method}_{stamp[:12]}.pt"
    if not file.is_file():
        found = _extract(parser)
        torch.save(asdict(found), file)
        return found
    return Frozen(**torch.load(file, weights_only=True))


def orders(name: str) -> dict[int, dict[str, Any]]:
    """What draws the class orders of a set, arguments of `TaskSequence` by seed, as `configs/benchmark.yaml` has it."""
    runs = [run for run in plan(BENCHMARK) if (run.dataset, run.method) == (name, METHODS[-1])]
    keys = ("increments", "class_order")
    return {run.seed: {**{key: run.overrides[key] for key in keys}, "seed": run.seed} for run in runs}


def of_tasks(frozen: Frozen, tasks: TaskSequence) -> Iterator[tuple[Task, torch.Tensor, torch.Tensor]]:
    """Every task with features (n, C, F) and labels (n,) of its new classes; `frozen` is `ordered` by the tasks."""
    for task in tasks:
        new = torch.isin(frozen.labels, torch.tensor(task.labels))
        yield task, frozen.train[new], frozen.labels[new]


def draw(labels: torch.Tensor, images: int, seed: int, classes: range) -> torch.Tensor:
    """Which of all images (N,) are learnt where some classes have so few.

    Fewer images of a class are among the more of it that the same seed draws.

    Args:
        labels: (N,).
        images: of each of these classes, all if it has fewer.
        seed: of the draw.
        classes: labels of those that have few; all images of the others are learnt.
    """
    kept = torch.ones(len(labels), dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for label in classes:
        rows = (labels == label).nonzero()[:, 0]
        kept[rows[torch.randperm(len(rows), generator=generator)[images:]]] = False
    return kept


_READ = (
    "image_size", "recipe", "architecture", "stages", "weights", "taps", "pool_deviation", "pool_centre", "power",
    "projection", "mirrored", "photometric",
)  # fmt: skip
"""Settings that features depend on."""


def _extract(parser: ConfigParser) -> Frozen:
    data, tasks = parser.get_parsed_content("data"), parser.get_parsed_content("tasks")
    transform = parser.get_parsed_content("preprocessing")
    copies = copies_of(parser.get_parsed_content("mirrored"), parser.get_parsed_content("photometric"))
    network = parser.get_parsed_content("network_def").eval()
    classifier = MergedClassifier([1], **{**network.spec, "others": False}).eval()
    classifier.backbone.load_state_dict(network.backbone.state_dict())

    def passed(items: list[Any], times: tuple[Copy, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        # the number that photometric copies are drawn from, as the handler of analytic heads gives it
        seeded = [{**item, "seed": int(fingerprint(Path(item["path"]))[:12], 16)} for item in items]
        return extract_copies(classifier, Dataset(seeded, transform), BATCH, times)

    with Stopwatch() as watch:
        train, labels = passed(data.train(tasks[0]), copies)
    test, test_labels = passed(data.test(), copies[:1])
    return Frozen(tuple(tasks.classes), train, labels, test[:, 0], test_labels, watch.cores)
