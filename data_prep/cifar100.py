"""CIFAR-100, python version: ``python -m data_prep.cifar100 -i downloads/cifar-100-python.tar.gz -o data/cifar100``.

Its files are pickles; they are read without executing them (see `array_pickle`), and nothing but the three known
files is taken out of the archive.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dynammo.data.images import ImageRecord
from dynammo.errors import UserError
from dynammo.runtime.progress import track

from .array_files import write_picture
from .array_pickle import PickleRefused, read_pickle
from .checksums import refuse_other_sum
from .command_line import DuplicatesOption, MaxTest, MaxTrain, Out, Seed, Unchecked, one_sentence
from .data_list import About, Choice, choose, finish
from .leak_check import Duplicates

URL = "https://www.cs.toronto.edu/~kriz/cifar.html"
FOLDER = "cifar-100-python"
MD5 = {
    f"{FOLDER}.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
LARGEST = 1 << 28  # bytes; the training file has 155 MB

app = typer.Typer(add_completion=False)


def read_files(download: Path, unchecked: bool = False) -> tuple[dict[str, bytes], dict[str, str]]:
    """Read train, test and meta from the archive or from the folder it was unpacked to.

    Returns:
        Content by name, and the MD5 sums that were checked.

    Raises:
        UserError: a file missing, too large, a link; another sum than the published one.
    """
    if download.is_dir():
        folder = download / FOLDER if (download / FOLDER).is_dir() else download
        missing = [name for name in ("train", "test", "meta") if not (folder / name).is_file()]
        if missing:
            raise UserError(f"{folder} has no file {', '.join(missing)}; unpack {FOLDER}.tar.gz there, from {URL}.")
        sums = {n: refuse_other_sum(folder / n, MD5[n], URL) for n in ("train", "test", "meta") if not unchecked}
        return {name: (folder / name).read_bytes() for name in ("train", "test", "meta")}, sums
    if not download.is_file():
        raise UserError(f"there is no file {download}; get {FOLDER}.tar.gz at {URL} and give it with -i.")
    sums = {} if unchecked else {download.name: refuse_other_sum(download, MD5[f"{FOLDER}.tar.gz"], URL)}
    return _from_archive(download), sums


def read_split(content: bytes, split: str, names: list[str], unpacked: Path) -> tuple[list[ImageRecord], np.ndarray]:
    """Read one of the two image files.

    Returns:
        The images under the names they will be unpacked to, and their pixels (n, 32, 32, 3), uint8.

    Raises:
        UserError: a pickle that is more than arrays, or not CIFAR-100.
    """
    table = _table(content, split)
    data, labels = table.get("data"), table.get("fine_labels")
    if not isinstance(data, np.ndarray) or not isinstance(labels, list) or data.shape != (len(labels), 3072):
        raise UserError(f"the file {split} is not that of CIFAR-100 (data, fine_labels); download it again at {URL}.")
    if not all(isinstance(label, int) and 0 <= label < len(names) for label in labels):
        raise UserError(f"the file {split} has labels that meta has no name for; download both again at {URL}.")
    files = [unpacked / f"{split}_{index:05d}.png" for index in range(len(labels))]
    records = [ImageRecord(path, names[label], split) for path, label in zip(files, labels, strict=True)]
    return records, data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def class_names(content: bytes) -> list[str]:
    """Names of the fine classes, in the order of the labels."""
    names = _table(content, "meta").get("fine_label_names")
    if not isinstance(names, list) or not names:
        raise UserError(f"the file meta has no fine_label_names; download it again at {URL}.")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _table(content: bytes, name: str) -> Mapping[str, Any]:
    try:
        table = read_pickle(content)
    except PickleRefused as error:
        raise UserError(
            f"the file {name} {error}; it was not opened further and nothing in it was run: get it again at {URL}."
        ) from error
    if not isinstance(table, dict):
        raise UserError(f"the file {name} is not a table of CIFAR-100; download it again at {URL}.")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in table.items()}


def _from_archive(archive: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.removeprefix(f"{FOLDER}/")
                if name not in ("train", "test", "meta"):
                    continue
                stream = tar.extractfile(member) if member.isreg() and member.size <= LARGEST else None
                if stream is None:
                    raise UserError(f"{member.name} in {archive} is no plain file of its size; get it again at {URL}.")
                found[name] = stream.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} is not a whole archive ({error}); download it again at {URL}.") from error
    if missing := [name for name in ("train", "test", "meta") if name not in found]:
        raise UserError(f"{archive} has no {FOLDER}/{', '.join(missing)}; download it again at {URL}.")
    return found


def unpack(files: Mapping[str, bytes], choice: Choice, unpacked: Path) -> list[ImageRecord]:
    """Choose images and write them as PNG.

    Returns:
        The chosen images.
    """
    names = class_names(files["meta"])
    records, pixels = [], []
    for split in ("train", "test"):
        listed, images = read_split(files[split], split, names, unpacked)
        records += listed
        pixels += list(images)
    chosen = choose(records, choice)
    image_of = dict(zip((record.path for record in records), pixels, strict=True))
    for record in track(chosen, "unpacking", len(chosen)):
        write_picture(record.path, image_of[record.path])
    return chosen


@app.command()
def main(
    download: Annotated[Path, typer.Option("--in", "-i", help="cifar-100-python.tar.gz, or the folder unpacked.")],
    out: Out,
    max_train: MaxTrain = 0,
    max_test: MaxTest = 0,
    seed: Seed = 0,
    duplicates: DuplicatesOption = Duplicates.refuse,
    unchecked: Unchecked = False,
) -> None:
    """Unpack CIFAR-100 and make its data list: 100 fine classes, the split of its authors."""
    with one_sentence():
        files, sums = read_files(download, unchecked)
        choice = Choice(seed, 0.0, max_train, max_test)
        chosen = unpack(files, choice, out / "images")
        about = About("CIFAR-100", URL, "none stated; cite Krizhevsky 2009", facts={"md5": sums or "not checked"})
        finish(chosen, out, out, choice, duplicates, about)


if __name__ == "__main__":
    app()
