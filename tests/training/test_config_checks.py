from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic.datasets import ROOT

from dynammo.errors import UserError
from dynammo.training.config_checks import check_options, check_settings
from dynammo.training.settings import METHODS, SETTINGS

TRAIN = str(ROOT / "bundle" / "configs" / "train.yaml")
BOTH = f"['{TRAIN}', '{ROOT / 'configs' / 'methods' / 'acl.yaml'}']"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "training", "--config_file", TRAIN, "--dataset_dir", "x", "--epochs", "3"],
        ["run", "training", "--config_file", BOTH, "--train#trainer#max_epochs", "1", "--seed=4"],
        ["run", "training", f"--config_file={TRAIN}", "--output-dir", "x", "--logging_file", "y"],
        ["run", "training", "--args_file", "defaults.yaml", "--whatever", "1"],
    ],
)
def test_options_that_exist_pass(arguments: list[str]) -> None:
    check_options(arguments)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [("--exemplar", "did you mean --exemplars"), ("--learnig_rate", "--learning_rate"), ("--zzz", "top of its config")],
)
def test_misspelt_options_are_refused(option: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_options(["run", "training", "--config_file", BOTH, option, "5"])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": -1}, "epochs is -1; expected a whole number from 0: type --epochs"),
        ({"epochs": "many"}, "epochs is 'many'"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0"),
        ({"learning_rate": "fast"}, "expected a number above 0"),
        ({"milestones": 3}, "expected a list of epochs"),
    ],
)
def test_impossible_values_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_settings(settings)


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(UserError, match="the device gpu cannot be used"):
        check_settings({}, "gpu")


def test_possible_values_pass() -> None:
    check_settings({"epochs": 1, "weight_decay": 0, "milestones": [], "learning_rate": 0.1, "head_epochs": 0}, "cpu")


def overlay(file: Path) -> dict[str, Any]:
    """What a training with this overlay is given."""
    defaults = {setting.name: setting.default for setting in SETTINGS.values()}
    return {**defaults, "mixed_precision": False, **yaml.safe_load(file.read_text()), "taps": None}


def test_the_name_of_a_method_needs_its_overlay() -> None:
    files = sorted((ROOT / "configs" / "methods").glob("*.yaml"))
    assert {file.stem for file in files} == METHODS.keys()
    for file in files:
        assert overlay(file)["method"] == file.stem
        check_settings(overlay(file))
        check_settings({**overlay(file), "method": "mine", "head_layout": "analytic"})
        for other in METHODS.keys() - {file.stem}:
            with pytest.raises(
                UserError, match=rf"the method is {other}, but .* add '\$\(dynammo config {other}\)' to"
            ):
                check_settings({**overlay(file), "method": other})


def test_a_model_that_learns_more_keeps_the_name_that_it_has() -> None:
    check_settings({**overlay(ROOT / "configs/methods/dynammo.yaml"), "method": "analytic", "learnt_from": "abc"})


@pytest.mark.parametrize("name", ["@run", "@scans", "%run", "a#b"])
def test_names_of_folders_that_monai_reads_otherwise_are_refused(name: str) -> None:
    for option in ("--dataset_dir", "--output_dir"):
        with pytest.raises(UserError, match=f"{option} {name} "):
            check_options(["run", "training", "--config_file", TRAIN, option, name])
        check_options(["run", "training", "--config_file", TRAIN, option, f"./{name.replace('#', '')}"])


@pytest.mark.parametrize("value", [2024, "run::1", ["a"]])
def test_what_monai_made_of_a_name_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"output_dir is .*\./2024"):
        check_settings({"output_dir": value})
