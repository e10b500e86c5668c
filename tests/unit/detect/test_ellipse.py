"""The shape of an elliptical probe, and what knowing it does for the atoms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_rvae import detect_atoms
from napari_rvae.analysis.scores import match_sites
from napari_rvae.detect.ellipse import ROUND, ProbeShape, shape_step
from napari_rvae.detect.fit import fit_atoms
from napari_rvae.render import render_gaussians
from napari_rvae.tables import make_sites
from scenes import SIDE, SIGMA, lattice

LEVEL = 10.0


def longer(ratio, angle=0.6):
    """Shape that is longer by this ratio along an angle."""
    along = np.array([-np.sin(angle), np.cos(angle)])
    form = ratio * np.eye(2) + (1 / ratio - ratio) * np.outer(along, along)
    return ProbeShape(1.0, form)


def frame_of(shape, *, counts=100.0, kind="honeycomb", seed=0):
    """Frame of a lattice with such a probe, its picture without noise, and the atoms (N, 2)."""
    points, _ = lattice(kind)
    points = points + np.random.default_rng(seed).normal(0, 0.2, points.shape)
    clean = LEVEL + render_gaussians(*points.T, counts, SIGMA, (SIDE, SIDE), form=shape.form)
    return np.random.default_rng(seed + 1).poisson(clean).astype(float), clean, points


def test_a_form_draws_ellipses_of_the_same_volume():
    picture = render_gaussians(32, 32, 1.0, 3.0, (65, 65), form=longer(1.5, 0.0).form)
    y, x = np.indices(picture.shape) - 32
    assert picture.sum() == pytest.approx(2 * np.pi * 9, rel=1e-3)
    widths = [np.sqrt((picture * part**2).sum() / picture.sum()) for part in (y, x)]
    assert widths == pytest.approx([3.0 / 1.5**0.5, 3.0 * 1.5**0.5], rel=1e-2)
    turned = render_gaussians(32, 32, 1.0, 3.0, (65, 65), form=longer(1.5, np.pi / 2).form)
    np.testing.assert_allclose(turned, picture.T, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2, 2.5])
def test_steps_lead_to_the_shape(angle):
    true = longer(1.25, angle)
    frame, clean, points = frame_of(true)
    inside = ((points > 0) & (points < SIDE - 1)).all(axis=1)
    shape, y, x = ROUND, *points[inside].T
    for _ in range(4):
        fit = fit_atoms(frame, clean, y, x, shape.wider * SIGMA, form=shape.form)
        step, sd = shape_step(frame, clean, fit, SIGMA, shape)
        shape = shape.changed(step)
    assert np.abs(step).max() < 0.01
    assert (sd < 0.01).all()
    assert shape.ratio == pytest.approx(true.ratio, abs=0.03)
    assert shape.wider == pytest.approx(1.0, abs=0.02)
    np.testing.assert_allclose(shape.form, true.form, atol=0.04)


@settings(max_examples=30, deadline=None)
@given(
    ratio=st.floats(1.0, 2.0),
    angle=st.floats(0, np.pi),
    step=st.tuples(*[st.floats(-0.5, 0.5)] * 3).map(np.array),
)
def test_shapes_keep_their_volume(ratio, angle, step):
    shape = longer(ratio, angle)
    assert shape.ratio == pytest.approx(ratio)
    after = shape.changed(step)
    assert np.linalg.det(after.form) == pytest.approx(1.0)
    assert 0.7 < after.wider < 1.4
    believed = after.trusted(np.full(3, 1e-3))
    assert 1 - 1e-9 <= believed.ratio <= after.ratio + 1e-9


def test_what_is_hardly_longer_or_as_much_wider_is_round():
    sure, unsure = np.full(3, 1e-3), np.full(3, 0.1)
    assert longer(1.02).trusted(sure) is ROUND
    assert longer(1.2).trusted(unsure) is ROUND
    assert longer(1.2)._replace(wider=1.3).trusted(sure) is ROUND
    assert longer(1.2).trusted(sure).ratio == pytest.approx(1.2)
    assert 1.0 < longer(1.04).trusted(sure).ratio < 1.04


def test_few_atoms_tell_no_shape():
    frame, clean, points = frame_of(longer(1.3))
    some = np.abs(points - SIDE / 2).max(axis=1) < 15
    fit = fit_atoms(frame, clean, *points[some].T, SIGMA)
    assert shape_step(frame, clean, fit, SIGMA) is None


def errors(frame, points):
    """Errors of the atoms away from the rim, over the stated ones too; and the table."""
    found = detect_atoms(frame)
    true = make_sites(frame=0, y=points[:, 0], x=points[:, 1])
    pairs = match_sites(found, true, 3.0)
    place = true[["y", "x"]].to_numpy()[pairs[:, 1]]
    inner = ((place > 14) & (place < SIDE - 15)).all(axis=1)
    miss = (found[["y", "x"]].to_numpy()[pairs[:, 0]] - place)[inner]
    return miss, miss / found[["y_sd", "x_sd"]].to_numpy()[pairs[:, 0]][inner], found


@pytest.mark.parametrize("kind", ["honeycomb", "perovskite"])
def test_an_elliptical_probe_costs_no_precision(kind):
    round_miss, _, round_found = errors(*frame_of(ROUND, kind=kind)[::2])
    miss, over, found = errors(*frame_of(longer(1.25), kind=kind)[::2])
    assert abs(len(found) - len(round_found)) <= 2
    rms = [np.sqrt((part**2).mean()) for part in (miss, round_miss)]
    assert rms[0] < 1.15 * rms[1]
    assert (over.std(axis=0) > 0.8).all()
    assert (over.std(axis=0) < 1.25).all()
    assert found["sigma"].median() == pytest.approx(SIGMA, rel=0.05)
    assert found["amplitude"].median() == pytest.approx(100.0, rel=0.05)
