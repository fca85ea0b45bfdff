"""What predictions are worth: the limit of low confidence that a wanted accuracy asks for, and what it comes to."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LOW_CONFIDENCE", "WANTED_ACCURACY", "confidence_limit", "confidence_of", "worth_of"]

LOW_CONFIDENCE = 0.5  # the limit of models that have none of their own

WANTED_ACCURACY = 0.9  # of predictions that are not flagged
FEWEST = 30  # images from which a limit is chosen

Array = npt.NDArray[Any]


def confidence_limit(probabilities: Array, labels: Array, wanted: float = WANTED_ACCURACY) -> float | None:
    """The lowest probability from which on at least a share `wanted` of the predictions is right.

    Where that holds for all images, however sure, nothing speaks for a limit above `LOW_CONFIDENCE`.

    Args:
        probabilities: (N, K) of images that the heads behind them had not seen.
        labels: (N,) of them.
        wanted: share of 1.

    Returns:
        None where there are fewer than 30 images, or no limit leaves 30 of which so many are right.
    """
    if len(labels) < FEWEST:
        return None
    sure = probabilities.max(1)
    order = np.argsort(-sure, kind="stable")
    right = probabilities.argmax(1)[order] == labels[order]
    shares = right.cumsum() / np.arange(1, len(right) + 1)  # right among the n surest
    enough = np.flatnonzero(shares[FEWEST - 1 :] >= wanted)
    if not len(enough):
        return None
    last = int(enough[-1]) + FEWEST - 1
    lowest = float(sure[order][last])
    return min(lowest, LOW_CONFIDENCE) if last == len(labels) - 1 else lowest


def confidence_of(trust: Mapping[str, Any]) -> float:
    """The probability below which predictions of a model are flagged, of `trust` in its record."""
    limit = trust.get("confidence_limit")
    return LOW_CONFIDENCE if limit is None else float(limit)


def worth_of(
    probabilities: Array, unknown: Array, labels: Array, confidence: float, unknown_limit: float | None
) -> dict[str, float | int | None]:
    """How often predictions on test images were right: the first, one of the first three, with and without a flag.

    Args:
        probabilities: (N, K).
        unknown: (N,) unknown scores.
        labels: (N,), of classes among the K.
        confidence: probability below which a prediction is flagged.
        unknown_limit: unknown score above which it is; None for none.

    Returns:
        Number of images, and shares of 1; None where nothing was judged.
    """
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    first, three = ranked[:, 0] == labels, (ranked[:, :3] == labels[:, None]).any(1)
    flagged = probabilities.max(1) < confidence
    if unknown_limit is not None:
        flagged |= unknown > unknown_limit
    return {
        "images": len(labels),
        "top_1": _share(first),
        "top_3": _share(three),
        "unflagged": _share(~flagged),
        "right_unflagged": _share(first[~flagged]),
        "right_flagged": _share(first[flagged]),
    }


def _share(found: Array) -> float | None:
    return float(found.mean()) if len(found) else None
