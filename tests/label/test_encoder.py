"""A transformer in MONAI Label's environment, where transformers may be missing or another one."""

from pathlib import Path

import pytest
from label.label_server import probabilities_from_label
from synthetic.encoders import exported_vit

from dynammo.inference.classifier import StudyClassifier
from dynammo.io.studies import find_studies
from dynammo.runs.load import load_model

pytestmark = pytest.mark.label


def test_a_vit_answers_as_classify_does(tiny_data: Path, tmp_path: Path) -> None:
    bundle = exported_vit(tiny_data, tmp_path)
    pictures = sorted((tiny_data / "test").rglob("*.png"))[:2]
    (tmp_path / "label").mkdir()
    found = probabilities_from_label(bundle, pictures, tmp_path / "label")
    for picture in pictures:
        (result,) = StudyClassifier(load_model(bundle)).classify(find_studies(picture, tmp_path / "read").studies)
        assert found[picture.name] == pytest.approx(result.item["probabilities"], abs=1e-4)
