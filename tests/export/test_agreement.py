"""Every form of a model must give what the network of the run gives, before it is said to be exported."""

from pathlib import Path

import pytest
import torch
from conftest import Trained
from synthetic.datasets import write_image
from synthetic.images import RAMP, dicom, save
from synthetic.records import export

from dynammo.errors import UserError
from dynammo.export.agreement import TOLERANCE, check_agreement, sample_images
from dynammo.runs.load import load_model


def test_forms_agree_on_images_and_on_noise(trained: Trained, tiny_data: Path, tmp_path: Path) -> None:
    models = export(trained("dynammo"), tmp_path / "out")
    run = load_model(trained("dynammo"))
    images = sample_images(tiny_data)
    for given in (images, []):
        found = check_agreement(models.parent, run.network, run.record, given)
        assert found.difference <= TOLERANCE and (found.images, found.misread) == (len(given), 0)


def test_other_weights_are_not_exported(trained: Trained, tmp_path: Path) -> None:
    models = export(trained("dynammo"), tmp_path / "out")
    run = load_model(trained("dynammo"))
    with torch.no_grad():
        run.network.heads[0].bias[0] += 5
    with pytest.raises(UserError, match=r"model\.pt gives probabilities that differ .* nothing was exported"):
        check_agreement(models.parent, run.network, run.record, [])


def test_a_few_readable_images_are_taken_from_all_over(tmp_path: Path) -> None:
    assert sample_images(None) == sample_images(tmp_path / "nowhere") == []
    for number in range(40):
        write_image(tmp_path / f"{number:02}.png", "red", number, size=8)
    save(dicom(RAMP), tmp_path / "film")
    (tmp_path / "00.png").write_bytes(b"no image")
    found = sample_images(tmp_path)
    assert len(found) == 15 and tmp_path / "00.png" not in found
    assert found == sorted(found) and found[0].name < "10" and found[-1].name > "30"
