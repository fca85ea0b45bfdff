from collections import Counter
from pathlib import Path

import pytest
from synthetic.datasets import ROOT

from dynammo.errors import UserError
from dynammo.runtime import bundle_files
from dynammo.runtime.bundle_files import bundle_config, checkout, shipped_config, shipped_configs


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as a wheel installs it, beside folders of others with the same names."""
    package = tmp_path / "site-packages" / "dynammo"
    names = ("bundle/configs/train", "configs/methods/mine", "configs/recipes/mine", "configs/multi_gpu")
    for place in (package, package.parent):
        for name in (*names, "bundle/configs/foreign") if place != package else names:
            file = place / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    monkeypatch.setattr(bundle_files, "PACKAGE", package)
    return package


def test_configs_of_the_bundle_are_found_in_a_checkout() -> None:
    assert checkout() == ROOT
    assert bundle_config("inference.yaml") == ROOT / "bundle" / "configs" / "inference.yaml"
    with pytest.raises(UserError, match=r"configs/no\.yaml"):
        bundle_config("no.yaml")


def test_in_a_wheel_they_lie_inside_the_package_and_nowhere_else(installed: Path) -> None:
    assert checkout() is None
    assert bundle_config("train.yaml") == installed / "bundle" / "configs" / "train.yaml"
    with pytest.raises(UserError, match="install dynammo anew"):
        bundle_config("foreign.yaml")
    assert all(file.is_file() and installed in file.parents for file in shipped_configs().values())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("train", "bundle/configs/train.yaml"),
        ("inference.yaml", "bundle/configs/inference.yaml"),
        ("methods/analytic", "configs/methods/analytic.yaml"),
        ("analytic", "configs/methods/analytic.yaml"),
        ("configs/methods/analytic.yaml", "configs/methods/analytic.yaml"),
        ("bundle/configs/train.yaml", "bundle/configs/train.yaml"),
        ("xray", "configs/recipes/xray.yaml"),
        ("derm8", "configs/datasets/derm8.yaml"),
        ("multi_gpu", "configs/multi_gpu.yaml"),
    ],
)
def test_a_shipped_config_has_short_and_long_names(name: str, file: str) -> None:
    assert shipped_config(name) == ROOT / file


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("analitic", r"there is no config 'analitic'; did you mean methods/analytic\?"),
        ("XRAY", r"did you mean recipes/xray\?"),
        ("recipes/ctt", r"did you mean recipes/ct\?"),
        ("methods/xray", r"expected one of methods/acl, .*, methods/lwf\.$"),
        ("ridge", r"there is no config 'ridge'; it was taken out in 0\.2\.0, .*; type light\."),
        ("configs/methods/ridge.yaml", "type light"),
        ("benchmark", r"expected one of bundle/evaluate, .*, multi_gpu\.$"),
        ("", "expected one of"),
        ("../pyproject", "expected one of"),
    ],
)
def test_an_unknown_config_gets_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        shipped_config(name)


def test_a_name_in_two_groups_is_asked_for_with_its_group(installed: Path) -> None:
    with pytest.raises(UserError, match=r"2 configs 'mine'; type methods/mine or recipes/mine\."):
        shipped_config("mine")
    assert shipped_config("recipes/mine") == installed / "configs" / "recipes" / "mine.yaml"


def test_every_overlay_is_shipped_and_known_by_its_short_name() -> None:
    overlays = {file for file in (ROOT / "configs").rglob("*.yaml") if file.name != "benchmark.yaml"}
    shipped = shipped_configs()
    assert overlays | set((ROOT / "bundle" / "configs").glob("*.yaml")) == set(shipped.values())
    assert max(Counter(file.stem for file in shipped.values()).values()) == 1
