import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_rvae.synthetic.lattice import bearing, grown_points, honeycomb, rocksalt, rotated
from strategies import angles

turns = st.floats(-3.0, 3.0)


def test_a_quarter_turn_brings_right_to_up_on_the_screen():
    # (dy, dx): to the right -> up -> to the left -> down; y counts downwards
    np.testing.assert_allclose(rotated(np.array([0.0, 1.0]), math.pi / 2), [-1, 0], atol=1e-12)
    np.testing.assert_allclose(rotated(np.array([-1.0, 0.0]), math.pi / 2), [0, -1], atol=1e-12)
    np.testing.assert_allclose(rotated(np.array([0.0, -1.0]), math.pi / 2), [1, 0], atol=1e-12)


def test_the_formula_of_the_conventions():
    dy, dx, a = 2.0, 3.0, 0.3
    expected = (dy * math.cos(a) - dx * math.sin(a), dx * math.cos(a) + dy * math.sin(a))
    np.testing.assert_allclose(rotated(np.array([dy, dx]), a), expected)


@given(turns, turns)
def test_turns_add_up(first, second):
    offset = np.array([[0.3, -1.2], [2.0, 0.1]])
    np.testing.assert_allclose(
        rotated(rotated(offset, first), second), rotated(offset, first + second), atol=1e-9
    )


@given(turns)
def test_bearing_undoes_a_turn(angle):
    assert bearing(rotated(np.array([0.0, 2.0]), angle)) == pytest.approx(angle, abs=1e-9)


@given(angles)
def test_honeycomb_neighbours_lie_at_the_angle_of_their_sublattice(angle):
    points = grown_points(honeycomb(10.0), (angle,), (80, 80), 20.0, np.random.default_rng(0))
    place = int(np.argmin(np.hypot(*(points.position - 40).T)))
    tree = cKDTree(points.position)
    near = [k for k in tree.query_ball_point(points.position[place], 10.5) if k != place]
    own = angle + math.pi * points.sublattice[place]
    found = bearing(points.position[near] - points.position[place])
    assert len(near) == 3
    np.testing.assert_allclose(np.exp(3j * (found - own)), 1.0, atol=1e-6)


def test_the_frame_and_its_margin_are_filled(rng):
    points = grown_points(honeycomb(10.0), (0.4,), (60, 90), 25.0, rng)
    per_area = len(points.grain) / (110 * 140)
    assert per_area == pytest.approx(4 / (3 * math.sqrt(3) * 100), rel=0.05)
    assert np.isinf(points.boundary_distance).all()


def test_the_square_lattice_has_b_in_the_middle_of_a(rng):
    points = grown_points(rocksalt(10.0), (0.0,), (100, 100), 20.0, rng)
    a, b = (points.position[points.sublattice == k] for k in (0, 1))
    inner = b[(np.abs(b - 50) < 40).all(1)]
    distance, near = cKDTree(a).query(inner, 4)
    np.testing.assert_allclose(distance, 10.0)
    np.testing.assert_allclose(a[near].mean(1), inner, atol=1e-9)
    np.testing.assert_allclose(np.abs(a[near[:, 0]] - inner), 10 / math.sqrt(2))


def test_two_grains_meet_without_collisions(rng):
    points = grown_points(honeycomb(10.0), (0.1, 0.4), (200, 200), 30.0, rng)
    assert set(points.grain.tolist()) == {0, 1}
    distance, near = cKDTree(points.position).query(points.position, 2)
    across = points.grain[near[:, 1]] != points.grain
    assert distance[across, 1].min() >= 7.0 - 1e-9
    assert points.boundary_distance.min() < 10
