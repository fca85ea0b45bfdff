"""`python -m benchmarks training`: learning a task beside a loop that prepares every image anew in every epoch.

Ours takes the same steps as the plain loop: the same items, transforms, seeds, network, optimiser and batches, so that
their losses are the same and so is what they learn. One more contender computes in mixed precision
(`mixed_precision`), where there is arithmetic for it, and learns another network, so recall on the test images stands
beside its time. They are interleaved, a seed for each turn, in core seconds.
"""

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import Dataset, set_rnd
from monai.inferers import SimpleInferer
from monai.utils import set_determinism
from rich.console import Console
from rich.table import Table
from sklearn.metrics import recall_score
from torch import nn

from benchmarks.analytic_heads import FEATURES, VECTORS, HeadSeconds, measure_heads
from benchmarks.material import SETS, shared_folder, write_photographs
from benchmarks.report import Bar, bar_table, cell, cells, check_writable, shown_number, table
from benchmarks.timing import Spread, Stopwatch, interleaved
from dynammo.data.exemplars import Item
from dynammo.errors import UserError
from dynammo.handlers.mixed_precision import Autocast
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.runtime import provenance
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.devices import has_bfloat16
from dynammo.runtime.files import write_json

__all__ = ["SetTraining", "TrainingSettings", "benchmark_training", "compare", "measure_set"]

LEAST_RATIO, MOST_SECONDS = 1.3, 1.0
SEED = 0
FIRST_CLASSES = "$[size for size in (min({0}, len(@images.classes)), len(@images.classes) - {0}) if size > 0]"
CONTENDERS = {"ours": "images prepared once", "mixed": "mixed precision"}
"""What is set beside the plain loop, in words."""
FALLS = (8 / 15, 12 / 15)  # of the epochs are over when the rate falls, as in configs/datasets


