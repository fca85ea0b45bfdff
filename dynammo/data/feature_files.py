"""Files of embeddings of every kind: what they say of each vector, and the vectors, which are read when all else fits.

Nothing in them is ever run, no text is more than text, and no file is read that the one given does not name.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynammo.data.leaks import some
from dynammo.errors import UserError
from dynammo.runtime.plain import as_text, usable_memory
from dynammo.runtime.progress import track
from dynammo.runtime.tables import listed_path

__all__ = ["ENCODER", "EXPECTED", "FeatureFile", "open_features"]

SLIDES = (".h5", ".hdf5")
ENDINGS = (".npz", ".csv", ".parquet", *SLIDES)
HEADS = ("id", "label", "group", "split", "file")
ARRAYS = {"ids": "id", "labels": "label", "groups": "group", "splits": "split"}  # of an .npz file
ENCODER = "encoder"  # array beside them: what made the vectors
EXPECTED = (
    "expected an .npz file with the arrays features (N, D), ids, labels and perhaps groups and splits; a .csv or "
    ".parquet file with the columns id, label, perhaps group and split, and numbers; or, in place of the numbers, a "
    "column file with an HDF5 file of features (N, D) for each slide"
)
Texts = Mapping[str, tuple[str, ...]]


class FeatureFile(NamedTuple):
    """A file of embeddings whose vectors are still to be read.

    Attributes:
        texts: by head, a text for every row.
        vectors: reads them, (N, D); True for the mean of each row's vectors, where it has several.
        slides: HDF5 file of every row, where a row is a slide of several vectors.
        counts: vectors of every slide.
    """

    texts: Texts
    vectors: Callable[[bool], NDArray[Any]]
    slides: tuple[Path, ...] = ()
    counts: tuple[int, ...] = ()


def open_features(path: Path) -> FeatureFile:
    """Read what a file says of its vectors; of slides, how many vectors each has.

    Raises:
        UserError: none of these kinds, damaged, rows of unequal width, columns that hold no numbers, slides whose file
            is missing or holds other things than vectors.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path} is none of {', '.join(ENDINGS)}; {EXPECTED}.")
    if path.suffix.lower() in SLIDES:
        return _slides(path, {"id": (as_text(path.stem),)}, (path,))
    with _readable(path, EXPECTED):
        return _arrays(path) if path.suffix.lower() == ".npz" else _frame(path)


@contextmanager
def _readable(path: Path, expected: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, EOFError, MemoryError, ImportError, RuntimeError, zipfile.BadZipFile) as e:
        said = (str(e).strip() or type(e).__name__).splitlines()[0][:200]
        raise UserError(f"{path} cannot be read ({said}); {expected}.") from e


def _arrays(path: Path) -> FeatureFile:
    with np.load(path, allow_pickle=False) as arrays:
        if not hasattr(arrays, "files") or "features" not in arrays.files:
            raise UserError(f"{path} has no array features; {EXPECTED}.")
        vectors = arrays["features"]
        _check_numbers(vectors.dtype, path)
        texts = {ARRAYS[name]: arrays[name] for name in arrays.files if name in ARRAYS}
        made = [_text(arrays[ENCODER].item())] if ENCODER in arrays.files and not arrays[ENCODER].ndim else []
    for name, values in texts.items():
        if values.ndim != 1 or values.dtype.kind not in "USiuf":
            raise UserError(
                f"the {name}s of {path} are {values.dtype} {values.shape}; expected a text for each vector."
            )
    found = {name: tuple(map(_text, values.tolist())) for name, values in texts.items()}
    return FeatureFile(found | {ENCODER: tuple(made)}, lambda _: vectors)


def _frame(path: Path) -> FeatureFile:
    import pandas as pd

    if path.suffix.lower() == ".parquet":
        frame = pd.read_parquet(path)
    else:
        with path.open(encoding="utf-8-sig") as stream:
            first = stream.readline()
        heads = {name: str for name in first.replace('"', "").replace(";", ",").split(",") if _head(name) in HEADS}
        separator = ";" if first.count(";") > first.count(",") else ","
        frame = pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", dtype={k.strip(): v for k, v in heads.items()},
            keep_default_na=False, index_col=False, skipinitialspace=True,
        )  # fmt: skip
    frame.columns = [_head(name) if _head(name) in HEADS else str(name) for name in frame.columns]
    if not frame.columns.is_unique:
        raise UserError(f"{path} has two columns of one name; {EXPECTED}.")
    texts = {name: tuple(map(_text, frame[name].tolist())) for name in HEADS if name in frame.columns}
    files = texts.pop("file", ())
    if files:
        return _slides(path, texts, _listed(path, files))
    rest = frame.drop(columns=[*texts, *({"file"} & {*frame.columns})])
    if list(rest.columns) == ["features"]:  # a list in each row
        widths = {len(row) for row in rest["features"]}
        if len(widths) > 1:
            raise UserError(f"the vectors of {path} have from {min(widths)} to {max(widths)} values; expected as many.")
        lists = np.stack(rest["features"].tolist()) if len(rest) else np.empty((0, 0))
        return FeatureFile(texts, lambda _: lists)
    numbers = rest.apply(pd.to_numeric, errors="coerce")
    words = [name for name in rest.columns if len(rest) and numbers[name].isna().all()]
    if words:
        raise UserError(f"the column {words[0][:40]!r} of {path} holds no numbers; leave it out.")
    return FeatureFile(texts, lambda _: numbers.to_numpy())


