"""What a person hands over, a folder, file, zip, DICOMDIR or list, as studies to be classified one by one."""

import os
import stat
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dynammo.errors import UserError
from dynammo.io.dicom_headers import DicomHeader, not_slices, read_header, slice_order
from dynammo.io.file_sources import (
    FoundFiles,
    files_of_dicomdir,
    files_of_folder,
    files_of_list,
    is_dicomdir,
    is_zip,
    unpack,
)
from dynammo.io.formats import IMAGE_ENDINGS, NO_IMAGE, format_or_fault
from dynammo.io.image_reader import image_format
from dynammo.runtime.plain import as_text, expanded
from dynammo.runtime.progress import track

__all__ = ["Study", "StudyList", "find_studies"]

ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
NO_PIXELS = "it is DICOM without an image: the pixels are missing"
SHORT = 8  # last characters of a UID, which differ between series of one scanner


@dataclass(frozen=True, slots=True)
class Study:
    """One item to classify: an image, or the files of one DICOM series.

    Attributes:
        files: a single file, or the slices of a series in their order.
        name: unique path from the source on, of the file or of the series in the folder of its files.
        format: dicom, nifti, png, jpeg, tiff or slide; empty where `reason` says why not.
        modality: such as CT, of DICOM alone.
        study_uid: StudyInstanceUID, or empty.
        series_uid: SeriesInstanceUID, or empty.
        instance_uid: SOPInstanceUID of a single file, or empty.
        reason: why it cannot be read, as far as its header tells; empty for what looks readable.
        note: which files of the series are left out, and why.
    """

    files: tuple[Path, ...]
    name: str
    format: str = ""
    modality: str = ""
    study_uid: str = ""
    series_uid: str = ""
    instance_uid: str = ""
    reason: str = ""
    note: str = ""


@dataclass(frozen=True)
class StudyList:
    """Everything that was handed over.

    Attributes:
        studies: sorted by name.
        ignored: files that are no images: texts, reports, presentation states.
        links: symbolic links in folders, which are not followed.
        root: the folder that names start from.
    """

    studies: list[Study]
    ignored: int
    links: int
    root: Path


@dataclass(frozen=True, slots=True)
class _Inspected:
    """A file after a look at its beginning; without format and reason it is no image."""

    path: Path
    format: str = ""
    reason: str = ""
    header: DicomHeader | None = None


