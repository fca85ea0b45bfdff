import numpy as np
import pytest

from dynammo.training.worth import LOW_CONFIDENCE, confidence_limit, confidence_of, worth_of


def predictions(sure: np.ndarray) -> np.ndarray:
    """Of two classes, the first with these probabilities."""
    return np.stack([sure, 1 - sure], 1)


def test_the_limit_leaves_the_wanted_share_right() -> None:
    sure = np.linspace(0.99, 0.51, 100)
    labels = np.r_[np.zeros(60, int), np.ones(40, int)]  # the 60 surest are right
    limit = confidence_limit(predictions(sure), labels, 0.9)
    assert limit == pytest.approx(sure[65])  # 60 of 66 are right, 60 of 67 are not nine in ten
    assert confidence_limit(predictions(sure), 1 - labels, 0.9) is None
    assert confidence_limit(predictions(sure[:20]), labels[:20]) is None, "too few to tell"


def test_a_model_that_is_always_right_enough_keeps_the_usual_limit() -> None:
    """Not the probability of its least sure image, which lies near 1 where all are easy."""
    sure, labels = np.linspace(1, 0.99, 40), np.zeros(40, int)
    assert confidence_limit(predictions(sure), labels) == LOW_CONFIDENCE
    assert confidence_limit(np.full((40, 3), [0.4, 0.3, 0.3]), labels) == 0.4


def test_what_was_right_with_and_without_a_flag() -> None:
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.4, 0.3, 0.2, 0.1], [0.8, 0.1, 0.1, 0], [0.3, 0.3, 0.3, 0.1]])
    found = worth_of(probabilities, np.array([0.1, 0.1, 0.9, 0.2]), np.array([0, 2, 1, 3]), 0.5, 0.5)
    assert found == {
        "images": 4, "top_1": 0.25, "top_3": 0.75, "unflagged": 0.25, "right_unflagged": 1.0, "right_flagged": 0.0,
    }  # fmt: skip
    assert worth_of(probabilities[:0], np.zeros(0), np.zeros(0, int), 0.5, None)["top_1"] is None


def test_models_without_a_limit_keep_the_usual_one() -> None:
    assert confidence_of({}) == confidence_of({"confidence_limit": None}) == LOW_CONFIDENCE
    assert confidence_of({"confidence_limit": 0.7}) == 0.7
