"""`python -m benchmarks training`: learning a task beside a loop that prepares every image anew in every epoch.

Ours takes the same steps as the plain loop: the same items, transforms, seeds, network, optimiser and batches, so that
their losses are the same and so is what they learn. Two more contenders learn other networks, so recall on the test
images stands beside their time: one computes in mixed precision (`mixed_precision`), where there is arithmetic for it,
one sees smaller images in half of the epochs (`small_epochs`). They take turns, a seed each, in core seconds
(`time.process_time`).
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from dynammo.handlers.growing_images import GrowImages
from monai.bundle import ConfigParser
from monai.data import Dataset, set_rnd
from monai.inferers import SimpleInferer
from monai.utils import set_determinism
from rich import box
from rich.console import Console
from rich.table import Table
from sklearn.metrics import recall_score
from torch import nn

from benchmarks.benchmark_heads import FEATURES, VECTORS, HeadSeconds, measure_heads
from benchmarks.cost import Spread
from benchmarks.material import SETS, shared_folder, write_photographs
from benchmarks.report import Bar, check_writable
from dynammo.data.exemplars import Item
from dynammo.errors import UserError
from dynammo.handlers.mixed_precision import Autocast
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.runtime import provenance
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.devices import has_bfloat16
from dynammo.runtime.files import write_json

__all__ = ["SetTraining", "StageSettings", "benchmark_stage", "compare", "measure_set"]

LEAST_RATIO, MOST_SECONDS = 1.3, 1.0
SEED = 0
FIRST_CLASSES = "$[size for size in (min({0}, len(@images.classes)), len(@images.classes) - {0}) if size > 0]"
CONTENDERS = {"ours": "images prepared once", "mixed": "mixed precision", "small": "small images first"}
"""What is set beside the plain loop, in words."""
SMALL = 1 / 2  # of the epochs see smaller images
FALLS = (8 / 15, 12 / 15)  # of the epochs are over when the rate falls, as in configs/datasets


@dataclass(frozen=True)
class StageSettings:
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
            bfloat16; `small`, ours with smaller images first.
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


def benchmark_stage(settings: StageSettings, json_file: Path | None = None) -> None:
    """Measure, print, and write the figures to `json_file`.

    Raises:
        UserError: a file that cannot be written, before measuring.
    """
    if json_file is not None:
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
        bars.append(Bar(name, seconds.median, f"at most {MOST_SECONDS:g}", seconds.median <= MOST_SECONDS))
    return bars


def measure_set(folder: Path, settings: StageSettings) -> SetTraining:
    """All contenders by turns on the first task of a data set."""
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
    grow = GrowImages(0, settings.image_size)
    grow.attach(trainer)
    start = copy.deepcopy(network.state_dict())

    def ours(small_epochs: int = 0, mixed: bool = False) -> list[float]:
        grow.epochs = small_epochs
        trainer.trainer.inferer = Autocast() if mixed else SimpleInferer()
        trainer.fit(items, network, network.trainable_parameters(), "adapters")
        return list(trainer.losses)

    contenders: dict[str, Callable[[], list[float]]] = {
        "plain": partial(_fit_plain, network, Dataset(items, transform), parser),
        "ours": ours,
        "mixed": partial(ours, mixed=True),
        "small": partial(ours, round(SMALL * settings.epochs)),
    }
    if not has_bfloat16(torch.device("cpu")):
        del contenders["mixed"]
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    recalls: dict[str, list[float]] = {name: [] for name in contenders}
    apart = 0.0
    for turn in range(settings.repeats):
        losses = {}
        for name in (*contenders,)[:: -1 if turn % 2 else 1]:
            network.load_state_dict(start)
            set_determinism(SEED + turn)
            before = time.process_time()
            losses[name] = contenders[name]()
            seconds[name].append(time.process_time() - before)
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
    start = time.process_time()
    for item in items:
        transform(dict(item))
    return 1e3 * (time.process_time() - start) / len(items)


def _bundle(folder: Path, settings: StageSettings) -> ConfigParser:
    """The bundle's training on a data set, without its handlers, with real weights where they are at hand."""
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
def _material(settings: StageSettings) -> Iterator[dict[str, Path]]:
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


def _print(sets: Mapping[str, SetTraining], heads: HeadSeconds, settings: StageSettings, machine: str) -> None:
    console = Console(highlight=False)
    console.print(
        f"resnet18, {settings.stages} stages, {settings.image_size} x {settings.image_size} pixels, {settings.images} "
        f"images of {settings.classes} classes, {settings.epochs} epochs, {settings.repeats} turns, "
        f"{torch.get_num_threads()} threads ({machine})"
    )
    table = Table(title="stage 1, core ms for one image in one epoch", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("data set", "contender", "core ms", "plain / it", "recall %", "less plain"):
        table.add_column(column, justify="left" if column in ("data set", "contender") else "right")
    for name, one in sets.items():
        for contender, spread in one.milliseconds.items():
            ratio = one.ratios.get(contender)
            recall = 100 * statistics.mean(one.recalls[contender])
            apart = "{:+.1f} ± {:.1f}".format(*one.points(contender)) if ratio else ""
            table.add_row(
                name if contender == "plain" else "", CONTENDERS.get(contender, contender), f"{spread.median:.1f}",
                f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})" if ratio else "", f"{recall:.1f}",
                apart,
            )  # fmt: skip
        table.add_row("", "preparing alone", f"{one.preparing:.1f}", "", "", "", end_section=True)
    console.print(table)
    if not has_bfloat16(torch.device("cpu")):
        console.print("mixed precision left out: this processor has no arithmetic for bfloat16")
    console.print("recall: mean class recall on test images of the task, mean of the turns")
    console.print(
        "recall of chance or of 100 says nothing about accuracy: give more --images and --epochs, or another set"
    )
    for words, (wall, core) in (("given", heads.given), ("chosen among 9", heads.chosen)):
        console.print(
            f"{VECTORS:,} vectors of {FEATURES}, shrinkage {words}: {wall.median:.2f} s ({wall.lowest:.2f} to "
            f"{wall.highest:.2f}), {core.median:.2f} core s"
        )
    bars = Table(title="what is expected", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "measured", "expected", " "):
        bars.add_column(column)
    for bar in compare(sets, heads):
        bars.add_row(bar.name, f"{bar.ratio:.2f}", bar.expected, "met" if bar.met else "missed")
    console.print(bars)
