"""A model measured on test images: those of its record, a folder, a list."""

import json
import math
import shutil
from pathlib import Path

import pytest
from conftest import Trained
from synthetic.datasets import CLASSES, run_bundle, write_image
from synthetic.lifecycle import exported

from dynammo.errors import UserError
from dynammo.lifecycle.evaluate import evaluate


def test_the_same_as_the_bundle_says(
    trained: Trained, tiny_data: Path, tmp_path: Path, in_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_bundle(
        "evaluate", ["bundle/configs/inference.yaml", "bundle/configs/evaluate.yaml"], dataset_dir=str(tiny_data),
        model_dir=str(trained("dynammo")), output_dir=str(tmp_path / "bundle"),
    )  # fmt: skip
    capsys.readouterr()
    places = (None, tiny_data, tiny_data / "test")
    for number, place in enumerate(places):
        found = evaluate(trained("dynammo"), place, tmp_path / str(number))
        ours, bundle = (json.loads((tmp_path / n / "evaluation.json").read_text()) for n in (str(number), "bundle"))
        assert ours == bundle
        assert (found.accuracy, found.mean_class_recall) == (bundle["accuracy"], bundle["mean_class_recall"])
        assert found.images == 12 and [*found.recalls] == [*CLASSES]
    assert capsys.readouterr().out.count("12 test images of 4 classes") == 3


def test_a_list_names_test_images(trained: Trained, tiny_data: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    shutil.copytree(tiny_data, tmp_path / "images")
    rows = [
        f"images/{split}/{name}/{name}_{number}.png,{name},{split}"
        for name in CLASSES[:2]
        for split, numbers in (("train", (0, 1)), ("test", (1, 2)))
        for number in numbers
    ]
    listed.write_text("\n".join(["path,label,split", *rows]))
    found = evaluate(trained("dynammo"), listed)
    assert found.images == 4 and math.isnan(found.recalls["white"])
    assert "2 of 4 classes have no test image" in str(found)


def test_nothing_is_written_unless_asked(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "#1" / "red" / "a.png", "red", 1)  # MONAI gives # a meaning in a config
    evaluate(trained("dynammo"), tmp_path / "#1")
    assert [path.name for path in tmp_path.iterdir()] == ["#1"]
    text = capsys.readouterr().out
    assert "1 test images" in text and "evaluation.json" not in text and "Not a medical device" in text
    evaluate(trained("dynammo"), Path("#1"), tmp_path / "@#2")
    assert (tmp_path / "@#2" / "evaluation.json").is_file()


def test_what_cannot_be_measured_is_explained(trained: Trained, tiny_data: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "strange" / "purple" / "a.png", "red", 1)
    (tmp_path / "empty").mkdir()
    for data, sentence in (
        (tmp_path / "none", "there is no folder"),
        (tmp_path / "empty", "has no class folder"),
        (tmp_path / "strange", r"the classes \['purple'\], which the model has not learnt"),
    ):
        with pytest.raises(UserError, match=sentence):
            evaluate(trained("dynammo"), data)
    with pytest.raises(UserError, match="there is no device 'gpu'"):
        evaluate(trained("dynammo"), tiny_data, device="gpu")
    bundle = exported(trained("dynammo"), tmp_path / "bundle")
    with pytest.raises(UserError, match="is no run, so it does not tell where its test images lie"):
        evaluate(bundle)
    assert evaluate(bundle, tiny_data).images == 12


def test_a_run_whose_test_images_are_gone_says_so(trained: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("model.pt", "run.json"):  # without what learning on needs
        shutil.copy(trained("dynammo") / name, copy)
    assert evaluate(copy).images == 12
    record = json.loads((copy / "run.json").read_text())
    record["config"]["dataset_dir"] = str(tmp_path / "gone")
    (copy / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="no test image of copy was found"):
        evaluate(copy)
