import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae.tables import fold_angle
from napari_rvae.vae.gauge import smallest_turn
from napari_rvae.vae.pose import AngleGrid, rotate

M, K = 9, 3
GRID = AngleGrid(M, torch.device("cpu"))


def pattern(seed, every=1):
    """A picture (1, M, 2, K) with orders that are multiples of `every` only."""
    values = torch.randn(1, M, 2, K, generator=torch.Generator().manual_seed(seed))
    for order in range(M):
        if order % every:
            values[:, order] = 0
    values[:, 0, 1] = 0
    return values


def degrees(radians):
    return np.degrees(np.abs(radians))


@given(st.integers(0, 50), st.floats(-3.1, 3.1))
def test_the_turn_of_a_picture_without_symmetry(seed, angle):
    picture = pattern(seed)
    found = float(smallest_turn(rotate(picture, torch.tensor([angle])), picture, GRID))
    assert abs(math.remainder(found - angle, 2 * math.pi)) < 1e-3


@given(st.integers(0, 50), st.floats(-3.1, 3.1), st.sampled_from([2, 3, 4]))
def test_of_equal_turns_the_smallest(seed, angle, order):
    picture = pattern(seed, every=order)
    found = float(smallest_turn(rotate(picture, torch.tensor([angle])), picture, GRID))
    folded = float(fold_angle(angle, order))
    if abs(abs(folded) - math.pi / order) > 0.05:  # else two turns are equally small
        assert found == pytest.approx(folded, abs=2e-3)


def test_a_constant_does_not_decide(picture):
    """A large round part fits at every angle; it must not make all turns almost equal."""
    one = pattern(1)
    one[:, 0, 0] = 100.0
    turned = rotate(one, torch.tensor([1.1]))
    assert float(smallest_turn(turned, one, GRID)) == pytest.approx(1.1, abs=1e-3)


def test_angles_of_one_class_are_comparable(motif_model, sample):
    """The offset between the true angle and the found one is the same over a whole class."""
    test = sample("motif", 300, seed=5)
    angle = motif_model.transform(test.crops)["angle"].to_numpy()
    for label in (0, 1):
        here = test.label == label
        difference = angle[here] - test.angle[here]
        offset = np.angle(np.exp(1j * difference).mean())
        assert degrees(fold_angle(difference - offset, 1)).max() < 10


def test_the_host_of_a_honeycomb_is_three_fold(lattice_model):
    assert lattice_model._trained.aligned.order == 3


def test_lattice_angle_is_the_direction_of_a_bond(lattice_model, sample):
    """A bond of the reference crop points straight down, -90 degrees on the screen."""
    test = sample("honeycomb", 300, seed=6)
    found = lattice_model.transform(test.crops)["lattice_angle"].to_numpy()
    assert (np.abs(found) <= math.pi / 3 + 1e-9).all()
    error = fold_angle(found - (test.angle - math.pi / 2), 3)
    assert degrees(error[test.label == 0]).max() < 3
    assert degrees(error[test.label == 1]).mean() < 3


def test_the_canonical_host_has_a_bond_along_x(lattice_model, sample):
    bulk = sample("honeycomb", 100, seed=7)
    table = lattice_model.transform(bulk.crops.select(bulk.label == 0))
    here = table["angle"].to_numpy()
    error = fold_angle(here - table["lattice_angle"].to_numpy(), 3)
    assert degrees(error).max() < 3


def test_both_sublattices_differ_by_sixty_degrees(lattice_model, sample):
    one = sample("honeycomb", 60, seed=8, angle=0.2)
    other = sample("honeycomb", 60, seed=9, angle=0.2 + math.pi / 3)
    a, b = (
        lattice_model.transform(s.crops.select(s.label == 0))["lattice_angle"].to_numpy()
        for s in (one, other)
    )
    assert degrees(fold_angle(a[:20] - b[:20] - math.pi / 3, 3)).max() < 5
