"""Traversals, profiles, views and outliers, on things with a known truth."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae import RVAE, Crops, InputError, NotFittedError
from napari_rvae.analysis.baselines import CropPCA
from napari_rvae.analysis.explain import (
    line_profiles,
    neighbour_direction,
    outlier_scores,
    traverse,
    view_sites,
)

SIDE, SIGMA = 24, 1.8


def draw(offsets, peaks=1.0, side=SIDE):
    line = np.arange(side) - (side - 1) / 2
    offsets = np.asarray(offsets, float)
    rows = np.exp(-0.5 * ((line - offsets[:, :1]) / SIGMA) ** 2)
    columns = np.exp(-0.5 * ((line - offsets[:, 1:]) / SIGMA) ** 2)
    return np.einsum("a,ay,ax->yx", np.broadcast_to(peaks, len(offsets)), rows, columns)


def as_crops(images, **options):
    images = np.asarray(images, np.float32)[:, None]
    images -= images.mean((2, 3), keepdims=True)
    return Crops(images=images, site_id=np.arange(10, 10 + len(images)), **options)


@pytest.fixture(scope="module")
def movable():
    """Two atoms; a factor moves the right one, and nothing else varies but the angle."""
    rng = np.random.default_rng(0)
    factor, angle = rng.random(500), rng.uniform(-math.pi, math.pi, 500)
    images = []
    for t, a in zip(factor, angle, strict=True):
        dy, dx = np.array([0.0, 0.0]), np.array([-2.0, 4.0 + 4 * t])
        c, s = math.cos(a), math.sin(a)
        offsets = np.stack([dy * c - dx * s, dx * c + dy * s], 1)
        images.append(rng.poisson(80 * (draw(offsets, [1, 0.6]) + 0.05)) / 80)
    crops = as_crops(images, window_nd=3.0)
    model = RVAE(n_latents=2, epochs=12, hidden=64, device="cpu").fit(crops)
    return crops, model, model.transform(crops), factor


def distance_of_neighbour(picture):
    """From the brightest spot of a picture to that on its other side, in pixels."""
    line = np.arange(SIDE) - (SIDE - 1) / 2
    first = np.unravel_index(picture.argmax(), picture.shape)
    away = np.hypot(line[:, None] - line[first[0]], line - line[first[1]])
    second = np.unravel_index(np.where(away > 4, picture, -np.inf).argmax(), picture.shape)
    return math.dist(first, second)


def test_a_traversal_moves_what_the_factor_moved(movable):
    _, model, table, factor = movable
    latent = max(("z0", "z1"), key=lambda name: abs(np.corrcoef(table[name], factor)[0, 1]))
    found = traverse(model, table, latent, n=5)
    distance = [distance_of_neighbour(picture[0]) for picture in found.pictures]
    assert abs(distance[-1] - distance[0]) > 2.5
    steps = np.diff(distance) * np.sign(distance[-1] - distance[0])
    assert (steps > -0.5).all()  # of whole pixels
    other = "z1" if latent == "z0" else "z0"
    still = traverse(model, table, other, n=5)
    assert np.ptp(still.pictures, axis=0).max() < np.ptp(found.pictures, axis=0).max()


def test_traversals_are_at_quantiles_of_the_data(movable):
    _, model, table, _ = movable
    found = traverse(model, table, "z1", n=3, quantiles=(0.1, 0.9))
    np.testing.assert_allclose(found.quantile, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found.value, table["z1"].quantile([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(found.z[:, 0], table["z0"].median())
    at = traverse(model, table, "z1", n=3, site_id=17)
    np.testing.assert_allclose(at.z[:, 0], table.set_index("site_id").loc[17, "z0"])
    np.testing.assert_array_equal(found.pictures, model.inverse_transform(found.z))


def test_traversals_leave_out_missing_latents(movable):
    _, model, table, _ = movable
    gaps = table.copy()
    gaps.loc[:5, ["z0", "z1"]] = np.nan
    assert np.isfinite(traverse(model, gaps, "z0").z).all()


@pytest.mark.parametrize(
    ("latent", "options", "message"),
    [
        ("z9", {}, "no latent 'z9'"),
        ("z0", {"site_id": -5}, "site -5"),
        ("z0", {"n": 0}, "one picture"),
        ("z0", {"quantiles": (0.9, 0.1)}, "in order"),
    ],
)
def test_traversals_say_what_is_wrong(movable, latent, options, message):
    _, model, table, _ = movable
    with pytest.raises(InputError, match=message):
        traverse(model, table, latent, **options)
    with pytest.raises(InputError, match="not NaN"):
        traverse(model, table.assign(z0=np.nan), "z0")


@given(st.floats(-math.pi, math.pi))
def test_the_brightest_neighbour_is_found(direction):
    at = 8 * np.array([-math.sin(direction), math.cos(direction)])
    picture = draw([(0, 0), at, 0.97 * np.array([at[1], -at[0]])], [1.0, 0.8, 0.3])
    found = neighbour_direction(picture, 8.0)
    assert abs(np.angle(np.exp(1j * (found - direction)))) < 0.03


def test_profiles_show_atoms_where_they_are():
    at = 7.5 * np.array([-math.sin(0.7), math.cos(0.7)])
    pictures = np.stack([draw([(0, 0), at], [1.0, peak]) for peak in (0.4, 0.8)])[:, None]
    profile = line_profiles(pictures, 0.7, neighbour_px=7.5, pixel_pm=20.0)
    np.testing.assert_allclose(profile["position_pm"], 20 * profile["position_px"])
    np.testing.assert_allclose(profile["position_nd"], profile["position_px"] / 7.5)
    for number, peak in enumerate((0.4, 0.8)):
        one = profile[profile["picture"] == number]
        beside = one[one["position_nd"] > 0.6]
        top = beside.loc[beside["intensity"].idxmax()]
        assert top["position_nd"] == pytest.approx(1, abs=0.07)
        assert top["intensity"] == pytest.approx(peak, abs=0.03)
    assert len(profile) == 2 * SIDE


def test_a_profile_goes_to_the_neighbour_unless_told_otherwise():
    up = draw([(0, 0), (-7, 0)], [1.0, 0.8])[None, None]
    found = line_profiles(up, neighbour_px=7.0)
    pd.testing.assert_frame_equal(found, line_profiles(up, math.pi / 2, neighbour_px=7.0))


def test_a_wide_stripe_averages():
    noise = np.random.default_rng(0).normal(size=(1, 1, SIDE, SIDE))
    thin, wide = (line_profiles(noise, 0.0, width=width)["intensity"] for width in (1, 9))
    assert wide.std() < 0.6 * thin.std()


def test_profiles_say_what_is_wrong():
    pictures = np.zeros((2, 1, SIDE, SIDE))
    with pytest.raises(InputError, match="channel = 1"):
        line_profiles(pictures, 0.0, channel=1)
    with pytest.raises(InputError, match="give the direction"):
        line_profiles(pictures)
    with pytest.raises(InputError, match="give the direction"):
        neighbour_direction(pictures[0, 0], 40.0)
    with pytest.raises(InputError, match="shape"):
        line_profiles(pictures[0], 0.0)


def test_views_put_the_pictures_of_a_site_together(movable):
    crops, model, table, _ = movable
    rows = np.array([3, 40, 41])
    views = view_sites(model, crops.select(rows))
    assert len(views) == 3
    pd.testing.assert_frame_equal(
        views.latents, table.iloc[rows].reset_index(drop=True), rtol=0.01, atol=0.01
    )
    np.testing.assert_array_equal(views.crop, crops.images[rows])
    np.testing.assert_allclose(views.reconstruction, model.reconstruct(crops.select(rows)))
    line = np.arange(SIDE) - (SIDE - 1) / 2
    inside = np.hypot(line[:, None], line) < 10
    for number in range(3):
        seen = views.aligned[number, 0][inside]
        assert np.corrcoef(seen, views.canonical[number, 0][inside])[0, 1] > 0.9
        rest = (views.crop - views.reconstruction)[number, 0][inside]
        np.testing.assert_allclose(views.residual[number, 0][inside], rest)
    assert np.isnan(views.residual[:, 0, 0, 0]).all()


def test_crops_with_nan_have_views_of_nan(movable):
    crops, model, _, _ = movable
    images = crops.images[:2].copy()
    images[0, 0, 3, 3] = np.nan
    views = view_sites(model, Crops(images=images, site_id=np.arange(2)))
    assert np.isnan(views.reconstruction[0]).all()
    assert np.isnan(views.residual[0]).all()
    assert np.isfinite(views.canonical[1]).all()


def test_views_work_for_a_baseline(movable):
    crops = movable[0].select(np.arange(60))
    views = view_sites(CropPCA(3).fit(crops), crops)
    np.testing.assert_allclose(views.aligned, views.crop, atol=1e-5)
    np.testing.assert_array_equal(views.canonical, views.reconstruction)


def test_an_untrained_model_says_so(movable):
    with pytest.raises(NotFittedError):
        view_sites(RVAE(), movable[0])


def test_a_strange_crop_has_the_highest_score(movable):
    crops, model, table, _ = movable
    strange = draw([(5, 5), (-5, 5), (5, -5), (-5, -5)]) - 0.3
    images = np.concatenate([crops.images[:40], strange[None, None].astype(np.float32)])
    images[40] -= images[40].mean()
    tested = model.transform(Crops(images=images, site_id=np.arange(41)))
    scores = outlier_scores(tested, reference=table)
    assert scores["outlier_score"].idxmax() == 40
    assert scores["outlier_score"][40] > 5
    assert scores["tail_probability"][40] == pytest.approx(1 / (len(crops) + 1))
    assert scores["site_id"].tolist() == list(range(41))


def test_usual_residuals_have_usual_scores(rng):
    table = pd.DataFrame({"site_id": np.arange(4000), "residual": rng.chisquare(90, 4000) / 90})
    scores = outlier_scores(table)
    assert abs(scores["outlier_score"].median()) < 1e-9
    assert scores["outlier_score"].std() == pytest.approx(1, abs=0.1)
    share = scores["tail_probability"].le(0.05).mean()
    assert share == pytest.approx(0.05, abs=0.002)
    assert scores.sort_values("residual")["tail_probability"].is_monotonic_decreasing


def test_scores_of_missing_and_equal_residuals():
    table = pd.DataFrame({"site_id": range(5), "residual": [1.0, 1.0, np.nan, 1.0, 2.0]})
    scores = outlier_scores(table)
    assert np.isnan(scores.loc[2, ["outlier_score", "tail_probability"]]).all()
    assert np.isfinite(scores.drop(2)["outlier_score"]).all()
    assert scores["outlier_score"].idxmax() == 4


def test_scores_say_what_is_wrong():
    table = pd.DataFrame({"site_id": range(2), "residual": [1.0, 2.0]})
    with pytest.raises(InputError, match="three or more"):
        outlier_scores(table)
    with pytest.raises(InputError, match="residual"):
        outlier_scores(table[["site_id"]])