@dataclass(frozen=True)
class TrainingSettings:
    """What is measured.

    Args:
        images: of a task.
        epochs: of a task; ours prepares the images in the first one.
        repeats: turns, each with a seed of its own.
        classes: of the task, the first ones of the set by name.
        image_size: height and width that the network sees, in pixels.
        stages: layers of the ResNet-18.

    Raises:
        UserError: a number that is too small.
    """

    images: int = 400
    epochs: int = 15
    repeats: int = 3
    image_size: int = 96
    stages: int = 3
    classes: int = 4

    def __post_init__(self) -> None:
        for name, least in (("images", 8), ("epochs", 1), ("repeats", 1), ("classes", 2)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; give --{name} a whole number from {least}.")


@dataclass(frozen=True)
class SetTraining:
    """Stage 1 of a task of one data set.

    Attributes:
        milliseconds: core ms for one image in one epoch of each contender: `plain`, every image prepared anew; `ours`,
            by `IncrementalTrainer` and `cached_dataset`; `mixed`, ours in mixed precision, where the processor has
            bfloat16.
        ratios: plain / contender of each turn, of all but plain.
        recalls: mean class recall on the test images after each turn, 0 to 1, of each contender.
        preparing: core ms to read, decode and prepare one image.
        losses_apart: largest difference between the mean losses of an epoch, plain and ours.
    """

    milliseconds: dict[str, Spread]
    ratios: dict[str, Spread]
    recalls: dict[str, list[float]]
    preparing: float
    losses_apart: float

    def points(self, contender: str) -> tuple[float, float]:
        """Mean and standard deviation over the turns of a contender's recall less plain's, in points."""
        apart = [100 * (a - b) for a, b in zip(self.recalls[contender], self.recalls["plain"], strict=True)]
        return statistics.mean(apart), statistics.stdev(apart) if len(apart) > 1 else 0.0


def benchmark_training(settings: TrainingSettings, json_file: Path | None = None) -> None:
    """Measure, print, and write the figures to `json_file`.

    Raises:
        UserError: a file that cannot be written, before measuring.
    """
    check_writable(json_file)
    origin = provenance.origin()
    say = Console(stderr=True, highlight=False).print
    say("analytic heads")
    heads = measure_heads()
    sets = {}
    with _material(settings) as folders:
        for name, folder in folders.items():
            say(name)
            sets[name] = measure_set(folder, settings)
    _print(sets, heads, settings, origin["machine"])
    if json_file is not None:
        record = {"sets": {name: asdict(one) for name, one in sets.items()}, "heads": asdict(heads)}
        write_json(json_file, record | {"settings": asdict(settings)} | origin)


def compare(sets: Mapping[str, SetTraining], heads: HeadSeconds) -> list[Bar]:
    """The ratios that are expected."""
    bars = []
    for name, one in sets.items():
        for contender, words in CONTENDERS.items():
            if contender not in one.ratios:
                continue
            ratio, (mean, deviation) = one.ratios[contender].median, one.points(contender)
            met = ratio >= LEAST_RATIO and mean + deviation >= 0
            bars.append(Bar(f"{name}: plain / {words}", ratio, f"at least {LEAST_RATIO}, recall no lower", met))
    for words, (seconds, _) in (("given", heads.given), ("chosen", heads.chosen)):
        name = f"seconds for {VECTORS:,} cached vectors, shrinkage {words}"
        bars.append(Bar.at_most(MOST_SECONDS, name, seconds.median))
    return bars


def measure_set(folder: Path, settings: TrainingSettings) -> SetTraining:
    """All contenders, interleaved, on the first task of a data set."""
    parser = _bundle(folder, settings)
    trainer, network = (parser.get_parsed_content(name) for name in ("incremental#trainer", "network"))
    transform = parser.get_parsed_content("train#preprocessing")
    network.start_task(len(trainer.tasks[0].classes), trainer.tasks[0].seen)
    items = [{**item, "label": trainer.task.local_label(item["label"])} for item in trainer.data.train(trainer.task)]
    count = min(settings.images, len(items))
    items = [items[i * len(items) // count] for i in range(count)]  # of every class as many as it has of all
    test = Dataset(
        [item for item in trainer.data.test() if item["label"] in trainer.task.labels],
        parser.get_parsed_content("preprocessing"),
    )
    start = copy.deepcopy(network.state_dict())

    def ours(mixed: bool = False) -> list[float]:
        trainer.trainer.inferer = Autocast() if mixed else SimpleInferer()
        trainer.fit(items, network, network.trainable_parameters(), "adapters")
        return list(trainer.losses)

    contenders: dict[str, Callable[[], list[float]]] = {
        "plain": partial(_fit_plain, network, Dataset(items, transform), parser),
        "ours": ours,
        "mixed": partial(ours, mixed=True),
    }
    if not has_bfloat16(torch.device("cpu")):
        del contenders["mixed"]
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    recalls: dict[str, list[float]] = {name: [] for name in contenders}
    apart = 0.0
    for turn in range(settings.repeats):
        losses = {}
        for name in interleaved([*contenders], turn):
            network.load_state_dict(start)
            set_determinism(SEED + turn)
            with Stopwatch() as watch:
                losses[name] = contenders[name]()
            seconds[name].append(watch.cores)
            recalls[name].append(_recall(network, test))
        apart = max(apart, *(abs(a - b) for a, b in zip(losses["plain"], losses["ours"], strict=True)))
    each = 1e3 / (len(items) * settings.epochs)
    return SetTraining(
        {name: Spread.of([each * s for s in found]) for name, found in seconds.items()},
        {
            name: Spread.of([a / b for a, b in zip(seconds["plain"], seconds[name], strict=True)])
            for name in contenders
            if name != "plain"
        },
        recalls,
        _preparing(items, transform),
        apart,
    )


def _fit_plain(network: IncrementalNetwork, dataset: Dataset, parser: ConfigParser) -> list[float]:
    """Stage 1 as one would write it first: read and prepare every image in every epoch. Mean loss of each."""
    set_rnd(dataset, seed=int(torch.randint(2**31, (1,))))  # the flips of the other contender
    loader = torch.utils.data.DataLoader(dataset, batch_size=parser["batch_size"], shuffle=True)
    optimiser = parser.get_parsed_content("optimizer")(network.trainable_parameters())
    schedule = parser.get_parsed_content("lr_scheduler")(optimiser)
    network.train()
    losses = []
    for _ in range(parser["epochs"]):
        found = []
        for batch in loader:
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(batch["image"]), batch["label"])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            found.append(float(loss.detach()))
        schedule.step()
        losses.append(statistics.mean(found))
    return losses


@torch.inference_mode()
def _recall(network: IncrementalNetwork, test: Dataset) -> float:
    """Mean class recall of the newest head on images of its classes."""
    network.eval()
    batches = [(network(b["image"]).argmax(1), b["label"]) for b in torch.utils.data.DataLoader(test, batch_size=64)]
    found, labels = (torch.cat(part).numpy() for part in zip(*batches, strict=True))
    return float(recall_score(labels, found, labels=sorted(set(labels)), average="macro", zero_division=0))


def _preparing(items: list[Item], transform: Callable[[Any], Any]) -> float:
    with Stopwatch() as watch:
        for item in items:
            transform(dict(item))
    return 1e3 * watch.cores / len(items)


def _bundle(folder: Path, settings: TrainingSettings) -> ConfigParser:
    """The bundle's training on a data set, without its handlers, with real weights where they are available."""
    weights = shared_folder() / "weights" / "resnet18_imagenet1k_to_layer3.pth"
    parser = ConfigParser()
    parser.read_config(ConfigParser.load_config_files([str(bundle_config("train.yaml"))]))
    parser.update({
        "dataset_dir": str(folder), "weights": str(weights) if weights.is_file() else "first_task",
        "stages": settings.stages, "image_size": settings.image_size, "exemplars": 0,
        "increments": FIRST_CLASSES.format(settings.classes),
        "epochs": settings.epochs, "milestones": [round(part * settings.epochs) for part in FALLS], "mlflow": False,
        "device": torch.device("cpu"), "incremental#handlers": [],
    })  # fmt: skip
    return parser


@contextmanager
def _material(settings: TrainingSettings) -> Iterator[dict[str, Path]]:
    """Class folders of the benchmark sets, or photographs made up where there are none."""
    found = {name: shared_folder() / "data" / name for name in SETS if (shared_folder() / "data" / name).is_dir()}
    if found:
        yield found
        return
    with tempfile.TemporaryDirectory() as folder:
        for seed, name in enumerate(("train/a", "train/b", "test/a", "test/b")):
            place = Path(folder, name)
            place.mkdir(parents=True)
            write_photographs(place, settings.images // 2 if name.startswith("train") else 1, seed)
        yield {"made-up photographs": Path(folder)}


def _print(sets: Mapping[str, SetTraining], heads: HeadSeconds, settings: TrainingSettings, machine: str) -> None:
    console = Console(highlight=False)
    console.print(
        f"resnet18, {settings.stages} stages, {settings.image_size} x {settings.image_size} pixels, {settings.images} "
        f"images of {settings.classes} classes, {settings.epochs} epochs, {settings.repeats} turns, "
        f"{torch.get_num_threads()} threads ({machine})"
    )
    console.print(_stage_table(sets))
    if not has_bfloat16(torch.device("cpu")):
        console.print("mixed precision left out: this processor has no arithmetic for bfloat16")
    console.print("recall: mean class recall on test images of the task, mean of the turns")
    console.print(
        "recall of chance or of 100 says nothing about accuracy: give more --images and --epochs, or another set"
    )
    for words, (wall, core) in (("given", heads.given), ("chosen among 9", heads.chosen)):
        median, extent = cells(wall)
        seconds = f"{median} s ({extent}), {shown_number(core.median)} core s"
        console.print(f"{VECTORS:,} vectors of {FEATURES}, shrinkage {words}: {seconds}")
    console.print(bar_table("what is expected", compare(sets, heads)))


def _stage_table(sets: Mapping[str, SetTraining]) -> Table:
    headings = ("data set", "contender", "core ms", "plain / it", "recall %", "less plain")
    made = table("stage 1, core ms for one image in one epoch", *headings, words=2)
    for name, one in sets.items():
        for contender, spread in one.milliseconds.items():
            made.add_row(
                name if contender == "plain" else "",
                CONTENDERS.get(contender, contender),
                f"{spread.median:.1f}",
                cell(one.ratios[contender]) if contender in one.ratios else "",
                f"{100 * statistics.mean(one.recalls[contender]):.1f}",
                "{:+.1f} ± {:.1f}".format(*one.points(contender)) if contender in one.ratios else "",
            )
        made.add_row("", "preparing alone", f"{one.preparing:.1f}", "", "", "", end_section=True)
    return made
