"""`python -m benchmarks heatmaps RUN ...`: do heat maps point at what the prediction depends on?

Parts of an image are blurred in the order of its heat map, and the probability of the predicted class is watched
(deletion and insertion, Petsiuk et al., arXiv 1806.07421).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from scipy.ndimage import gaussian_filter
from torch import nn

from benchmarks.report import Bar, bar_table, check_writable, table
from benchmarks.timing import time_interleaved
from dynammo.data.images import ImageSet
from dynammo.data.preprocessing import preprocessing_of
from dynammo.errors import UserError
from dynammo.inference.evaluators import test_items
from dynammo.inference.visualisation import heat_maps
from dynammo.networks.adapters import fused
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.load import load_model
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json
from dynammo.runtime.terminal import Terminal

__all__ = ["MAPS", "Cost", "Faithfulness", "Images", "benchmark_heat_maps", "compare", "judge", "measure_cost"]

SEED = 0
BATCH = 16
SHARES = (0.2, 0.4, 0.6, 0.8)  # of an image that are blurred; the first is what `lost` is measured at
CELLS = 7  # of the occlusion, along each side
SIGMA = 0.1  # of the blur, in widths of the image
RING = 1 / 6  # of each side
NEAR_OCCLUSION = {"derm8": 0.02}  # data sets where the shipped map may fall short of occlusion by no more than this
REPEATS = 5


@dataclass(frozen=True)
class Faithfulness:
    """How much the prediction depends on what a kind of heat map shows, means over images.

    Attributes:
        lost: probability of the predicted class that is lost when the top fifth of the map is blurred.
        deletion: area under that probability while more and more is blurred, the top of the map first; less is better.
        insertion: the same while more and more of a blurred image is restored; more is better.
        ring: percent of the images where the map is highest in the outer sixth of a side, 56 % of all pixels.
    """

    lost: float
    deletion: float
    insertion: float
    ring: float


@dataclass(frozen=True)
class Cost:
    """Core seconds of a batch of 16.

    Attributes:
        network: of the pass, without a gradient.
        shipped: of the heat maps.
        former: of Grad-CAM on the last layer.
    """

    network: float
    shipped: float
    former: float


class Images:
    """Prepared images and what the network says of them.

    Args:
        network: the classifier, its BatchNorms folded.
        images: (N, C, H, W).

    Attributes:
        classes: (N,) predicted classes.
        probability: (N,) of these.
    """

    def __init__(self, network: MergedClassifier, images: torch.Tensor) -> None:
        self.network, self.images, self.size = network, images, images.shape[2:]
        found = self._probabilities(images)
        self.classes = found.argmax(1)
        self.probability = self._of_classes(found)

    @cached_property
    def blurred(self) -> torch.Tensor:
        """The same images, blurred."""
        sigmas = (0, 0, *(SIGMA * side for side in self.size))
        return torch.from_numpy(gaussian_filter(self.images.numpy(), sigmas, mode="nearest"))

    def of_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """Probabilities (N,) of the predicted classes where a mask (N, H, W) says what is blurred."""
        return self._of_classes(self._probabilities(torch.where(mask[:, None], self.blurred, self.images)))

    @torch.no_grad()
    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network.classify(part)[0] for part in images.split(BATCH)])  # type: ignore[no-untyped-call]

    def _of_classes(self, probabilities: torch.Tensor) -> torch.Tensor:
        return probabilities.gather(1, self.classes[:, None])[:, 0]


def _shipped(of: Images) -> torch.Tensor:
    return _in_batches(of, heat_maps)


def _grad_cam(of: Images) -> torch.Tensor:
    return _in_batches(of, _last_layer)


def _last_layer(network: MergedClassifier, maps: list[list[torch.Tensor]], classes: torch.Tensor) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al., arXiv 1610.02391) of class logits on the last layer, as 0.1 showed it."""
    with torch.enable_grad():
        leaves = [[found.detach().requires_grad_() for found in branch] for branch in maps]
        heads = network.logits(network.pool(leaves))
        logits = torch.cat([head[:, :-1] if network.others else head for head in heads], dim=1)
        chosen = logits.gather(1, classes[:, None]).sum()
        last = [branch[-1] for branch in leaves]
        slopes = torch.autograd.grad(chosen, last, allow_unused=True)
    cams = [
        (s.mean((2, 3), keepdim=True) * m.detach()).sum(1) for s, m in zip(slopes, last, strict=True) if s is not None
    ]
    return torch.stack(cams).sum(0).relu()


