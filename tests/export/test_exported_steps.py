"""An exported config has the steps of its recipe and no others, and prepares images as dynammo does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from PIL import Image
from synthetic.images import nifti

from dynammo.data.preprocessing import make_preprocessing
from dynammo.export.bundle_configs import standalone_inference
from dynammo.training.settings import RECIPE

USUAL: dict[str, Any] = {"spatial_dims": 2, "volumes": "middle", "grey": "percentile", "window": [0, 1]}
VALUES = dict.fromkeys(RECIPE, False) | USUAL
NOISE = np.random.default_rng(0)


def text(**recipe: object) -> str:
    return standalone_inference({"classes": ["MEL"], "config": {"image_size": 16, "recipe": VALUES | recipe}})


def steps(**recipe: object) -> str:
    """Reading and preparation of an exported config, as text; every step of it is in use."""
    config = yaml.safe_load(text(**recipe))
    assert "_disabled_" not in str(config)
    assert ("stain_normaliser" in config) == bool(recipe.get("stain_normalisation"))
    return str([config[part]["transforms"] for part in ("loading", "preparation")])


SWITCHED = {
    "CropForegroundd": {"crop_borders": True},
    "@stain_normaliser": {"stain_normalisation": True},
    "pow(1 / 6)": {"colour_constancy": True},
    "x.amax(1)": {"volumes": "maximum"},
    "Resized": {"spatial_dims": 3},
}


@pytest.mark.parametrize("step", SWITCHED)
def test_only_steps_of_the_recipe_are_exported(step: str) -> None:
    assert step in steps(**SWITCHED[step]) and step not in steps()
    everything = {name: value for each in SWITCHED.values() for name, value in each.items() if name != "spatial_dims"}
    assert all(each in steps(**everything) for each in SWITCHED if each != "Resized")
    assert "interpolate" in steps(**everything) and "interpolate" not in steps(spatial_dims=3)


@pytest.mark.parametrize(
    "recipe", [*SWITCHED.values(), {"grey": "window", "window": [0, 99]}, {"grey": "zscore"}], ids=str
)
def test_what_is_exported_prepares_as_dynammo_does(recipe: dict[str, Any], tmp_path: Path) -> None:
    """A picture (a volume where three dimensions are asked for), through the whole of both."""
    known = VALUES | recipe
    exported = ConfigParser(yaml.safe_load(text(**recipe))).get_parsed_content("preprocessing")
    nifti(NOISE.integers(-500, 900, (12, 10, 6)).astype(np.int16)).to_filename(tmp_path / "volume.nii.gz")
    if known["spatial_dims"] == 2:
        Image.fromarray(NOISE.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(tmp_path / "image.png")
    for file in sorted(tmp_path.iterdir()):
        ours = make_preprocessing(16, known)({"image": str(file)})["image"]
        theirs = exported({"image": str(file)})["image"]
        torch.testing.assert_close(torch.as_tensor(theirs), torch.as_tensor(ours), atol=1e-4, rtol=0)
