from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from dynammo.errors import UserError
from dynammo.lifecycle.in_process import chosen_device, explained, prepared_bundle
from dynammo.runtime.bundle_files import bundle_config


def test_values_are_never_evaluated_and_checked(tiny_data: Path, tmp_path: Path) -> None:
    values = {"dataset_dir": tiny_data, "output_dir": tmp_path / "run", "weights": "first_task", "experiment": "$1/0"}
    bundle = prepared_bundle([bundle_config("train.yaml")], values)
    assert bundle.get_parsed_content("experiment") == "$1/0" and (tmp_path / "run").is_dir()
    with pytest.raises(UserError, match="epochs is -1"):
        prepared_bundle([bundle_config("train.yaml")], {**values, "epochs": -1})


def test_a_mistake_comes_out_of_what_monai_wraps_it_in() -> None:
    parser = ConfigParser({"bad": {"_target_": "dynammo.data.ImageSet", "dataset_dir": "/none"}})
    with pytest.raises(UserError, match="no folder /none"):
        explained(lambda: parser.get_parsed_content("bad"))
    with pytest.raises(ZeroDivisionError):
        explained(lambda: 1 / 0)


def test_the_device_is_left_to_the_config_or_chosen() -> None:
    assert chosen_device("auto") == {} and str(chosen_device("cpu")["device"]) == "cpu"
    with pytest.raises(UserError, match="no device 'gpu'"):
        chosen_device("gpu")
