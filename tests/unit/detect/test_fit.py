import numpy as np
import pytest
import torch

from napari_rvae.detect.fit import fit_atoms
from napari_rvae.render import render_gaussians
from scenes import SIDE, SIGMA, draw, lattice


def placed(scene, rng, *, off=0.5, **options):
    """Fit the atoms of a scene, from places that are off by up to `off` pixels."""
    y, x = scene.sites["y"].to_numpy(), scene.sites["x"].to_numpy()
    start = np.clip(np.stack([y, x]) + rng.uniform(-off, off, (2, y.size)), 0, SIDE - 1)
    return fit_atoms(scene.frame, scene.expected, *start, SIGMA, **options)


def interior(scene, margin=15):
    place = scene.sites[["y", "x"]].to_numpy()
    return ((place > margin) & (place < SIDE - 1 - margin)).all(axis=1)


@pytest.mark.parametrize("kind", ["honeycomb", "perovskite"])
@pytest.mark.parametrize("counts", [20.0, 100.0])
def test_fits_are_unbiased_and_their_errors_calibrated(kind, counts, rng):
    points, sublattice = lattice(kind)
    height = counts * np.where(sublattice == 1, 0.6, 1.0) if kind == "perovskite" else counts
    scatter = []
    for seed in range(3):
        scene = draw(*points.T, height, seed=seed)
        fit, use = placed(scene, rng), interior(scene)
        truth = scene.sites[["y", "x", "amplitude"]].to_numpy()
        value = np.stack([fit.y, fit.x, fit.amplitude], 1)
        scatter.append(((value - truth) / np.stack([fit.y_sd, fit.x_sd, fit.amplitude_sd], 1))[use])
    scatter = np.concatenate(scatter)
    limit = 5 / np.sqrt(len(scatter))
    assert (np.abs(scatter[:, :2].mean(axis=0)) < limit + 0.05).all()
    ratio = np.std(scatter, axis=0)
    assert (ratio[:2] > 0.8).all()
    assert (ratio < 1.3).all()


def test_neighbours_are_subtracted(rng):
    y, x = np.array([50.0, 50.0, 90.0]), np.array([50.0, 58.5, 90.0])
    height = np.array([100.0, 400.0, 100.0])
    picture = 5 + render_gaussians(y, x, height, SIGMA, (SIDE, SIDE))
    start = y + rng.uniform(-0.4, 0.4, 3), x + rng.uniform(-0.4, 0.4, 3)
    fit = fit_atoms(picture, np.ones_like(picture), *start, SIGMA, rounds=8)
    assert np.hypot(fit.y - y, fit.x - x).max() < 0.1
    assert fit.amplitude == pytest.approx(height, rel=0.05)
    assert fit.background == pytest.approx(5, abs=6)


def test_without_noise_a_lattice_is_fitted_exactly(rng):
    points, _ = lattice()
    scene = draw(*points.T, 60.0)
    clean = fit_atoms(
        scene.expected,
        np.ones_like(scene.expected),
        *(scene.sites[["y", "x"]].to_numpy().T + rng.uniform(-0.3, 0.3, (2, len(scene.sites)))),
        SIGMA,
        rounds=8,
    )
    use = interior(scene)
    error = np.hypot(clean.y - scene.sites["y"], clean.x - scene.sites["x"])[use]
    assert error.max() < 0.05


def test_the_width_can_be_fitted_too(rng):
    points, _ = lattice()
    scene = draw(*points.T, 200.0)
    start = scene.sites[["y", "x"]].to_numpy().T
    fit = fit_atoms(scene.frame, scene.expected, *start, 1.15 * SIGMA, free_sigma=True, rounds=8)
    assert np.median(fit.sigma[interior(scene)]) == pytest.approx(SIGMA, rel=0.05)


