"""What a model says of one image, to a program and to the reader of a notebook."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dynammo import NOTICE
from dynammo.clinic.languages import ENGLISH, flag_meaning, sentence
from dynammo.clinic.levels import FLAGS, level_of
from dynammo.clinic.report import page_environment
from dynammo.errors import printable
from dynammo.inference.classifier import Result

__all__ = ["Prediction", "prediction_of"]

# viridis, as the report paints
COLOURS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float32)
OPACITY = 0.6  # of the heat map, where its influence is full
SHOWN = 3  # classes of a card


@dataclass(frozen=True, repr=False, eq=False)
class Prediction:
    """What a model says of one image.

    In a notebook it shows itself as a card with picture and heat map.

    Attributes:
        name: of the file, the DICOM series, or the place in the list that was given.
        label: name of the most probable class; None where the image cannot be read.
        probability: of that class, 0 to 1; None where the image cannot be read.
        probabilities: of every class, 0 to 1, together 1, in the order of the model's classes; empty where the image
            cannot be read.
        unknown: score, 0 to 1, that the image shows none of the classes; None where the image cannot be read.
        ood_score: distance from the images that the model learnt from, from 0; NaN or None where it was not measured.
        flags: why a person has to look, none or some of `unreadable`, `looks different` (another kind of image; do not
            use the label), `unknown` (probably none of the classes), `low confidence`.
        reason: why the image cannot be read, or what was odd about it; may be empty.
    """

    name: str
    label: str | None
    probability: float | None
    probabilities: Mapping[str, float]
    unknown: float | None
    ood_score: float | None
    flags: tuple[str, ...]
    reason: str
    _picture: tuple[bytes, bytes | None] | None = field(default=None)
    _limits: Mapping[str, float | None] = field(default_factory=dict)
    _model: str = ""

    @property
    def level(self) -> str:
        """What the flags come to: `do not use`, `check` or `fine`."""
        return level_of(self.flags)

    def top(self, k: int = SHOWN) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities (0 to 1), the most probable first."""
        ranked = sorted(self.probabilities.items(), key=lambda pair: pair[1], reverse=True)
        return ranked[: max(0, k)]

    @cached_property
    def picture(self) -> Image.Image | None:
        """The picture of the report, at most 256 pixels a side; None where there is none."""
        return None if self._picture is None else Image.open(io.BytesIO(self._picture[0]))

    @cached_property
    def heat_map(self) -> NDArray[np.float32] | None:
        """Where in the image the class was seen, as the report shows it (gradient x activation of all layers).

        Returns:
            (h, w), 0 to 1 in steps of 1/255, of the size of the finest feature map that the head reads; it covers the
            whole image. None where there is none, and with the flags looks different and unknown.
        """
        if self._picture is None or self._picture[1] is None:
            return None
        heat: NDArray[np.float32] = np.asarray(Image.open(io.BytesIO(self._picture[1])), np.float32) / np.float32(255)
        return heat

    def __repr__(self) -> str:
        if self.label is None:
            return printable(f"<Prediction {self.name}: unreadable: {self.reason}>")
        flags = f", {', '.join(self.flags)}" if self.flags else ""
        return printable(f"<Prediction {self.name}: {self.label} {_share(self.probability)}{flags}>")

    def _repr_html_(self) -> str:
        """The card of a notebook: nothing in it runs, and nothing is fetched."""
        raised = [flag for flag in FLAGS if flag in self.flags]
        meanings = (flag_meaning(flag, self._limits, len(self.probabilities)) for flag in raised)
        flags = [(flag, sentence(ENGLISH, key, **values)) for flag, (key, values) in zip(raised, meanings, strict=True)]
        jpeg, heat = self._picture or (None, None)
        painted = _painted(jpeg, heat) if jpeg and heat else None
        pictures = [_data_url(picture) for picture in (jpeg, painted) if picture]
        card = page_environment().get_template("notebook.html.j2")
        top = [(name, value, _share(value)) for name, value in self.top()]
        return card.render(
            it=self, headline=self._headline(), flags=flags, pictures=pictures, top=top, notice=NOTICE,
            model=self._model,
        )  # fmt: skip

    def _headline(self) -> str:
        if self.label is None:
            return "No prediction"
        if "looks different" in self.flags:
            return f"Unlike the training pictures (nearest: {self.label})"
        if "unknown" in self.flags:
            return f"Probably none of the classes (nearest: {self.label})"
        return f"{self.label}, probability {_share(self.probability)}"


def prediction_of(result: Result, limits: Mapping[str, float | None], model: str = "") -> Prediction:
    """A result of `StudyClassifier`, for a program.

    Args:
        result: of one study.
        limits: `StudyClassifier.thresholds`.
        model: name of the model.
    """
    item: Mapping[str, Any] = result.item
    return Prediction(
        item["path"], item["class"], item["probability"], dict(item["probabilities"]), item["unknown"],
        item["ood_score"], tuple(item["flags"]), item["reason"], result.picture, dict(limits), model,
    )  # fmt: skip


def _share(value: float | None) -> str:
    """A probability in percent; a model is never wholly sure, so no number says so."""
    if value is None:
        return "-"
    if value > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if value < 0.001 else f"{100 * value:.1f} %"


def _painted(jpeg: bytes, heat: bytes) -> bytes:
    """The picture with its heat map in colours; where there is no influence, the picture shows through."""
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    grey = Image.open(io.BytesIO(heat)).resize(picture.size, Image.Resampling.BILINEAR)
    influence = np.asarray(grey, np.float32) / 255
    steps: Sequence[float] = np.linspace(0, 1, len(COLOURS)).tolist()
    colours = np.stack([np.interp(influence, steps, channel) for channel in COLOURS.T], axis=-1)
    alpha = OPACITY * influence[..., None]
    file = io.BytesIO()
    Image.fromarray((np.asarray(picture) * (1 - alpha) + colours * alpha).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
