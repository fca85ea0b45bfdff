"""TIFF against tifffile: its values, documented ones where it gives raw samples, or a refusal by name."""

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic.datasets import ROOT
from synthetic.images import RAMP, values

from dynammo.errors import UserError
from dynammo.io.image_reader import frame_count, image_fault, read_image
from dynammo.io.tiff import TiffFile, may_be_slide

CASES = ROOT.parent / "shared" / "cases"
KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
PACKINGS: list[dict[str, Any]] = [
    {}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"compression": "lzw"},
    {"compression": "packbits"}, {"compression": "zstd"}, {"compression": "lerc"}, {"compression": "jpeg2000"},
]  # fmt: skip
COLOURS = ["minisblack", "miniswhite", "rgb", "planar rgb", "grey and alpha", "grey and premultiplied alpha"]


def test_openslide_is_asked_only_for_tiffs_with_tags_of_slides(tmp_path: Path) -> None:
    """The first directory of tags, in both orders of bytes, in TIFF and BigTIFF; a damaged one is a picture."""
    for order, big, tag in itertools.product("<>", (False, True), (256, 322, 65420)):
        mark, number, pointer, entry = (43, "Q", "HHQ", "HHQQ") if big else (42, "H", "I", "HHII")
        head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", mark)
        head += struct.pack(order + pointer, *((8, 0, 16) if big else (8,)))
        tags = struct.pack(order + number, 2) + struct.pack(order + entry, 254, 4, 1, 0)
        (tmp_path / "a").write_bytes(head + tags + struct.pack(order + entry, tag, 4, 1, 0))
        assert may_be_slide(tmp_path / "a") is (tag != 256), (order, big, tag)
        for end in range(4, len(head) + 1):
            (tmp_path / "b").write_bytes(head[:end])
            assert not may_be_slide(tmp_path / "b")