def find_studies(source: str | Path, unpack_into: str | Path, leave_out: Collection[Path] = ()) -> StudyList:
    """Find what is to be classified; headers are read, pixels are not.

    Args:
        source: a folder, an image, a zip, a DICOMDIR, or a list of paths (text or CSV, relative to the list).
        unpack_into: folder for the files of a zip; the caller removes it. Untouched without a zip.
        leave_out: folders inside of `source` that are not entered, such as that of the results.

    Raises:
        UserError: no such path, nothing to classify in it, a zip, DICOMDIR or list that cannot be used.
    """
    source = expanded(source)
    found = _found(source, expanded(unpack_into), leave_out)
    with ThreadPoolExecutor() as pool:
        try:
            seen = list(track(pool.map(_inspect, found.files), "reading headers", len(found.files)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # who stops does not wait for all headers
    seen += [_Inspected(path, reason=reason) for path, reason in sorted(found.faults.items())]
    rows = [file for file in seen if file.format or file.reason]
    ignored = len(seen) - len(rows) + found.others
    if not rows:
        links = f" {found.links} links in it are not followed; name their files in a list." if found.links else ""
        raise UserError(
            f"there is no image in {source} ({ignored} other files); expected DICOM, NIfTI, PNG, JPEG, TIFF or slides."
            + links
        )
    return StudyList(_studies(rows, found.root), ignored, found.links, found.root)


def _found(source: Path, unpack_into: Path, leave_out: Collection[Path]) -> FoundFiles:
    try:
        if source.is_dir():
            return files_of_folder(source, leave_out)
        if not stat.S_ISREG(source.stat().st_mode):
            raise UserError(f"{source} is neither a file nor a folder; give a folder, an image, a zip or a list.")
        if is_zip(source):
            return _found_in_zip(source, unpack_into)
    except OSError as error:
        raise UserError(
            f"{source} cannot be opened ({error.strerror}); give a folder, an image, a zip, a DICOMDIR or a list."
        ) from error
    if is_dicomdir(source):
        return files_of_dicomdir(source)
    if image_format(source) or _named_like_an_image(source):
        return FoundFiles(source.parent, [source])
    if source.name.lower().endswith(ARCHIVES):
        raise UserError(f"{source} is an archive that is not read; unpack it and give the folder, or give a zip.")
    return files_of_list(source)


def _found_in_zip(archive: Path, into: Path) -> FoundFiles:
    faults = unpack(archive, into)
    found = files_of_folder(into)
    found.faults.update({path: reason for path, reason in faults.items() if _named_like_an_image(path)})
    found.others += len(faults.keys() - found.faults.keys())
    return found


def _inspect(path: Path) -> _Inspected:
    """Tell by the content what a file is; one that is only named like an image gets the reason why it is none."""
    claims = _named_like_an_image(path)
    try:
        kind, fault = format_or_fault(path)
    except OSError as error:
        return _Inspected(path, reason=(error.strerror or "it cannot be opened").lower())
    except Exception as error:  # of a library that looks at its content, or of the memory
        return _Inspected(path, reason=f"it is damaged ({type(error).__name__})")
    if kind == "dicom" or (kind == "slide" and _is_dicom(path)):
        return _inspect_dicom(path, kind, claims)
    return _Inspected(path, sys.intern(kind or ""), fault if claims else "")


def _inspect_dicom(path: Path, kind: str, claims: bool) -> _Inspected:
    try:
        header = read_header(path)
    except Exception as error:  # pydicom raises many kinds for a damaged header
        return _Inspected(path, reason=f"its DICOM header is damaged ({type(error).__name__})")
    if header.kind == "image":
        return _Inspected(path, kind, header=header)
    if header.kind == "no pixels":
        return _Inspected(path, kind, NO_PIXELS, header)
    return _Inspected(path, reason=NO_IMAGE if header.kind == "nothing" and claims else "")


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _named_like_an_image(path: Path) -> bool:
    return path.name.lower().endswith(IMAGE_ENDINGS)


def _studies(seen: Sequence[_Inspected], root: Path) -> list[Study]:
    series: dict[tuple[str, ...], list[_Inspected]] = defaultdict(list)
    for file in seen:
        series[_key(file)].append(file)
    taken: set[str] = set()
    groups = sorted(series.values(), key=len)  # single files keep their names, series make way
    studies = [_study(group, root, taken) for group in groups]
    return sorted(studies, key=lambda study: study.name)


def _key(file: _Inspected) -> tuple[str, ...]:
    """What the files of one study share; a file alone has its own path."""
    if file.header is None or file.reason or not file.header.series_uid:
        return (str(file.path),)
    return file.format, file.header.study_uid, file.header.series_uid


def _study(group: Sequence[_Inspected], root: Path, taken: set[str]) -> Study:
    first = group[0]
    if first.header is None:
        return Study((first.path,), _unique([_name(first.path, root)], taken), first.format, reason=first.reason)
    header = first.header
    headers = [file.header for file in group if file.header is not None]
    others = not_slices(headers)
    kept = [i for i in range(len(group)) if i not in others]
    order = [kept[k] for k in slice_order([headers[i] for i in kept])]
    header = headers[order[0]]
    return Study(
        tuple(group[i].path for i in order),
        _unique(_names([_name(file.path, root) for file in group], header), taken),
        first.format,
        header.modality,
        header.study_uid,
        header.series_uid,
        header.instance_uid if len(order) == 1 else "",
        first.reason,
        "; ".join(f"{group[i].path.name} is left out: {kind}" for i, kind in others.items()),
    )


def _names(files: Sequence[str], header: DicomHeader) -> list[str]:
    """Names for a study, the best first."""
    if len(files) == 1:
        return [files[0]]
    folder = PurePosixPath(os.path.commonpath([PurePosixPath(name).parent for name in files]))
    short = header.series_uid[-SHORT:].strip(".")
    words = f"{header.modality} series".strip()
    names = [f"{words} {short}"]
    if header.series_number is not None:
        names = [f"{words} {header.series_number}", f"{words} {header.series_number} {short}"]
    return [(folder / name).as_posix() for name in names]


def _name(path: Path, root: Path) -> str:
    """Path from the root on, as text that every file can hold: a name on disk need not be UTF-8."""
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(os.path.relpath(path, root))
    return as_text(relative.as_posix())


def _unique(candidates: Sequence[str], taken: set[str]) -> str:
    name = next(name for name in _endless(candidates) if name not in taken)
    taken.add(name)
    return name


def _endless(candidates: Sequence[str]) -> Iterator[str]:
    yield from candidates
    count = 2
    while True:
        yield f"{candidates[-1]} ({count})"
        count += 1
