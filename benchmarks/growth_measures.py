"""What tasks, classes and images cost: core seconds and bytes of the steps that training and classification take.

Features are made up, in float32 as the network gives them; weights are random. Neither changes a cost.
"""

import itertools
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.growth_figures import Series
from benchmarks.networks import CLASSES_OF_A_TASK
from benchmarks.timing import Spread, Stopwatch, time_interleaved
from dynammo.errors import UserError
from dynammo.handlers.analytic_head import make_head
from dynammo.heads.analytic import SHRINKAGES, ClassStatistics, add_classes, choose
from dynammo.heads.cross_validation import fit_with_folds
from dynammo.heads.scatters import ClassScatters, add_images, pool, scatter_classes
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runtime.devices import give_freed_memory_back, keep_freed_memory
from dynammo.training.metrics import tensor_bytes

__all__ = [
    "GrowthSettings",
    "made_up_vectors",
    "measure_classes",
    "measure_images",
    "measure_tasks",
    "rescaled",
    "up_to",
]

POOLING = {"deviation": True, "centre": True, "power": 0.5}  # of configs/methods/analytic.yaml, with all taps
IMAGES_OF_A_TASK = 1000
CHUNK = 10_000  # feature vectors that are available at a time
STREAM_CLASSES = 8
HEAD_BATCH = 256
ROUNDS = 20  # batches of one measurement of the head, which takes microseconds
MB = 1e6


@dataclass(frozen=True)
class GrowthSettings:
    """What is measured.

    Args:
        image_size: height and width of an image in pixels.
        stages: layers of the ResNet-18, 1 to 4.
        batch_size: images of a pass.
        repeats: measurements of a pass of which the median is taken; learning, which takes seconds, is measured once.
        tasks: numbers of tasks.
        classes: numbers of classes, at least 4.
        images: numbers of images.

    Raises:
        UserError: a number that is too small.
    """

    image_size: int = 96
    stages: int = 3
    batch_size: int = 8
    repeats: int = 3
    tasks: tuple[int, ...] = (1, 2, 5, 10, 20, 50)
    classes: tuple[int, ...] = (4, 10, 20, 50, 100, 200, 500)
    images: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)

    def __post_init__(self) -> None:
        for name, value, least in (("images", self.images[-1], 1000), ("repeats", self.repeats, 1)):
            if value < least:
                raise UserError(f"{name} is {value}; give --{name} a whole number from {least}.")

    @property
    def pooling(self) -> dict[str, Any]:
        """How features are pooled."""
        return {"taps": list(range(self.stages + 1)), **POOLING}

    @property
    def features(self) -> int:
        """Number F of features."""
        with torch.device("meta"):
            return MergedClassifier([1], stages=self.stages, pooling=self.pooling).pooling.features


def up_to(images: int) -> tuple[int, ...]:
    """1000 and its powers of ten, up to this number of images."""
    return (*itertools.takewhile(lambda size: size < images, (10**power for power in itertools.count(3))), images)


def measure_tasks(settings: GrowthSettings) -> list[Series]:
    """One image through merged and through unmerged adapters (ACL), and their weights."""
    keep_freed_memory()  # as `dynammo classify` does
    images = torch.rand(settings.batch_size, 3, settings.image_size, settings.image_size)
    networks: dict[str, list[MergedClassifier]] = {"merged": [], "ACL": []}
    for tasks in settings.tasks:
        heads = [CLASSES_OF_A_TASK] * tasks
        networks["merged"].append(MergedClassifier(heads, branches=1, stages=settings.stages).eval())
        networks["ACL"].append(MergedClassifier(heads, branches=tasks, stages=settings.stages).eval())
    series: dict[str, list[Series]] = {"one image": [], "model": []}
    for name, grown in networks.items():
        calls = {str(i): [partial(_infer, network, images)] for i, network in enumerate(grown)}
        took = time_interleaved(calls, settings.repeats).values()
        cores = [1e3 * Spread.of(one.cores).median / len(images) for one in took]
        sizes = [tensor_bytes(network.state_dict().values()) / MB for network in grown]
        series["one image"].append(Series("tasks", f"one image, {name}", "core ms", settings.tasks, tuple(cores)))
        series["model"].append(Series("tasks", f"model, {name}", "MB", settings.tasks, tuple(sizes)))
    return [one for kind in series.values() for one in kind]


