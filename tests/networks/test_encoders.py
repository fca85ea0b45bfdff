import pytest
from synthetic.encoders import SIZE

from dynammo.errors import UserError
from dynammo.networks import encoder_sources
from dynammo.networks.encoder_sources import open_encoder
from dynammo.networks.encoders import short_name


@pytest.mark.parametrize(
    ("architecture", "short"),
    [
        ("resnet18", "resnet18"),
        ("hf:owner/name", "hf:owner/name"),
        ("hf:/home/doe/skin/", "hf:skin"),
        ("hf:../models/skin", "hf:skin"),
        ("hf:C:\\doe\\skin", "hf:skin"),
        ("torchscript:models/skin.ts", "torchscript:models/skin.ts"),
        ("python:lab.encoders:make", "python:lab.encoders:make"),
        ("monai:DenseNet121", "monai:DenseNet121"),
    ],
)
def test_records_name_no_folders(architecture: str, short: str) -> None:
    assert short_name(architecture) == short


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nan", "not finite"),
        ("draws", "answers otherwise"),
        ("tokens", r"expected \(B, C, H, W\)"),
        ("words", "returns no feature maps"),
        ("moves", "changes its weights|answers otherwise"),
        ("raises", r"cannot look at images of 32 pixels \(only 7 x 7 images\)"),
        ("number", "returns int"),
        ("missing", "cannot be called"),
    ],
)
def test_encoders_that_break_the_contract(function: str, words: str, sources: dict[str, str]) -> None:
    encoder_sources.trust_programs()
    with pytest.raises(UserError, match=words):
        open_encoder(f"python:my_encoder:{function}", "own", SIZE)
