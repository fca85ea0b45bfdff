"""`python -m benchmarks precision`: how often an engine names the same class as PyTorch in float32, on real images.

Analytic heads learn all classes of a benchmark set at once, through the bundle; the network that ships then classifies
the test images in every engine.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from rich.console import Console
from rich.table import Table
from sklearn.metrics import recall_score

from benchmarks.material import SETS, shared_folder
from benchmarks.report import Bar, bar_table, check_writable, table
from benchmarks.timing import Stopwatch
from dynammo.errors import UserError
from dynammo.inference.engines import ENGINES, check_engine, make_engine
from dynammo.networks.adapters import fused
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runtime import provenance
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.files import write_json

__all__ = ["Agreement", "benchmark_precision", "compare", "measure_agreement"]

FLOAT32 = ENGINES[1]
LEAST_SAME = 99.5  # percent
BATCH = 16


@dataclass(frozen=True)
class Agreement:
    """One engine beside PyTorch in float32.

    Attributes:
        same: percent of the test images with the same top class.
        differ: number of the others.
        recall: mean class recall, in percent.
        probability: largest difference of a class probability.
        speed: core seconds of PyTorch in float32 over those of this engine.
    """

    same: float
    differ: int
    recall: float
    probability: float
    speed: float


def benchmark_precision(engines: Sequence[str] | None = None, json_file: Path | None = None) -> None:
    """Measure, print, and write the figures to `json_file`.

    Args:
        engines: names of `dynammo.inference.engines.ENGINES`; None for all that are there.
        json_file: where to, if anywhere.

    Raises:
        UserError: an engine that does not exist, no benchmark sets, or a file that cannot be written.
    """
    check_writable(json_file)
    folders = [shared_folder() / "data" / name for name in SETS]
    if not all(folder.is_dir() for folder in folders):
        raise UserError(
            f"there are no benchmark sets {', '.join(SETS)} in {folders[0].parent}; set DYNAMMO_SHARED to the folder "
            "that holds data/ and weights/."
        )
    origin = provenance.origin()
    for name in engines or ():
        check_engine(name)
    names = [name for name in engines or ENGINES[1:] if name != FLOAT32]
    say = Console(stderr=True, highlight=False).print
    found: dict[str, dict[str, Agreement]] = {}
    left_out: dict[str, str] = {}
    for folder in folders:
        say(f"{folder.name}: learning all classes")
        network, images, labels = learnt(folder)
        say(f"{folder.name}: {len(labels)} test images in every engine")
        found[folder.name], left_out = measure_agreement(network, images, labels, names)
    console = Console(highlight=False)
    for made in (_figures(found), bar_table("what is expected", compare(found))):
        console.print(made)
    for name, why in left_out.items():
        console.print(f"{name} left out: {why}")
    if json_file is not None:
        sets = {name: {engine: asdict(one) for engine, one in rows.items()} for name, rows in found.items()}
        bars = [asdict(bar) for bar in compare(found)]
        write_json(json_file, {"sets": sets, "left_out": left_out, "bars": bars, **origin})


def compare(found: Mapping[str, Mapping[str, Agreement]]) -> list[Bar]:
    """The share of same classes that lower precision must keep."""
    return [
        Bar.at_least(LEAST_SAME, f"{name}, {engine}: same class, %", one.same)
        for name, rows in found.items()
        for engine, one in rows.items()
        if engine != FLOAT32
    ]


def learnt(folder: Path) -> tuple[MergedClassifier, torch.Tensor, torch.Tensor]:
    """The network of `configs/methods/analytic.yaml` after all classes of a set, its test images and their labels."""
    train = bundle_config("train.yaml")
    overlays = [
        train.parents[2] / "configs" / name for name in (f"datasets/{folder.name}.yaml", "methods/analytic.yaml")
    ]
    if not all(overlay.is_file() for overlay in overlays):
        raise UserError(f"there is no {overlays[0]}; type this command in a checkout, which has the configs.")
    parser = ConfigParser()
    parser.read_config([str(file) for file in (train, *overlays)])
    with tempfile.TemporaryDirectory() as output:
        parser.update({
            "dataset_dir": str(folder), "increments": "all", "class_statistics": False, "mlflow": False,
            "output_dir": output, "device": torch.device("cpu"),
        })  # fmt: skip
        trainer = parser.get_parsed_content("incremental#trainer")
        trainer.learn()
        tests = parser.get_parsed_content("validate#dataset")
        images, labels = zip(*((item["image"], item["label"]) for item in tests), strict=True)
    return fused(trainer.network.classifier()), torch.stack(images), torch.tensor(labels)


def measure_agreement(
    network: MergedClassifier, images: torch.Tensor, labels: torch.Tensor, names: Sequence[str]
) -> tuple[dict[str, Agreement], dict[str, str]]:
    """Every engine beside PyTorch in float32, which comes first; engines that are not there, and why."""
    left_out: dict[str, str] = {}
    rows: dict[str, torch.Tensor] = {}
    seconds: dict[str, float] = {}
    for name in (FLOAT32, *names):
        try:
            rows[name], seconds[name] = _classified(name, network, images)
        except UserError as error:
            left_out[name] = str(error)
    reference = rows[FLOAT32]
    return {
        name: _beside(reference, found, labels, seconds[FLOAT32] / seconds[name]) for name, found in rows.items()
    }, left_out


def _classified(name: str, network: MergedClassifier, images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Class probabilities (N, K), and the core seconds that they took."""
    engine = make_engine(name, network, images.shape[2:], batch_size=BATCH, with_maps=False)
    engine(images[:BATCH])
    with Stopwatch() as watch:
        rows = torch.cat([engine(part).rows for part in images.split(BATCH)])  # type: ignore[no-untyped-call]
    return rows[:, :-2], watch.cores


def _beside(reference: torch.Tensor, found: torch.Tensor, labels: torch.Tensor, speed: float) -> Agreement:
    classes = found.argmax(1)
    differ = int((classes != reference.argmax(1)).sum())
    recall = recall_score(labels.numpy(), classes.numpy(), average="macro", zero_division=0)
    apart = float((found - reference).abs().max())
    return Agreement(100 * (1 - differ / len(labels)), differ, 100 * float(recall), apart, speed)


def _figures(found: Mapping[str, Mapping[str, Agreement]]) -> Table:
    made = table(
        "the same top class as PyTorch in float32, test images", "data set", "engine", "same, %", "differ",
        "recall, %", "probability", "speed", words=2, no_wrap=True,
    )  # fmt: skip
    for name, rows in found.items():
        for engine, one in rows.items():
            made.add_row(
                name if engine == FLOAT32 else "", engine, f"{one.same:.2f}", str(one.differ), f"{one.recall:.1f}",
                f"{one.probability:.1e}", f"{one.speed:.2f}",
            )  # fmt: skip
    return made
