"""What a program and the reader of a notebook get of one image."""

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynammo.clinic.prediction import Prediction, prediction_of
from dynammo.inference.classifier import Result
from dynammo.inference.visualisation import heat_png, picture_jpeg

LIMITS = {"unknown": 0.6, "false_alarm_rate": 0.05, "low_confidence": 0.5, "looks_different": 9.0}
EVIL = '<script>alert("x")</script>'


def predicted(flags: tuple[str, ...] = (), heat: bool = True, **changes: Any) -> Prediction:  # noqa: ANN401
    picture = picture_jpeg(np.full((3, 20, 40), 128.0, np.float32))
    influence = np.zeros((4, 4), np.float32)
    influence[0, 3] = 1  # above, on the right
    item = {
        "path": "a.png", "class": "b", "probability": 0.6, "probabilities": {"a": 0.3, "b": 0.6, "c": 0.06, "d": 0.04},
        "unknown": 0.1, "ood_score": 1.0, "flags": list(flags), "reason": "",
    }  # fmt: skip
    result = Result({**item, **changes}, (picture, heat_png(influence) if heat else None))
    return prediction_of(result, LIMITS, "skin")


def images_of(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), np.float32) for text in found]


def test_a_card_shows_picture_heat_map_the_first_three_and_the_notice() -> None:
    card = predicted()._repr_html_()
    assert "b, probability 60.0 %" in card and "a.png, by skin" in card
    assert "Research software. Not a medical device." in card
    assert re.findall(r"width: ([\d.]+)%; background", card) == ["60.0", "30.0", "6.0"]
    plain, painted = images_of(card)
    assert plain.shape == painted.shape == (20, 40, 3)
    assert np.abs(plain - painted)[15:, :10].max() < 6  # nothing there but the loss of JPEG
    assert np.abs(plain - painted)[:3, 37:].max() > 60
    assert len(images_of(predicted(heat=False)._repr_html_())) == 1


def test_flags_say_what_they_mean_and_doubt_comes_first() -> None:
    unknown = predicted(("unknown", "low confidence"), unknown=0.8)._repr_html_()
    assert "Probably none of the classes (nearest: b)" in unknown
    assert "its unknown score is above 0.60" in unknown and "a probability below 50 %" in unknown
    different = predicted(("unknown", "looks different"))._repr_html_()
    assert "Unlike the training pictures (nearest: b)" in different and "Do not use its prediction" in different
    assert different.index("looks different") < different.index(">unknown<")


@pytest.mark.parametrize("place", ["path", "class", "reason", "probabilities"])
def test_text_of_others_is_text(place: str) -> None:
    evil: Any = {EVIL: 0.6, "b": 0.4} if place == "probabilities" else EVIL
    prediction = predicted(**{place: evil})
    assert "<script" not in prediction._repr_html_() and "&lt;script&gt;" in prediction._repr_html_()
    assert "\x1b" not in repr(predicted(**{"path": "\x1b[2J", "class": "\x1b[2J"}))


def test_what_cannot_be_read_says_why() -> None:
    nothing = {"class": None, "probability": None, "probabilities": {}, "unknown": None, "ood_score": None}
    result = Result({"path": "x.dcm", "flags": ["unreadable"], "reason": "it is cut short", **nothing}, None)
    prediction = prediction_of(result, LIMITS)
    assert repr(prediction) == "<Prediction x.dcm: unreadable: it is cut short>"
    card = prediction._repr_html_()
    assert "No prediction" in card and "it is cut short" in card and "<img" not in card
    assert prediction.heat_map is None and prediction.picture is None and prediction.top() == []


@pytest.mark.parametrize(("share", "words"), [(0.9999, "&gt; 99.9 %"), (0.0001, "&lt; 0.1 %"), (0.5, "50.0 %")])
def test_a_model_is_never_wholly_sure(share: float, words: str) -> None:
    assert words in predicted(probability=share, probabilities={"b": share})._repr_html_()
