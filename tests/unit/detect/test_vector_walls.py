import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import erf

from napari_rvae import (
    Frames,
    InputError,
    NoWallsWarning,
    detect_walls,
    fold_angle,
    signed_response,
    simulate_walls,
)
from napari_rvae.curves import curve_points, normals_and_bends, zero_curves


def lateral_scan(vector, seed, noise=0.12, background=0.2):
    """Amplitude and phase of both components (2, Y, X), each on a background of its own."""
    rng = np.random.default_rng(seed)
    channels = []
    for part in vector:
        own = background * np.exp(1j * rng.uniform(-np.pi, np.pi))
        signal = (
            part + own + noise * (rng.normal(size=part.shape) + 1j * rng.normal(size=part.shape))
        )
        channels += [np.abs(signal), np.degrees(np.angle(signal * np.exp(0.7j)))]
    names = [f"lateral {axis} {part}" for axis in "yx" for part in ("amplitude", "phase")]
    return Frames(np.stack(channels)[None], channels=tuple(names))


def patterns(seed, side=144):
    """Two random patterns, and the same as levels of -1 and 1 with walls."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=(side, side)), 14) for _ in range(2)]
    away = [ndimage.distance_transform_edt(f > 0) - ndimage.distance_transform_edt(f <= 0)
            for f in fields]  # fmt: skip
    return fields, [erf(ndimage.gaussian_filter(a, 0.7) / 2.5) for a in away]


@pytest.mark.parametrize("seed", [1, 4])
def test_four_variants_in_the_plane_have_walls_of_90_degrees(seed):
    fields, levels = patterns(seed)
    sites = detect_walls(lateral_scan(levels, seed), modality="vector", spacing=1.0)
    curves = [[curve_points(c, 0.5) for c in zero_curves(field)] for field in fields]
    own = [np.concatenate(parts) for parts in curves]
    gap, near = cKDTree(np.concatenate(own)).query(sites[["y", "x"]])
    assert (gap < 2).mean() > 0.93
    assert np.sqrt((gap[gap < 2] ** 2).mean()) < 0.5
    back, _ = cKDTree(sites[["y", "x"]]).query(np.concatenate(own))
    assert (back < 3).mean() > 0.95
    turn = np.degrees(sites["polarization_turn"])
    right = sites["wall_type"] == "90"
    assert right.mean() > 0.75
    assert (np.abs(turn[right] - 90) < 6).all()
    assert (turn[~right] > 170).all()
    true = np.concatenate(
        [normals_and_bends(f, p, sigma=1.0)[0] for f, p in zip(fields, own, strict=True)]
    )
    off = fold_angle(sites["normal_angle"].to_numpy() - true[near], 2)[(gap < 2) & right]
    assert math.degrees(np.median(np.abs(off))) < 3


@pytest.mark.parametrize("kind", ["bloch", "neel"])
def test_walls_between_out_of_plane_domains_turn_by_180_degrees_through_the_plane(kind):
    movie = simulate_walls(
        n_frames=2, size=128, seed=1, stripes=0, nucleations=0, in_plane=kind, spacing=0.5
    )
    sites = detect_walls(movie.frames, modality="vector", spacing=1.0)
    plain = detect_walls(movie.frames, spacing=1.0, ferroelastic="off")
    assert set(sites["wall_type"]) == {"180"}
    assert (sites["polarization_turn"] > math.radians(160)).all()
    for t in range(2):
        here, there = (s.loc[s["frame"] == t, ["y", "x"]] for s in (sites, movie.sites))
        gap = cKDTree(there).query(here)[0]
        assert np.sqrt((gap**2).mean()) < 0.7
        known = cKDTree(plain.loc[plain["frame"] == t, ["y", "x"]])
        assert np.median(known.query(here)[0]) < 0.7
        assert (cKDTree(here).query(there)[0] < 3).mean() > 0.9


def test_stripes_that_tilt_have_walls_of_their_own_angle():
    movie = simulate_walls(n_frames=1, size=144, seed=0, in_plane="bloch", spacing=0.5)
    sites = detect_walls(movie.frames, modality="vector", spacing=1.0)
    # the level of 0.6 in the stripe is the cosine of its angle
    turn = np.degrees(sites["polarization_turn"])
    tilted = sites[np.abs(turn - math.degrees(math.acos(0.6))) < 6]
    assert len(tilted) > 150
    assert set(tilted["wall_type"]) == {"90"}
    lines = movie.sites[movie.sites["wall_type"] == "ferroelastic"]
    gap = cKDTree(lines[["y", "x"]]).query(tilted[["y", "x"]])[0]
    # half of the turn lies outside of half of the level
    assert np.quantile(gap, 0.95) < 3


@pytest.mark.parametrize("kind", ["bloch", "neel"])
def test_nuclei_have_walls_though_hardly_a_pixel_of_them_is_outside_of_these(kind):
    movie = simulate_walls(n_frames=2, size=160, seed=6, stripes=0, in_plane=kind, spacing=0.5)
    sites = detect_walls(movie.frames, modality="vector", spacing=1.0)
    true = movie.sites[movie.sites["frame"] == 1][["y", "x"]]
    born = movie.events[movie.events["frame"] == 1][["y", "x"]]
    nuclei = true[cKDTree(born).query(true)[0] < 9]
    assert len(nuclei) > 100
    own = sites[sites["frame"] == 1]
    assert (cKDTree(own[["y", "x"]]).query(nuclei)[0] < 2).mean() > 0.7
    # what their walls turn through is no domain
    assert set(own["wall_type"]) == {"180"}
    assert (cKDTree(true).query(own[["y", "x"]])[0] < 2).all()


def test_stripes_that_tilt_are_seen_with_one_lateral_response():
    movie = simulate_walls(n_frames=1, size=144, seed=2, lateral=True, spacing=0.5)
    sites = detect_walls(movie.frames, modality="vector", spacing=1.0)
    lines = movie.sites[movie.sites["wall_type"] == "ferroelastic"]
    tilted = sites[sites["wall_type"] == "90"]
    assert (cKDTree(tilted[["y", "x"]]).query(lines[["y", "x"]])[0] < 4).mean() > 0.8


def test_one_variant_and_missing_components_are_one_line():
    one = np.stack([np.ones((96, 96)), np.zeros((96, 96))])
    with pytest.warns(NoWallsWarning, match="nowhere two domains"):
        sites = detect_walls(lateral_scan(one, 0), modality="vector")
    assert not len(sites)
    assert "polarization_turn" in sites
    vertical = simulate_walls(n_frames=1, size=96, seed=1).frames
    with pytest.raises(InputError, match=r"no lateral amplitude.* modality = 'vertical'"):
        detect_walls(vertical, modality="vector")
    assert "polarization_turn" not in detect_walls(vertical)


def test_a_vector_that_is_given_and_vertical_with_one_lateral_response():
    movie = simulate_walls(n_frames=1, size=112, seed=1, lateral=True)
    sites = detect_walls(movie.frames, modality="vector")
    assert "180" in set(sites["wall_type"])
    both = simulate_walls(n_frames=1, size=96, seed=1, in_plane="neel").frames
    given = detect_walls(signed_response(both, modality="vector"), modality="vector")
    assert len(given) == len(detect_walls(both, modality="vector"))
