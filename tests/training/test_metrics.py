import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynammo.training.metrics import (
    accuracy_matrix,
    backward_transfer,
    class_recalls,
    evaluate_predictions,
    expected_calibration_error,
    fit_temperature,
    forgetting,
    study_means,
    summarise,
    tempered,
    threshold_at,
)

# by hand: task 1 falls 0.9 -> 0.7 -> 0.5, task 2 rises and falls 0.6 -> 0.4
MATRIX = np.array([[0.9, np.nan, np.nan], [0.7, 0.6, np.nan], [0.5, 0.4, 1.0]])


def test_forgetting_is_best_minus_last_over_old_tasks() -> None:
    assert forgetting(MATRIX) == pytest.approx(((0.9 - 0.5) + (0.6 - 0.4)) / 2)


def test_forgetting_counts_a_later_best() -> None:
    rising = np.array([[0.5, np.nan, np.nan], [0.8, 0.6, np.nan], [0.7, 0.6, 1.0]])
    assert forgetting(rising) == pytest.approx(0.05)
    assert backward_transfer(rising) == pytest.approx((0.7 - 0.5) / 2)


def test_backward_transfer_is_last_minus_first() -> None:
    assert backward_transfer(MATRIX) == pytest.approx(((0.5 - 0.9) + (0.4 - 0.6)) / 2)


def test_one_task_forgets_nothing_measurable() -> None:
    assert math.isnan(forgetting(np.array([[0.9]])))
    assert math.isnan(backward_transfer(np.array([[0.9]])))


def test_predictions_are_measured_on_seen_classes_alone() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]])
    unknown = np.array([0.1, 0.2, 0.3, 0.1, 0.9])
    labels = np.array([0, 0, 1, 1, 2])  # the last image is of a class not seen yet
    result = evaluate_predictions(probabilities, unknown, labels, [range(1), range(1, 2)], task=1)
    assert result.task_accuracy == (1.0, 0.5)
    assert result.accuracy == 0.75
    assert result.mean_class_recall == 0.75
    assert result.confusion == ((2, 0), (1, 1))
    assert result.unknown_auroc == 1.0


def test_mean_class_recall_weighs_classes_alike() -> None:
    probabilities = np.array([[1.0, 0.0]] * 4)
    result = evaluate_predictions(probabilities, np.zeros(4), np.array([0, 0, 0, 1]), [range(2)], task=0)
    assert result.accuracy == 0.75
    assert result.mean_class_recall == 0.5
    assert math.isnan(result.unknown_auroc)


def test_calibration_error_by_hand() -> None:
    # two images at confidence 0.9 of which one is right: gap 0.4; two at 0.6, both right: gap 0.4
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert expected_calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(0.4)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0.0


def test_summary_of_a_sequence() -> None:
    first = evaluate_predictions(np.array([[1.0]]), np.zeros(1), np.array([0]), [range(1)], 0)
    scores = np.array([[0.2, 0.8], [0.2, 0.8]])
    second = evaluate_predictions(scores, np.zeros(2), np.array([0, 1]), [range(1), range(1, 2)], 1)
    assert np.array_equal(accuracy_matrix([first, second]), [[1.0, np.nan], [0.0, 1.0]], equal_nan=True)
    assert summarise([first, second]) == {
        "average_incremental_accuracy": 0.75,
        "last_accuracy": 0.5,
        "average_mean_class_recall": 0.75,
        "last_mean_class_recall": 0.5,
        "forgetting": 1.0,
        "backward_transfer": -1.0,
    }


def test_classes_without_test_images_are_not_counted_as_missed() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    result = evaluate_predictions(probabilities, np.zeros(2), np.array([0, 1]), [range(2), range(2, 3)], task=1)
    assert result.mean_class_recall == 1.0
    assert result.task_accuracy[0] == 1.0 and math.isnan(result.task_accuracy[1])
    assert np.isnan(class_recalls(result.confusion)).tolist() == [False, False, True]


def test_without_a_test_image_nothing_is_known() -> None:
    nothing = np.zeros((0, 2)), np.zeros(0), np.zeros(0, dtype=int)
    result = evaluate_predictions(*nothing, [range(2)], task=0)
    measures = (result.accuracy, result.mean_class_recall, result.unknown_auroc, result.ece, *result.task_accuracy)
    assert all(math.isnan(value) for value in measures)
    assert result.confusion == ((0, 0), (0, 0))
    assert math.isnan(forgetting(np.full((2, 2), np.nan)))


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


def test_slices_are_averaged_in_the_order_of_their_studies() -> None:
    probabilities = np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])
    studies, counts, (means, labels) = study_means(["b", "a", "b", "a"], probabilities, np.array([1, 0, 1, 0]))
    assert (studies, counts) == (["b", "a"], [2, 2])
    np.testing.assert_allclose(means, [[0.6, 0.4], [0.2, 0.8]])
    assert labels.tolist() == [1, 0]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=20))
def test_probabilities_still_sum_to_one(studies: list[str]) -> None:
    rows = np.random.default_rng(len(studies)).dirichlet(np.ones(3), len(studies))
    names, counts, (means,) = study_means(studies, rows)
    assert sum(counts) == len(studies) and set(names) == set(studies)
    np.testing.assert_allclose(means.sum(1), 1)


def test_images_alone_stay_as_they_are() -> None:
    rows = np.random.default_rng(0).random((3, 4))
    assert study_means(["x", "y", "z"], rows)[2][0] is rows