def _listed(path: Path, files: Sequence[str]) -> tuple[Path, ...]:
    """The HDF5 files that a table names, from its own folder on."""
    other = [name for name in files if not name.lower().endswith(SLIDES)]
    if other:
        raise UserError(
            f"the column file of {path} names {other[0][:40]!r}; expected an HDF5 file ({' or '.join(SLIDES)}) in each "
            "row, or no such column."
        )
    places = tuple(listed_path(path.parent, name) for name in files)
    folder = path.parent.absolute()
    outside = [f"{p}" for p in places if ".." in p.parts or not p.absolute().is_relative_to(folder)]
    if outside:
        raise UserError(f"{path} names files outside its folder ({some(outside)}); put the table beside its slides.")
    missing = [f"{p}" for p in places if not p.is_file()]
    if missing:
        raise UserError(f"{len(missing)} of {len(places)} files of {path} are missing ({some(missing)}).")
    return places


def _slides(path: Path, texts: Texts, files: tuple[Path, ...]) -> FeatureFile:
    shapes = [_shape(file) for file in files]
    widths = {width: file for file, (_, width) in zip(files, shapes, strict=True)}
    if len(widths) > 1:
        said = "; ".join(f"{width} in {file.name}" for width, file in sorted(widths.items())[:2])
        raise UserError(f"the slides of {path} have vectors of unequal width ({said}); give those of one encoder.")
    counts = tuple(count for count, _ in shapes)
    return FeatureFile(texts, lambda mean: _blocks(path, files, counts, shapes[0][1], mean), files, counts)


@contextmanager
def _dataset(file: Path) -> Iterator[Any]:
    """The vectors of a slide, which lie in its own file: HDF5 can also name other files, which are not read."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f'{file} is HDF5, which needs h5py; type pip install "dynammo[hdf5]".') from error
    expected = "expected an HDF5 file with one dataset features (N, D) of numbers"
    with _readable(file, expected), h5py.File(file, "r") as opened:
        link = opened.get("features", getlink=True)
        found = opened["features"] if isinstance(link, h5py.HardLink) else None
        if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
            raise UserError(f"{file} has no dataset features of its own; {expected}.")
        if found.ndim != 2 or not found.size:
            raise UserError(f"the features of {file} are {found.shape}; {expected}.")
        _check_numbers(found.dtype, file)
        yield found


def _shape(file: Path) -> tuple[int, int]:
    with _dataset(file) as found:
        count, width = found.shape
    return int(count), int(width)


def _blocks(path: Path, files: Sequence[Path], counts: Sequence[int], width: int, mean: bool) -> NDArray[np.float32]:
    needed = 4 * width * ((max(counts) + len(files)) if mean else sum(counts))
    memory = usable_memory()
    if memory is not None and needed > memory:
        raise UserError(
            f"the vectors of {path} take {needed / 1e9:.1f} GB, but this machine has {memory / 1e9:.1f} GB of memory; "
            + ("give smaller files." if mean else "type --average vectors to learn the mean of each slide.")
        )
    vectors = np.empty((len(files) if mean else sum(counts), width), np.float32)
    start = 0
    for file, count in track(zip(files, counts, strict=True), "reading slides", len(files)):
        with _dataset(file) as found:
            block = found.astype(np.float32)[()]
        if block.shape != (count, width):
            raise UserError(f"{file} changed while it was read; type the command again.")
        size = 1 if mean else count
        vectors[start : start + size] = block.mean(0, dtype=np.float64) if mean else block
        start += size
    return vectors


def _check_numbers(dtype: np.dtype[Any], path: Path) -> None:
    if dtype.kind not in "fiu":
        raise UserError(f"the features of {path} are {dtype}; expected numbers.")


def _head(name: object) -> str:
    return str(name).strip().lower()


def _text(value: object) -> str:
    """A value as text; nothing and NaN are "", and 12.0 is 12."""
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return as_text(str(value).strip())
