import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynammo.training.metrics import expected_calibration_error, fit_temperature, tempered, threshold_at


def drawn(temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure by a factor, and labels drawn from the right ones."""
    random = np.random.default_rng(0)
    right = tempered(np.exp(random.normal(0, 2, (count, 4))), 1.0)
    labels = np.array([random.choice(4, p=row) for row in right])
    return tempered(right, 1 / temperature), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_and_probabilities_mean_what_they_say(temperature: float) -> None:
    probabilities, labels = drawn(temperature)
    found = fit_temperature(probabilities, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    after = expected_calibration_error(tempered(probabilities, found), labels)
    assert after < 0.03 and after <= expected_calibration_error(probabilities, labels) + 0.005


@given(st.floats(0.1, 10), st.integers(0, 2**16))
def test_a_temperature_changes_no_order(temperature: float, seed: int) -> None:
    rows = np.random.default_rng(seed).dirichlet(np.ones(5), 8)
    warmed = tempered(rows, temperature)
    np.testing.assert_allclose(warmed.sum(1), 1)
    assert (warmed.argmax(1) == rows.argmax(1)).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0.01, 0.5))
def test_no_more_known_images_than_stated_exceed_the_threshold(scores: list[float], rate: float) -> None:
    assert (np.array(scores) > threshold_at(np.array(scores), rate)).mean() <= rate
