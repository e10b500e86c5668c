"""What divides a unit into states: only angles that stay while an atom stays."""

import numpy as np
import pytest

from napari_rvae.analysis.kinetics.divisions import by_angle

#: Twenty atoms in thirty frames, one after the other; the angles are those of two classes.
ATOMS, FRAMES = 20, 30
MIDDLES = np.array([-0.5, 0.55])


@pytest.fixture
def stayed():
    rows = np.arange(ATOMS * FRAMES).reshape(ATOMS, FRAMES)
    return np.stack([rows[:, :-1].ravel(), rows[:, 1:].ravel()], axis=1)


def divided(label, stayed, rng):
    angle = MIDDLES[label.ravel()] + rng.normal(0, 0.05, label.size)
    edge = np.where(np.arange(label.size) == 0, np.pi / 3, angle)  # tells how far angles are folded
    return by_angle(edge, stayed, 3)(np.ones(label.size), np.ones(label.size, bool))


def test_a_class_that_stays_with_the_atom_is_a_state(stayed, rng):
    label = np.repeat(rng.integers(0, 2, ATOMS)[:, None], FRAMES, axis=1)
    misread = rng.random(label.shape) < 0.03
    classes = divided(label ^ misread, stayed, rng)
    assert [item.angle for item in classes] == pytest.approx(MIDDLES, abs=0.05)


def test_classes_that_take_turns_are_two_readings_of_one_state(stayed, rng):
    assert divided(rng.integers(0, 2, (ATOMS, FRAMES)), stayed, rng) == []
    # also where one reading is preferred
    assert divided((rng.random((ATOMS, FRAMES)) < 0.2).astype(int), stayed, rng) == []


def test_atoms_that_never_stay_tell_nothing_against_their_classes(rng):
    label = rng.integers(0, 2, (ATOMS, FRAMES))
    assert len(divided(label, np.empty((0, 2), np.int64), rng)) == 2
