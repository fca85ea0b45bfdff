"""Predictions of slices or tiles as predictions of the study that they belong to."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["study_means"]

Column = np.ndarray[Any, np.dtype[Any]]


def study_means(studies: Sequence[str], *columns: Column) -> tuple[list[str], list[int], list[Column]]:
    """Average the rows of each study: every slice has one vote, weighted by how sure it is.

    Args:
        studies: for each of N rows, the study it belongs to.
        columns: arrays (N,) or (N, K), such as probabilities, which still sum to 1 afterwards.

    Returns:
        The S studies in the order of their first row, the rows of each, and the columns as (S,) or (S, K).
    """
    names = list(dict.fromkeys(studies))
    place = {name: i for i, name in enumerate(names)}
    index = np.array([place[study] for study in studies], dtype=int)
    counts = np.bincount(index, minlength=len(names))
    if len(names) == len(studies):
        return names, counts.tolist(), list(columns)
    means = []
    for column in columns:
        total = np.zeros((len(names), *column.shape[1:]))
        np.add.at(total, index, column)
        means.append((total.T / counts).T)
    return names, counts.tolist(), means
