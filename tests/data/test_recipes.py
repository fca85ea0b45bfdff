"""Recipes of the modalities: what they do to an image, and each of them from training to inference."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image
from synthetic.datasets import ROOT, TINY, run_bundle

from dynammo.errors import UserError
from dynammo.training.config_checks import check_settings

TRAIN, INFERENCE, EVALUATE = (f"bundle/configs/{name}.yaml" for name in ("train", "inference", "evaluate"))
RECIPES = sorted(path.stem for path in (ROOT / "configs" / "recipes").glob("*.yaml"))
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
Read = Callable[..., torch.Tensor]
pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


@pytest.fixture
def read() -> Read:
    """Preprocess a file with some settings of a recipe and undo the ImageNet normalisation."""

    def run(path: Path, **settings: Any) -> torch.Tensor:  # noqa: ANN401
        parser = ConfigParser()
        parser.read_config(ConfigParser.load_config_files([TRAIN]))
        parser.update({"image_size": 32, **settings})
        image: torch.Tensor = parser.get_parsed_content("preprocessing")({"image": str(path)})["image"]
        shape = (3, *[1] * (image.ndim - 1))
        return image * DEVIATION.view(shape) + MEAN.view(shape)

    return run


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


def volume(path: Path, voxels: np.ndarray) -> Path:
    """Voxels indexed (x, y, z) of 1 mm from right to left, back to front, feet to head."""
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4)), path)
    return path


def test_black_borders_are_cut_off(read: Read, tmp_path: Path) -> None:
    photo = np.full((80, 100, 3), 4.0)
    photo[10:60, 30:70] = np.random.default_rng(0).uniform(120, 220, (50, 40, 3))
    file = save(tmp_path / "photo.png", photo)
    assert read(file)[:, 0, 0].max() < 0.05
    assert read(file, crop_borders=True)[:, :2].min() > 0.3
    inside = save(tmp_path / "inside.png", photo[10:60, 30:70])
    torch.testing.assert_close(read(file, crop_borders=True), read(inside, crop_borders=True))


def test_a_black_picture_survives_every_step(read: Read, tmp_path: Path) -> None:
    file = save(tmp_path / "black.png", np.zeros((40, 40, 3)))
    image = read(file, crop_borders=True, colour_constancy=True, stain_normalisation=True)
    assert image.shape == (3, 32, 32) and image.abs().max() < 1e-5


def test_a_tinted_photograph_looks_like_the_plain_one(read: Read, tmp_path: Path) -> None:
    plain = np.random.default_rng(1).uniform(60, 160, (40, 40, 3))
    tinted = plain * [1.3, 1.0, 0.7]
    first, second = save(tmp_path / "plain.png", plain), save(tmp_path / "tinted.png", tinted)
    before = (read(first) - read(second)).abs().mean()
    after = (read(first, colour_constancy=True) - read(second, colour_constancy=True)).abs().mean()
    assert after < 0.2 * before
    light = read(second, colour_constancy=True).flatten(1).pow(6).mean(1).pow(1 / 6)
    assert (light.max() - light.min()) < 0.03


def stained(strength: float) -> np.ndarray:
    """Two stains of varying concentration, darker or paler, by Beer and Lambert."""
    haematoxylin, eosin = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
    amounts = np.random.default_rng(2).uniform(0.1, 1.0, (48, 48, 2)) * strength
    return np.asarray(240 * np.exp(-(amounts[..., :1] * haematoxylin + amounts[..., 1:] * eosin)))


def test_stains_come_to_one_reference(read: Read, tmp_path: Path) -> None:
    pale, dark = save(tmp_path / "pale.png", stained(0.7)), save(tmp_path / "dark.png", stained(1.6))
    before = (read(pale) - read(dark)).abs().mean()
    after = (read(pale, stain_normalisation=True) - read(dark, stain_normalisation=True)).abs().mean()
    assert after < 0.25 * before


def test_pictures_without_tissue_keep_their_white(read: Read, tmp_path: Path) -> None:
    file = save(tmp_path / "white.png", np.full((40, 40, 3), 250))
    torch.testing.assert_close(read(file, stain_normalisation=True), read(file))


def test_a_ct_window_shows_its_range_alone(read: Read, tmp_path: Path) -> None:
    file = volume(tmp_path / "ct.nii.gz", np.linspace(-1000, 1000, 32).reshape(32, 1, 1) * np.ones((32, 32, 3)))
    image = read(file, grey="window", window=[-160, 240])
    assert image.min() == pytest.approx(0, abs=1e-5) and image.max() == pytest.approx(1, abs=1e-5)
    hounsfield = torch.linspace(1000, -1000, 32)  # NIfTI counts x to the right, a screen shows the left on the right
    torch.testing.assert_close(image[0, 16], ((hounsfield + 160) / 400).clamp(0, 1), atol=4e-3, rtol=0)


def test_z_scores_do_not_depend_on_the_scanner(read: Read, tmp_path: Path) -> None:
    signal = np.random.default_rng(3).gamma(4, 100, (32, 32, 3))
    one, other = volume(tmp_path / "one.nii", signal), volume(tmp_path / "other.nii", signal * 7)
    torch.testing.assert_close(read(one, grey="zscore"), read(other, grey="zscore"), atol=0.01, rtol=0)
    body = signal[signal > signal.mean()]
    expected = np.clip(0.5 + (signal - body.mean()) / (6 * body.std()), 0, 1).mean()
    assert read(one, grey="zscore").mean() == pytest.approx(expected, abs=0.05)


def test_what_a_network_sees_of_a_volume(read: Read, tmp_path: Path) -> None:
    voxels = np.zeros((32, 32, 5))
    voxels[:, :, 2], voxels[4, 4, 4] = 100, 900
    file = volume(tmp_path / "volume.nii.gz", voxels)
    seen = {name: read(file, grey="window", window=[0, 1000], volumes=name) for name in ("middle", "maximum")}
    assert seen["middle"].max() == pytest.approx(0.1, abs=1e-3)
    assert seen["maximum"].max() == pytest.approx(0.9, abs=1e-3) and seen["maximum"].median() > 0.09
    assert read(Path(f"{file}#0"), grey="window", window=[0, 1000], volumes="slices").max() == pytest.approx(
        0, abs=1e-5
    )
    assert read(file, grey="window", window=[0, 1000], spatial_dims=3).shape == (3, 32, 32, 32)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains_and_classifies(tiny_data: Path, tmp_path: Path, recipe: str) -> None:
    run_bundle(
        "training", [TRAIN, f"configs/recipes/{recipe}.yaml"], dataset_dir=str(tiny_data), mlflow=False,
        output_dir=str(tmp_path / "run"), **TINY | {"stages": 1, "image_size": 16},
    )  # fmt: skip
    run_bundle(
        "evaluate", [INFERENCE, EVALUATE], dataset_dir=str(tiny_data), model_dir=str(tmp_path / "run"),
        output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    measured = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert measured["confusion"] == record["results"][-1]["confusion"]  # inference has taken up the recipe


def make_volumes(folder: Path) -> Path:
    """Four classes of volumes, which differ by the axis and the brightness of a slab; 5 slices each."""
    for c, name in enumerate(("low_bright", "low_dark", "high_bright", "high_dark")):
        for split, count in (("train", 3), ("test", 2)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                voxels = np.random.default_rng(100 * c + 10 * (split == "test") + i).normal(300, 40, (12, 12, 5))
                voxels[:, :, slice(0, 2) if name.startswith("low") else slice(3, 5)] += (
                    400 if "bright" in name else -250
                )
                volume(folder / split / name / f"{i}.nii.gz", voxels)
    return folder


@pytest.mark.parametrize(
    "settings",
    [{"volumes": "slices"}, {"spatial_dims": 3, "grey": "window", "window": [0, 800]}],
    ids=["slices", "3-D"],
)
def test_volumes_from_training_to_prediction(tmp_path: Path, settings: dict[str, Any]) -> None:
    data = make_volumes(tmp_path / "data")
    run_bundle(
        "training", TRAIN, dataset_dir=str(data), output_dir=str(tmp_path / "run"), mlflow=False, exemplars=8,
        **TINY | {"stages": 1, "image_size": 16}, **settings,
    )  # fmt: skip
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert sum(map(sum, record["results"][-1]["confusion"])) == 8  # studies, not slices
    run_bundle(
        "inference", INFERENCE, dataset_dir=str(data / "test"), model_dir=str(tmp_path / "run"),
        output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert len(rows) == 8 and {row["slices"] for row in rows} == {"5" if "volumes" in settings else "1"}
    names = record["classes"]
    assert all(sum(float(row[f"p_{name}"]) for name in names) == pytest.approx(1, abs=1e-4) for row in rows)


def test_a_disk_cache_serves_the_next_run_and_knows_the_recipe(tiny_data: Path, tmp_path: Path) -> None:
    def train(name: str, **settings: Any) -> bytes:  # noqa: ANN401
        run_bundle(
            "training", TRAIN, dataset_dir=str(tiny_data), output_dir=str(tmp_path / name), mlflow=False,
            cache_dir=str(tmp_path / "cache"), exemplars=4, **TINY | {"stages": 1, "image_size": 16}, **settings,
        )  # fmt: skip
        return (tmp_path / name / "model.pt").read_bytes()

    first = train("first")
    files = {file.name for file in (tmp_path / "cache").iterdir()}
    assert files and train("second") == first
    assert {file.name for file in (tmp_path / "cache").iterdir()} == files  # nothing was preprocessed anew
    assert train("third", colour_constancy=True) != first
    assert {file.name for file in (tmp_path / "cache").iterdir()} > files


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"volumes": "all"}, "expected middle or maximum or slices"),
        ({"grey": "hounsfield"}, "expected percentile or window or zscore"),
        ({"window": [240, -160]}, "the lowest and the highest value shown"),
        ({"crop_borders": "yes"}, "expected True or False"),
        ({"spatial_dims": 4}, "expected 2 or 3"),
    ],
)
def test_impossible_recipes_are_refused(setting: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check_settings({"epochs": 1, "recipe": setting})
