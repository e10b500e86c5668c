"""Atoms of small pictures whose atoms are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import InputError
from napari_rvae.analysis.motif import bonded_pairs, brightness_class, locate_atoms
from napari_rvae.render import render_gaussians

SIDE, SPACING, SIGMA = 32, 32 / 3.5, 2.0
THREE = np.radians([90.0, 210.0, 330.0])


def star(directions, distance=1.0):
    """Offsets (dy, dx) in neighbour distances, y down, of neighbours in some directions."""
    return distance * np.stack([-np.sin(directions), np.cos(directions)], 1)


def draw(offset, amplitude, *, noise=0.0, sigma=SIGMA):
    places = np.asarray(offset) * SPACING + (SIDE - 1) / 2
    picture = render_gaussians(*places.T, np.asarray(amplitude, float), sigma, (SIDE, SIDE))
    return picture + np.random.default_rng(0).normal(0, noise, picture.shape)


def honeycomb(middle=1.0):
    second = math.sqrt(3) * np.stack(
        [-np.sin(np.radians(np.arange(0, 360, 60))), np.cos(np.radians(np.arange(0, 360, 60)))], 1
    )
    offset = np.concatenate([[[0, 0]], star(THREE), second])
    return offset, np.array([middle, *[1.0] * 9])


def test_a_dopant_reads_as_itself_with_three_neighbours():
    offset, amplitude = honeycomb(3.5)
    motif = locate_atoms(
        draw(offset, amplitude, noise=0.02),
        SPACING,
        hosts=[1.0],
        elements={"A": "C", "A+": "Si"},
    )
    assert motif.text == "Si with three C"
    assert motif.has_centre
    inner = motif.offset[:4]
    truth = np.concatenate([[[0, 0]], star(THREE)])
    apart = np.hypot(*(inner[:, None] - truth).transpose(2, 0, 1)).min(1)
    assert apart.max() < 0.03
    assert motif.amplitude[0] == pytest.approx(3.5, rel=0.05)
    assert sorted(motif.neighbours.tolist()) == [1, 2, 3]


def test_where_nothing_is_in_the_middle_it_is_an_empty_site():
    motif = locate_atoms(draw(star(THREE), [1.0] * 3, noise=0.02), SPACING, hosts=[1.0])
    assert not motif.has_centre
    assert motif.text == "empty site with three A"


def test_dark_atoms_are_found_in_the_negative():
    offset, amplitude = honeycomb()
    motif = locate_atoms(-draw(offset, amplitude) + 5, SPACING, hosts=[1.0], is_dark=True)
    assert motif.text == "A with three A"


def test_two_hosts_have_two_letters():
    offset = np.concatenate([[[0, 0]], star(np.radians([0, 90, 180, 270]))])
    motif = locate_atoms(draw(offset, [1.0, 2.5, 2.5, 2.5, 2.5]), SPACING, hosts=[2.5, 1.0])
    assert motif.text == "B with four A"


def test_a_long_bond_of_a_large_dopant_is_a_bond_and_a_gap_is_none():
    four = star(np.radians([45, 135, 225, 315]), 1.34)
    dopant = locate_atoms(
        draw(np.concatenate([[[0, 0]], four]), [3.5, 1, 1, 1, 1]), SPACING, hosts=[1.0]
    )
    assert dopant.text == "A+ with four A"
    beside = np.concatenate([[[0, 0]], star(THREE[:2]), star(THREE[2:], 1.58)])
    assert locate_atoms(draw(beside, [1.0] * 4), SPACING, hosts=[1.0]).text == "A with two A"


@pytest.mark.parametrize("picture", [np.zeros((32, 32)), np.full((32, 32), np.nan)])
def test_an_empty_picture_has_no_atoms(picture):
    motif = locate_atoms(picture, SPACING, hosts=[1.0])
    assert len(motif) == 0
    assert motif.text == "no atoms"
    assert motif.neighbours.tolist() == []


def test_what_is_no_picture_is_said():
    with pytest.raises(InputError, match="one channel"):
        locate_atoms(np.zeros((1, 32, 32)), SPACING)
    with pytest.raises(InputError, match="spacing"):
        locate_atoms(np.zeros((32, 32)), math.nan)


@settings(max_examples=8)
@given(st.floats(0, 2 * math.pi), st.integers(2, 5))
def test_neighbours_in_any_direction_are_found(turn, count):
    directions = turn + np.arange(count) * 2 * math.pi / count
    offset = np.concatenate([[[0, 0]], star(directions)])
    motif = locate_atoms(draw(offset, [1.0] * (count + 1), noise=0.01), SPACING, hosts=[1.0])
    assert len(motif) == count + 1
    apart = np.hypot(*(motif.offset[:, None] - offset).transpose(2, 0, 1)).min(1)
    assert apart.max() < 0.05
    assert len(motif.neighbours) == count


def test_bonds_scale_with_the_spacing_and_skip_lone_points():
    chain = np.array([[0, 0], [0, 10], [0, 20], [50, 50]])
    assert bonded_pairs(chain, 10.0).tolist() == [[0, 1], [1, 2]]
    assert bonded_pairs(chain[:1], 10.0).shape == (0, 2)


def test_classes_of_brightness():
    assert [brightness_class(a) for a in (1.2, 0.85, 3.0, 0.5)] == ["A", "A", "A+", "A-"]