@torch.no_grad()
def _in_batches(of: Images, heat: Callable[..., torch.Tensor]) -> torch.Tensor:
    parts = zip(of.images.split(BATCH), of.classes.split(BATCH), strict=True)  # type: ignore[no-untyped-call]
    return torch.cat([heat(of.network, of.network.maps(images), classes) for images, classes in parts])


def _occlusion(of: Images) -> torch.Tensor:
    """Probability that is lost when one cell of the image is blurred, a pass for each cell."""
    cell = torch.arange(CELLS * CELLS).view(1, 1, CELLS, CELLS).float()
    cells = nn.functional.interpolate(cell, list(of.size), mode="nearest")[0]  # (1, H, W)
    lost = [of.probability - of.of_mask((cells == i).expand(len(of.images), -1, -1)) for i in range(CELLS * CELLS)]
    return torch.stack(lost, dim=1).view(-1, CELLS, CELLS)


def _random(of: Images) -> torch.Tensor:
    return torch.rand(len(of.images), CELLS, CELLS, generator=torch.Generator().manual_seed(SEED))


def _disc(of: Images) -> torch.Tensor:
    rows, columns = (torch.linspace(-1, 1, side) for side in of.size)
    return -(rows[:, None] ** 2 + columns**2).expand(len(of.images), -1, -1)


MAPS: dict[str, Callable[[Images], torch.Tensor]] = {
    "shipped": _shipped,
    "Grad-CAM, last layer": _grad_cam,
    "random": _random,
    "disc in the centre": _disc,
    "occlusion, 49 passes": _occlusion,
}
"""Kinds of heat map by name: images to (N, h, w), higher where more depends on it."""
SHIPPED, FORMER, _, DISC, OCCLUSION = MAPS


def benchmark_heat_maps(runs: Sequence[Path], images: int = 128, json_file: Path | None = None) -> None:
    """Measure, print, and write the figures to `json_file`.

    Args:
        runs: folders of finished runs of images, not volumes.
        images: test images of each, drawn at random; all where there are fewer.
        json_file: where to, if anywhere.

    Raises:
        UserError: no run there, one of volumes, or test images that are gone.
    """
    check_writable(json_file)
    origin = provenance.origin()
    figures: dict[str, dict[str, Any]] = {}
    bars: list[Bar] = []
    terminal = Terminal()
    for run in runs:
        of, data = _images(run, images)
        found = {name: judge(of, make(of)) for name, make in MAPS.items()}
        cost = measure_cost(of)
        bars += compare(run.name, data, found)
        figures[run.name] = {
            "data": data, "images": len(of.images), "probability": float(of.probability.mean()), "cost": asdict(cost),
            "maps": {name: asdict(one) for name, one in found.items()},
        }  # fmt: skip
        terminal.print(_table(run.name, of, found))
        terminal.print(
            f"core seconds of a batch of {BATCH}: network {cost.network:.3f}, heat maps {cost.shipped:.3f}, "
            f"Grad-CAM {cost.former:.3f}"
        )
    terminal.print(bar_table("what is expected", bars, number="{:+.3f}".format))
    if json_file is not None:
        settings = {"seed": SEED, "shares": SHARES, "sigma": SIGMA, "cells": CELLS, "ring": RING}
        write_json(json_file, {**origin, **settings, "runs": figures, "bars": [asdict(bar) for bar in bars]})


