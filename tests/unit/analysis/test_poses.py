"""Pictures are turned in the package's sense, and back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import InputError
from napari_rvae.analysis.poses import align_crops, place_pictures

SIDE = 32
OFFSETS = np.array([[0.0, 0.0], [0.0, 7.0], [6.0, -4.0]])


def draw(offsets):
    line = np.arange(SIDE) - (SIDE - 1) / 2
    return sum(np.exp(-((line[:, None] - y) ** 2 + (line - x) ** 2) / 9) for y, x in offsets)


def moved(offsets, angle, shift):
    """The convention of design and documentation, written out once more."""
    dy, dx = offsets.T
    c, s = math.cos(angle), math.sin(angle)
    return np.stack([dy * c - dx * s, dx * c + dy * s], 1) + shift


angles, shifts = st.floats(-3.1, 3.1), st.tuples(st.floats(-2, 2), st.floats(-2, 2))


@settings(max_examples=20)
@given(angles, shifts)
def test_pictures_are_placed_where_the_convention_says(angle, shift):
    placed = place_pictures(draw(OFFSETS)[None, None], angle, shift)[0, 0]
    np.testing.assert_allclose(placed, draw(moved(OFFSETS, angle, shift)), atol=0.03)


@settings(max_examples=20)
@given(angles, shifts)
def test_crops_are_aligned_to_the_canonical_picture(angle, shift):
    crop = draw(moved(OFFSETS, angle, shift))[None, None]
    aligned = align_crops(crop, angle, shift)[0, 0]
    known = np.isfinite(aligned)
    line = np.arange(SIDE) - (SIDE - 1) / 2
    assert known[np.hypot(line[:, None], line) < 12].all()
    np.testing.assert_allclose(aligned[known], draw(OFFSETS)[known], atol=0.03)


def test_every_picture_has_its_own_pose_and_channels():
    angle, shift = np.array([0.3, -2.0]), np.array([[1.0, 0.0], [0.0, -1.5]])
    pair = np.stack([draw(OFFSETS), -draw(OFFSETS[:1])])
    placed = place_pictures(np.stack([pair, pair]), angle, shift)
    for one, a, by in zip(placed, angle, shift, strict=True):
        np.testing.assert_allclose(one[0], draw(moved(OFFSETS, a, by)), atol=0.03)
        np.testing.assert_allclose(one[1], -draw(moved(OFFSETS[:1], a, by)), atol=0.03)


def test_nothing_gives_nothing():
    assert align_crops(np.zeros((0, 1, 8, 8)), np.zeros(0)).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    ("shape", "angle", "shift"),
    [((8, 8), 0.0, (0, 0)), ((2, 1, 8, 8), np.zeros(3), (0, 0)), ((2, 1, 8, 8), 0.0, np.zeros(3))],
)
def test_what_does_not_fit_is_said(shape, angle, shift):
    with pytest.raises(InputError, match="give"):
        place_pictures(np.zeros(shape), angle, shift)
