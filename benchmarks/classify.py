"""`python -m benchmarks classify`: a folder of images end to end beside the network alone, memory, the first line.

The two contenders are interleaved in one process (`benchmarks.timing`). `network` is the network that classification
runs, on batches that lie in memory, probabilities and no more; `classify` is `dynammo.clinic.classify.classify` from
the folder to the report: intake, reading, preparing, network, heat maps, pictures, journal, CSV, JSON and HTML.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.material import copy_often, write_dicoms, write_model, write_photographs
from benchmarks.report import Bar, cells, check_writable, table
from benchmarks.timing import Call, Spread, Stopwatch, interleaved
from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.errors import UserError
from dynammo.inference.classifier import StudyClassifier
from dynammo.runs.load import load_model
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json

__all__ = ["ClassifyCosts", "SpeedSettings", "benchmark_classify", "compare", "measure_classify"]

BATCH_SIZE = 16  # what --batch-size auto takes on processors
BATCHES = 8  # different ones for the network alone; they are shown again and again
FIRST_LINES = 5
SMALL = 64, 1  # pixels and stages of the model of the memory test: beside little memory, growth shows the more
LEAST_SPEED, MOST_GROWTH, MOST_SECONDS = 0.8, 1.1, 3.0
Peaks = dict[int, float]
OWN_PEAK = """
import sys
from pathlib import Path
from dynammo.cli import main
try:
    main(sys.argv[1:])
finally:
    print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class SpeedSettings:
    """What is measured.

    Args:
        jpeg: photographs of 450 x 600 pixels, over all turns.
        dicom: CT and CR images of 512 x 512 pixels, over all turns.
        repeats: turns that the images are shared out to.
        image_size: height and width that the network sees, in pixels.
        many: images whose peak memory is compared with that of a tenth of them; 0 leaves memory out.

    Raises:
        UserError: numbers that leave nothing to measure.
    """

    jpeg: int = 2000
    dicom: int = 200
    repeats: int = 10
    image_size: int = 224
    many: int = 10000

    def __post_init__(self) -> None:
        if min(self.jpeg, self.dicom, self.many) < 0 or self.repeats < 1 or self.images < self.repeats:
            raise UserError(
                f"{self.jpeg} JPEG and {self.dicom} DICOM images are shared out to {self.repeats} turns; give --jpeg "
                "and --dicom at least one image a turn, and no number below 0."
            )

    @property
    def images(self) -> int:
        """All images together."""
        return self.jpeg + self.dicom

    def shares(self, turn: int) -> tuple[int, int]:
        """JPEG and DICOM images of one turn, from 0."""
        jpeg, dicom = (len(range(turn, count, self.repeats)) for count in (self.jpeg, self.dicom))
        return jpeg, dicom


@dataclass(frozen=True)
class ClassifyCosts:
    """What one run measured.

    Attributes:
        network: images/s of the network alone.
        classify: images/s from the folder to the report.
        ratio: of each turn, `classify` by `network`.
        core_ratio: core-seconds that an image costs the network, by those that it costs from end to end; unlike
            `ratio` it does not see waiting, and not what other work the machine does.
        peak_mib: peak of the resident memory of the command by the number of images; empty where the system does not
            tell (only Linux does) or it is left out.
        first_line: seconds from typing the command to its first line.
    """

    network: Spread
    classify: Spread
    ratio: Spread
    core_ratio: Spread
    peak_mib: Peaks
    first_line: Spread


def benchmark_classify(settings: SpeedSettings, json_file: Path | None = None) -> ClassifyCosts:
    """Measure everything, print a table and, where asked for, write the figures to a file.

    Raises:
        UserError: a file that cannot be written; before measuring.
    """
    check_writable(json_file)
    origin = provenance.origin()
    costs = measure_classify(settings)
    Console(highlight=False).print(_table(costs, settings))
    if json_file is not None:
        write_json(json_file, {"settings": asdict(settings), **asdict(costs), **origin})
    return costs


def measure_classify(settings: SpeedSettings) -> ClassifyCosts:
    """Measure speed, memory and the first line."""
    say = Console(stderr=True, highlight=False).print
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder / "model", settings.image_size)
        say("measuring the first line")
        first_line = Spread.of([_first_line(folder, model) for _ in range(FIRST_LINES)])
        say("measuring memory")
        peaks = _peaks(folder, settings.many)
        say("measuring images per second")
        turns = [_round(folder / f"turn {i}", model, settings, i) for i in range(settings.repeats)]
    counts = [sum(settings.shares(i)) for i in range(settings.repeats)]
    return ClassifyCosts(
        Spread.of([count / alone.wall for count, (alone, _) in zip(counts, turns, strict=True)]),
        Spread.of([count / whole.wall for count, (_, whole) in zip(counts, turns, strict=True)]),
        Spread.of([alone.wall / whole.wall for alone, whole in turns]),
        Spread.of([alone.cores / whole.cores for alone, whole in turns]),
        peaks,
        first_line,
    )


