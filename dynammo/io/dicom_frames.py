"""Frames of DICOM pixel data decoded by pydicom's plug-ins, by Pillow where a JPEG says more than its header."""

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import gdcm  # type: ignore[import-untyped]
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, Jpeg2KImagePlugin
from pydicom.dataset import Dataset
from pydicom.encaps import (
    encapsulate,
    generate_fragments,
    generate_frames,
    get_frame,
    parse_basic_offsets,
    parse_fragments,
)
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import _get_jpg_parameters, get_j2k_parameters
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from dynammo.io.dicom_values import used_bits
from dynammo.runtime.library_output import caught_output

__all__ = ["check_syntax", "decode", "library_notes"]

Words = NDArray[Any]
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
STARTS = (b"\xff\xd8", b"\xff\x4f")  # of a JPEG and a JPEG 2000 image
START_OF_SCAN, WITHOUT_LENGTH = b"\xda", b"\x01\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9"  # markers of JPEG
END_OF_IMAGE = b"\xff\xd9"
LONGEST = 90  # characters of a decoder's message
PROBING = "Unsupported JPEG data precision"  # GDCM tries libjpeg for 8 bits first

# pydicom's warnings quote values of the header, which may name a patient; odd values are met where they are used
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\b")
for _quiet in (gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff, gdcm.Trace.DebugOff):
    _quiet()
for _syntax in (JPEG2000, JPEG2000Lossless):  # two others read it; GDCM ends the process where its data are damaged
    if "gdcm" in get_decoder(_syntax).available_plugins:
        get_decoder(_syntax).remove_plugin("gdcm")
_heard = threading.local()


class _Listener(logging.Handler):
    """Keeps what pydicom warns of while a thread decodes a file, to be said of that file; prints nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING and getattr(_heard, "notes", None) is not None:
            _heard.notes.append(record.getMessage().split("\n")[0])


_pydicom = logging.getLogger("pydicom")
_pydicom.addHandler(_Listener())
_pydicom.propagate = False


def library_notes(notes: list[str] | None) -> None:
    """Have pydicom's warnings in this thread added to `notes` from now on; None: to nothing."""
    _heard.notes = notes


@contextmanager
def _said() -> Iterator[None]:
    """Have what a decoder prints added to the notes of this thread's file: it may have filled in what was missing."""
    with caught_output() as lines:
        yield
    said = [line for line in lines if not line.startswith(PROBING)]
    if said and getattr(_heard, "notes", None) is not None:
        _heard.notes.append(f"its decoder says: {said[0][:LONGEST]}")


@lru_cache
def check_syntax(syntax: UID) -> UID:
    """Refuse a transfer syntax that nothing decodes."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ValueError(f"no decoder is there for the transfer syntax {syntax.name}; export it in another") from None
    if not decoder.is_available:
        missing = "; ".join(decoder.missing_dependencies)
        raise ValueError(f"the decoder of the transfer syntax {syntax.name} is not installed ({missing})")
    return syntax


def decode(
    header: Dataset, shape: tuple[int, int, int], path: Path, wanted: Sequence[int], notes: list[str]
) -> Iterator[tuple[Words, Words]]:
    """Decode frames; what is odd about them is added to `notes`.

    Args:
        header: as `check_header` completes it.
        shape: stored (frames, rows, columns).
        path: of the file.
        wanted: numbers of the frames.
        notes: is added to.

    Yields:
        Of each frame the numbers that are meant, and the whole words they are a part of: (rows, columns, samples).
    """
    syntax = UID(header.file_meta.TransferSyntaxUID)
    options = _options(header)
    if not syntax.is_encapsulated:
        content = header[options["pixel_keyword"]].value or b""
        _note_more(len(content) // _frame_bytes(header, shape), shape[0], notes)
        for k in wanted:
            words = get_decoder(syntax).as_array(content, index=k, **options)[0]
            words = words.reshape(shape[1], shape[2], -1)
            yield used_bits(words, options["bits_stored"], header.get("HighBit", 0)), words
        return
    if syntax == RLELossless and _fragments(header.PixelData or b"") == shape[0]:  # no copy of them is needed
        for k in wanted:
            words = _decoded(header.PixelData, syntax, dict(options), k).reshape(shape[1], shape[2], -1)
            yield used_bits(words, header.BitsStored, header.HighBit), words
        return
    for stream in _streams(header, shape[0], wanted, syntax == RLELossless, notes):
        words, precision = _decompressed(stream, syntax, dict(options), shape, path)
        words = words.reshape(shape[1], shape[2], -1)
        high = header.HighBit if precision is None or precision > header.HighBit else header.BitsStored - 1
        whole = syntax in (*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes) and high == header.BitsStored - 1
        yield words if whole else used_bits(words, header.BitsStored, high), words


def _options(header: Dataset) -> dict[str, Any]:
    """The image as pydicom's decoders want it described; unused bits stay, for padding may stand in them."""
    keyword = next(name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in header)
    return {
        "rows": header.Rows, "columns": header.Columns, "samples_per_pixel": header.SamplesPerPixel,
        "bits_allocated": header.BitsAllocated, "bits_stored": header.get("BitsStored", header.BitsAllocated),
        "pixel_representation": header.get("PixelRepresentation", 0), "pixel_keyword": keyword,
        "photometric_interpretation": header.PhotometricInterpretation, "number_of_frames": header.NumberOfFrames,
        "planar_configuration": header.get("PlanarConfiguration", 0), "pixel_vr": header[keyword].VR,
        "correct_unused_bits": False, "allow_excess_frames": False,
    }  # fmt: skip


