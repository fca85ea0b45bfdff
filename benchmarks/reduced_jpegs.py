"""`python -m benchmarks reading --run RUN --images FOLDER`: large JPEGs decoded at a reduced scale, beside whole ones.

The images of a folder are enlarged as if a camera of so many megapixels had taken them, encoded as JPEG, and
classified by a trained model twice: decoded at the reduced scale that is enough, and to every pixel. Images that are
too small to be reduced count for nothing.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.transforms import Compose
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.report import cell, check_writable, table
from benchmarks.timing import Call, Spread, time_interleaved
from dynammo.data.class_folders import files_below
from dynammo.errors import UserError
from dynammo.io.image_reader import read_image
from dynammo.networks.adapters import fused
from dynammo.runs.load import load_model
from dynammo.runtime import provenance
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.config import config_with
from dynammo.runtime.files import write_json
from dynammo.runtime.progress import track

__all__ = ["MEGAPIXELS", "Reduced", "ReducedSettings", "benchmark_reduced", "measure_reduced"]

MEGAPIXELS = (1.0, 3.0, 6.0, 12.0)
LEAST_SAME = 99.5  # percent
SHOWN, MARGIN = 512, 4  # pixels a side for the pictures of a report, and times what the network sees
QUALITY = 92
BATCH = 16
TIMED = 3  # images of each size


@dataclass(frozen=True)
class ReducedSettings:
    """What is measured.

    Args:
        run: a finished run, whose recipe and network are used.
        images: folder of images.
        megapixels: sizes that they are enlarged to.
        grain: standard deviation of the noise of a camera, of 255; enlarged pictures have none of their own.
        repeats: measurements of the milliseconds.
        smallest: pixels a side that are enough, see `dynammo.io.image_reader.read_image`; None for four times what the
            network sees, and 512 at least, which the pictures of a report are made of.

    Raises:
        UserError: no image, or impossible sizes.
    """

    run: Path
    images: Path
    megapixels: Sequence[float] = MEGAPIXELS
    grain: float = 0.0
    repeats: int = 3
    smallest: int | None = None

    def __post_init__(self) -> None:
        if not self.megapixels or min(self.megapixels) <= 0 or self.grain < 0 or self.repeats < 1:
            raise UserError("megapixels, grain and repeats are expected to be above 0, and grain may be 0.")
        if not self.images.is_dir() or not files_below(self.images):
            raise UserError(f"there is no image in {self.images}; give --images a folder of pictures.")


@dataclass(frozen=True)
class Reduced:
    """Images of one size.

    Attributes:
        images: how many.
        reduced: how many of them were decoded at a reduced scale.
        same: percent of those with the same class.
        probability: largest difference of a probability.
        bare: milliseconds that Pillow decodes an image in.
        whole: milliseconds from the file to what the network takes, all pixels decoded.
        reader: the same at the reduced scale.
    """

    images: int
    reduced: int
    same: float
    probability: float
    bare: Spread
    whole: Spread
    reader: Spread


class _Ways(NamedTuple):
    """From the path of an image to what the network takes."""

    reader: Compose
    whole: Compose


def benchmark_reduced(settings: ReducedSettings, json_file: Path | None = None) -> dict[str, Reduced]:
    """Measure all sizes, print a table and, where asked for, write the figures to a file.

    Raises:
        UserError: a file that cannot be written; before measuring. A run that cannot be read.
    """
    check_writable(json_file)
    origin = provenance.origin()
    found = measure_reduced(settings)
    Console(highlight=False).print(_table(found))
    if json_file is not None:
        known = {"megapixels": list(settings.megapixels), "grain": settings.grain, "repeats": settings.repeats}
        sizes = {name: asdict(one) for name, one in found.items()}
        write_json(json_file, {"settings": known, "sizes": sizes, **origin})
    return found


def measure_reduced(settings: ReducedSettings) -> dict[str, Reduced]:
    """The figures of each size."""
    model = load_model(settings.run)
    files = files_below(settings.images)
    config = model.record["config"]
    ids = {**config["recipe"], "image_size": config["image_size"]}
    smallest = settings.smallest or max(SHOWN, MARGIN * config["image_size"])
    parsers = [config_with([bundle_config("preprocessing.yaml")], ids | {"smallest": n}) for n in (smallest, None)]
    ways = _Ways(*(parser.get_parsed_content("preprocessing") for parser in parsers))
    network = fused(model.network)
    return {f"{size:g} MP": _measured(network, ways, smallest, files, size, settings) for size in settings.megapixels}


def _measured(
    network: torch.nn.Module,
    ways: _Ways,
    smallest: int,
    files: Sequence[Path],
    size: float,
    settings: ReducedSettings,
) -> Reduced:
    acted: list[bool] = []
    rows: list[torch.Tensor] = []
    batch: list[torch.Tensor] = []
    took: dict[str, list[float]] = {"bare": [], "whole": [], "reader": []}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        large = _enlarged(files, size, settings.grain, Path(folder))
        for k, file in enumerate(track(large, f"{size:g} MP", len(files))):
            acted.append(read_image(file, smallest=smallest).meta["reduced"] > 1)
            batch += [_prepared(way, file) for way in ways]
            if k < TIMED:
                for name, seconds in _seconds(ways, file, settings.repeats).items():
                    took[name] += [1000 * s for s in seconds]
            if len(batch) == 2 * BATCH or k == len(files) - 1:
                rows.append(network(torch.stack(batch)))
                batch.clear()
    both = torch.cat(rows)[:, :-1].reshape(len(acted), 2, -1)[torch.tensor(acted)]  # without the unknown score
    same = both.argmax(2).diff(dim=1) == 0
    share, most = (100 * float(same.float().mean()), float(both.diff(dim=1).abs().max())) if len(both) else (100.0, 0.0)
    return Reduced(len(acted), sum(acted), share, most, *(Spread.of(took[name]) for name in took))


def _enlarged(files: Sequence[Path], megapixels: float, grain: float, folder: Path) -> Iterator[Path]:
    """The images one after the other in one file, enlarged and encoded."""
    random = np.random.default_rng(0)
    for file in files:
        with Image.open(file) as image:
            factor = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
            sides = 16 * round(factor * image.width / 16), 16 * round(factor * image.height / 16)  # as cameras have
            large = image.convert("RGB").resize(sides, Image.Resampling.BICUBIC)
        if grain:
            noise = random.normal(0, grain, (sides[1], sides[0], 3)).astype(np.float32)
            large = Image.fromarray(np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8))
        large.save(folder / "large.jpg", quality=QUALITY)
        yield folder / "large.jpg"


def _seconds(ways: _Ways, file: Path, repeats: int) -> dict[str, tuple[float, ...]]:
    calls: dict[str, list[Call]] = {
        "bare": [partial(_bare, file)],
        "whole": [partial(_prepared, ways.whole, file)],
        "reader": [partial(_prepared, ways.reader, file)],
    }
    return {name: took.cores for name, took in time_interleaved(calls, repeats).items()}


def _bare(file: Path) -> object:
    with Image.open(file) as image:
        return np.asarray(image)


def _prepared(preprocessing: Compose, file: Path) -> torch.Tensor:
    image: torch.Tensor = preprocessing({"image": str(file)})["image"]
    return image.as_subclass(torch.Tensor)


def _table(found: dict[str, Reduced]) -> Table:
    headings = ("images of", "reduced", "same class", "probability", "bare", "whole", "reader", "")
    made = table("large JPEGs: milliseconds of a core, median and range", *headings)
    for name, one in found.items():
        share = f"{one.reduced} of {one.images}"
        spreads = (cell(spread) for spread in (one.bare, one.whole, one.reader))
        verdict = "met" if one.same >= LEAST_SAME else "missed"
        made.add_row(name, share, f"{one.same:.2f} %", f"{one.probability:.1e}", *spreads, verdict)
    made.caption = (
        f"Bare: Pillow decodes all pixels. Whole, reader: from the file to what the network takes, decoding all pixels "
        f"and at the reduced scale. Same class, probability: of those reduced; expected {LEAST_SAME} %."
    )
    return made
