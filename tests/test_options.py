import pytest
from made_up import ROOT

from dynammo.errors import UserError
from dynammo.options import check_options

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
