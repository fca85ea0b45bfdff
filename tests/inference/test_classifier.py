"""Studies become results: what they say, and what is said of those that cannot be read."""

from pathlib import Path

import pytest
import torch
from conftest import Trained
from synthetic.datasets import CLASSES, write_image

from dynammo.inference.classifier import StudyClassifier
from dynammo.inference.graph import Output
from dynammo.io.pictures import PictureFile
from dynammo.io.studies import Study, find_studies
from dynammo.runs.load import load_model

PACKAGES = {"torch": "torch", "compile": "torch", "onnx": "onnxruntime", "openvino": "openvino"}


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_studies_are_classified_alike(name: str, trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[name])
    for i in range(5):
        write_image(tmp_path / "studies" / f"{i}.png", CLASSES[i % 4], i)
    model = load_model(trained("dynammo"))
    studies = find_studies(tmp_path / "studies", tmp_path).studies
    eager, other = (list(StudyClassifier(model, batch_size=4, engine=e).classify(studies)) for e in ("torch", name))
    for a, b in zip(eager, other, strict=True):
        assert b.item["probabilities"] == pytest.approx(a.item["probabilities"], abs=1e-4)
        assert b.item["strangeness"] == pytest.approx(a.item["strangeness"], rel=1e-3)
        assert (a.item["class"], a.item["flags"]) == (b.item["class"], b.item["flags"])
        assert a.picture and b.picture and a.picture[0] == b.picture[0] and b.picture[1]


def test_every_study_has_a_result_in_order(trained: Trained, tmp_path: Path) -> None:
    for i in range(5):
        write_image(tmp_path / "studies" / f"{i}.png", CLASSES[i % 4], i)
    (tmp_path / "studies" / "2.png").write_bytes(b"no image")
    model = load_model(trained("dynammo"))
    classifier = StudyClassifier(model, batch_size=2, low_confidence=1.0)
    results = list(classifier.classify(find_studies(tmp_path / "studies", tmp_path).studies))
    assert [result.item["path"] for result in results] == [f"{i}.png" for i in range(5)]
    torn = results.pop(2)
    assert torn.item["class"] is None and torn.item["flags"] == ["unreadable"] and torn.picture is None
    assert "neither DICOM nor NIfTI" in torn.item["reason"]
    for result in results:
        assert tuple(result.item["probabilities"]) == CLASSES
        assert sum(result.item["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert result.item["probability"] == result.item["probabilities"][result.item["class"]]
        assert "low confidence" in result.item["flags"] and result.picture is not None


def test_a_picture_is_read_and_decoded_once(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its class and for what the report shows of it."""
    (tmp_path / "studies").mkdir()
    names = ["0.jpg", "1.png", "2.webp"]
    for i, name in enumerate(names):
        write_image(tmp_path / "studies" / name, CLASSES[i], i)
    classifier = StudyClassifier(load_model(trained("dynammo")), batch_size=2)
    read, decoded = [], []
    whole, load = Path.read_bytes, PictureFile.load
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or whole(path))
    monkeypatch.setattr(PictureFile, "load", lambda file, *part: decoded.append(file.format) or load(file, *part))
    results = list(classifier.classify(find_studies(tmp_path / "studies", tmp_path).studies))
    assert all(result.picture is not None for result in results)
    assert sorted(read) == names and sorted(decoded) == ["jpeg", "png", "webp"]


def test_how_slices_become_one_prediction_is_said(trained: Trained) -> None:
    assert "the middle slice is classified" in StudyClassifier(load_model(trained("dynammo"))).rule


@pytest.mark.parametrize("method", ["dynammo", "analytic"])
def test_nobody_in_the_same_pass_changes_a_result(method: str, trained: Trained, tmp_path: Path) -> None:
    for i in range(7):
        write_image(tmp_path / f"{i}.png", CLASSES[i % 4], i)
    studies = find_studies(tmp_path, tmp_path / "unpacked").studies
    classifier = StudyClassifier(load_model(trained(method)), batch_size=4)
    together = list(classifier.classify(studies))
    assert together == [result for study in studies for result in classifier.classify([study])]
    assert together == list(classifier.classify(studies[::-1]))[::-1]


@pytest.mark.parametrize("flag", ["unknown", "looks different"])
def test_a_class_that_a_flag_denies_has_no_heat_map(flag: str, trained: Trained, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", CLASSES[0], 0)
    classifier = StudyClassifier(load_model(trained("dynammo")))
    for name in ("unknown", "looks_different"):
        classifier.thresholds[name] = -1.0 if name == flag.replace(" ", "_") else None
    (result,) = classifier.classify(find_studies(tmp_path, tmp_path / "unpacked").studies)
    assert result.item["flags"] == [flag] and result.picture and result.picture[1] is None
    classifier.thresholds |= dict.fromkeys(classifier.thresholds)
    (result,) = classifier.classify(find_studies(tmp_path, tmp_path / "unpacked").studies)
    assert not result.item["flags"] and result.picture and result.picture[1]


def test_a_slice_of_another_class_has_no_heat_map(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slice shown, in the middle, is outvoted by the two others."""
    classifier = StudyClassifier(load_model(trained("dynammo")))
    classifier.thresholds |= dict.fromkeys(classifier.thresholds)
    for i, name in enumerate((CLASSES[0], CLASSES[1], CLASSES[0])):
        write_image(tmp_path / f"{i}.png", name, i)
    files = tuple(tmp_path / f"{i}.png" for i in range(3))
    real = classifier.engine

    def engine(images: torch.Tensor) -> Output:
        found = real(images)
        rows = torch.zeros_like(found.rows)
        rows[:, 0], rows[1, 0], rows[1, int(outvoted)] = 1, 0, 1
        return Output(rows, found.maps)

    monkeypatch.setattr(classifier, "engine", engine)
    for outvoted in (True, False):
        (result,) = classifier.classify([Study(files, "series", "png")])
        assert result.item["class"] == CLASSES[0] and result.item["slices"] == 3
        assert result.picture and (result.picture[1] is None) is outvoted