def test_missing_pixels_get_no_weight(rng):
    scene = draw([100.0], [100.0], 100.0)
    whole = fit_atoms(scene.frame, scene.expected, np.array([100.2]), np.array([99.8]), SIGMA)
    frame = scene.frame.copy()
    frame[:, 102:] = np.nan
    part = fit_atoms(frame, scene.expected, np.array([100.2]), np.array([99.8]), SIGMA)
    assert part.x_sd[0] > 1.2 * whole.x_sd[0]
    assert abs(part.x[0] - 100) < 5 * part.x_sd[0]
    assert abs(part.y[0] - 100) < 5 * part.y_sd[0]


@pytest.mark.parametrize("unit", [1e-12, 1e6, 1e20])
def test_the_unit_of_the_frame_does_not_matter(unit):
    scene = draw([60.0, 75.0], [60.0, 62.0], 100.0)
    start = np.array([60.0, 75.0]), np.array([60.0, 62.0])
    plain = fit_atoms(scene.frame, scene.expected, *start, SIGMA)
    scaled = fit_atoms(unit * scene.frame, unit**2 * scene.expected, *start, SIGMA)
    for name, power in {"y": 0, "x": 0, "y_sd": 0, "amplitude": 1, "amplitude_sd": 1}.items():
        want = getattr(plain, name) * unit**power
        assert getattr(scaled, name) == pytest.approx(want, rel=1e-3)


def test_an_atom_stays_near_where_it_was_seen():
    scene = draw([100.0], [100.0], 100.0)
    fit = fit_atoms(scene.frame, scene.expected, np.array([106.0]), np.array([100.0]), SIGMA)
    assert abs(fit.y[0] - 106) <= 0.81 * SIGMA


def test_no_atoms_to_fit():
    fit = fit_atoms(np.ones((20, 20)), np.ones((20, 20)), np.zeros(0), np.zeros(0), SIGMA)
    assert fit.y.size == fit.snr.size == 0


def test_where_nothing_is_the_snr_is_small(rng):
    noise = rng.normal(0, 1, (SIDE, SIDE))
    places = rng.uniform(10, SIDE - 10, (2, 40))
    fit = fit_atoms(noise, np.ones_like(noise), *places, SIGMA)
    assert np.isfinite(fit.snr).all()
    assert np.median(fit.snr) < 2
    assert (fit.amplitude >= 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_device_does_not_matter(bright):
    start = bright.sites[["y", "x"]].to_numpy().T
    here = fit_atoms(bright.frame, bright.expected, *start, SIGMA)
    there = fit_atoms(bright.frame, bright.expected, *start, SIGMA, device=torch.device("cuda"))
    assert there.y == pytest.approx(here.y, abs=1e-2)
    assert there.amplitude == pytest.approx(here.amplitude, rel=1e-2)


def test_a_fit_goes_on_where_another_one_ended(rng):
    points, _ = lattice()
    scene = draw(*points.T, 20.0, background=10.0)
    y, x = scene.sites["y"].to_numpy(), scene.sites["x"].to_numpy()

    def fitted(rounds, start=None):
        return fit_atoms(scene.frame, scene.expected, y, x, SIGMA, rounds=rounds, start=start)

    first, settled, use = fitted(1), fitted(8), interior(scene)
    goes_on = fitted(1, first)  # what the neighbours say counts at once
    away, before = (np.std((fit.amplitude - settled.amplitude)[use]) for fit in (goes_on, first))
    assert away < 0.25 * before
    np.testing.assert_allclose(goes_on.sigma, SIGMA, rtol=1e-6)


def test_backgrounds_alone_lean_on_no_neighbours(rng):
    """They scatter as widely as in a fit without neighbours, whatever the rounds."""
    points, _ = lattice()
    scene = draw(*points.T, 20.0, background=10.0)
    use, place = interior(scene), scene.sites[["y", "x"]].to_numpy().T
    first, settled = (
        fit_atoms(scene.frame, scene.expected, *place, SIGMA, rounds=n) for n in (1, 4)
    )
    assert first.own_background == pytest.approx(first.background)
    alone, leaning = np.std(settled.own_background[use]), np.std(settled.background[use])
    assert alone == pytest.approx(np.std(first.background[use]), rel=0.15)
    assert leaning < 0.5 * alone