def measure_classes(settings: GrowthSettings) -> list[Series]:
    """Another task of two classes, the head, and what is kept, with K classes after it."""
    size = settings.features
    learning: list[float] = []
    head: list[float] = []
    state: list[float] = []
    kept: list[float] = []
    for classes in settings.classes:
        known = _known(classes - CLASSES_OF_A_TASK, size)
        features, labels = made_up_vectors(IMAGES_OF_A_TASK, size, CLASSES_OF_A_TASK)
        with Stopwatch() as watch:
            learnt, losses, scatters = _learn_task(known, features[:, None], labels + len(known.counts))
        learning.append(watch.cores)
        state.append(tensor_bytes([learnt.counts, learnt.sums, learnt.gram, losses]) / MB)
        kept.append(tensor_bytes(scatters.state_dict().values()) / CLASSES_OF_A_TASK * classes / MB)
        head.append(_head_milliseconds(classes, settings))
    values = (
        ("learn a task of 2 classes", "core s", learning),
        ("head, one image", "core ms", head),
        ("state for the next task", "MB", state),
        ("class scatters in tasks/", "MB", kept),
    )
    return [Series("classes", what, unit, settings.classes, tuple(found)) for what, unit, found in values]


def measure_images(settings: GrowthSettings, say: Callable[[str], object] = print) -> list[Series]:
    """Ever more images of known classes, in chunks: seconds in all, the most memory so far, and what is kept.

    The steps are those of `dynammo learn` with more images of known classes: the scatters of the new images are
    added, and the statistics and the head computed anew. Making up the features is not counted. Freed memory is given
    back, so that the peak is what learning needs and not holes that the C library keeps.
    """
    give_freed_memory_back()
    scatters: ClassScatters | None = None
    adding, images = Stopwatch(), 0
    found: list[tuple[float, float, float]] = []
    base, labels = made_up_vectors(CHUNK, settings.features, STREAM_CLASSES)
    for wanted in settings.images:
        while images < wanted:
            count = min(CHUNK, wanted - images)
            features = rescaled(base, images)[:count, None]
            with adding:
                scatters = _add(scatters, scatter_classes(features, labels[:count]))
            images += count
        assert scatters is not None
        with Stopwatch() as head:
            make_head(pool(scatters), "lda", 0.1, 1.0)
        kept = tensor_bytes(scatters.state_dict().values())
        found.append((adding.cores + head.cores, _peak_bytes() / MB, kept / MB))
        say(f"{images} images: {found[-1][0]:.0f} core seconds, {found[-1][1]:.0f} MB at most")
    units = (("learn them all", "core s"), ("memory of the process at most", "MB"), ("class scatters, 8 classes", "MB"))
    return [
        Series("images", what, unit, settings.images, tuple(row[i] for row in found))
        for i, (what, unit) in enumerate(units)
    ]


def made_up_vectors(count: int, size: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, F) and labels 0 .. classes - 1 in turn (N,)."""
    generator = torch.Generator().manual_seed(classes)
    labels = torch.arange(count) % classes
    means = 0.2 * torch.randn(classes, size, generator=generator)
    return torch.randn(count, size, generator=generator) + means[labels], labels


def rescaled(base: torch.Tensor, number: int) -> torch.Tensor:
    """Other vectors of the same kind: those of the base, each feature on another scale."""
    generator = torch.Generator().manual_seed(number)
    return base * (0.5 + torch.rand(base.shape[1], generator=generator))


def _learn_task(
    known: ClassStatistics, features: torch.Tensor, labels: torch.Tensor
) -> tuple[ClassStatistics, torch.Tensor, ClassScatters]:
    """Everything that `AnalyticHeads` computes for a task, from features to the head."""
    fitted = fit_with_folds(known, features, labels, "lda", keep_scatters=True)
    losses = torch.cat([fitted.losses.new_zeros(len(known.counts), *fitted.losses.shape[1:]), fitted.losses])
    make_head(fitted.statistics, "lda", *choose(losses, SHRINKAGES))
    assert fitted.scatters is not None
    return fitted.statistics, losses, fitted.scatters


def _known(classes: int, size: int) -> ClassStatistics:
    features, labels = made_up_vectors(max(classes * 5, 200), size, classes)
    return add_classes(ClassStatistics.empty(size), features[:, None], labels)


def _add(scatters: ClassScatters | None, more: ClassScatters) -> ClassScatters:
    return more if scatters is None else add_images(scatters, more)


def _head_milliseconds(classes: int, settings: GrowthSettings) -> float:
    classifier = MergedClassifier(
        [classes], others=False, stages=settings.stages, background=True, pooling=settings.pooling
    ).eval()
    features = [torch.rand(HEAD_BATCH, classifier.pooling.features)]
    calls = {"head": [partial(_classify_often, classifier, features)]}
    cores = time_interleaved(calls, settings.repeats)["head"].cores
    return 1e3 * Spread.of(cores).median / (HEAD_BATCH * ROUNDS)


@torch.inference_mode()
def _classify_often(classifier: MergedClassifier, features: list[torch.Tensor]) -> None:
    for _ in range(ROUNDS):
        classifier.join(classifier.logits(features))


@torch.inference_mode()
def _infer(network: torch.nn.Module, images: torch.Tensor) -> None:
    network(images)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes there, kilobytes everywhere else
