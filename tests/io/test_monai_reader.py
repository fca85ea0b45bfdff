from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic.images import (
    COLOUR,
    dicom,
    save,
)

from dynammo.errors import UserError


def test_in_monai(tmp_path: Path) -> None:
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose, LoadImaged, RandFlipd

    from dynammo.io.monai_reader import ClinicalReader

    Image.fromarray(COLOUR).save(tmp_path / "a#b.png")
    path = save(dicom(np.stack([COLOUR] * 3), NumberOfFrames=3), tmp_path / "b")
    reader = ClinicalReader(pictures_as_rgb=True)
    assert reader.verify_suffix([str(path), f"{path}#1"]) and not reader.verify_suffix(tmp_path / "none")
    load = Compose([LoadImaged("image", reader=reader, ensure_channel_first=True), RandFlipd("image", 1.0, 0)])
    loader = DataLoader(Dataset([{"image": str(tmp_path / "a#b.png")}, {"image": f"{path}#2"}], load), batch_size=2)
    batch = next(iter(loader))["image"]
    assert batch.shape == (2, 3, 48, 40) and np.array_equal(batch[0].flip(1), COLOUR.transpose(2, 0, 1))  # fmt: skip
    (tmp_path / "t.dcm").write_text("text")
    with pytest.raises(RuntimeError) as raised:
        load({"image": str(tmp_path / "t.dcm")})
    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    assert "t.dcm cannot be read" in str(error)
    with pytest.raises(UserError, match="frames is 'first'"):
        ClinicalReader(frames="first")
    with pytest.raises(UserError, match="window is"):
        ClinicalReader(window=(5, 1))


def test_what_is_recorded_of_a_reduced_jpeg_is_its_own_size(tmp_path: Path) -> None:
    from dynammo.io.monai_reader import ClinicalReader

    Image.new("RGB", (400, 300)).save(tmp_path / "x.jpg")
    reader = ClinicalReader(smallest=75)
    array, meta = reader.get_data(reader.read(tmp_path / "x.jpg"))
    assert array.shape == (3, 75, 100) and meta["spatial_shape"].tolist() == [300, 400]
    assert np.array_equal(meta["affine"], meta["original_affine"] @ np.diag([4, 4, 1, 1]))
