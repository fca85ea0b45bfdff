"""Which images a model meets next, and that all that defines it comes from its record."""

import csv
import re
import shutil
from pathlib import Path

import pytest
import yaml
from synthetic.datasets import ROOT
from synthetic.lifecycle import colours

from dynammo.data.increments import IncrementImages
from dynammo.errors import UserError

KNOWN = ["red", "blue"]


def source(folder: Path, data_list: Path | None = None) -> dict[str, str | None]:
    return {"dataset_dir": str(folder), "data_list": str(data_list) if data_list else None}


def test_folders_are_new_or_known_classes(tmp_path: Path) -> None:
    images = IncrementImages(colours(tmp_path / "new", "white", "green", "red"), KNOWN)
    assert (images.new_classes, images.updated) == (["green", "white"], ["red"])
    assert images.images("train") == {"green": 6, "red": 6, "white": 6}
    assert {record.split for record in images.records} == {"train", "test"}


def test_test_images_of_a_class_come_from_the_first_place_that_has_some(tmp_path: Path) -> None:
    new = colours(tmp_path / "new", "white", "red", test=2)
    more = colours(tmp_path / "more", "red", "blue", test=3)
    earlier = colours(tmp_path / "earlier", "red", "blue", "white", "green", test=5)
    images = IncrementImages(new, KNOWN, more / "test", [source(earlier)])
    assert images.images("test") == {"blue": 3, "red": 2, "white": 2}
    assert IncrementImages(new, KNOWN, None, [source(earlier)]).images("test") == {"blue": 5, "red": 2, "white": 2}
    shutil.rmtree(earlier)
    assert IncrementImages(new, KNOWN, None, [source(earlier)]).images("test") == {"red": 2, "white": 2}


def test_test_images_of_a_data_list_are_found_again(tmp_path: Path) -> None:
    folder, file = colours(tmp_path / "earlier", "blue"), tmp_path / "list.csv"
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["path", "label", "split"])
        for split in ("train", "test"):
            for image in sorted((folder / split / "blue").iterdir()):
                writer.writerow([image.relative_to(folder), "blue", split])
    new = colours(tmp_path / "new", "white")
    assert IncrementImages(new, KNOWN, None, [source(folder, file)]).images("test") == {"blue": 3, "white": 3}
    file.write_text("path,label,split\n../elsewhere.png,blue,test\n")
    assert IncrementImages(new, KNOWN, None, [source(folder, file)]).images("test") == {"white": 3}
    file.unlink()
    assert IncrementImages(new, KNOWN, None, [source(folder, file)]).images("test") == {"white": 3}


def test_without_new_images_there_are_those_to_measure_with(tmp_path: Path) -> None:
    images = IncrementImages(None, KNOWN, None, [source(colours(tmp_path / "earlier", "red", "blue", "green"))])
    assert (images.new_classes, images.updated, images.images("train")) == ([], [], {})
    assert images.images("test") == {"blue": 3, "red": 3}


def test_unreadable_images_are_refused_or_passed_by(tmp_path: Path) -> None:
    new = colours(tmp_path / "new", "white")
    (new / "train" / "white" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="1 of 7 images cannot be read"):
        IncrementImages(new, KNOWN)
    assert IncrementImages(new, KNOWN, skip_unreadable=True).images("train") == {"white": 6}
    with pytest.raises(UserError, match="--test-data a folder"):
        IncrementImages(new, KNOWN, tmp_path / "nowhere", skip_unreadable=True)


def test_no_image_is_in_train_and_in_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, earlier = colours(tmp_path / "new", "white"), colours(tmp_path / "earlier", "red")
    shutil.copy(new / "train" / "white" / "white_0.png", new / "train" / "white" / "again.png")
    IncrementImages(new, KNOWN, None, [source(earlier)])
    assert "1 images have copies under other names" in capsys.readouterr().out
    learnt_before = new / "train" / "red" / "seen.png"
    learnt_before.parent.mkdir()
    shutil.copy(earlier / "test" / "red" / "red_0.png", learnt_before)
    with pytest.raises(UserError, match=r"both in train and in test .*red_0\.png = .*seen\.png"):
        IncrementImages(new, KNOWN, None, [source(earlier)])
    shutil.rmtree(learnt_before.parent)
    with pytest.raises(UserError, match="has the split 'train' and 'test'"):
        IncrementImages(new / "train", KNOWN, new / "train")


def test_all_that_defines_a_model_comes_from_its_record() -> None:
    """A setting that train.yaml records and increment.yaml does not take over would silently be the default."""
    train, increment = (
        yaml.safe_load((ROOT / "bundle" / "configs" / f"{name}.yaml").read_text()) for name in ("train", "increment")
    )
    of_the_day = {"dataset_dir", "data_list", "skip_unreadable", "workers", "cache_images", "cache_dir"}
    of_the_day |= {"allow_outside"}  # where images may lie
    of_the_day |= {"adapters_from"}  # no earlier run has fitted adapters for the classes that come now
    taken = {name for name, value in increment.items() if re.search(r"@model\.(setting|tasks)", str(value))}
    assert train["settings"].keys() - of_the_day - {"recipe"} <= taken
    assert train["recipe"].keys() <= taken
