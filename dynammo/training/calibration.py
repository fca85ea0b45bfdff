"""How sure to be: temperature of probabilities, thresholds at a stated rate of false alarms; arrays in, numbers out."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

__all__ = ["fit_temperature", "tempered", "threshold_at"]

Floats = npt.NDArray[np.float64]
COLDEST, HOTTEST = 0.05, 20.0


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities (N, K) of a softmax as they were had its scores been divided by `temperature`."""
    scores = np.log(np.clip(probabilities, 1e-30, None)) / temperature
    scores -= scores.max(1, keepdims=True)
    return np.asarray(np.exp(scores) / np.exp(scores).sum(1, keepdims=True))


def fit_temperature(probabilities: Floats, labels: npt.NDArray[np.int64]) -> float:
    """The temperature under which images that were not learnt from are least surprising (Guo et al., 1706.04599).

    Args:
        probabilities: (N, K) at temperature 1.
        labels: (N,).

    Returns:
        Between 0.05 and 20; above 1 where the network was too sure.
    """
    rows = np.arange(len(labels))

    def surprise(logarithm: float) -> float:
        right = tempered(probabilities, float(np.exp(logarithm)))[rows, labels]
        return float(-np.log(np.clip(right, 1e-30, None)).mean())

    found = minimize_scalar(surprise, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def threshold_at(scores: Floats, false_alarm_rate: float) -> float:
    """The smallest of the (N,) scores of known images that no more than this share of them exceeds."""
    return float(np.quantile(scores, 1 - false_alarm_rate, method="higher"))
