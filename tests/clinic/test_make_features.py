"""Images become a file of vectors, which teaches what the images teach."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import resnet18
from synthetic.datasets import CLASSES, write_image

from dynammo.cli import main
from dynammo.clinic import make_features as made
from dynammo.clinic.make_features import FeatureSettings, make_features
from dynammo.data.features import read_features
from dynammo.errors import UserError
from dynammo.lifecycle.train import train
from dynammo.lifecycle.training_plan import TrainSettings

SIZE = {"image_size": 32}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 up to its first layer, as it is drawn."""
    torch.manual_seed(0)
    net = resnet18(conv1_t_size=7, conv1_t_stride=2, shortcut_type="B", bias_downsample=False, n_input_channels=3,
                   spatial_dims=2, num_classes=1000)  # fmt: skip
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save({k: v for k, v in net.state_dict().items() if k.startswith(("conv1.", "bn1.", "layer1."))}, file)
    return file


@pytest.fixture(scope="module")
def settings(weights: Path) -> FeatureSettings:
    return FeatureSettings(weights=str(weights), values=SIZE, batch_size=2)


@pytest.fixture(scope="module")
def vectors(tiny_data: Path, settings: FeatureSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_features(tiny_data, tmp_path_factory.mktemp("vectors") / "vectors.npz", settings)


def test_the_file_holds_a_vector_an_image_and_what_folders_say(vectors: Path) -> None:
    table = read_features(vectors)
    assert table.vectors.shape == (36, 64)
    assert table.ids[0] == "train/blue/blue_0.png"
    assert sorted(set(table.labels)) == [*CLASSES]
    assert (table.splits.count("train"), table.splits.count("test")) == (24, 12)
    assert not list(vectors.parent.glob(".*.parts"))


@pytest.mark.usefixtures("no_plots")
def test_the_vectors_teach_what_the_images_teach(tiny_data: Path, weights: Path, vectors: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"method": "light", "mlflow": False, "classes_per_task": "2"}
    of_images = TrainSettings(weights=str(weights), values=SIZE, **common)
    runs = [
        train(tiny_data, tmp_path / "images", of_images),
        train(vectors, tmp_path / "vectors", TrainSettings(features=True, **common)),
    ]
    images, embeddings = (json.loads((run / "run.json").read_text()) for run in runs)
    assert [r["confusion"] for r in images["results"]] == [r["confusion"] for r in embeddings["results"]]
    for measure, value in images["metrics"].items():
        assert embeddings["metrics"][measure] == pytest.approx(value, abs=1e-4, nan_ok=True)


def test_stopped_and_typed_again_it_gives_the_same_file(
    tiny_data: Path, settings: FeatureSettings, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes, whole = [], made._passed

    def counted(*args: Any, end: int) -> Any:  # noqa: ANN401
        if len(passes) == end:
            raise KeyboardInterrupt
        passes.append(1)
        return whole(*args)

    output = tmp_path / "vectors.npz"
    with monkeypatch.context() as patch:
        patch.setattr(made, "_passed", lambda *args: counted(*args, end=2))
        with pytest.raises(KeyboardInterrupt):
            make_features(tiny_data, output, settings)
    assert not output.exists()
    monkeypatch.setattr(made, "_passed", lambda *args: counted(*args, end=3))
    make_features(tiny_data, output, settings)  # 36 images in parts of 16: one is left
    assert output.read_bytes() == vectors.read_bytes()
    make_features(tiny_data, output, settings)  # there is nothing left to do


def test_any_folder_will_do_and_what_is_unreadable_is_named(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_image(folder / "a.png", "red", 1)
    (folder / "b.png").write_text("no image")
    typed = [
        "features",
        str(folder),
        "-o",
        str(tmp_path / "v.npz"),
        "--weights",
        str(weights),
        "--set",
        "image_size=32",
    ]
    with pytest.raises(SystemExit) as stopped:
        main(typed)
    assert stopped.value.code == 1
    with pytest.raises(SystemExit) as stopped:
        main([*typed, "--skip-unreadable"])
    assert not stopped.value.code
    table = read_features(tmp_path / "v.npz", labelled=False)
    assert (table.ids, table.labels) == (("a.png",), ("",))


def test_copies_of_an_image_are_one_group(weights: Path, tmp_path: Path) -> None:
    for colour in ("red", "blue"):
        for number in range(2):
            write_image(tmp_path / "images" / colour / f"{number}.png", colour, number)
    shutil.copy(tmp_path / "images/red/0.png", tmp_path / "images/red/2.png")
    table = read_features(make_features(tmp_path / "images", tmp_path / "v.npz", FeatureSettings(weights=str(weights))))
    groups = dict(zip(table.ids, table.groups, strict=True))
    assert groups["red/0.png"] == groups["red/2.png"] != ""
    assert groups["blue/0.png"] == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["output"].write_text("mine"), "was not made by dynammo features"),
        (lambda s: s.update(output=s["output"].with_suffix(".csv")), "is no .npz file"),
        (lambda s: s.update(source=s["source"] / "none"), "there is no folder"),
        (lambda s: s.update(settings=FeatureSettings(weights="first_task")), "nothing is trained here"),
        (lambda s: s.update(settings=FeatureSettings(values={"image_sise": 96})), "did you mean image_size"),
    ],
)
def test_mistakes_are_one_sentence(
    change: Callable[[Any], object], words: str, tiny_data: Path, tmp_path: Path
) -> None:
    typed: dict[str, Any] = {"source": tiny_data, "output": tmp_path / "v.npz", "settings": FeatureSettings()}
    change(typed)
    with pytest.raises(UserError, match=words):
        make_features(**typed)
