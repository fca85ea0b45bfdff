"""`python -m benchmarks robustness RUN ...`: test images as other cameras, or mistakes, would give them.

Every change is made to the picture as it is read, before it is prepared; flags are those of `dynammo classify`.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import dynammo
from benchmarks.report import check_writable, table
from dynammo.data.images import ImageSet
from dynammo.inference.evaluators import test_items
from dynammo.io.image_reader import read_image
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json
from dynammo.runtime.plain import decimals
from dynammo.runtime.terminal import Terminal

__all__ = ["CHANGES", "Robustness", "benchmark_robustness", "measure"]

Picture = Image.Image
SEED = 0
BORDER = 0.15  # of each side, black


@dataclass(frozen=True)
class Robustness:
    """What a model says of changed test images.

    Attributes:
        recall: mean class recall, in percent.
        unflagged: percent of the images without a flag.
        wrong: percent of those that are called wrongly; None where all are flagged.
        different: percent of the images that are said to look different.
    """

    recall: float
    unflagged: float
    wrong: float | None
    different: float


def _gain(*factors: float) -> Callable[[Picture], Picture]:
    table = [min(255, round(value * factor)) for factor in factors for value in range(256)]
    return lambda picture: picture.point(table)


def _gamma(gamma: float) -> Callable[[Picture], Picture]:
    table = [round(255 * (value / 255) ** gamma) for value in range(256)] * 3
    return lambda picture: picture.point(table)


def _jpeg(picture: Picture) -> Picture:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=30)
    return Image.open(stream).convert("RGB")


def _noise(picture: Picture) -> Picture:
    pixels = np.asarray(picture, float)
    noise = np.random.default_rng([SEED, *pixels.shape, int(pixels.sum())]).normal(0, 15, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _border(picture: Picture) -> Picture:
    width, height = picture.size
    aside = round(BORDER * width), round(BORDER * height)
    framed = Image.new("RGB", picture.size)
    framed.paste(picture.crop((*aside, width - aside[0], height - aside[1])), aside)
    return framed


CHANGES: dict[str, Callable[[Picture], Picture]] = {
    "as is": lambda picture: picture,
    "0.65 x": _gain(0.65, 0.65, 0.65),
    "0.8 x": _gain(0.8, 0.8, 0.8),
    "1.2 x": _gain(1.2, 1.2, 1.2),
    "warm": _gain(1.1, 1.0, 0.85),
    "cold": _gain(0.85, 1.0, 1.1),
    "gamma 0.7": _gamma(0.7),
    "gamma 1.4": _gamma(1.4),
    "JPEG 30": _jpeg,
    "blur": lambda picture: picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 100)),
    "noise": _noise,
    "64 px": lambda picture: picture.resize((64, 64), Image.Resampling.BOX),
    "512 px": lambda picture: picture.resize((512, 512), Image.Resampling.BICUBIC),
    "quarter turn": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "border": _border,
    "grey": lambda picture: picture.convert("L").convert("RGB"),
}
"""Changes by name: brightness, tints, gamma, compression, blur, noise, size, place, colour."""


def benchmark_robustness(runs: Sequence[Path], names: Sequence[str] = (), json_file: Path | None = None) -> None:
    """Measure, print, and write the figures to `json_file`.

    Args:
        runs: folders of finished runs.
        names: of `CHANGES`; none for all.
        json_file: where to, if anywhere.

    Raises:
        UserError: no run there, or test images that are gone.
    """
    check_writable(json_file)
    found: dict[str, dict[str, Robustness]] = {}
    shown = table(
        "Changed test images",
        "run",
        "change",
        "mean class recall %",
        "without flag %",
        "of these wrong %",
        "different %",
    )
    for run in runs:
        found[run.name] = measure(run, names or tuple(CHANGES))
        for change, it in found[run.name].items():
            wrong = "-" if it.wrong is None else decimals(it.wrong, 1)
            figures = [decimals(it.recall, 1), decimals(it.unflagged, 1), wrong, decimals(it.different, 1)]
            shown.add_row(run.name, change, *figures)
        shown.add_section()
    Terminal().print(shown)
    if json_file is not None:
        found_of = {run: {change: asdict(it) for change, it in of.items()} for run, of in found.items()}
        write_json(json_file, {**provenance.origin(), "seed": SEED, "robustness": found_of})


def measure(run: Path, names: Sequence[str]) -> dict[str, Robustness]:
    """What a finished run says of its test images, changed in these ways."""
    model = dynammo.load(run)
    config: dict[str, Any] = model.record["config"]
    images = ImageSet(config["dataset_dir"], config["data_list"], skip_unreadable=True)
    items = test_items(images, list(model.classes))
    pictures = [_picture(item["image"]) for item in items]
    truth = np.array([item["label"] for item in items])
    return {name: _judged(model, [CHANGES[name](picture) for picture in pictures], truth) for name in names}


def _picture(path: str) -> Picture:
    channels = read_image(path).array  # (3, H, W) or (1, H, W), 0 to 255
    pixels = np.broadcast_to(channels, (3, *channels.shape[1:]))
    return Image.fromarray(np.clip(np.moveaxis(pixels, 0, -1), 0, 255).astype(np.uint8))


def _judged(model: dynammo.Model, pictures: Sequence[Picture], truth: NDArray[np.int64]) -> Robustness:
    answers = model.predict(list(pictures))
    right = np.array([answer.label == model.classes[label] for answer, label in zip(answers, truth, strict=True)])
    unflagged = np.array([not answer.flags for answer in answers])
    recall = np.mean([right[truth == label].mean() for label in np.unique(truth)])
    wrong = 100 * float((~right[unflagged]).mean()) if unflagged.any() else None
    different = np.array(["looks different" in answer.flags for answer in answers])
    return Robustness(100 * float(recall), 100 * float(unflagged.mean()), wrong, 100 * float(different.mean()))
