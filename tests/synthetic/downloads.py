"""Tiny made-up copies of public downloads, in their real layouts, and commands run on them in process."""

import csv
import io
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from typer.testing import CliRunner

SKIN = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")


def run(module: str, *arguments: str | Path) -> tuple[int, str]:
    """`python -m data_prep.<module> ...`, in process: exit status and everything it printed, on one line."""
    from importlib import import_module

    result = CliRunner().invoke(import_module(f"data_prep.{module}").app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def rows(out: Path) -> list[dict[str, str]]:
    """Rows of the data list in a folder."""
    return list(csv.DictReader((out / "data_list.csv").read_text().splitlines()))


def noise(seed: int, shape: Sequence[int] = (8, 8, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, tuple(shape), dtype=np.uint8)


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed)).save(path)


def table(path: Path, header: str, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n")


def isic2019(folder: Path, lesions: int = 8) -> Path:
    """Two images of every lesion, the last lesion of each class without an id."""
    truth, metadata = [], []
    for c, name in enumerate(SKIN):
        for i in range(2 * lesions):
            image = f"ISIC_{1000 * c + i:07d}"
            picture(folder / "ISIC_2019_Training_Input" / f"{image}.jpg", 1000 * c + i)
            truth.append(",".join([image, *("1.0" if n == name else "0.0" for n in SKIN), "0.0"]))
            lesion = f"BCN_{c}{i // 2:03d}" if i < 2 * lesions - 2 else ""
            metadata.append(f"{image},55.0,anterior torso,{lesion},female")
    table(folder / "ISIC_2019_Training_GroundTruth.csv", ",".join(["image", *SKIN, "UNK"]), truth)
    header = "image,age_approx,anatom_site_general,lesion_id,sex"
    table(folder / "ISIC_2019_Training_Metadata.csv", header, metadata)
    return folder


def path16(folder: Path) -> Path:
    """All seven sets; PatchCamelyon needs h5py."""
    _mhist(folder / "mhist")
    breast = folder / "breakhis" / "BreaKHis_v1" / "histology_slides" / "breast"
    for k, (kind, code) in enumerate((("benign", "B_A"), ("malignant", "M_DC"))):
        for i in range(12):
            slide = f"SOB_{code}-14-{100 * k + i // 2}AB"
            picture(breast / kind / "SOB" / "some_type" / slide / "40X" / f"{slide}-40-{i:03d}.png", 7000 + 100 * k + i)
    for s, (first, zoom) in enumerate((("First Set", "100x"), ("Second Set", "400x"))):
        for k, kind in enumerate(("Normal Oral Cavity", "OSCC")):
            for i in range(5):
                name = (
                    folder / "oral" / first / f"{zoom} {kind} Histopathological Images" / f"{kind[:4]}_{zoom}_{i}.jpg"
                )
                picture(name, 8000 + 100 * s + 10 * k + i)
    for k, kind in enumerate(("CIN", "EBV", "GS", "MSI")):
        for i in range(10):
            name = f"TCGA-BR-{4000 + 10 * k + i // 2}-01Z-00-DX1_{i}.png"
            picture(folder / "tcga_stad" / kind / name, 9000 + 100 * k + i)
    _lc25000(folder / "lc25000")
    patchcamelyon(folder / "patchcamelyon")
    return folder


def _mhist(folder: Path) -> None:
    lines = []
    for i in range(16):
        name, split = f"MHIST_{i:03d}.png", "test" if i >= 10 else "train"
        picture(folder / "images" / name, 6000 + i)
        lines.append(f"{name},{'SSA' if i % 2 else 'HP'},{3 + i % 2},{split}")
    header = "Image Name,Majority Vote Label,Number of Annotators who Selected SSA (Out of 7),Partition"
    table(folder / "annotations.csv", header, lines)


def _lc25000(folder: Path) -> None:
    groups = []
    for k, kind in enumerate(("lung_aca", "lung_n", "colon_aca", "colon_n")):
        tissue = kind.split("_")[0]
        images = folder / "lung_colon_image_set" / f"{tissue}_image_sets" / kind
        for i in range(12):
            stem = f"{kind.replace('_', '')}{i}"
            picture(images / f"{stem}.jpeg", 5000 + 100 * k + i)
            groups.append(f"{stem},{stem}.jpeg,{kind},{tissue},{i // 3},{10 * k + i // 3}")
    table(folder / "lc25000_image_groups.csv", "stem,filename,label,tissue,local_cluster_label,group_id", groups)


def patchcamelyon(folder: Path, train: int = 12, test: int = 8) -> Path:
    h5py = pytest.importorskip("h5py", reason="PatchCamelyon is packed as HDF5: pip install h5py")
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        stem = f"camelyonpatch_level_2_split_{split}"
        with h5py.File(folder / f"{stem}_x.h5", "w") as file:
            file["x"] = noise(len(split), (count, 96, 96, 3))
        with h5py.File(folder / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(count) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)
        lines = [f"{i},{i},{i},True,True,camelyon16_{split}_{i // 3:03d}" for i in range(count)]
        table(folder / f"{stem}_meta.csv", ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi", lines)
    return folder


def medmnist(file: Path, classes: int = 8, shape: Sequence[int] = (28, 28, 3)) -> Path:
    arrays: dict[str, np.ndarray] = {}
    for seed, (part, count) in enumerate((("train", 3), ("val", 1), ("test", 2))):
        arrays[f"{part}_images"] = noise(seed, (count * classes, *shape))
        arrays[f"{part}_labels"] = (np.arange(count * classes) % classes).astype(np.uint8).reshape(-1, 1)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file


def cifar100_files(classes: int = 4) -> dict[str, bytes]:
    """Content of train, test and meta, pickled as Python 2 did (byte keys, protocol 2)."""
    files = {"meta": {b"fine_label_names": [f"class_{i}".encode() for i in range(classes)]}}
    contents: dict[str, Any] = {**files}
    for seed, (split, count) in enumerate((("train", 3), ("test", 2))):
        labels = [i % classes for i in range(count * classes)]
        contents[split] = {
            b"batch_label": split.encode(),
            b"fine_labels": labels,
            b"coarse_labels": [0] * len(labels),
            b"data": noise(seed, (len(labels), 3072)),
        }
    return {name: pickle.dumps(content, protocol=2) for name, content in contents.items()}


def cifar100(archive: Path, **replaced: bytes) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in {**cifar100_files(), **replaced}.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


def class_folders(folder: Path, patients: int = 6) -> Path:
    """Two images of every patient."""
    for k, kind in enumerate(("benign", "malignant")):
        for i in range(2 * patients):
            picture(folder / kind / f"P{patients * k + i // 2:03d}_{i}.png", 100 * k + i)
    return folder


def dicom_image(path: Path, patient: str, study: str, instance: str, seed: int) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, instance
    image.StudyInstanceUID, image.SeriesInstanceUID = study, f"{study}.1"
    image.PatientID, image.PatientName = patient, f"Doe^{patient}"
    image.Rows = image.Columns = 8
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PixelData = noise(seed, (8, 8)).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)


def dicom_studies(folder: Path, patients: int = 6) -> Path:
    """Two studies of one image for every patient, half the patients of either class; labels by study."""
    lines = []
    for i in range(2 * patients):
        study = f"1.2.3.{i}"
        dicom_image(folder / "studies" / f"study{i}" / "image.dcm", f"SECRET{i // 2}", study, f"{study}.1.1", i)
        lines.append(f"{study},{'effusion' if i % 4 < 2 else 'normal'}")
    table(folder / "labels.csv", "StudyInstanceUID,label", lines)
    return folder
