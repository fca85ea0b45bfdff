import os
from pathlib import Path
from typing import Any

import pytest
from synthetic.datasets import CLASSES, write_image

from dynammo.errors import UserError
from dynammo.lifecycle.training_plan import TrainSettings, make_plan

OFFLINE = {"weights": "first_task"}


def folders(folder: Path, classes: tuple[str, ...] = CLASSES, images: int = 2) -> Path:
    for number, name in enumerate(classes):
        for i in range(images):
            write_image(folder / name / f"{i}.png", CLASSES[number % 4], 10 * number + i, size=8)
    return folder


def test_train_and_test_are_taken_as_they_are(tiny_data: Path) -> None:
    plan = make_plan(tiny_data, None, TrainSettings(**OFFLINE))
    assert plan.output == Path("runs", f"{tiny_data.name}_analytic")
    assert [file.stem for file in plan.files] == ["train", "analytic"]
    assert plan.values["increments"] == [2, 2] and not plan.undivided
    assert plan.lines == (
        "4 classes in 2 tasks", "  task 1: blue, green", "  task 2: red, white",
        "24 training images, 12 test images", "method analytic, weights first_task",
    )  # fmt: skip


def test_a_class_file_beside_the_images_is_taken_and_one_that_is_typed_wins(tmp_path: Path) -> None:
    data = folders(tmp_path / "data")
    (data / "classes.csv").write_text("class,name\nred,Red\n")
    plan = make_plan(data, None, TrainSettings(**OFFLINE))
    assert plan.values["class_file"] == str(data / "classes.csv")
    assert f"classes described by {data / 'classes.csv'}" in plan.lines
    typed = tmp_path / "typed.json"
    typed.write_text('{"pink": {}}')
    with pytest.raises(UserError, match="the class 'pink', which the model does not have"):
        make_plan(data, None, TrainSettings(class_file=typed, **OFFLINE))


def test_class_folders_alone_are_to_be_divided(tmp_path: Path) -> None:
    seven = tuple("abcdefg")
    plan = make_plan(folders(tmp_path, seven), Path("out"), TrainSettings(**OFFLINE, recipe="xray", method="finetune"))
    assert plan.undivided and plan.values["increments"] == [2, 2, 3] and plan.output == Path("out")
    assert [file.stem for file in plan.files] == ["train", "finetune", "xray"]
    plan = make_plan(tmp_path, None, TrainSettings(**OFFLINE, order="g,f,e,d,c,b,a", classes_per_task="1,6"))
    assert plan.lines[1:3] == ("  task 1: g", "  task 2: f, e, d, c, b, a")
    assert make_plan(tmp_path, None, TrainSettings(**OFFLINE, classes_per_task="all")).lines[0] == "7 classes in 1 task"


def test_a_train_folder_without_test_is_divided(tmp_path: Path) -> None:
    plan = make_plan(folders(tmp_path / "train").parent, None, TrainSettings(**OFFLINE))
    assert plan.undivided and plan.folder == tmp_path


@pytest.mark.parametrize(("here", "there"), [("train", "test"), ("test", "train")])
def test_a_class_of_another_spelling_is_refused_before_anything_heavy(tmp_path: Path, here: str, there: str) -> None:
    accented = os.fsdecode("café".encode("latin-1"))  # as an old machine wrote it
    for split, name in ((here, accented), (there, "café"), ("train", "plain"), ("test", "plain")):
        write_image(tmp_path / split / name / "0.png", "blue", 0, size=8)
    with pytest.raises(UserError, match=r"are in test but have no training image"):
        make_plan(tmp_path, None, TrainSettings(**OFFLINE))


def test_settings_that_are_typed_win(tiny_data: Path) -> None:
    values = {"seed": 3, "output_dir": "elsewhere", "increments": [1, 3], "train#trainer#amp": True}
    plan = make_plan(tiny_data, None, TrainSettings(**OFFLINE, values=values))
    assert plan.output == Path("elsewhere") and plan.values["seed"] == 3 and plan.values["increments"] == [1, 3]


def test_an_encoder_of_others_takes_low_rank_adapters(tiny_data: Path) -> None:
    plan = make_plan(tiny_data, None, TrainSettings(method="dynammo", backbone="hf:folder"))
    assert plan.values["adapter"] == "low_rank" and any("adapter low_rank" in line for line in plan.lines)
    assert "adapter" not in make_plan(tiny_data, None, TrainSettings(backbone="hf:folder")).values
    assert "adapter" not in make_plan(tiny_data, None, TrainSettings(method="acl", backbone="hf:folder")).values
    typed = TrainSettings("dynammo", backbone="hf:folder", values={"adapter": "conv"})
    assert make_plan(tiny_data, None, typed).values["adapter"] == "conv"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "analitic"}, "analitic"),
        ({"method": "none.yaml"}, "no config file none.yaml"),
        ({"recipe": "xrays"}, "xrays"),
        ({"weights": "missing.pth"}, "no file of weights missing.pth"),
        ({"classes_per_task": "two"}, "--classes-per-task is two"),
        ({"classes_per_task": "0"}, "--classes-per-task is 0"),
        ({"classes_per_task": "3,3"}, "sum to 6, but the data has 4 classes"),
        ({"order": "red,blue"}, "missing"),
        ({"values": {"image_sizes": 96}}, "did you mean image_size?"),
        ({"values": {"image_size": "big"}}, "image_size is 'big'"),
        ({"values": {"small_epochs": 3}}, "was taken out in 0.2.0"),
    ],
)
def test_mistakes_are_found_at_once(changes: dict[str, Any], words: str, tiny_data: Path) -> None:
    with pytest.raises(UserError, match=words):
        make_plan(tiny_data, None, TrainSettings(**{**OFFLINE, **changes}))


def test_folders_that_cannot_be_learnt_from(tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "none", "there is no folder"), (tmp_path, "holds no folder")):
        with pytest.raises(UserError, match=words):
            make_plan(folder, None, TrainSettings(**OFFLINE))
    with pytest.raises(UserError, match="has the class a alone"):
        make_plan(folders(tmp_path / "one", ("a",)), None, TrainSettings(**OFFLINE))
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no image"):
        make_plan(tmp_path / "empty", None, TrainSettings(**OFFLINE))


def test_an_overlay_stands_below_the_method_and_what_is_typed(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "exemplars: 40\nepochs: 3\nincrements: [[red, blue], [green, white]]\nseed: 7\n"
    )
    overlays = ("phantoms", str(tmp_path / "mine.yaml"))
    plan = make_plan(tiny_data, None, TrainSettings(overlays=overlays, order="sorted"))
    assert [file.stem for file in plan.files] == ["train", "phantoms", "mine", "analytic"]
    assert not {"epochs", "exemplars", "weights", "seed", "increments"} & plan.values.keys()
    assert plan.lines[1:3] == ("  task 1: red, blue", "  task 2: green, white")
    assert plan.lines[-1] == "method analytic, weights first_task"
    assert (
        "as the overlay has them"
        in make_plan(tiny_data, None, TrainSettings(overlays=("derm8",), classes_per_task="2")).lines[-1]
    )
    (tmp_path / "mine.yaml").write_text("- no names")
    with pytest.raises(UserError, match="is no config"):
        make_plan(tiny_data, None, TrainSettings(overlays=overlays))
