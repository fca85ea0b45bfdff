"""`python -m benchmarks classify`: a folder of images end to end beside the network alone, memory, the first line.

The two contenders take turns in one process, so that a busy machine slows them alike. `network` is the network that
classification runs, on batches that lie in memory, probabilities and no more; `classify` is
`dynammo.clinic.classify.classify` from the folder to the report: intake, reading, preparing, network, heat maps,
pictures, journal, CSV, JSON and HTML.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.cost import Spread
from benchmarks.material import copy_often, write_dicoms, write_model, write_photographs
from benchmarks.report import Bar, check_writable
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


@dataclass(frozen=True)
class _Took:
    seconds: float
    core_seconds: float


def benchmark_classify(settings: SpeedSettings, json_file: Path | None = None) -> ClassifyCosts:
    """Measure everything, print a table and, where asked for, write the figures to a file.

    Raises:
        UserError: a file that cannot be written; before measuring.
    """
    if json_file is not None:
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
        turns = [_turn(folder / f"turn {i}", model, settings, i) for i in range(settings.repeats)]
    network, whole = [turn[0] for turn in turns], [turn[1] for turn in turns]
    counts = [sum(_shares(settings, i)) for i in range(settings.repeats)]
    return ClassifyCosts(
        Spread.of([count / took.seconds for count, took in zip(counts, network, strict=True)]),
        Spread.of([count / took.seconds for count, took in zip(counts, whole, strict=True)]),
        Spread.of([a.seconds / b.seconds for a, b in turns]),
        Spread.of([a.core_seconds / b.core_seconds for a, b in turns]),
        peaks,
        first_line,
    )


def compare(costs: ClassifyCosts) -> list[Bar]:
    """What is promised of classification, as expected at the default settings."""
    bars = [
        Bar(
            "images/s: folder to report / network alone", costs.ratio.median, f"at least {LEAST_SPEED}",
            costs.ratio.median >= LEAST_SPEED,
        ),
        Bar(
            "seconds to the first line", costs.first_line.median, f"at most {MOST_SECONDS:g}",
            costs.first_line.median <= MOST_SECONDS,
        ),
    ]  # fmt: skip
    if costs.peak_mib:
        few, many = min(costs.peak_mib), max(costs.peak_mib)
        growth = costs.peak_mib[many] / costs.peak_mib[few]
        bars.append(Bar(f"peak memory: {many} / {few} images", growth, f"at most {MOST_GROWTH}", growth <= MOST_GROWTH))
    return bars


def _turn(folder: Path, model: Path, settings: SpeedSettings, turn: int) -> tuple[_Took, _Took]:
    """Network alone, and folder to report, of as many images; every other turn the other way round."""
    jpeg, dicom = _shares(settings, turn)
    images = folder / "images"
    images.mkdir(parents=True)
    write_photographs(images, jpeg, seed=turn)
    write_dicoms(images, dicom, seed=turn)
    alone = _network_alone(model, settings.image_size, jpeg + dicom)

    def whole() -> None:
        with contextlib.redirect_stdout(None):
            classify(images, folder / "results", ClassifySettings(model=model, device="cpu"))

    if turn % 2:
        took = _timed(whole)
        return _timed(alone), took
    return _timed(alone), _timed(whole)


def _shares(settings: SpeedSettings, turn: int) -> tuple[int, int]:
    """JPEG and DICOM images of one turn."""
    jpeg, dicom = (len(range(turn, count, settings.repeats)) for count in (settings.jpeg, settings.dicom))
    return jpeg, dicom


def _network_alone(model: Path, image_size: int, count: int) -> Callable[[], None]:
    network = StudyClassifier(load_model(model), "cpu").network
    batches = torch.randn(BATCHES, BATCH_SIZE, 3, image_size, image_size)

    @torch.no_grad()
    def alone() -> None:
        for i, start in enumerate(range(0, count, BATCH_SIZE)):
            network(batches[i % BATCHES][: count - start])

    with torch.no_grad():
        network(batches[0])  # the first pass plans memory and kernels
    return alone


def _timed(call: Callable[[], object]) -> _Took:
    start, cores = time.perf_counter(), time.process_time()
    call()
    return _Took(time.perf_counter() - start, time.process_time() - cores)


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
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = time.perf_counter() - start
        process.kill()
    return took


def _arguments(images: Path, model: Path) -> list[str]:
    results = f"{images} results"
    return ["classify", "-i", os.fspath(images), "-o", results, "--model", os.fspath(model), "--device", "cpu"]


def _table(costs: ClassifyCosts, settings: SpeedSettings) -> Table:
    table = Table(title="classification of a folder", title_justify="left", box=box.SIMPLE_HEAD)
    for i, column in enumerate(("what", "median", "range", "expected", "")):
        table.add_column(column, justify="right" if i else "left")
    table.add_row("network alone, images/s", *_cells(costs.network))
    table.add_row("folder to report, images/s", *_cells(costs.classify))
    table.add_row("core-seconds: network / folder to report", *_cells(costs.core_ratio))
    for count, peak in costs.peak_mib.items():
        table.add_row(f"peak memory of {count} small images, MiB", f"{peak:.0f}")
    ranges = {"images/s": costs.ratio, "seconds": costs.first_line}
    for bar in compare(costs):
        spread = next((_cells(s)[1] for word, s in ranges.items() if bar.name.startswith(word)), "")
        table.add_row(bar.name, f"{bar.ratio:.2f}", spread, bar.expected, "met" if bar.met else "missed")
    table.caption = (
        f"{settings.jpeg} JPEG of 450 x 600 and {settings.dicom} DICOM of 512 x 512 pixels, {settings.repeats} turns."
    )
    return table


def _cells(spread: Spread) -> tuple[str, str]:
    return f"{spread.median:.2f}", f"{spread.lowest:.2f} to {spread.highest:.2f}"
