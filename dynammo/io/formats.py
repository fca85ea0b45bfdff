"""Which format a file has, told by its content whatever its name says; why one is not read, in words."""

import re
import struct
from pathlib import Path

from dynammo.errors import UserError
from dynammo.io.dicom import is_dicom_slide
from dynammo.io.nifti import is_nifti
from dynammo.io.slides import is_slide
from dynammo.io.tiff import may_be_slide

__all__ = ["IMAGE_ENDINGS", "NO_IMAGE", "format_or_fault", "reason_of", "split_fragment"]

# formats of files that count as images by their names, and are reported where their content is none
IMAGE_ENDINGS = (
    ".dcm", ".dicom", ".ima", ".nii", ".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svs", ".ndpi", ".mrxs",
    ".scn", ".bif", ".bmp", ".gif", ".webp", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".nrrd", ".nhdr",
    ".mha", ".mhd", ".mnc",
)  # fmt: skip
NO_IMAGE = (
    "it is neither DICOM nor NIfTI, PNG, JPEG, TIFF, a slide, WebP, BMP, GIF, JPEG 2000, NRRD or MetaImage, "
    "whatever its name says"
)
LONGEST = 200  # characters of a message of a library
FOLDERS = re.compile(r"(?<!\w)(?:[A-Za-z]:)?[/\\](?:[^/\\]*[/\\])+")  # in messages; they may name patients
HEAD = 1024  # bytes that tell the format
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the latter are BigTIFF
OLD_DICOM = (b"\x08\0", b"\x02\0")  # groups that open a DICOM file without preamble
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif", b"NRRD000": "nrrd",
    b"\0\0\0\x0cjP  \r\n\x87\n": "jpeg2000", b"\xff\x4f\xff\x51": "jpeg2000",
}  # fmt: skip
METAIMAGE = (b"ObjectType", b"NDims", b"Comment")  # how its text begins
BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}  # lengths: text may begin with BM
BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"hevc": "HEIC", b"avif": "AVIF"}
UNREAD = {
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"II\xbc": "JPEG XR", b"8BPS": "Photoshop",
    b"\x89HDF\r\n\x1a\n": "HDF5, as of MINC 2,", b"CDF\1": "NetCDF, as of MINC 1,", b"CDF\2": "NetCDF, as of MINC 1,",
}  # fmt: skip


def split_fragment(path: str | Path) -> tuple[Path, str]:
    """Take a path apart into the file and what stands behind the last `#`; a file may have # in its name."""
    whole = Path(path)
    if "#" not in str(path) or whole.is_file():
        return whole, ""
    file, _, fragment = str(path).rpartition("#")
    return Path(file), fragment


def format_or_fault(file: Path) -> tuple[str | None, str]:
    """Tell the format of a file.

    Returns:
        dicom, nifti, png, jpeg, tiff, slide, webp, bmp, gif, jpeg2000, nrrd or metaimage, and nothing; or None, and
        why the file is no image that is read.

    Raises:
        OSError: no such file, a link in a circle, a file that may not be read.
    """
    if file.is_dir():
        return None, "it is a folder; expected a file"
    with file.open("rb") as stream:
        head = stream.read(HEAD)
    if not head:
        return None, "it is empty"
    kind = _kind(file, head)
    unread = None if kind else _unread(head)
    return kind, f"{unread} is not read; save it as PNG, JPEG, TIFF or NIfTI" if unread else "" if kind else NO_IMAGE


def _kind(file: Path, head: bytes) -> str | None:
    if head[128:132] == b"DICM":
        return "slide" if is_dicom_slide(head) and is_slide(file) else "dicom"
    if head.startswith(TIFFS):
        return "slide" if may_be_slide(file) and is_slide(file) else "tiff"
    picture = _signed(head)
    if picture == "jpeg" and file.suffix.lower() == ".mrxs":  # MIRAX: the slide lies in a folder beside the picture
        return "slide" if is_slide(file) else picture
    if picture is None and is_nifti(file):
        return "nifti"
    if picture is None and head.startswith(OLD_DICOM) and head[3:4] == b"\0":
        return "dicom"
    return picture or ("slide" if is_slide(file) else None)


def _signed(head: bytes) -> str | None:
    """The format whose mark stands at the beginning."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and len(head) > 18 and struct.unpack("<I", head[14:18])[0] in BMP_HEADERS:
        return "bmp"
    if head.startswith(METAIMAGE) and b"NDims" in head and b"=" in head:
        return "metaimage"
    return next((name for mark, name in SIGNATURES.items() if head.startswith(mark)), None)


def _unread(head: bytes) -> str | None:
    """Name of a picture's format that no library without the GPL reads here."""
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12])
    return next((name for mark, name in UNREAD.items() if head.startswith(mark)), None)


def reason_of(error: Exception) -> str:
    """One line for a person, whatever a decoder raised."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()  # without the path that Python adds
    if isinstance(error, MemoryError):
        return "the memory does not suffice for it"
    line = FOLDERS.sub("", str(error).split("\n")[0]).rstrip(".")[:LONGEST]
    if isinstance(error, UserError | ValueError) and line:
        return line
    kind = "it ends early" if isinstance(error, EOFError) else f"it is damaged ({type(error).__name__})"
    return f"{kind}: {line}" if line and not isinstance(error, KeyError | IndexError | AttributeError) else kind
