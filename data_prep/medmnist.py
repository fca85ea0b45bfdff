"""A set of MedMNIST (.npz): ``python -m data_prep.medmnist -i downloads/bloodmnist.npz -o data/bloodmnist``.

Pictures become PNG, volumes NIfTI. Arrays are read image by image, so memory stays small at any size.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import numpy as np
import typer
from numpy.lib import format as npy

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.runtime.progress import track

from .array_files import write_picture, write_volume
from .checksums import refuse_other_sum
from .command_line import DuplicatesOption, MaxTest, MaxTrain, Out, Seed, Unchecked, one_sentence
from .data_list import About, Choice, choose, finish
from .leak_check import Duplicates
from .medmnist_sets import MULTI_LABEL, SETS, MedmnistSet

URL = "https://zenodo.org/records/10519652"
PARTS = ("train", "val", "test")

app = typer.Typer(add_completion=False)


def known_set(file: Path) -> MedmnistSet:
    """Tell the set by its file name, such as bloodmnist.npz or bloodmnist_224.npz.

    Raises:
        UserError: an unknown name, no such file, or the set with several labels an image.
    """
    name = file.stem.partition("_")[0]
    if name == MULTI_LABEL:
        raise UserError(
            f"{MULTI_LABEL} marks several findings in one image, but this bundle learns classes of which each image "
            f"has one; choose another set: {', '.join(SETS)}."
        )
    if name not in SETS or file.suffix != ".npz":
        raise UserError(f"{file.name} is not named as a set of MedMNIST; expected one of {', '.join(SETS)} with .npz.")
    if not file.is_file():
        raise UserError(f"there is no file {file}; get it at {URL} and give it with -i.")
    return SETS[name]


def read_medmnist(file: Path, known: MedmnistSet, parts: Sequence[str], unpacked: Path) -> list[ImageRecord]:
    """List every image of some parts under the name it will be unpacked to; val counts as train.

    Raises:
        UserError: a damaged archive, arrays missing or not of the expected shape.
    """
    return [record for part in parts for record in _listed(file, known, part, unpacked)]


def unpack_medmnist(file: Path, parts: Sequence[str], chosen: Sequence[ImageRecord], unpacked: Path) -> None:
    """Write the chosen images as PNG, volumes as NIfTI."""
    wanted = {record.path for record in chosen}
    for part in parts:
        with _array(file, f"{part}_images") as (stream, shape):
            write = write_volume if _is_volume(shape) else write_picture
            for index, image in enumerate(track(_images(stream, shape), f"unpacking {part}", shape[0])):
                path = unpacked / _name(part, index, shape)
                if path in wanted:
                    write(path, image)


def _listed(file: Path, known: MedmnistSet, part: str, unpacked: Path) -> list[ImageRecord]:
    with _array(file, f"{part}_images") as (_, shape):
        pass
    with _array(file, f"{part}_labels") as (stream, label_shape):
        labels = np.frombuffer(stream.read(int(np.prod(label_shape, dtype=np.int64))), np.uint8)
    if label_shape != (shape[0], 1) or len(labels) != shape[0] or labels.max(initial=0) >= len(known.classes):
        raise UserError(
            f"the {part} labels of {file.name} have shape {label_shape} and go up to {labels.max(initial=0)}; expected "
            f"one below {len(known.classes)} for each of {shape[0]} images: download it again at {URL}."
        )
    split = "test" if part == "test" else "train"
    return [
        ImageRecord(unpacked / _name(part, index, shape), known.classes[int(label)], split)
        for index, label in enumerate(labels)
    ]


def _name(part: str, index: int, shape: tuple[int, ...]) -> str:
    return f"{part}_{index:06d}{'.nii.gz' if _is_volume(shape) else '.png'}"


def _is_volume(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[-1] != 3


@contextmanager
def _array(file: Path, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
    """Open one array at its first image; bytes alone are accepted, so nothing in it can be a pickle."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as stream:
            first = npy.read_magic(stream) == (1, 0)
            shape, fortran, dtype = (npy.read_array_header_1_0 if first else npy.read_array_header_2_0)(stream)
            if dtype != np.uint8 or fortran or not 2 <= len(shape) <= 4 or 0 in shape:
                raise UserError(f"{key} of {file} is {dtype} of shape {shape}; expected uint8 as at {URL}.")
            yield stream, shape
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError) as error:
        raise UserError(f"{file} has no readable {key} ({error}); download it again at {URL}.") from error


def _images(stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    size = int(np.prod(shape[1:], dtype=np.int64))
    for _ in range(shape[0]):
        block = stream.read(size)
        if len(block) < size:
            raise UserError(f"the archive ends before the last of its {shape[0]} images; download it again at {URL}.")
        yield np.frombuffer(block, np.uint8).reshape(shape[1:])


def _checked_sum(file: Path, known: MedmnistSet, unchecked: bool) -> str:
    published = known.md5.get(file.stem)
    if unchecked or published is None:
        return "not checked"
    return refuse_other_sum(file, published, URL)


@app.command()
def main(
    download: Annotated[Path, typer.Option("--in", "-i", help="The .npz file, under its published name.")],
    out: Out,
    with_val: Annotated[bool, typer.Option("--with-val", help="Train on the validation images too.")] = False,
    max_train: MaxTrain = 0,
    max_test: MaxTest = 0,
    seed: Seed = 0,
    duplicates: DuplicatesOption = Duplicates.refuse,
    unchecked: Unchecked = False,
) -> None:
    """Unpack a set of MedMNIST and make its data list, with the split of its authors."""
    with one_sentence():
        known = known_set(download)
        md5 = _checked_sum(download, known, unchecked)
        parts = [part for part in PARTS if part != "val" or with_val]
        choice = Choice(seed, 0.0, max_train, max_test)
        unpacked = out / "images" / download.stem
        chosen = choose(read_medmnist(download, known, parts, unpacked), choice)
        unpack_medmnist(download, parts, chosen, unpacked)
        notes = ["MedMNIST names no patients: only the split of its authors keeps them apart"]
        about = About(f"MedMNIST {download.stem}", URL, known.licence, notes=notes, facts={"md5": md5, "parts": parts})
        finish(chosen, out, out, choice, duplicates, about)


if __name__ == "__main__":
    app()
