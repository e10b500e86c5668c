import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_rvae import simulate_graphene, simulate_perovskite
from napari_rvae.preprocess import destripe
from napari_rvae.render import render_gaussians

#: Scan options without flaws of their own.
STILL = {"n_frames": 1, "size": 256, "row_noise": 0.0, "readout_noise": 0.0, "seed": 1}


def offsets(rng, rows=256, sd=1.0):
    return rng.normal(0, sd, (rows, 1))


def graphene(**options):
    """Noise-free picture, and the true atoms drawn, the rim unknown."""
    made = simulate_graphene(**(STILL | {"grains": 1, "hole_end": 0.0} | options))
    atoms = made.sites[made.sites["amplitude"] > 0]
    drawn = render_gaussians(atoms["y"], atoms["x"], atoms["amplitude"], atoms["sigma"], (256, 256))
    drawn[:10], drawn[-10:] = np.nan, np.nan
    return made.fields["expected"][0].astype(float), drawn


@given(st.integers(0, 2**32 - 1), st.sampled_from([(32, 64), (96, 96), (200, 64), (256, 300)]))
@settings(max_examples=60, deadline=None)
def test_without_row_noise_nothing_is_changed(seed, shape):
    white = np.random.default_rng(seed).normal(3, 2, shape)
    out = destripe(white)
    # chance makes offsets of a few, which are small
    assert out is white or np.std(out - white) < 0.5


def test_a_thousand_frames_of_noise_are_hardly_ever_changed():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(500, 64, 64))
    assert np.mean([destripe(frame) is frame for frame in frames]) > 0.99


@pytest.mark.parametrize("share", [0.2, 0.5, 2.0])
def test_most_of_the_row_noise_goes(share, rng):
    white = rng.normal(size=(256, 256))
    left = destripe(white + offsets(rng, sd=share)) - white
    assert np.std(left) < 0.08 + 0.3 * share


@pytest.mark.parametrize("angle", [0.0, math.pi / 2, 0.2])
def test_the_lattice_is_not_harmed_whichever_way_its_rows_lie(angle, rng):
    clean, drawn = graphene(rotation=angle, jitter=0.0)
    white = rng.poisson(clean) - clean
    sd = white.std()
    frame = clean + white + offsets(rng, sd=0.5 * sd)
    for atoms, most in ((None, 0.3), (drawn, 0.2)):
        left = (destripe(frame, atoms) - clean - white)[10:-10]
        assert left.std() < most * sd
    assert destripe(clean + white, drawn) is not None
    assert np.std(destripe(clean + white, drawn) - clean - white) < 0.05 * sd
    assert destripe(clean) is clean


def test_no_streak_beside_a_bright_atom(rng):
    """A single atom a hundred times above the noise changes the mean of its rows by much more
    than the offsets do."""
    atom = render_gaussians(128, 60, 100.0, 2.5, (256, 256))
    white, stripes = rng.normal(size=(256, 256)), offsets(rng, sd=0.5)
    frame = atom + white + stripes
    beside = slice(124, 133)
    for known, most in ((atom, 0.25), (None, 0.45)):
        streak = (destripe(frame, known) - atom - white)[beside, 120:].mean(1)
        assert np.sqrt(np.mean(streak**2)) < most
    naive = (frame - frame.mean(1, keepdims=True) + frame.mean() - atom - white)[beside, 120:]
    assert np.sqrt(np.mean(naive.mean(1) ** 2)) > 1


def test_offsets_that_change_slowly_along_the_row(rng):
    white = rng.normal(size=(256, 256))
    slow = ndimage.gaussian_filter1d(rng.normal(size=(256, 256)), 80, axis=1, mode="wrap")
    slow *= 0.5 / slow.std()
    assert np.std(destripe(white + slow) - white) < 0.25


def test_columns_ramps_and_background_stay(rng):
    y, x = np.mgrid[:256, :256] / 256
    white = rng.normal(size=(256, 256))
    for picture in (20 * y, 20 * x, 10 * np.exp(-20 * ((y - 0.5) ** 2 + (x - 0.3) ** 2))):
        out = destripe(picture + white)
        assert np.std(out - picture - white) < 0.05
    columns = white + rng.normal(0, 0.5, (1, 256))
    assert np.std(destripe(columns) - columns) < 0.05
    both = destripe(columns + offsets(rng, sd=0.5)) - columns
    assert both.std() < 0.25


def test_the_atoms_may_be_in_any_unit_and_dark(rng):
    clean, drawn = graphene(rotation=0.0)
    frame = clean + rng.normal(0, 3, clean.shape) + offsets(rng, sd=2)
    plain = destripe(frame, drawn)
    np.testing.assert_allclose(destripe(frame, 1e-9 * drawn), plain, atol=1e-6)
    np.testing.assert_allclose(destripe(-frame, drawn), -plain, atol=1e-6)
    np.testing.assert_array_equal(destripe(frame, np.zeros_like(frame)), destripe(frame))


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1e30])
def test_the_unit_of_the_frame_does_not_matter(unit, rng):
    frame = rng.normal(5, 1, (128, 128)) + offsets(rng, 128)
    np.testing.assert_allclose(destripe(unit * frame), unit * destripe(frame), rtol=1e-6)


def test_missing_pixels_stay_missing_and_do_no_harm(rng):
    white, stripes = rng.normal(size=(256, 256)), offsets(rng, sd=0.7)
    frame = white + stripes
    frame[40:90, 100:250] = np.nan
    frame[200] = np.nan
    out = destripe(frame)
    assert np.array_equal(np.isnan(out), np.isnan(frame))
    assert np.nanstd(out - white) < 0.3


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((64, 64)),
        np.full((64, 64), 7.0),
        np.full((64, 64), np.nan),
        np.random.default_rng(0).normal(size=(1, 64)),
        np.random.default_rng(0).normal(size=(64, 1)),
        np.eye(64),
        np.tile([0.0, 1.0], (64, 32)),
        np.repeat([[0.0], [1.0]], 32, axis=0) + np.zeros((64, 64)),
        np.arange(64.0)[:, None] ** 2 + np.zeros((64, 64)),
    ],
)
def test_frames_without_noise_are_left_alone(frame):
    assert destripe(frame) is frame


def test_a_frame_with_little_else_than_missing_pixels(rng):
    frame = np.full((64, 64), np.nan)
    frame[30, 5:20] = rng.normal(size=15)
    out = destripe(frame)
    assert np.array_equal(np.isnan(out), np.isnan(frame))


def test_counts_of_a_perovskite(rng):
    made = simulate_perovskite(size=256, rotation=0.0, row_noise=0.0, readout_noise=0.0, seed=2)
    clean = made.fields["expected"][0].astype(float)
    counts = rng.poisson(clean) + 0.0
    assert np.std(destripe(counts) - counts) < 0.1 * np.std(counts - clean)
