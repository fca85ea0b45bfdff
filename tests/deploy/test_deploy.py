"""MONAI Deploy's application at work in its own environment, beside `dynammo classify` on the same files."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from deploy.through_deploy import DEPLOY_PYTHON, Ran, classify_pictures, run_app
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage, JPEG2000Lossless, generate_uid
from synthetic.datasets import shared
from synthetic.images import dicom, save, slices

from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.export.export_run import ExportSettings, export_run
from dynammo.export.monai_deploy import write_deploy_app

pytestmark = pytest.mark.deploy

CLOSE = 1e-5  # of probabilities; the agreement that is promised is 1e-3
NAME = "Иванов^Пётр=Ivanov"
Trained = Callable[..., Path]
Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("exported") / "dynammo_colours_classification"
    export_run(trained(), to, ExportSettings(onnx=False))
    return to


@pytest.fixture(scope="module")
def app(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deploy_app(bundle, tmp_path_factory.mktemp("deployed") / "app")


def by_dynammo(bundle: Path, source: Path, output: Path) -> Rows:
    """What `dynammo classify` says of the same folder, by series."""
    classify(source, output, ClassifySettings(model=bundle, device="cpu"))
    return {row["series_uid"]: row for row in json.loads((output / "predictions.json").read_text())["items"]}


def assert_same(found: Rows, expected: Rows) -> None:
    assert found.keys() == {uid for uid in expected if uid} and found
    for uid, row in found.items():
        assert row["class"] == expected[uid]["class"]
        assert row["probabilities"] == pytest.approx(expected[uid]["probabilities"], abs=CLOSE)
        assert row["unknown"] == pytest.approx(expected[uid]["unknown"], abs=CLOSE)
        assert row["images"] == expected[uid]["slices"]


def smooth(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values 0 to 1 with structure, so that a turned or inverted image gets other probabilities."""
    ramp = np.linspace(0, 1, shape[-1]) * np.linspace(1, 0.2, shape[-2])[:, None]
    return np.clip(ramp + rng.normal(0, 0.05, shape), 0, 1)


