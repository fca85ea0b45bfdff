"""Made-up images and the model are of usual size and shape."""

from pathlib import Path

import numpy as np

from benchmarks.material import write_dicoms, write_model, write_photographs
from dynammo.io.image_reader import read_image
from dynammo.io.studies import find_studies
from dynammo.runs.load import load_model


def test_images_are_of_usual_size_and_differ(tmp_path: Path) -> None:
    write_photographs(tmp_path, 3)
    write_dicoms(tmp_path, 2)
    studies = find_studies(tmp_path, tmp_path).studies
    images = [read_image(study.files[0]) for study in studies]
    assert [study.modality for study in studies] == ["CT", "CR", "", "", ""]
    assert [image.array.shape for image in images] == [(1, 512, 512)] * 2 + [(3, 450, 600)] * 3
    assert all(study.files[0].stat().st_size > 100_000 for study in studies)
    assert not np.array_equal(images[2].array, images[3].array)
    assert images[0].array.min() < 0 <= images[1].array.min()  # Hounsfield units beside counts


def test_the_model_has_the_shipped_shape(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path))
    assert model.record["config"]["image_size"] == 224 and len(model.network.backbone.layers) == 4
    assert [head.out_features for head in model.network.heads] == [3] * 4  # two classes and "others"
