"""Damage images at random and read them: each ends as an image or as a sentence, in bounded time and memory.

Type `python tests/fuzz/readers.py --count 2000 --seconds 60` from the repository root. Every input is read in a
process of its own making, which may take 4 GiB more than it has and 20 s for each; what kills it is a crash.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import tifffile
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

sys.path.insert(0, str(Path(__file__).parents[1]))  # where pytest looks, too

from synthetic.images import LOSSLESS, RAMP, compressed, dicom, nifti, save

from dynammo.errors import UserError
from dynammo.io.image_reader import read_image

LONGEST_READ = 20.0  # seconds
MEMORY = 4 * 2**30  # bytes


def seeds(folder: Path) -> dict[str, bytes]:
    """Whole files of every format, to be damaged."""
    colour = np.stack([RAMP % 251, RAMP % 241, RAMP % 17], axis=2).astype(np.uint8)
    files = {"plain dicom": save(dicom(RAMP, RescaleSlope=2, RescaleIntercept=-9, PixelPaddingValue=3), folder / "a")}
    for syntax in LOSSLESS:
        files[syntax.keyword] = save(compressed(dicom(RAMP), syntax, folder), folder / syntax.keyword)
    files["JPEGBaseline8Bit"] = save(compressed(dicom(colour), JPEGBaseline8Bit, folder), folder / "b")
    film = np.stack([colour] * 3)
    files["film"] = save(dicom(film, NumberOfFrames=3), folder / "film")
    contents = {name: path.read_bytes() for name, path in files.items()}
    for name, picture, options in (
        ("png", colour, {}), ("png 16", RAMP, {}), ("jpeg", colour, {}), ("tiff", colour, {"compression": "tiff_lzw"}),
    ):  # fmt: skip
        stream = BytesIO()
        Image.fromarray(picture).save(stream, name.split()[0].upper(), **options)
        contents[name] = stream.getvalue()
    for name, pixels, saving in (
        ("tiff big-endian", RAMP, {"byteorder": ">", "compression": "zlib", "predictor": True}),
        ("tiff tiled", colour, {"tile": (16, 16), "compression": "lzw", "bigtiff": True}),
        ("tiff float", RAMP.astype(np.float32), {"compression": "zstd"}),
        ("tiff planar", np.stack([RAMP] * 3), {"photometric": "rgb", "planarconfig": "separate"}),
        ("tiff jpeg", colour, {"compression": "jpeg"}),
        ("tiff stack", np.stack([RAMP] * 3), {"imagej": True, "truncate": True}),
        ("tiff pages", np.stack([colour] * 3), {"photometric": "rgb", "compression": "packbits"}),
    ):
        stream = BytesIO()
        tifffile.imwrite(stream, pixels, **saving)
        contents[name] = stream.getvalue()
    for suffix in ("nrrd", "mha"):
        sitk.WriteImage(sitk.GetImageFromArray(RAMP.reshape(10, 16, 12)), str(folder / f"c.{suffix}"))
        contents[suffix] = (folder / f"c.{suffix}").read_bytes()
    for name in ("webp", "bmp", "gif", "jpeg2000"):
        stream = BytesIO()
        Image.fromarray(colour).save(stream, name.upper())
        contents[name] = stream.getvalue()
    contents["nifti"] = nifti(RAMP.reshape(12, 16, 10).astype(np.int16)).to_bytes()
    return contents


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """The content with a few bytes changed, a part cut, doubled or zeroed."""
    data, at = bytearray(content), int(random.integers(len(content)))
    kind = random.integers(5)
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        return bytes(data[:at] + data[at : at + 64] * 2 + data[at + 64 :])
    if kind == 2:
        data[at : at + int(random.integers(1, 64))] = b"\0" * 8
        return bytes(data)
    for place in random.integers(len(data), size=int(random.integers(1, 9))):
        data[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF, int(random.integers(256))])
    return bytes(data)


def inputs(count: int, seed: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files, format by format in turns."""
    random, contents = np.random.default_rng(seed), list(seeds(folder).items())
    for k in range(count):
        name, content = contents[k % len(contents)]
        yield name, damaged(content, random)


def outcome(path: Path) -> str:
    """`image`, `sentence`, or the name of an error that is neither."""
    try:
        array = read_image(path, window="header", pictures_as_rgb=True).array
    except UserError:
        return "sentence"
    except Exception as error:
        return f"error {type(error).__name__}"
    return "image" if np.isfinite(array).all() and array.ndim in (3, 4) else "error in the values"


class Reader:
    """Reads one file after the other."""

    def __call__(self, path: Path) -> str:
        """What became of it."""
        return outcome(path)


def _serve(pipe: Connection, make: Callable[[], Callable[[Path], str]]) -> None:
    load = make()
    pipe.send("ready")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged"
        while True:
            path.write_bytes(pipe.recv_bytes())
            pipe.send(load(path))


def fuzz(count: int, seconds: float, seed: int = 0) -> Counter[str]:
    """Read damaged files until there are `count` or the time is over; count what became of them."""
    return fuzz_with(inputs, Reader, count, seconds, seed)


def fuzz_with(
    inputs: Callable[[int, int, Path], Iterator[tuple[str, bytes]]],
    make: Callable[[], Callable[[Path], str]],
    count: int,
    seconds: float,
    seed: int = 0,
) -> Counter[str]:
    """Give damaged files to what `make` makes in a process of its own; count what became of them."""
    found: Counter[str] = Counter()
    context, until = multiprocessing.get_context("spawn"), time.monotonic() + seconds
    worker = None
    with tempfile.TemporaryDirectory() as folder:
        for name, data in inputs(count, seed, Path(folder)):
            if time.monotonic() > until:
                break
            if worker is None:
                pipe, theirs = context.Pipe()
                worker = context.Process(target=_serve, args=(theirs, make), daemon=True)
                worker.start()
                theirs.close()
                pipe.recv()  # what it imports may take longer than any file
            result = _ask(pipe, data)
            found[result] += 1
            if result not in ("image", "sentence"):
                print(f"{name}: {result}; the file is {_keep(data)}")
            if result in ("hang", "crash"):
                worker.kill()
                worker.join()
                worker = None
    if worker is not None:
        worker.kill()
        worker.join()
    return found


def _ask(pipe: Connection, data: bytes) -> str:
    try:
        pipe.send_bytes(data)
        return str(pipe.recv()) if pipe.poll(LONGEST_READ) else "hang"
    except (EOFError, ConnectionError):
        return "crash"


def _keep(data: bytes) -> str:
    with tempfile.NamedTemporaryFile(prefix="fuzz_", delete=False) as file:
        file.write(data)
    return file.name


def main(about: str, fuzz: Callable[[int, float, int], Counter[str]], seconds: float) -> None:
    """Parse the command line, fuzz, and exit with 1 where anything else than an image or a sentence came out."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    results = fuzz(options.count, options.seconds, options.seed)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    took = f"{time.monotonic() - start:.0f} s and at most {most / 1e6:.0f} MB"
    print(f"{results.total()} damaged files in {took}: {dict(results)}")
    raise SystemExit(bool(set(results) - {"image", "sentence"}))


if __name__ == "__main__":
    main("Damage images at random and read them.", fuzz, 60)
