"""One pass over a dataset gives what the network gives image by image."""

from typing import Any

import pytest
import torch

from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.networks.out_of_distribution import map_features
from dynammo.training.copies import copies_of
from dynammo.training.prediction import extract_copies, extract_features, extract_map_features, predict

PATHS = ["a.png", "volume.nii", "volume.nii", "b.png", "volume.nii"]


@pytest.fixture
def classifier() -> MergedClassifier:
    torch.manual_seed(0)
    return MergedClassifier(heads=[2, 1], stages=1).eval()


@pytest.fixture
def items() -> list[dict[str, Any]]:
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = [0, 1, 1, 2, 1]
    return [
        {"image": image, "label": label, "path": path} for image, label, path in zip(images, labels, PATHS, strict=True)
    ]


def images_of(items: list[dict[str, Any]]) -> torch.Tensor:
    return torch.stack([item["image"] for item in items])


def test_slices_of_a_volume_count_as_one_study(classifier: MergedClassifier, items: list[dict[str, Any]]) -> None:
    probabilities, unknown, labels = predict(classifier, items, 2)  # type: ignore[arg-type]
    with torch.no_grad():
        expected, scores = classifier.classify(images_of(items))
    studies = [[0], [1, 2, 4], [3]]
    torch.testing.assert_close(probabilities.float(), torch.stack([expected[rows].mean(0) for rows in studies]))
    torch.testing.assert_close(unknown.float(), torch.stack([scores[rows].mean() for rows in studies]))
    assert labels.tolist() == [0, 1, 2]


def test_features_come_in_the_order_of_the_items(classifier: MergedClassifier, items: list[dict[str, Any]]) -> None:
    features, labels = extract_features(classifier, items, 2)  # type: ignore[arg-type]
    with torch.no_grad():
        expected = classifier.features(images_of(items))
    assert len(features) == len(expected) == 1 and labels.tolist() == [item["label"] for item in items]
    torch.testing.assert_close(features[0], expected[0])


def test_copies_are_features_of_mirrored_images(classifier: MergedClassifier, items: list[dict[str, Any]]) -> None:
    seeded = [{**item, "seed": 7} for item in items]
    copies, labels = extract_copies(classifier, seeded, 3, copies_of("both"))  # type: ignore[arg-type]
    assert copies.shape == (5, 4, 64) and len(labels) == 5
    with torch.no_grad():
        for copy, axes in enumerate([(), (3,), (2,), (2, 3)]):
            images = images_of(items)
            torch.testing.assert_close(copies[:, copy], classifier.features(images.flip(axes) if axes else images)[0])


@pytest.mark.parametrize("maps", [1, 2])
def test_the_first_maps_tell_what_an_image_is_like(
    classifier: MergedClassifier, items: list[dict[str, Any]], maps: int
) -> None:
    found, labels = extract_map_features(classifier, items, 2, maps)  # type: ignore[arg-type]
    with torch.no_grad():
        stem = classifier.backbone.stem(images_of(items))
        torch.testing.assert_close(found, map_features([stem, classifier.backbone.layers[0](stem)], maps))
    assert labels.tolist() == [item["label"] for item in items]
