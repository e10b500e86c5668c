import math

import numpy as np
import pandas as pd
import pytest

from napari_rvae import detect_atoms
from napari_rvae.analysis.scores import match_sites
from napari_rvae.render import render_gaussians
from scenes import SIDE, SIGMA, SPACING, draw, lattice

#: Directions in which rows of a lattice lie along the scan, and one in which they do not.
DIRECTIONS = [
    ("honeycomb", 0.0),
    ("honeycomb", math.pi / 6),
    ("honeycomb", 0.2),
    ("perovskite", 0.0),
    ("perovskite", math.pi / 4),
    ("perovskite", 0.2),
]


def scene(kind="honeycomb", angle=0.2, *, seed=1):
    points, sublattice = lattice(kind, angle=angle)
    height = 40.0 * np.where(sublattice == 1, 0.45, 1.0) if kind == "perovskite" else 40.0
    return draw(*points.T, height, seed=seed)


def rows_added(one, share, *, seed=2):
    """The frame of a scene with offsets of its rows, as a share of the white noise."""
    sd = share * np.std(one.frame - one.expected)
    return one.frame + np.random.default_rng(seed).normal(0, sd, (SIDE, 1))


def error(found, one):
    """Rms error along y and x of the atoms away from the rim, in pixels."""
    pairs = match_sites(found, one.sites, 3.0)
    true = one.sites[["y", "x"]].to_numpy()
    inner = ((true > 15) & (true < SIDE - 16)).all(1)[pairs[:, 1]]
    gap = found[["y", "x"]].to_numpy()[pairs[:, 0]] - true[pairs[:, 1]]
    return np.sqrt((gap[inner] ** 2).mean(0))


@pytest.mark.parametrize(("kind", "angle"), DIRECTIONS)
def test_row_noise_costs_no_atoms_and_little_precision(kind, angle):
    one = scene(kind, angle)
    frame = rows_added(one, 0.7)
    found, kept = detect_atoms(frame), detect_atoms(frame, destripe=False)
    assert one.scores(found)["f1"] > 0.99
    clean, left, had = (error(table, one) for table in (detect_atoms(one.frame), found, kept))
    assert left[1] < 1.1 * clean[1]  # along x
    # along y most of what the offsets add goes, but less where rows of atoms lie along the scan
    added, remained = (math.sqrt(max(value**2 - clean[0] ** 2, 0)) for value in (had[0], left[0]))
    assert remained < (0.5 if angle == 0.2 else 0.9) * added


@pytest.mark.parametrize(("kind", "angle"), DIRECTIONS[1:4:2])
def test_frames_without_row_noise_give_the_very_same_atoms(kind, angle):
    frame = scene(kind, angle).frame
    pd.testing.assert_frame_equal(detect_atoms(frame), detect_atoms(frame, destripe=False))


def test_dark_atoms_are_bright_ones_negated():
    frame = rows_added(scene(), 1.0)
    bright, dark = detect_atoms(frame), detect_atoms(-frame, contrast="dark")
    assert len(bright) == len(dark)
    np.testing.assert_allclose(dark[["y", "x"]], bright[["y", "x"]], atol=2e-3)


def test_atoms_outside_the_region_are_known_when_the_rows_are_corrected():
    frame = rows_added(scene(angle=0.0), 1.0)
    region = np.zeros(frame.shape, bool)
    region[:, : SIDE // 3] = True
    whole, part = detect_atoms(frame), detect_atoms(frame, region=region)
    inside = region[tuple(np.rint(whole[["y", "x"]].to_numpy()).astype(int).clip(0, SIDE - 1).T)]
    np.testing.assert_array_equal(part[["y", "x"]], whole.loc[inside, ["y", "x"]])


def test_missing_rows_do_no_harm():
    one = scene(angle=0.0)
    frame = rows_added(one, 1.0)
    frame[100:104], frame[:20, :50] = np.nan, np.nan
    found = detect_atoms(frame)
    here = found[["y", "x"]].to_numpy()
    assert not np.isnan(frame[tuple(np.rint(here).astype(int).clip(0, SIDE - 1).T)]).any()
    assert one.scores(found)["precision"] > 0.98
    gone = one.sites["y"].between(100 - SPACING, 104 + SPACING).mean() + 0.05
    assert one.scores(found)["recall"] > 1 - gone


def test_rows_that_fill_no_bin_do_no_harm():
    """Wide atoms are fitted in bins of several pixels, of which the last may be cut off."""
    points, _ = lattice(side=60)
    wide = 4.2
    expected = render_gaussians(*(wide * points.T), 200.0, wide * SIGMA, (251, 251)) + 20.0
    rng = np.random.default_rng(0)
    frame = rng.poisson(expected) + rng.normal(0, 5.0, (251, 1))
    found = detect_atoms(frame, sigma=wide * SIGMA, neighbour_distance=wide * SPACING)
    true = wide * points
    inner = true[((true > 40) & (true < 211)).all(axis=1)]
    gap = np.hypot(*(inner[:, None] - found[["y", "x"]].to_numpy()).transpose(2, 0, 1))
    assert gap.min(axis=1).max() < 0.5