def compare(run: str, data: str, found: Mapping[str, Faithfulness]) -> list[Bar]:
    """What the shipped map must lose beside the disc, and beside occlusion where that is asked for."""
    lost = {name: one.lost for name, one in found.items()}
    bars = [Bar.at_least(0, f"{run}: lost more than by the disc", lost[SHIPPED] - lost[DISC])]
    if data in NEAR_OCCLUSION:
        short = lost[OCCLUSION] - lost[SHIPPED]
        bars.append(Bar.at_most(NEAR_OCCLUSION[data], f"{run}: lost less than by occlusion", short))
    return bars


def judge(of: Images, heat: torch.Tensor) -> Faithfulness:
    """Blur images in the order of their heat maps (N, h, w), which are brought to their size first."""
    fine = nn.functional.interpolate(heat[:, None].float(), list(of.size), mode="bilinear", align_corners=False)
    flat = fine.flatten(1)
    place = flat.argsort(stable=True, dim=1, descending=True).argsort(1).view(-1, *of.size)  # 0 for the highest
    pixels = flat.shape[1]
    deleted = [of.of_mask(place < share * pixels) for share in SHARES]
    inserted = [of.of_mask(place >= share * pixels) for share in SHARES]
    blurred = of.of_mask(torch.ones_like(place, dtype=torch.bool))
    peak = flat.argmax(1)
    return Faithfulness(
        float((of.probability - deleted[0]).mean()),
        _area(of.probability, *deleted, blurred),
        _area(blurred, *inserted, of.probability),
        100 * float(_on_ring(peak // of.size[1], peak % of.size[1], of.size).float().mean()),
    )


def measure_cost(of: Images) -> Cost:
    """Core seconds of pass and heat maps of one batch, interleaved."""
    images, classes = of.images[:BATCH], of.classes[:BATCH]
    with torch.no_grad():
        maps = of.network.maps(images)
    calls: dict[str, Callable[[], object]] = {
        "network": torch.no_grad()(partial(of.network.classify, images)),
        "shipped": partial(heat_maps, of.network, maps, classes),
        "former": partial(_last_layer, of.network, maps, classes),
    }
    took = time_interleaved({name: [call] for name, call in calls.items()}, REPEATS)
    return Cost(**{name: float(np.median(timing.cores)) for name, timing in took.items()})


def _area(*probabilities: torch.Tensor) -> float:
    """Mean area under curves whose points stand `SHARES` apart, from 0 to 1."""
    curves = torch.stack(probabilities, dim=1)
    return float(torch.trapezoid(curves, torch.tensor([0, *SHARES, 1]), dim=1).mean())


def _on_ring(row: torch.Tensor, column: torch.Tensor, size: torch.Size) -> torch.Tensor:
    edges = [(at < RING * side) | (at >= (1 - RING) * side) for at, side in zip((row, column), size, strict=True)]
    return edges[0] | edges[1]


def _images(run: Path, count: int) -> tuple[Images, str]:
    """Some test images of a run, and the name of its data set."""
    model = load_model(run)
    config: dict[str, Any] = {**model.record["config"]}
    if config["recipe"]["spatial_dims"] != 2:
        raise UserError(f"{run} classifies volumes; give runs of images.")
    items = test_items(
        ImageSet(config["dataset_dir"], config["data_list"], skip_unreadable=True), list(model.record["classes"])
    )
    items = random.Random(SEED).sample(items, min(count, len(items)))
    prepare = preprocessing_of(model.record)
    prepared = torch.stack([torch.as_tensor(prepare({"image": item["image"]})["image"]) for item in items])
    return Images(fused(model.network), prepared), Path(config["dataset_dir"]).name


def _table(run: str, of: Images, found: Mapping[str, Faithfulness]) -> Table:
    title = f"{run}: {len(of.images)} test images, predicted with a probability of {of.probability.mean():.3f}"
    made = table(title, "heat map", "lost", "deletion", "insertion", "peak on the ring %")
    for name, it in found.items():
        made.add_row(name, f"{it.lost:.3f}", f"{it.deletion:.3f}", f"{it.insertion:.3f}", f"{it.ring:.0f}")
    return made
