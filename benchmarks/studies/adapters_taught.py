"""What adapters add that are taught otherwise than by labels of their task: into docs/results/adapters_add.json.

Type `python -m benchmarks.studies.adapters_taught DATASET RUN [WAY ...]`, see `adapters_add.py`, whose images, heads
and settings these ways share. WAY is one of `WAYS`, all if left out. The adapters start as those of the run started.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import typer
from monai.transforms import Compose, RandFlip, RandScaleIntensity, RandShiftIntensity, RandSpatialCrop, Resize
from monai.utils import set_determinism
from torch import nn

from benchmarks.studies.adapters_add import Run, Study, Wanted, known, record, study_of
from dynammo.merging import average
from dynammo.networks.adapters import adapt
from dynammo.networks.merged_classifier import MergedClassifier

EPOCHS, BATCH, RATE = 15, 32, 0.01
CODE, TEMPERATURE = 128, 0.2  # of contrastive learning
TEACHING_EPOCHS = 5

Loss = Callable[[torch.Tensor], torch.Tensor]  # of the rows of a batch


class Way(NamedTuple):
    """How adapters are taught, and how the heads use them."""

    teach: Callable[[Study], MergedClassifier]
    beside_frozen: bool = False
    transported: bool | None = False  # see `Study.recalls`


def main(dataset: str, run: Run, wanted: Wanted = None) -> None:
    """Measure every way, or those wanted."""
    names = known(wanted, WAYS)
    study = study_of(dataset, run)
    taught: dict[Callable[[Study], MergedClassifier], torch.Tensor] = {}
    for name in names:
        way = WAYS[name]
        if way.teach not in taught:
            set_determinism(study.seed)
            taught[way.teach] = study.features_of(way.teach(study))
        features = taught[way.teach]
        if way.beside_frozen:
            features = torch.cat([study.features("frozen", None), features], 1)
        record(study, name, study.recalls(lambda task, found=features: found, way.transported))  # type: ignore[misc]


def contrast(study: Study, kind: str = "conv") -> MergedClassifier:
    """Adapters that know two pictures made of one image of the first task from all others (SimCLR, 2002.05709)."""
    rows = study.rows(study.tasks[0].labels)
    return _contrast(study, kind, rows, torch.arange(len(rows)))


def contrast_classes(study: Study) -> MergedClassifier:
    """Adapters that bring images of one class together (supervised contrastive learning, 2004.11362)."""
    rows = study.rows(study.tasks[0].labels)
    return _contrast(study, "conv", rows, study.labels[rows])


def _contrast(study: Study, kind: str, rows: torch.Tensor, groups: torch.Tensor) -> MergedClassifier:
    network = study.network_with(kind)
    width = network.backbone.features
    code = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CODE))
    augment = augmentation(study.images[0]["image"].shape[-1])

    def loss(batch: torch.Tensor) -> torch.Tensor:
        x = torch.stack([augment(study.images[int(rows[i])]["image"]) for i in batch.repeat(2)])
        x = network.backbone.stem(x)
        for adapter, layer in zip(network.adapters, network.backbone.layers, strict=True):
            x = adapt(adapter, layer, x)
        return contrastive_loss(code(x.mean((2, 3))), groups[batch].repeat(2))

    fit(network.adapters, loss, len(rows), EPOCHS, list(code.parameters()))
    network.set_branches([network.adapter_state()])
    return network.classifier()


def contrastive_loss(codes: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Mean over the rows of -log of the share that rows of the same group have in all others' similarity.

    Args:
        codes: (N, D), of any length.
        groups: (N,) whole numbers, each at least twice.
    """
    codes = nn.functional.normalize(codes, dim=1)
    itself = torch.eye(len(codes), dtype=torch.bool)
    likeness = (codes @ codes.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    same = (groups[:, None] == groups) & ~itself
    apart = nn.functional.log_softmax(likeness, dim=1).masked_fill(~same, 0)
    return -(apart.sum(1) / same.sum(1)).mean()


def distil(study: Study) -> MergedClassifier:
    """Merged adapters that give every image, in every layer, the map which the adapters of its own task give it."""
    classifier = study.classifier(average(study.fitted, [1.0] * len(study.fitted), study.origin))
    teachers = [study.classifier(state) for state in study.fitted]
    owner = torch.cat([torch.full((len(study.rows(task.labels)),), task.index) for task in study.tasks])
    rows = torch.cat([study.rows(task.labels) for task in study.tasks])

    def loss(batch: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(())
        for task in owner[batch].unique():
            here = rows[batch[owner[batch] == task]]
            pictures = torch.stack([study.images[int(i)]["image"] for i in here])
            with torch.no_grad():
                wanted = teachers[int(task)].maps(pictures)[0][1:]
            found = classifier.maps(pictures)[0][1:]
            apart = [((a - b) ** 2).mean() / (b**2).mean() for a, b in zip(found, wanted, strict=True)]
            total = total + len(here) / len(batch) * torch.stack(apart).sum()
        return total

    fit(classifier.branches[0], loss, len(rows), TEACHING_EPOCHS, [])
    return classifier


def fit(adapters: nn.Module, loss: Loss, images: int, epochs: int, others: list[nn.Parameter]) -> None:
    """Fit the adapters of a network, and other parameters, as stage 1 does."""
    adapters.train()
    parameters = [*adapters.parameters(), *others]
    optimiser = torch.optim.SGD(parameters, RATE, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [epochs * 8 // 15, epochs * 12 // 15])
    for epoch in range(epochs):
        losses = []
        for batch in torch.randperm(images).split(BATCH):
            if len(batch) < 2:
                continue
            optimiser.zero_grad()
            found = loss(batch)
            found.backward()
            optimiser.step()
            losses.append(float(found.detach()))
        schedule.step()
        print(f"epoch {epoch + 1}: {sum(losses) / len(losses):.3f}", file=sys.stderr, flush=True)
    adapters.eval()


def augmentation(size: int) -> Callable[[Any], torch.Tensor]:
    """A part of the image, turned over, in other light and colours."""
    return Compose([
        RandSpatialCrop((size // 2, size // 2), max_roi_size=(size, size), random_size=True),
        Resize((size, size), mode="bilinear"),
        RandFlip(0.5, spatial_axis=0), RandFlip(0.5, spatial_axis=1),
        RandScaleIntensity(0.4, prob=0.8, channel_wise=True), RandShiftIntensity(0.4, prob=0.8, channel_wise=True),
    ])  # fmt: skip


WAYS = {
    "first task, self-supervised": Way(contrast),
    "first task, self-supervised, beside frozen": Way(contrast, beside_frozen=True),
    "first task, self-supervised, low_rank": Way(partial(contrast, kind="low_rank")),
    "first task, contrastive": Way(contrast_classes),
    "first task, contrastive, beside frozen": Way(contrast_classes, beside_frozen=True),
    "merged, taught by the unmerged, all images": Way(distil, transported=None),
}


if __name__ == "__main__":
    typer.run(main)