def samples(kind: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Random numbers over the whole range of a type."""
    random = np.random.default_rng(seed)
    if kind.startswith("f"):
        return (random.normal(size=shape) * 100).astype(kind)
    limits = np.iinfo(kind)
    return random.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def expected(stored: np.ndarray, colours: str) -> np.ndarray | None:
    """(C, ..., H, W) as docs/images.md says; None for what has to be refused."""
    kind, screen = stored.dtype.kind, stored.dtype == np.uint8
    if colours.endswith("rgb"):
        planes = np.moveaxis(stored, -3 if colours.startswith("planar") else -1, 0)
        return (planes >> (8 * stored.dtype.itemsize - 8)).astype(np.float32) if kind == "u" else None
    if colours == "miniswhite":
        limits = None if kind == "f" else np.iinfo(stored.dtype)
        turned = -stored if limits is None else limits.max + limits.min - stored.astype(object)
        return turned.astype(np.float32)[None]
    grey = stored[..., 0] if "alpha" in colours else stored
    if screen and colours == "grey and alpha":
        grey = np.round(grey / 255 * stored[..., 1])
    return grey.astype(np.float32)[None]


@settings(deadline=None, max_examples=250)
@given(
    order=st.sampled_from("<>"), big=st.booleans(), kind=st.sampled_from(KINDS), colours=st.sampled_from(COLOURS),
    packing=st.sampled_from(PACKINGS), pages=st.sampled_from([1, 3]), tile=st.sampled_from([None, (16, 16)]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_values_are_those_of_tifffile_or_refused_by_name(
    order: str, big: bool, kind: str, colours: str, packing: dict[str, Any], pages: int, tile: tuple[int, int] | None,
    seed: int, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "x.tif"
    shape = {"rgb": (19, 23, 3), "planar rgb": (3, 19, 23)}.get(
        colours, (19, 23, 2) if "alpha" in colours else (19, 23)
    )
    options: dict[str, Any] = {"photometric": colours.split()[-1] if colours.endswith("rgb") else colours}
    if "planar" in colours:
        options["planarconfig"] = "separate"
    if "alpha" in colours:
        alpha = "assocalpha" if "premultiplied" in colours else "unassalpha"
        options = {"photometric": "minisblack", "extrasamples": [alpha], "planarconfig": "contig"}
    try:
        data = samples(kind, shape if pages == 1 else (pages, *shape), seed)
        tifffile.imwrite(path, data, byteorder=order, bigtiff=big, tile=tile, metadata=None, **options, **packing)
        stored = tifffile.imread(path)
    except Exception:  # what tifffile does not write or read
        return
    right = expected(stored.astype(stored.dtype.newbyteorder("=")), colours)
    if right is None:
        with pytest.raises(UserError, match=r"-bit (signed |float )TIFF with 3 channels \(RGB\) is not read"):
            read_image(path)
        return
    got = values(path)
    assert got.shape == right.shape
    assert np.array_equal(got, right) or (
        colours == "grey and alpha" and np.abs(got - right).max() <= 1 and kind == "u1"
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14, 24])
@pytest.mark.parametrize("photometric", [0, 1])
def test_depths_between(tmp_path: Path, bits: int, photometric: int) -> None:
    """Up to 8 bits spread over 0 to 255 for the screen; deeper ones as measured."""
    tags = [(256, 4, 1, 8), (257, 4, 1, 4), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric),
            (273, 4, 1, 0), (277, 3, 1, 1), (278, 4, 1, 4), (279, 4, 1, 4 * bits)]  # fmt: skip
    numbers = np.random.default_rng(bits).integers(0, 2**bits, (4, 8))
    packed = int("".join(f"{n:0{bits}b}" for n in numbers.ravel()), 2).to_bytes(4 * bits, "big")
    tags[5] = (273, 4, 1, 14 + 12 * len(tags))
    rows = b"".join(struct.pack("<HHI", *tag[:3]) + struct.pack("<I", tag[3]) for tag in tags)
    (tmp_path / "x").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4) + packed)
    right = numbers if photometric else 2**bits - 1 - numbers
    spread = 255 / (2**bits - 1) if bits <= 8 else 1
    try:
        got = read_image(tmp_path / "x")
    except UserError as error:  # an old imagecodecs, which would shift the bytes
        assert bits == 24 and "24-bit" in str(error)
        return
    assert got.meta["display"] is (bits <= 8)
    assert np.abs(got.array[0] - right * spread).max() < 1 if bits <= 8 else np.array_equal(got.array[0], right)


@pytest.mark.parametrize(
    ("shape", "kind", "options", "sentence"),
    [
        (
            (9, 8, 5),
            "f2",
            {"photometric": "minisblack", "planarconfig": "contig"},
            "a 16-bit float TIFF with 5 channels",
        ),
        ((9, 8, 2), "u1", {"photometric": "minisblack", "planarconfig": "contig"}, "an 8-bit TIFF with 2 channels"),
        ((9, 8), "c8", {}, "a 64-bit complex TIFF with 1 channels"),
        ((9, 8), "u2", {"photometric": "cfa"}, r"a 16-bit TIFF with 1 channels \(CFA\)"),
        ((9, 8, 3), "u1", {"photometric": "cielab"}, r"an 8-bit TIFF with 3 channels \(CIELAB\)"),
    ],
)
def test_what_cannot_be_known_is_refused_by_name(
    tmp_path: Path, shape: tuple[int, ...], kind: str, options: dict[str, Any], sentence: str
) -> None:
    tifffile.imwrite(tmp_path / "x", np.zeros(shape, kind), **options)
    with pytest.raises(UserError, match=sentence + r".* is not read"):
        read_image(tmp_path / "x")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_eight_bits_are_as_pillow_reads_them(tmp_path: Path, mode: str, compression: str | None) -> None:
    grid = np.add.outer(np.arange(64), np.arange(48))
    picture = Image.fromarray(np.stack([grid * 2, 255 - grid, grid % 99], 2).astype(np.uint8)).convert(mode)
    if compression == "jpeg" and mode in {"1", "P", "RGBA", "LA"}:
        return
    picture.save(tmp_path / "x.tif", compression=compression)
    with Image.open(tmp_path / "x.tif") as opened:
        try:
            right = np.asarray(opened.convert("L" if mode in {"1", "L", "LA"} else "RGB"), np.float32)
        except OSError:  # Pillow 12 cannot read what it wrote
            assert (mode, compression) == ("YCbCr", None)
            return
    got = values(tmp_path / "x.tif")
    right = right[None] if right.ndim == 2 else right.transpose(2, 0, 1)
    assert got.shape == right.shape and np.abs(got - right).max() <= (mode == "YCbCr")


def test_palettes_of_eight_bits_in_words_of_sixteen(tmp_path: Path) -> None:
    index, table = np.arange(256, dtype=np.uint8).reshape(16, 16), np.arange(768, dtype=np.uint16).reshape(3, 256) % 256
    for words in (table, table * 257):
        tifffile.imwrite(tmp_path / "x.tif", index, photometric="palette", colormap=words)
        assert np.array_equal(values(tmp_path / "x.tif"), table.reshape(3, 16, 16))


def test_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), k, np.uint8)) for k in (10, 30, 20)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert frame_count(tmp_path / "stack.tif") == 3 and values(tmp_path / "stack.tif").shape == (1, 3, 4, 5)
    assert values(f"{tmp_path}/stack.tif#1").max() == 30 == values(tmp_path / "stack.tif", frames="maximum").max()
    pages[0].save(tmp_path / "previews.tif", save_all=True, append_images=[pages[1].resize((2, 2))])
    assert frame_count(tmp_path / "previews.tif") == 1 and values(tmp_path / "previews.tif").max() == 10


def test_the_largest_page_is_the_picture(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for side, value in ((8, 1), (32, 2), (16, 3), (32, 4)):
            file.write(np.full((side, side), value, np.uint8), compression="zlib" if value == 4 else None)
    assert values(tmp_path / "x.tif").shape == (1, 2, 32, 32) and values(f"{tmp_path}/x.tif#1").max() == 4


@pytest.mark.parametrize("count", [1, 4])
def test_a_small_page_before_a_picture_or_stack_that_tifffile_describes(tmp_path: Path, count: int) -> None:
    data = samples("u1", (count, 12, 10), 3)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(data[0, ::4, ::4])
        file.write(data, truncate=True, photometric="minisblack")
    assert np.array_equal(values(tmp_path / "x.tif").reshape(1, count, 12, 10), data[None])


def test_stacks_that_describe_one_frame_alone(tmp_path: Path) -> None:
    """ImageJ and tifffile write one directory for frames that lie behind one another."""
    for kind, shape, axes in (
        ("u2", (7, 12, 10), "ZYX"),
        ("f4", (3, 2, 12, 10), "TCYX"),
        ("u1", (4, 12, 10, 3), "ZYXS"),
    ):
        data = samples(kind, shape, 1)
        tifffile.imwrite(tmp_path / "x.tif", data, imagej=True, truncate=True, metadata={"axes": axes})
        tifffile.imwrite(
            tmp_path / "y.tif", data, truncate=True, byteorder=">", photometric="rgb" if axes[-1] == "S" else None
        )
        with tifffile.TiffFile(tmp_path / "x.tif") as file:
            assert len(file.pages) == 1
        stack = data.reshape(-1, 12, 10, 3).transpose(3, 0, 1, 2) if axes[-1] == "S" else data.reshape(1, -1, 12, 10)
        for path in (tmp_path / "x.tif", tmp_path / "y.tif"):
            assert np.array_equal(values(path), stack)
            assert np.array_equal(values(f"{path}#2"), stack[:, 2]) and frame_count(path) == stack.shape[1]
    content = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(content[: len(content) - 400])
    assert image_fault(tmp_path / "x.tif")


def test_missing_strips_are_no_black_ones(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", RAMP, rowsperstrip=8, compression="zlib")
    with tifffile.TiffFile(tmp_path / "x.tif", mode="r+b") as file:
        counts = file.pages[0].tags["StripByteCounts"]
        counts.overwrite((0, *counts.value[1:]))
    with pytest.raises(UserError, match="strips or tiles are missing"):
        read_image(tmp_path / "x.tif")


def test_spacing_is_told_where_it_is_sure(tmp_path: Path) -> None:
    def spacing(**options: Any) -> list[float]:  # noqa: ANN401
        tifffile.imwrite(tmp_path / "x.tif", RAMP, **options)
        found: list[float] = np.round(read_image(tmp_path / "x.tif").meta["spacing"], 6).tolist()
        return found

    assert spacing(resolution=(20000, 10000), resolutionunit="CENTIMETER") == [0.001, 0.0005]
    assert spacing(imagej=True, resolution=(4, 2), metadata={"unit": "um"}) == [0.0005, 0.00025]
    for options in (
        {"resolution": (300, 300), "resolutionunit": "INCH"}, {"resolution": (118.11, 118.11), "resolutionunit": 3},
        {"resolution": (2, 2), "resolutionunit": "NONE"}, {},
    ):  # fmt: skip
        assert np.isnan(spacing(**options)).all()
    stack = {"imagej": True, "resolution": (4, 2), "metadata": {"unit": "mm", "spacing": 3.0, "axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "x.tif", np.stack([RAMP] * 3), **stack)
    file = TiffFile(tmp_path / "x.tif")
    assert file.spacing.tolist() == [3, 0.5, 0.25] and file.shape == (3, 48, 40)
    file.close()


@pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not here")
@pytest.mark.parametrize(
    "name", ["bigendian_deflate_int16", "uint32_large", "int8", "float64", "imagej_one_directory_7_slices"]
)
def test_cases_that_went_wrong(name: str) -> None:
    right = tifffile.imread(CASES / f"{name}.tif").astype(np.float32)
    assert np.array_equal(values(CASES / f"{name}.tif"), right[None])


@pytest.mark.skipif(not CASES.is_dir(), reason="shared/cases is not here")
def test_cases_with_a_rule_of_their_own() -> None:
    white = tifffile.imread(CASES / "white_is_zero_16bit.tif")
    assert np.array_equal(values(CASES / "white_is_zero_16bit.tif")[0], 65535 - white)
    assert values(CASES / "rgb16_planar.tif")[:, 8, 8].tolist() == [255, 127, 0]
    assert values(CASES / "thumbnail_first.tif").shape == (1, 48, 64)
    deep = values(CASES / "grey16_alpha_12bit.png")
    assert deep.shape == (1, 48, 64) and (deep.min(), deep.max()) == (819, 4095)