def compare(costs: ClassifyCosts) -> list[Bar]:
    """What is promised of classification, as expected at the default settings."""
    bars = [
        Bar.at_least(LEAST_SPEED, "images/s: folder to report / network alone", costs.ratio.median),
        Bar.at_most(MOST_SECONDS, "seconds to the first line", costs.first_line.median),
    ]
    if costs.peak_mib:
        few, many = min(costs.peak_mib), max(costs.peak_mib)
        growth = costs.peak_mib[many] / costs.peak_mib[few]
        bars.append(Bar.at_most(MOST_GROWTH, f"peak memory: {many} / {few} images", growth))
    return bars


def _round(folder: Path, model: Path, settings: SpeedSettings, turn: int) -> tuple[Stopwatch, Stopwatch]:
    """Network alone, and folder to report, of as many images."""
    jpeg, dicom = settings.shares(turn)
    images = folder / "images"
    images.mkdir(parents=True)
    write_photographs(images, jpeg, seed=turn)
    write_dicoms(images, dicom, seed=turn)
    alone = _network_alone(model, settings.image_size, jpeg + dicom)

    def whole() -> None:
        with contextlib.redirect_stdout(None):
            classify(images, folder / "results", ClassifySettings(model=model, device="cpu"))

    contenders = (Stopwatch(), alone), (Stopwatch(), whole)
    for watch, call in interleaved(contenders, turn):
        with watch:
            call()
    return contenders[0][0], contenders[1][0]


def _network_alone(model: Path, image_size: int, count: int) -> Call:
    network = StudyClassifier(load_model(model), "cpu").network
    batches = torch.randn(BATCHES, BATCH_SIZE, 3, image_size, image_size)

    @torch.no_grad()
    def alone() -> None:
        for i, start in enumerate(range(0, count, BATCH_SIZE)):
            network(batches[i % BATCHES][: count - start])

    with torch.no_grad():
        network(batches[0])  # the first pass plans memory and kernels
    return alone


def _peaks(folder: Path, many: int) -> Peaks:
    if many < 10 or not Path("/proc/self/status").is_file():
        return {}
    model = write_model(folder / "small model", *SMALL)
    return {count: _peak(folder / f"{count} images", count, model) for count in (many // 10, many)}


def _peak(folder: Path, count: int, model: Path) -> float:
    """MiB that `dynammo classify` needs at its peak, as the process says of itself at its end."""
    folder.mkdir()
    copy_often(folder, count)
    command = [sys.executable, "-c", OWN_PEAK, *_arguments(folder, model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dynammo classify did not end well: {(done.stderr or done.stdout).strip()[-300:]}")
    return int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024


def _first_line(folder: Path, model: Path) -> float:
    images = folder / "one image"
    images.mkdir(exist_ok=True)
    copy_often(images, 1)
    command = [sys.executable, "-m", "dynammo", *_arguments(images, model)]
    with Stopwatch() as watch:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.readline()
    with process:
        process.kill()
    return watch.wall


def _arguments(images: Path, model: Path) -> list[str]:
    results = f"{images} results"
    return ["classify", "-i", os.fspath(images), "-o", results, "--model", os.fspath(model), "--device", "cpu"]


def _table(costs: ClassifyCosts, settings: SpeedSettings) -> Table:
    made = table("classification of a folder", "what", "median", "range", "expected", "")
    made.add_row("network alone, images/s", *cells(costs.network))
    made.add_row("folder to report, images/s", *cells(costs.classify))
    made.add_row("core-seconds: network / folder to report", *cells(costs.core_ratio))
    for count, peak in costs.peak_mib.items():
        made.add_row(f"peak memory of {count} small images, MiB", f"{peak:.0f}")
    ranges = {"images/s": costs.ratio, "seconds": costs.first_line}
    for bar in compare(costs):
        spread = next((cells(s)[1] for word, s in ranges.items() if bar.name.startswith(word)), "")
        made.add_row(bar.name, f"{bar.ratio:.2f}", spread, bar.expected, "met" if bar.met else "missed")
    made.caption = (
        f"{settings.jpeg} JPEG of 450 x 600 and {settings.dicom} DICOM of 512 x 512 pixels, {settings.repeats} turns."
    )
    return made