def _frame_bytes(header: Dataset, shape: tuple[int, int, int]) -> int:
    bits: int = shape[1] * shape[2] * header.SamplesPerPixel * header.BitsAllocated
    return max(1, bits // (12 if header.PhotometricInterpretation == "YBR_FULL_422" else 8))


def _note_more(held: int, said: int, notes: list[str]) -> None:
    if held > said:
        notes.append(f"it holds {held} frames, its header speaks of {said}: those beyond are left out")


def _streams(header: Dataset, frames: int, wanted: Sequence[int], rle: bool, notes: list[str]) -> Iterator[bytes]:
    """The compressed frames, also where the header says 1 and more follow."""
    content = header.PixelData or b""
    table = (header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths"))
    told = {"number_of_frames": frames, "extended_offsets": table if all(table) else None}
    if frames == 1 and not all(table):
        items = BytesIO(content)
        parse_basic_offsets(items)
        fragments = list(generate_fragments(items))
        starts = [k for k, fragment in enumerate(fragments) if rle or fragment[:2] in STARTS]
        _note_more(len(starts), 1, notes)
        yield b"".join(fragments[: starts[1]] if len(starts) > 1 else fragments)
    elif len(wanted) == 1:
        yield get_frame(content, wanted[0], **told)
    else:
        streams = dict(zip(range(frames), generate_frames(content, **told), strict=False))
        if missing := set(wanted) - streams.keys():
            raise ValueError(f"its header speaks of {frames} frames, its data end before frame {min(missing)}")
        yield from (streams[k] for k in wanted)


def _decompressed(
    stream: bytes, syntax: UID, options: dict[str, Any], shape: tuple[int, int, int], path: Path
) -> tuple[Words, int | None]:
    """A frame, and the bits of a sample as the stream has them; None where it has words as they are."""
    if syntax in JPEG2000TransferSyntaxes:
        _check_size(_size_of_jpeg_2000(stream), shape)
        return _by_plugins(stream, syntax, options), get_j2k_parameters(stream).get("precision", 0)
    facts = _get_jpg_parameters(stream) if syntax != RLELossless else {}
    if facts:
        _check_size((facts["width"], facts["height"]), shape)
    if syntax in JPEGTransferSyntaxes:
        return _jpeg(stream, syntax, options, facts, shape, path), facts.get("precision", 0)
    if syntax not in JPEGLSTransferSyntaxes:
        return _by_plugins(stream, syntax, options), None
    try:
        return _by_plugins(stream, syntax, options), facts.get("precision", 0)
    except ValueError:  # a zero byte before the end marker, or none at all: other readers take it
        mended = stream.rstrip(b"\0").removesuffix(END_OF_IMAGE).removesuffix(b"\0") + END_OF_IMAGE
        return _by_plugins(mended, syntax, options), facts.get("precision", 0)


def _fragments(content: bytes) -> int:
    items = BytesIO(content)
    parse_basic_offsets(items)
    count: int = parse_fragments(items)[0]
    return count


def _by_plugins(stream: bytes, syntax: UID, options: dict[str, Any]) -> Words:
    return _decoded(encapsulate([stream]), syntax, options | {"number_of_frames": 1}, 0)


def _decoded(content: bytes, syntax: UID, options: dict[str, Any], index: int) -> Words:
    """What the first of pydicom's plug-ins makes of a frame that does not fail."""
    try:
        with _said():
            return np.asarray(get_decoder(syntax).as_array(content, index=index, **options)[0])
    except RuntimeError as error:
        reasons = "; ".join(line.strip()[:LONGEST] for line in str(error).split("\n")[1:])
        raise ValueError(f"no decoder reads its {syntax.name} data ({reasons})") from None
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of a Rust decoder: no Exception, as Python sees it
            raise ValueError("its compressed pixel data are damaged") from None
        raise


def _jpeg(
    stream: bytes, syntax: UID, options: dict[str, Any], facts: dict[str, Any], shape: tuple[int, int, int], path: Path
) -> Words:
    """A JPEG as the same JPEG would be as a file; only without marks of its own the header says what it means."""
    if facts and facts["components"] != options["samples_per_pixel"]:
        raise ValueError(
            f"its header speaks of {options['samples_per_pixel']} samples a pixel, its JPEG of {facts['components']}"
        )
    if options["samples_per_pixel"] == 3:
        options["photometric_interpretation"] = _colours_of_jpeg(facts, options["photometric_interpretation"])
    fault = ""
    if syntax in LOSSY and facts.get("precision", 8) == 8:
        try:
            return _by_pillow(stream, facts, options["photometric_interpretation"])
        except Exception as error:
            fault = f"pillow: {str(error)[:LONGEST]}; "
    _check_markers(stream, fault)
    if syntax == JPEGExtended12Bit and facts.get("precision") == 12:
        return _deep_jpeg(path, shape)
    try:
        return _by_plugins(stream, syntax, options)
    except ValueError as error:
        raise ValueError(f"{fault}{error}") from None


def _colours_of_jpeg(facts: dict[str, Any], meaning: str) -> str:
    """RGB or YBR_FULL: by JFIF or Adobe's mark, else by the names of the components, else by the header."""
    marks = facts.get("app", {})
    if any(mark.startswith(b"JFIF\0") for mark in marks.values()):
        return "YBR_FULL"
    adobe = marks.get(b"\xff\xee", b"")
    if adobe.startswith(b"Adobe") and len(adobe) > 11:  # cut short it says nothing
        return "YBR_FULL" if adobe[11] else "RGB"
    named = bytes(facts.get("component_ids", [])).upper() == b"RGB"
    return "RGB" if named or meaning == "RGB" else "YBR_FULL"


def _by_pillow(stream: bytes, facts: dict[str, Any], meaning: str) -> Words:
    with Image.open(BytesIO(stream), formats=("JPEG",)) as image:
        marked = "adobe_transform" in image.info or bytes(facts.get("component_ids", [])) == b"RGB"
        whole = len({component[1:3] for component in image.layer}) == 1
        if meaning == "RGB" and whole and not marked:  # libjpeg takes them for YCbCr; asked for that, it keeps them
            image.draft("YCbCr", image.size)
        return np.asarray(image)


def _deep_jpeg(path: Path, shape: tuple[int, int, int]) -> Words:
    """Lossy JPEG of 12 bits, which pydicom leaves out of what it asks GDCM for; stored values, not rescaled."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    with _said():
        if shape[0] != 1 or not reader.Read():
            raise ValueError("its 12-bit JPEG data are damaged, or of several frames, which are not read")
        content = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")  # how SWIG hands bytes over
    if len(content) != 2 * shape[1] * shape[2]:
        raise ValueError(f"its 12-bit JPEG data do not make {shape} frames, rows and columns")
    return np.frombuffer(content, np.uint16)


def _check_markers(stream: bytes, fault: str) -> None:
    """Refuse a JPEG whose header makes GDCM warn, for then it ends the process."""
    at = 2
    while stream[at : at + 1] == b"\xff" and stream[at + 1 : at + 2] != START_OF_SCAN:
        marker, body = stream[at + 1 : at + 2], stream[at + 4 : at + 16]
        if marker in WITHOUT_LENGTH:
            break
        if marker == b"\xee" and body.startswith(b"Adobe") and body[11:] not in (b"\0", b"\1"):
            break
        if marker == b"\xe0" and body.startswith(b"JFIF\0") and body[5:6] != b"\1":
            break
        at += 1 if marker == b"\xff" else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    if stream[at : at + 2] != b"\xff" + START_OF_SCAN:
        raise ValueError(f"its JPEG data are damaged ({fault or 'its header'})")


def _size_of_jpeg_2000(stream: bytes) -> tuple[int, int]:
    with Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(stream)) as image:  # reads the header alone
        width, height = image.size
    return width, height


def _check_size(size: tuple[int, int], shape: tuple[int, int, int]) -> None:
    """Refuse a stream of another size than the header's: a decoder would fill the memory for it."""
    if size[1] and size != (shape[2], shape[1]):  # JPEG may leave out the height
        raise ValueError(f"its header speaks of {shape[2]} x {shape[1]} pixels, its data of {size[0]} x {size[1]}")
