import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from napari_rvae.curves import (
    curve_points,
    distance_to_curves,
    field_at,
    normals_and_bends,
    slopes_at,
    zero_curves,
)


def disc(radius: float, side: int = 64) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    return radius - np.hypot(y, x)


def test_zero_of_a_disc_is_a_closed_circle():
    (curve,) = zero_curves(disc(20.0))
    assert np.array_equal(curve[0], curve[-1])
    radius = np.hypot(*(curve - 31.5).T)
    assert np.abs(radius - 20).max() < 0.02


def test_nan_ends_a_curve():
    field = np.tile(np.arange(20.0) - 7.3, (20, 1))
    field[9:11] = np.nan
    assert len(zero_curves(field)) == 2


@given(st.floats(0.5, 6.0))
@example(1.292297856349212)  # the polygon is a little shorter than the circle
def test_points_are_evenly_spaced_at_nearly_the_step(spacing):
    (curve,) = zero_curves(disc(18.0))
    points = curve_points(curve, spacing)
    length = np.hypot(*np.diff(curve, axis=0).T).sum()
    assert length == pytest.approx(2 * math.pi * 18, rel=1e-3)
    assert len(points) == round(length / spacing)
    steps = np.hypot(*np.diff(points, axis=0).T)
    assert np.ptp(steps) < 0.1


@given(st.floats(5.0, 28.0), st.floats(0.0, 28.0))
def test_distance_from_a_circle(radius, other):
    points = np.array([[31.5, 31.5 + other]])
    found = distance_to_curves(zero_curves(disc(radius)), points)
    # straight pieces inside the circle: nearer by at most 1 / (8 radius)
    assert found[0] == pytest.approx(abs(radius - other), abs=0.05)


def test_no_curve_is_infinitely_far():
    assert np.isinf(distance_to_curves([], np.zeros((2, 2)))).all()


def test_normal_points_to_larger_values_counter_clockwise_on_the_screen():
    points = np.array([[31.5, 11.5], [51.5, 31.5], [11.5, 31.5]])  # left, below, above
    angle, bend = normals_and_bends(disc(20.0), points, sigma=1.0)
    # to the right, up, down: the disc's middle
    assert np.allclose(angle, [0, math.pi / 2, -math.pi / 2], atol=0.01)
    assert np.allclose(bend, 1 / 20, atol=0.002)
    _, hollow = normals_and_bends(-disc(20.0), points, sigma=1.0)
    assert np.allclose(hollow, -1 / 20, atol=0.002)


def test_field_between_pixels():
    assert field_at(np.array([[0.0, 2.0]]), np.array([[0.0, 0.25]])).tolist() == [0.5]


# a mirrored edge would turn them by 0, 7, 14 and 20 degrees
@pytest.mark.parametrize(("degrees", "most"), [(0, 0.1), (15, 1.5), (30, 5.5), (45, 8.0)])
def test_a_wall_keeps_its_direction_up_to_the_edge_of_the_frame(degrees, most):
    turn = math.radians(degrees)
    y, x = np.indices((48, 48)) - 23.5
    across = x * math.cos(turn) - y * math.sin(turn) + 4
    (curve,) = zero_curves(np.tanh(across / 3))
    angle, _ = normals_and_bends(np.tanh(across / 3), curve, sigma=2.5)
    assert np.degrees(np.abs(np.angle(np.exp(1j * (angle - turn))))).max() < most


def test_slopes_of_a_plane_are_exact_everywhere():
    y, x = np.indices((30, 40))
    points = np.array([[0.0, 0.0], [29.0, 39.0], [15.0, 20.0], [0.0, 25.0]])
    assert np.allclose(slopes_at(2.0 * y - 3.0 * x, points, sigma=3.0), [2.0, -3.0], rtol=1e-3)