def modalities(folder: Path) -> Path:
    """A folder as a clinic hands it over: one series of many kinds."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    own = lambda: {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}  # noqa: E731
    film = (smooth(rng, 60, 44) * 4095).astype(np.uint16)
    bits = {"BitsStored": 12, "HighBit": 11}
    image = dicom(film, Modality="CR", PhotometricInterpretation="MONOCHROME1", **bits, **own())
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    image.SpecificCharacterSet, image.PatientName = "ISO_IR 192", NAME
    image.AccessionNumber, image.StudyID, image.SeriesNumber = "A-12", "7", None
    save(image, folder / "film.dcm")
    deep = dicom(film, Modality="DX", RescaleSlope=2, RescaleIntercept=-7, PixelPaddingValue=0, **bits, **own())
    deep.compress(JPEG2000Lossless, generate_instance_uid=False)
    save(deep, folder / "deep.dcm")
    save(dicom(film[::-1].copy(), Modality="MG", **bits, **own()), folder / "breast")
    colour = (smooth(rng, 3, 40, 50).transpose(1, 2, 0) * 255).astype(np.uint8)
    save(dicom(colour, Modality="XC", **own()), folder / "skin.dcm")
    save(dicom(colour[:, :, 1].copy(), Modality="OT", **own()), folder / "grey.dcm")
    frames = (smooth(rng, 5, 32, 40) * 900).astype(np.int16)
    save(dicom(frames, Modality="MR", NumberOfFrames=5, **own()), folder / "frames.dcm")
    write_ct(folder)
    return folder


def write_ct(folder: Path) -> None:
    rng = np.random.default_rng(1)
    volume = (smooth(rng, 4, 36, 30) * np.linspace(0.3, 1, 4)[:, None, None] * 2000).astype(np.int16)
    uids = generate_uid(), generate_uid()
    for k, image in enumerate(slices(volume)[::-1]):
        image.StudyInstanceUID, image.SeriesInstanceUID, image.Modality = *uids, "CT"
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        save(image, folder / f"ct{k}.dcm")


@pytest.fixture(scope="module")
def ran(app: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """The application on every kind of image, a picture that is no DICOM among them."""
    place = tmp_path_factory.mktemp("every_kind")
    source = modalities(place / "images")
    (source / "notes.txt").write_text("no image")
    return run_app(app, source, place / "results"), source


def test_probabilities_are_those_of_classify(ran: tuple[Ran, Path], bundle: Path, tmp_path: Path) -> None:
    found, source = ran
    assert found.status == 0, found.said
    assert_same(found.series, by_dynammo(bundle, source, tmp_path / "classified"))
    assert {row["modality"] for row in found.series.values()} == {"CR", "DX", "MG", "XC", "OT", "MR", "CT"}
    assert found.document["files_left_out"] == {"no DICOM": 1}
    assert len({row["class"] for row in found.series.values()}) > 1  # made-up images must tell networks apart
    for row in found.series.values():
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_reports_carry_the_patient_and_the_rest_does_not(ran: tuple[Ran, Path]) -> None:
    found, source = ran
    film = pydicom.dcmread(source / "film.dcm")
    row = found.series[film.SeriesInstanceUID]
    report = pydicom.dcmread(found.folder / f"{film.StudyInstanceUID}.dcm")
    for name in ("PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyID"):
        assert report[name].value == film[name].value
    assert str(report.PatientName) == NAME
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    referenced = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert referenced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
    text = json.dumps(report.to_json_dict(), ensure_ascii=False)
    assert all(f"Probability of {name}" in text for name in row["probabilities"]) and "Unknown score" in text
    assert f"Predicted class: {row['class']}" in text
    written = found.said + (found.folder / "predictions.json").read_text()
    assert not any(secret in written for secret in ("Doe", "SECRET-77", "19500101", "Иванов", "Ivanov"))


@pytest.mark.parametrize("rule", ["maximum", "slices"])
def test_volumes_become_images_by_the_recipe(bundle: Path, tmp_path: Path, rule: str) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    record = json.loads((other / "models" / "run.json").read_text())
    record["config"]["recipe"]["volumes"] = rule
    (other / "models" / "run.json").write_text(json.dumps(record))
    source = modalities(tmp_path / "images")
    found = run_app(write_deploy_app(other, tmp_path / "app"), source, tmp_path / "results")
    assert found.status == 0, found.said
    assert_same(found.series, by_dynammo(other, source, tmp_path / "classified"))
    frames = found.series[pydicom.dcmread(source / "frames.dcm").SeriesInstanceUID]
    assert frames["images"] == {"maximum": 1, "slices": 5}[rule]


def test_files_of_a_clinic(app: Path, bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "images"
    source.mkdir()
    for file in shared("data", "clinic").glob("*.dcm"):
        shutil.copy(file, source)
    own = tmp_path / "app"
    shutil.copytree(app, own)
    rules = (own / "app.yaml").read_text().replace("modalities: []", "modalities: [CR, CT, MR, US]")
    (own / "app.yaml").write_text(rules)
    found = run_app(own, source, tmp_path / "results")
    assert found.status == 0, found.said
    assert_same(found.series, by_dynammo(bundle, source, tmp_path / "classified"))
    assert len(list(found.folder.glob("*.dcm"))) == len({row["study_uid"] for row in found.series.values()})


def test_pictures_as_dicom_are_classified_like_the_pictures(bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    pictures = sorted((tiny_data / "test").rglob("*.png"))
    (tmp_path / "deploy").mkdir()
    found = classify_pictures(bundle, pictures, tmp_path / "deploy")
    classify(tiny_data / "test", tmp_path / "classified", ClassifySettings(model=bundle, device="cpu"))
    rows = json.loads((tmp_path / "classified" / "predictions.json").read_text())["items"]
    expected = {tiny_data / "test" / row["path"]: (row["probabilities"], row["unknown"]) for row in rows}
    assert found.keys() == expected.keys()
    for picture, (probabilities, unknown) in found.items():
        assert probabilities == pytest.approx(expected[picture][0], abs=CLOSE)
        assert unknown == pytest.approx(expected[picture][1], abs=CLOSE)


def test_an_unreadable_image_is_a_row_and_the_others_are_classified(app: Path, tmp_path: Path) -> None:
    source = modalities(tmp_path / "images")
    whole = (source / "deep.dcm").read_bytes()
    cut = pydicom.dcmread(source / "deep.dcm").SeriesInstanceUID
    (source / "deep.dcm").write_bytes(whole[:-200])
    (source / "head.dcm").write_bytes((source / "film.dcm").read_bytes()[:300])
    found = run_app(app, source, tmp_path / "results")
    assert found.status == 3
    row = found.series.pop(cut)
    assert (row["class"], row["flags"]) == (None, ["unreadable"]) and "deep.dcm cannot be read" in row["reason"]
    assert all(row["class"] for uid, row in found.series.items() if uid != cut)
    assert "6 of 7 series classified" in found.said and sum(found.document["files_left_out"].values()) == 1


def refused(ran: Ran, *words: str) -> None:
    """It ended with status 1 and one sentence, and nothing was written."""
    assert ran.status == 1
    sentences = [line for line in ran.said.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1 and "Traceback" not in ran.said
    assert all(word in sentences[0] for word in words), sentences
    assert not ran.document


def test_a_folder_without_images_is_refused(app: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "dog.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "images" / "film.dcm").write_bytes(b"not DICOM at all")
    refused(run_app(app, tmp_path / "images", tmp_path / "results"), "no DICOM image", "2 no DICOM")


def test_another_modality_is_refused(app: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    save(dicom(np.zeros((20, 20), np.uint8), Modality="US"), tmp_path / "images" / "us.dcm")
    refused(run_app(app, tmp_path / "images", tmp_path / "results"), "modality US", "expected", "CT", "app.yaml")


@pytest.mark.parametrize("fault", ["model", "classes", "config"])
def test_a_bundle_that_does_not_fit_together_is_refused(app: Path, tmp_path: Path, fault: str) -> None:
    own = tmp_path / "app"
    shutil.copytree(app, own)
    words = tamper(own / "bundle", fault)
    (tmp_path / "images").mkdir()
    write_ct(tmp_path / "images")
    refused(run_app(own, tmp_path / "images", tmp_path / "results"), *words)


def tamper(bundle: Path, fault: str) -> tuple[str, ...]:
    """Damage a bundle; what the refusal has to say of it."""
    if fault == "model":
        file = bundle / "models" / "model.ts"
        file.write_bytes(file.read_bytes() + b"\0")
        return "model.ts", "sha256"
    if fault == "classes":
        file = bundle / "configs" / "metadata.json"
        file.write_text(file.read_text().replace('"green"', '"yellow"'))
        return "metadata.json", "classes"
    file = bundle / "configs" / "inference.yaml"
    file.write_text(file.read_text().replace("preparation", "readying"))
    return "inference.yaml", "preparation"


def test_the_packager_accepts_the_config(app: Path) -> None:
    code = (
        "import pathlib, sys; from holoscan_cli.packager.config_reader import ApplicationConfiguration;"
        "c = ApplicationConfiguration(); c.read(pathlib.Path(sys.argv[1])); print(c.title())"
    )
    done = subprocess.run([str(DEPLOY_PYTHON), "-c", code, str(app / "app.yaml")], capture_output=True, text=True)
    assert done.returncode == 0 and "DynaMMo" in done.stdout, done.stderr
