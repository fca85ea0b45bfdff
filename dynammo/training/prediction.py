"""Run the shipped network over a dataset once: probabilities, or the features that heads are tuned on.

Several processes share the passes; each of them gets the results of all, in the order of the dataset.
"""

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import DataLoader
from torch.utils.data import Dataset, Subset

from dynammo.data.features import VectorReader
from dynammo.errors import UserError
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.networks.out_of_distribution import map_features
from dynammo.runtime.distributed import all_gather_object, all_gather_rows, shard, world_size
from dynammo.runtime.progress import track
from dynammo.training.copies import Copy
from dynammo.training.metrics import study_means

__all__ = ["extract_copies", "extract_features", "extract_map_features", "predict"]


@torch.no_grad()
def predict(
    classifier: MergedClassifier, dataset: "Dataset[Any]", batch_size: int, stage: str = "evaluating"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Class probabilities (S, K), unknown score (S,) and labels (S,) of every study, on the CPU.

    A study is what shares a `path`: one image, or all slices of a volume.

    Args:
        classifier: network in eval mode; its device is used.
        dataset: items with `image` (C, H, W), `label` and `path`.
        batch_size: images for each pass.
        stage: label of the progress bar.
    """
    paths: list[str] = []
    rows = []
    for images, batch in _batches(classifier, dataset, batch_size, stage):
        paths += batch["path"]
        rows.append((*classifier.classify(images), batch["label"]))
    columns = [_finite(all_gather_rows(torch.cat([row[i].cpu() for row in rows]))).numpy() for i in range(3)]
    paths = [path for of_process in all_gather_object(paths) for path in of_process]
    _, _, (probabilities, unknown, labels) = study_means(paths, *columns)
    return torch.from_numpy(probabilities), torch.from_numpy(unknown).squeeze(1), torch.from_numpy(labels).long()


@torch.no_grad()
def extract_features(
    classifier: MergedClassifier, dataset: "Dataset[Any]", batch_size: int, stage: str = "features"
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Features (N, F) of every item for each branch of `classifier`, and the labels (N,), on its device."""
    rows = [
        (classifier.features(images), batch["label"])
        for images, batch in _batches(classifier, dataset, batch_size, stage)
    ]
    features = [
        _finite(all_gather_rows(torch.cat([row[0][branch] for row in rows])))
        for branch in range(len(classifier.branches))
    ]
    return features, all_gather_rows(torch.cat([row[1] for row in rows])).to(features[0].device)


@torch.no_grad()
def extract_copies(
    classifier: MergedClassifier,
    dataset: "Dataset[Any]",
    batch_size: int,
    copies: Sequence[Copy],
    stage: str = "statistics",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, C, F) of C copies of every item, and the labels (N,), on the CPU.

    They may be large: of several processes each gets those of its part of the items alone
    (`dynammo.runtime.distributed.shard`).

    Args:
        classifier: network in eval mode with one branch.
        dataset: items with `image` (C, H, W), `label` and `seed`, a number that says which image it is.
        batch_size: images for each pass.
        copies: see `dynammo.training.copies`.
        stage: label of the progress bar.
    """
    rows = []
    for images, batch in _batches(classifier, dataset, batch_size, stage, len(copies)):
        seeds = [int(seed) for seed in batch["seed"]][: len(images)]
        features_of = [classifier.features(copy(images, seeds))[0].cpu() for copy in copies]
        rows.append((torch.stack(features_of, dim=1), batch["label"]))
    features, labels = (torch.cat([row[i] for row in rows]) for i in range(2))
    return _finite(features), labels


@torch.no_grad()
def extract_map_features(
    classifier: MergedClassifier, dataset: "Dataset[Any]", batch_size: int, maps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`map_features` (N, F) of every item, and the labels (N,), on the CPU; only so many maps are computed."""
    rows = [
        (map_features(classifier.backbone.first_maps(images, maps), maps).cpu(), batch["label"])
        for images, batch in _batches(classifier, dataset, batch_size, "out_of_distribution")
    ]
    features, labels = (all_gather_rows(torch.cat([row[i] for row in rows])) for i in range(2))
    return _finite(features), labels


def _finite(rows: torch.Tensor) -> torch.Tensor:
    """What the network makes of images, one a row.

    Raises:
        UserError: some of it is not finite, and no head or threshold can be computed from that.
    """
    bad = int((~rows.isfinite().flatten(1).all(1)).sum()) if rows.dim() > 1 else 0
    if bad:
        raise UserError(
            f"what the network makes of {bad} of {len(rows)} images is not finite, so the training has diverged; type "
            "a lower --learning_rate, or give --weights another file if nothing has been trained."
        )
    return rows


def _batches(
    classifier: MergedClassifier, dataset: "Dataset[Any]", batch_size: int, stage: str, passes: int = 1
) -> Any:  # noqa: ANN401
    mine = shard(len(dataset))  # type: ignore[arg-type]
    if world_size() > 1:
        dataset = Subset(dataset, mine or [0])
    reader = getattr(dataset, "transform", None)
    vectors = isinstance(reader, VectorReader)  # they are in memory as one array
    loader = reader.batches(dataset.data, batch_size) if vectors else DataLoader(dataset, batch_size=batch_size)  # type: ignore[union-attr,attr-defined]
    count = -(-len(dataset) // batch_size)  # type: ignore[arg-type]
    device = next(classifier.parameters()).device
    for batch in track(loader, stage, count, passes * batch_size):
        # plain tensors: MONAI's own carry paths and headers of files, which have no place in a result
        images = batch["image"].to(device).as_subclass(torch.Tensor)
        # a process without an item takes part with nothing
        yield (images, batch) if mine else (images[:0], {"label": batch["label"][:0], "path": []})
