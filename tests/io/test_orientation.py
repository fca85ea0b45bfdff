"""Volumes of any orientation are laid out as a screen shows them."""

import itertools

import numpy as np
import pytest

from dynammo.io.orientation import (
    AS_STORED,
    frame_axis,
    is_placed,
    layout,
    reorient,
    reoriented_affine,
    stored_part,
    voxel_sizes,
)

SHAPE = (3, 4, 5)
SIZES = (0.5, 1.0, 2.0)
AFFINES = []
for axes in itertools.permutations(range(3)):
    for signs in itertools.product((1, -1), repeat=3):
        AFFINE = np.eye(4)
        AFFINE[:3, :3] = 0
        for stored in range(3):
            AFFINE[axes[stored], stored] = signs[stored] * SIZES[stored]
        AFFINE[:3, 3] = 10, 20, 30
        AFFINES.append(AFFINE)


@pytest.mark.parametrize("affine", AFFINES)
def test_every_voxel_keeps_its_place_in_the_patient(affine: np.ndarray) -> None:
    """Frames run to the head, rows to the back, columns to the left, and the affine still says where a voxel lies."""
    array = np.arange(60, dtype=np.float32).reshape(1, *SHAPE)
    how = layout(affine, SHAPE)
    laid, placed = reorient(array, how)[0], reoriented_affine(affine, how, SHAPE, None)
    to_head, to_back, to_left = placed[:3, :3].T
    assert to_head[2] > 0 > to_back[1] and to_left[0] < 0
    for stored in np.ndindex(SHAPE):
        index = np.argwhere(laid == array[(0, *stored)])[0]
        np.testing.assert_allclose(placed @ [*index, 1], affine @ [*stored, 1])


@pytest.mark.parametrize("affine", AFFINES)
def test_one_frame_is_read_alone(affine: np.ndarray) -> None:
    array = np.arange(60, dtype=np.float32).reshape(1, *SHAPE)
    how = layout(affine, SHAPE)
    laid = reorient(array, how)
    for frame in range(SHAPE[frame_axis(how)]):
        part = stored_part(how, SHAPE, frame)
        np.testing.assert_array_equal(reorient(array[(slice(None), *part)], how)[0, 0], laid[0, frame])
        first = reoriented_affine(affine, how, SHAPE, frame) @ [0, 0, 0, 1]
        np.testing.assert_allclose(first, reoriented_affine(affine, how, SHAPE, None) @ [frame, 0, 0, 1])


def test_what_is_stored_may_be_shown_as_it_is() -> None:
    array = np.arange(60, dtype=np.float32).reshape(1, *SHAPE)
    np.testing.assert_array_equal(reorient(array, AS_STORED), array)
    assert stored_part(AS_STORED, SHAPE, None) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_axes_must_be_finite_and_independent() -> None:
    assert is_placed(AFFINES[0])
    np.testing.assert_allclose(voxel_sizes(AFFINES[0]), SIZES)
    flat, unknown, parallel = np.eye(4), np.eye(4), np.eye(4)
    flat[0, 0], unknown[1, 1], parallel[:3, 1] = 0, np.nan, parallel[:3, 0]
    assert not any(is_placed(affine) for affine in (flat, unknown, parallel))
