import math

import numpy as np
import pytest

from dynammo.training.metrics import (
    accuracy_matrix,
    backward_transfer,
    class_recalls,
    evaluate_predictions,
    expected_calibration_error,
    forgetting,
    summarise,
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
