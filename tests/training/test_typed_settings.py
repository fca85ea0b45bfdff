"""What a person types of a training, and what follows from it."""

from pathlib import Path

import pytest

from dynammo.errors import UserError
from dynammo.training.typed_settings import parse_value, weights_of, what_follows

RESNET = {"architecture": "resnet18", "weights": "imagenet", "adapter": "conv", "merge_strategy": "average"}


def test_a_typed_setting_is_read_as_yaml() -> None:
    assert parse_value("image-size=96") == ("image_size", 96)
    assert parse_value("milestones=[8, 12]") == ("milestones", [8, 12])
    assert parse_value("experiment=$__import__('os')") == ("experiment", "$__import__('os')")
    for text in ("image_size", "=3", "a=[1"):
        with pytest.raises(UserError, match="expected KEY=VALUE"):
            parse_value(text)


def test_what_is_not_said_follows_from_the_backbone() -> None:
    """An encoder tells size, stages and taps; of these a method's taps are a ResNet's, and what is typed stays."""
    encoder = {**RESNET, "architecture": "hf:folder", "weights": "own"}
    assert what_follows(RESNET, (), ()) == (None, frozenset())
    assert what_follows({**RESNET, "weights": "a.pt"}, (), ()) == (Path("a.pt"), frozenset())
    assert what_follows({**RESNET, "weights": "a.pt"}, {"stages"}, ()) == (None, frozenset())
    assert what_follows(encoder, {"taps", "image_size"}, ()) == (None, {"stages", "taps"})
    assert what_follows(encoder, {"taps"}, {"taps"}) == (None, {"stages", "image_size"})
    vectors = {**RESNET, "architecture": "$'vectors:' + str(@images.width)", "weights": "own"}
    assert what_follows(vectors, (), ()) == (None, frozenset())


def test_weights_are_those_of_the_backbone_or_a_file(tmp_path: Path) -> None:
    assert weights_of(None, "hf:folder") == "own" and weights_of(None, "resnet18") is None
    assert weights_of("first_task", None) == "first_task"
    with pytest.raises(UserError, match="there is no file of weights"):
        weights_of(str(tmp_path / "absent.pt"), None)
