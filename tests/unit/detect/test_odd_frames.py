"""Odd frames: a clear error or the right answer, and no harm to the frames beside them."""

import numpy as np
import pytest

from napari_rvae import detect_atoms
from napari_rvae.errors import InputError, NoLatticeWarning
from scenes import SIDE, SIGMA, SPACING, draw, lattice

#: With the scale told, what is found in one frame does not depend on the others.
TOLD = {"sigma": SIGMA, "neighbour_distance": SPACING, "contrast": "bright"}


@pytest.fixture(scope="module")
def usual(bright):
    return detect_atoms(bright.frame, **TOLD)


def _five_percent_missing(frame):
    hole = np.random.default_rng(0).random(frame.shape) < 0.05
    return np.where(hole, np.nan, frame)


def _one_infinite(frame):
    frame = frame.copy()
    frame[7, 9] = np.inf
    return frame


def _largest_integers(frame):
    return np.iinfo(np.int64).max - (200 - frame.astype(np.int64)) * 2**50


SAME_ATOMS = {
    "5 % NaN": _five_percent_missing,
    "inf": _one_infinite,
    "uint8": lambda frame: frame.clip(0, 255).astype(np.uint8),
    "int64 at its end": lambda frame: (
        np.iinfo(np.int64).max - (200 - frame.astype(np.int64)) * 2**50
    ),
    "negative": lambda frame: frame - 1e3,
    "times 1e30": lambda frame: 1e30 * frame,
}
NO_ATOMS = {
    "all NaN": np.full((SIDE, SIDE), np.nan),
    "zeros": np.zeros((SIDE, SIDE)),
    "constant": np.full((SIDE, SIDE), 1e30),
    "all infinite": np.full((SIDE, SIDE), -np.inf),
    "one value of int64": np.full((SIDE, SIDE), np.iinfo(np.int64).max),
}


@pytest.mark.parametrize("name", SAME_ATOMS)
def test_the_same_atoms_are_found(bright, name):
    found = detect_atoms(SAME_ATOMS[name](bright.frame))
    assert bright.scores(found)["f1"] > 0.98


@pytest.mark.parametrize("name", NO_ATOMS)
def test_the_frames_beside_are_untouched(bright, usual, name):
    other = NO_ATOMS[name].astype(float)
    found = detect_atoms(np.stack([bright.frame, other, bright.frame]), **TOLD)
    assert not (found["frame"] == 1).any()
    for frame in (0, 2):
        part = found[found["frame"] == frame]
        assert part[["y", "x"]].to_numpy() == pytest.approx(usual[["y", "x"]].to_numpy())


@pytest.mark.parametrize("name", NO_ATOMS)
def test_nothing_is_found_in_nothing(name):
    with pytest.warns(NoLatticeWarning):
        assert len(detect_atoms(NO_ATOMS[name])) == 0


@pytest.mark.parametrize("shape", [(1, 1), (0, 0), (1, 300), (300, 1), (7, 40)])
def test_frames_too_small_are_refused(shape):
    with pytest.raises(InputError):
        detect_atoms(np.ones(shape))


def test_the_smallest_frame():
    rng = np.random.default_rng(0)
    with pytest.warns(NoLatticeWarning):
        assert len(detect_atoms(rng.normal(size=(8, 8)))) <= 1


def test_a_frame_with_a_third_axis_is_a_movie(bright):
    assert detect_atoms(bright.frame[None])["frame"].unique().tolist() == [0]


def test_complex_frames_are_refused(bright):
    with pytest.raises(InputError, match="complex"):
        detect_atoms(bright.frame + 1j)


def test_parts_of_a_frame_give_the_same_atoms():
    """Away from the seam, the halves of a frame hold what the whole does."""
    points, _ = lattice()
    scene = draw(*points.T, 60.0)
    whole = detect_atoms(scene.frame, **TOLD)[["y", "x"]].to_numpy()
    left = detect_atoms(scene.frame[:, :140], **TOLD)[["y", "x"]].to_numpy()
    inner = whole[whole[:, 1] < 100]
    gaps = [np.hypot(*(left - place).T).min() for place in inner]
    assert max(gaps) < 0.1
    assert (left[:, 1] < 100).sum() == pytest.approx(len(inner), abs=1)
