"""Small files that claim to be huge, and threads that share the memory there is."""

import gzip
import struct
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless
from synthetic.images import dicom, nifti, save

from dynammo.errors import UserError
from dynammo.io.image_reader import frame_count, read_image
from dynammo.runtime.claims import BYTES_PER_VALUE, MemoryBudget, check_claim

MANY = 100_000_000
PLANE = np.zeros((8, 8), np.uint16)


def many() -> FileDataset:
    image = dicom(PLANE)
    image.NumberOfFrames = MANY
    return image


def plain(path: Path) -> None:
    save(many(), path)


def deflated(path: Path) -> None:
    image = many()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    save(image, path)


def encapsulated(path: Path) -> None:
    image = many()
    image.PixelData = encapsulate([bytes(64)])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    save(image, path)


def volume(path: Path) -> None:
    content = bytearray(nifti(np.zeros((2, 2, 2), np.uint8)).to_bytes())
    content[40:56] = struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)
    path.write_bytes(content)


def packed(path: Path) -> None:
    volume(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize("make", [plain, deflated, encapsulated, volume, packed])
def test_a_small_file_that_claims_to_be_huge_takes_no_memory(make: object, tmp_path: Path) -> None:
    path = tmp_path / "small"
    make(path)  # type: ignore[operator]
    assert path.stat().st_size < 2000
    for ask in (frame_count, read_image):
        tracemalloc.start()
        with pytest.raises(UserError, match=r"its header speaks of .* but the file has \d+"):
            ask(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()


def test_what_a_file_can_hold_is_believed() -> None:
    check_claim((10, 8, 8, 3), 1, 240)
    check_claim((10,), 64, 80)
    check_claim((1032,), 8, 1, ratio=1032)
    with pytest.raises(ValueError, match="10 x 8 x 8 x 3 values, 240 bytes, but the file has 239"):
        check_claim((10, 8, 8, 3), 1, 239)


def test_readers_together_stay_within_the_budget_and_a_large_image_is_read_alone() -> None:
    budget, together, most = MemoryBudget(3 * BYTES_PER_VALUE), [], []
    lock = threading.Lock()

    def read(values: int) -> None:
        with budget.job(), budget.job():
            budget.claim(values)
            with lock:
                together.append(values)
                most.append(tuple(together))
            time.sleep(0.01)
            with lock:
                together.remove(values)

    threads = [threading.Thread(target=read, args=(values,)) for values in (1, 2, 9, 1, 3, 1, 9, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert all(sum(held) <= 3 or held == (9,) for held in most) and len(most) == 8
    with budget.job():
        budget.claim(3)
        budget.claim(1)  # a second claim of one job never waits for others


def test_pictures_that_compress_well_are_read_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from dynammo.io import image_reader, pictures

    Image.fromarray(np.zeros((100, 100), np.uint8)).save(tmp_path / "black.png")
    budget, running, most = MemoryBudget(15_000 * BYTES_PER_VALUE), [0], [0]
    monkeypatch.setattr(image_reader, "READING", budget)
    load = pictures.PictureFile.load

    def slow(*arguments: object) -> object:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.05)
        running[0] -= 1
        return load(*arguments)  # type: ignore[arg-type]

    def read() -> None:
        with budget.job():
            read_image(tmp_path / "black.png")

    monkeypatch.setattr(pictures.PictureFile, "load", slow)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
