import dataclasses
import math

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_rvae import CropConfig, Crops, Frames, concat_crops, extract_crops
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.render import render_gaussians
from napari_rvae.tables import concat_sites, make_sites

SIDE = 96
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)


def sites_at(y, x, frame=0, **columns):
    return make_sites(frame=frame, y=y, x=x, **columns)


def lattice(spacing=10.0, offset=(0.0, 0.0), low=0.0, high=SIDE - 1.0):
    """Sites of a square lattice within a frame."""
    line = np.arange(-5, SIDE / spacing + 5) * spacing
    y, x = (c.ravel() for c in np.meshgrid(line + offset[0], line + offset[1], indexing="ij"))
    inside = (y >= low) & (y <= high) & (x >= low) & (x <= high)
    return y[inside], x[inside]


def atoms(spacing=10.0, offset=(0.0, 0.0), amplitude=2.0):
    """A frame of Gaussians on a square lattice."""
    y, x = lattice(spacing, offset, low=-30, high=SIDE + 30)
    return render_gaussians(y, x, amplitude, 2.0, (SIDE, SIDE))


def grid(size, window):
    """Where the pixels of a crop lie from its site, by the documented formula."""
    return (np.arange(size) - (size - 1) / 2) * window / size


def disc(size):
    """Weights of the disc inside a crop, with an edge one pixel wide."""
    line = np.arange(size) - (size - 1) / 2
    weight = np.clip(size / 2 - np.hypot(line[:, None], line), 0, 1)
    return weight / weight.sum()


def less_mean(cut):
    """A window less its mean over the disc, as crops are."""
    return cut - (cut * disc(len(cut))).sum()


# --------------------------------------------------------------------------- geometry
@pytest.mark.parametrize(("window", "pixels"), [(20.0, 32), (32.0, 32), (17.3, 24), (40.0, 16)])
def test_pixels_sample_a_ramp_where_the_formula_says(window, pixels):
    """The crop's own mean, the ramp at the site, is taken off."""
    y, x = [40.25, 50.0, 48.9], [45.5, 50.0, 41.1]
    crops = extract_crops(3 * Y - 2 * X, sites_at(y, x), window=window, pixels=pixels)
    off = grid(pixels, window)
    expected = 3 * off[:, None] - 2 * off[None, :]
    assert len(crops) == 3
    for image in crops.images[:, 0]:
        np.testing.assert_allclose(image, expected, atol=1e-3)


@pytest.mark.parametrize(("window", "pixels"), [(20.0, 32), (32.0, 32), (17.3, 24)])
def test_pixels_sample_a_paraboloid_where_the_formula_says(window, pixels):
    """A paraboloid tells where the site is: its slope there is 2 (y - 30)."""
    table = sites_at([40.25, 50.0], [45.5, 52.75])
    crops = extract_crops(0.1 * (Y - 30) ** 2 + 0.05 * Y * X, table, window=window, pixels=pixels)
    off = grid(pixels, window)
    for image, y, x in zip(crops.images[:, 0], table["y"], table["x"], strict=True):
        yy, xx = y + off[:, None], x + off[None, :]
        expected = 0.1 * (yy - 30) ** 2 + 0.05 * yy * xx
        np.testing.assert_allclose(image, less_mean(expected), atol=5e-3)


def test_a_window_of_whole_pixels_between_pixels_is_a_slice():
    """An even window about a corner of pixels samples the pixels themselves."""
    frame = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    crops = extract_crops(frame, sites_at([40.5], [30.5]), window=16, pixels=16)
    cut = frame[33:49, 23:39]
    np.testing.assert_allclose(crops.images[0, 0], less_mean(cut), atol=1e-5)


@given(st.integers(-8, 8), st.integers(-8, 8), st.floats(12, 30))
@settings(max_examples=25)
def test_crops_of_a_shifted_frame_are_the_shifted_crops(dy, dx, window):
    rng = np.random.default_rng(1)
    big = rng.normal(size=(SIDE + 40, SIDE + 40))
    y, x = rng.uniform(36, 60, (2, 4))
    one = extract_crops(big[20 : 20 + SIDE, 20 : 20 + SIDE], sites_at(y, x), window=window)
    other = extract_crops(
        big[20 - dy : 20 - dy + SIDE, 20 - dx : 20 - dx + SIDE],
        sites_at(y + dy, x + dx),
        window=window,
    )
    # the spline at one place depends a little on values far away
    np.testing.assert_allclose(one.images, other.images, atol=1e-3)


@given(st.floats(0.3, 30.0), st.floats(-1e3, 1e3))
@settings(max_examples=20)
def test_crops_follow_gain_and_not_offset(gain, offset):
    frame, table = atoms(), sites_at(*lattice(low=25, high=70))
    plain = extract_crops(frame, table).images
    other = extract_crops(gain * frame + offset, table).images
    np.testing.assert_allclose(other, gain * plain, atol=1e-3 * gain + 1e-6 * abs(offset))


def test_the_window_is_physical():
    """The same lattice at twice the pixels gives the same crops, but for the averaging."""
    lines = np.arange(-60, 260, 20.0) + 16
    y, x = (c.ravel() for c in np.meshgrid(lines, lines, indexing="ij"))
    near = np.maximum(np.abs(y - 96), np.abs(x - 96)) < 30
    seen = []
    for scale in (1, 2):
        frame = render_gaussians(y * scale / 2, x * scale / 2, 2.0, 2.0 * scale, (96 * scale,) * 2)
        seen.append(extract_crops(frame, sites_at(y[near] * scale / 2, x[near] * scale / 2)))
    coarse, fine = seen
    assert len(coarse) == len(fine) == 9
    assert [crops.window_px for crops in seen] == pytest.approx([35, 70])
    assert coarse.window_nd == fine.window_nd == pytest.approx(3.5)
    assert np.corrcoef(coarse.images.ravel(), fine.images.ravel())[0, 1] > 0.999
    assert fine.images.std() == pytest.approx(coarse.images.std(), rel=0.1)


def test_what_is_finer_than_the_samples_is_averaged():
    """Where samples lie several pixels apart, each stands for the pixels about it."""
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    crops = extract_crops(noise, sites_at([48.0], [48.0]), window=80, pixels=16)
    assert crops.images.std() < 0.5


# --------------------------------------------------------------------------- which sites
def test_sites_whose_window_leaves_the_frame_get_no_crop():
    half = 31 / 2 * 20 / 32  # from the site to the outermost sample
    inside = [half, SIDE - 1 - half, 40.0]
    outside = [half - 0.01, SIDE - 1 - half + 0.01, -5.0, SIDE + 3.0, np.nan]
    frame = atoms()
    for axis in (0, 1):
        for values, count in ((inside, 3), (outside, 0)):
            place = [np.full(len(values), 45.0)] * 2
            place[axis] = np.array(values)
            crops = extract_crops(frame, sites_at(*place), window=20)
            assert len(crops) == count


def test_crops_join_on_site_id_in_the_order_of_the_table():
    y, x = np.array([40.0, 5.0, 50.0, 45.0]), np.array([40.0, 40.0, 50.0, 45.0])
    table = sites_at(y, x).assign(site_id=[7, 3, 99, 12]).iloc[[3, 1, 0, 2]]
    crops = extract_crops(atoms(), table, window=20)
    expected = table.loc[table["y"] > 10, "site_id"].tolist()
    assert crops.site_id.tolist() == expected
    alone = extract_crops(atoms(), table[table["site_id"] == expected[1]], window=20)
    np.testing.assert_array_equal(crops.images[1], alone.images[0])


def test_windows_with_nan_get_no_crop():
    frame = atoms()
    frame[40:43, 40:43] = np.nan
    frame[80, 80] = np.inf
    table = sites_at(*lattice(low=10, high=85))
    crops = extract_crops(frame, table, window=20)
    assert np.isfinite(crops.images).all()
    assert np.isfinite(crops.noise_sd)
    lost = table[~table["site_id"].isin(crops.site_id)]
    reach = 31 / 2 * 20 / 32
    touches = np.zeros(len(table), bool)
    for y, x, radius in ((41, 41, 2), (80, 80, 1)):
        near = np.maximum((table["y"] - y).abs(), (table["x"] - x).abs())
        touches |= (near < reach + radius).to_numpy()
    outside = (table[["y", "x"]] > SIDE - 1 - reach).any(axis=1).to_numpy()
    assert set(lost["site_id"]) <= set(table["site_id"][touches | outside])
    close = np.maximum((table["y"] - 41).abs(), (table["x"] - 41).abs()) < reach
    assert set(table["site_id"][close]) <= set(lost["site_id"])


def test_a_frame_of_nan_gives_no_crops():
    crops = extract_crops(np.full((SIDE, SIDE), np.nan), sites_at([40.0], [40.0]), window=20)
    assert crops.images.shape == (0, 1, 32, 32)


def test_a_constant_frame_gives_crops_of_zero():
    crops = extract_crops(np.full((SIDE, SIDE), 7.0), sites_at([40.0], [40.0]), window=20)
    np.testing.assert_allclose(crops.images, 0, atol=1e-6)
    assert crops.noise_sd == 0


def test_a_region_of_one_frame_and_of_all():
    y, x = lattice(low=20, high=75)
    table = concat_sites(sites_at(y, x), sites_at(y, x, frame=1))
    movie = np.stack([atoms()] * 2)
    left = np.zeros((SIDE, SIDE), bool)
    left[:, :48] = True
    still = extract_crops(movie, table, window=20, region=left)
    kept = table.set_index("site_id").loc[still.site_id]
    assert (kept["x"] <= 47.5).all()
    assert len(still) == (table["x"] <= 47.5).sum()
    moving = extract_crops(movie, table, window=20, region=np.stack([left, ~left]))
    kept = table.set_index("site_id").loc[moving.site_id]
    assert ((kept["x"] <= 47.5) == (kept["frame"] == 0)).all()
    with pytest.raises(InputError, match="boolean"):
        extract_crops(movie, table, window=20, region=left.astype(int))


def test_sites_of_frames_that_are_not_there_get_no_crop():
    table = concat_sites(sites_at([40.0], [40.0]), sites_at([40.0], [40.0], frame=9))
    assert len(extract_crops(atoms(), table, window=20)) == 1


def test_no_sites_no_crops():
    none = sites_at([], [])
    crops = extract_crops(atoms(), none, window=20)
    assert crops.images.shape == (0, 1, 32, 32)
    assert crops.channels == ("intensity",)
    with pytest.raises(InputError, match="The sites have no neighbour distance"):
        extract_crops(atoms(), none)


def test_sites_on_top_of_each_other_both_get_a_crop():
    y, x = lattice(low=20, high=75)
    table = sites_at(np.append(y, y[0]), np.append(x, x[0]))
    crops = extract_crops(atoms(), table)
    assert crops.window_px == pytest.approx(35)
    assert len(crops) == len(table)


def test_sites_that_are_not_usable():
    table = sites_at([40.0, 41.0], [40.0, 40.0])
    with pytest.raises(InputError, match="duplicates"):
        extract_crops(atoms(), table.assign(site_id=[1, 1]), window=20)
    with pytest.raises(InputError, match="several movies"):
        extract_crops(atoms(), table.assign(source=["a", "b"]), window=20)
    with pytest.raises(InputError, match="lacks the column y"):
        extract_crops(atoms(), table.drop(columns="y"), window=20)
    with pytest.raises(InputError, match="DataFrame"):
        extract_crops(atoms(), np.zeros((3, 2)), window=20)


def test_windows_that_are_not_usable():
    table = sites_at([40.0], [40.0])
    with pytest.raises(InputError, match=r"window of 200.0 px is larger than the frame of 96 x 96"):
        extract_crops(atoms(), table, window=200)
    for window in (0, -3, math.nan, math.inf):
        with pytest.raises(InputError, match="window"):
            extract_crops(atoms(), table, window=window)
    with pytest.raises(InputError, match="pixels"):
        extract_crops(atoms(), table, window=20, pixels=2)


def test_frames_that_are_not_usable():
    with pytest.raises(InputError, match="RGB"):
        extract_crops(np.zeros((SIDE, SIDE, 3)), sites_at([40.0], [40.0]), window=20)


# --------------------------------------------------------------------------- intensity
def test_every_crop_has_a_mean_of_zero():
    crops = extract_crops(atoms() + 0.1 * X, sites_at(*lattice(low=20, high=75)))
    np.testing.assert_allclose((crops.images * disc(crops.pixels)).sum((2, 3)), 0, atol=1e-5)


def test_ramps_go_and_heavier_stays_brighter():
    """Contrast that falls over the frame is divided out; one bright atom is not."""
    y, x = lattice(8.0, low=-20, high=SIDE + 20)
    amplitude = 1 + y / 50
    heavy = np.argmin(np.hypot(y - 48, x - 48))
    amplitude[heavy] *= 2
    frame = render_gaussians(y, x, np.maximum(amplitude, 0), 1.8, (SIDE, SIDE))
    seen = (y >= 0) & (y < SIDE) & (x >= 0) & (x < SIDE)
    table = sites_at(y[seen], x[seen], amplitude=amplitude[seen])
    crops = extract_crops(frame, table)
    where = table.set_index("site_id").loc[crops.site_id]
    contrast = np.ptp(crops.images, axis=(1, 2, 3))
    usual = np.hypot(where["y"] - 48, where["x"] - 48).to_numpy() > 30
    assert contrast[usual].std() < 0.12 * contrast[usual].mean()
    centre = crops.images[:, 0, 14:18, 14:18].max((1, 2))
    heaviest = where.iloc[[centre.argmax()]]
    assert float(np.hypot(heaviest["y"] - 48, heaviest["x"] - 48).iloc[0]) < 5
    assert centre.max() > 1.5 * np.median(centre)


def test_mean_and_sd_of_the_window_stay():
    frame = 5 + 3 * np.random.default_rng(0).normal(size=(SIDE, SIDE))
    table = sites_at([40.5, 50.5], [30.5, 50.5])
    crops = extract_crops(frame, table, window=16, pixels=16)
    cut = frame[33:49, 23:39]
    assert crops.mean[0] == pytest.approx((cut * disc(16)).sum(), rel=1e-5)
    spread = np.sqrt((less_mean(cut) ** 2 * disc(16)).sum())
    assert crops.sd[0] == pytest.approx(spread, rel=1e-5)


def test_the_mean_does_not_change_as_the_lattice_turns():
    """Over the square it would by some percent of the contrast."""
    means = []
    for angle in np.linspace(0, math.pi / 2, 9):
        y, x = (c - 48 for c in lattice(low=-60, high=SIDE + 60, offset=(8.0, 8.0)))
        turned = (y * np.cos(angle) - x * np.sin(angle), x * np.cos(angle) + y * np.sin(angle))
        frame = render_gaussians(turned[0] + 48, turned[1] + 48, 2.0, 2.0, (SIDE, SIDE))
        means.append(extract_crops(frame, sites_at([48.0], [48.0]), window=35).mean[0])
    assert np.ptp(means) < 0.004


def test_the_noise_is_in_the_units_of_the_crops():
    y, x = lattice(low=0, high=SIDE - 1)
    rng = np.random.default_rng(0)
    frame = atoms(amplitude=4.0) + rng.normal(0, 0.5, (SIDE, SIDE))
    table = sites_at(y, x, amplitude=np.full(y.size, 4.0))
    crops = extract_crops(frame, table)
    assert crops.noise_sd == pytest.approx(0.5 / 4, rel=0.1)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float32])
def test_frames_of_any_type(dtype):
    frame = (atoms() * 50).astype(dtype)
    crops = extract_crops(frame, sites_at(*lattice(low=20, high=75)))
    assert crops.images.dtype == np.float32
    assert np.isfinite(crops.images).all()


def test_a_large_offset_costs_no_digits():
    """Values about 1e9 with a signal of 1: single precision alone would lose it."""
    table = sites_at(*lattice(low=20, high=75))
    one, other = (extract_crops(atoms() + o, table).images for o in (0.0, 1e9))
    np.testing.assert_allclose(one, other, atol=1e-4)


# --------------------------------------------------------------------------- the scan's distortion
SHEAR = np.array([[1.0, 0.0], [0.05, 1.0]])
#: what the shear does but for its rotation: the symmetric root of its square
STRETCH = (SHEAR @ SHEAR.T + np.eye(2)) / math.sqrt(np.trace(SHEAR @ SHEAR.T) + 2)


def sheared_scene(matrix, *, kind="square", angle=0.3, size=180, grains=1):
    """Frame and sites of a crystal seen through a distortion; the same sites in the same order."""
    rng = np.random.default_rng(0)
    cell = 11.0 * (np.eye(2) if kind == "square" else np.array([[0, 1], [math.sqrt(0.75), 0.5]]))
    n = np.arange(-30, 31)
    flat = np.stack(np.meshgrid(n, n), -1).reshape(-1, 2) @ cell
    parts = []
    for grain in range(grains):
        turn = angle + 0.4 * grain
        c, s = math.cos(turn), math.sin(turn)
        points = flat @ np.array([[c, s], [-s, c]])
        parts.append(points[points[:, 1] > 4] if grain else points)
        if grains > 1 and not grain:
            parts[0] = parts[0][parts[0][:, 1] < -4]
    points = np.concatenate(parts)
    height = rng.uniform(1.0, 2.0, len(points))
    y, x = (points @ matrix.T + (size - 1) / 2).T
    frame = render_gaussians(y, x, height, 2.0, (size, size))
    near = np.abs(points).max(1) < 0.42 * size
    return frame, sites_at(y[near], x[near], true=height[near])


@pytest.mark.parametrize(("kind", "grains"), [("square", 1), ("triangular", 1), ("square", 2)])
def test_crops_of_a_sheared_crystal_are_those_of_the_crystal(kind, grains):
    """But for an atom's own image, which the optics make, and the scan slants."""

    def cut(matrix, distortion="movie"):
        frame, table = sheared_scene(matrix, kind=kind, grains=grains)
        crops = extract_crops(frame, table, CropConfig(distortion=distortion))
        heights = table.set_index("site_id")["true"].loc[crops.site_id].to_numpy()
        return crops, dict(zip(heights, crops.images[:, 0], strict=True))

    plain, expected = cut(np.eye(2))
    corrected, images = cut(STRETCH)
    _, left_alone = cut(STRETCH, "off")
    np.testing.assert_array_equal(plain.distortion, np.eye(2))
    np.testing.assert_allclose(corrected.distortion, STRETCH, atol=3e-4)
    assert corrected.window_px == pytest.approx(plain.window_px, rel=2e-3)
    common = sorted(set(expected) & set(images) & set(left_alone))
    assert len(common) > 60
    error, before = (
        np.median([np.std(expected[h] - found[h]) for h in common])
        for found in (images, left_alone)
    )
    assert error < 0.05 * np.std(expected[common[0]])
    assert error < 0.4 * before


def test_a_rectangular_lattice_keeps_its_shape():
    frame, table = sheared_scene(np.diag([0.85, 1 / 0.85]))
    plain = extract_crops(frame, table, CropConfig(distortion="off"))
    crops = extract_crops(frame, table)
    np.testing.assert_array_equal(crops.distortion, np.eye(2))
    np.testing.assert_array_equal(crops.images, plain.images)


def test_pixels_sample_where_the_distortion_says():
    """On a ramp, the crop's pixels tell where they were taken; pixels twice as high as wide."""
    frame = Frames(3 * Y - 2 * X, scale=(0.2, 0.1), units=("nm", "nm"))
    crops = extract_crops(frame, sites_at([40.25], [45.5]), window=20, pixels=24)
    np.testing.assert_allclose(crops.distortion, np.diag([0.5**0.5, 2**0.5]))
    off = grid(24, 20)
    expected = 3 * off[:, None] / math.sqrt(2) - 2 * off[None, :] * math.sqrt(2)
    np.testing.assert_allclose(crops.images[0, 0], expected, atol=1e-3)
    half = 23 / 2 * 20 / 24 * math.sqrt(2)
    for x, count in ((half, 1), (half - 0.01, 0), (SIDE - 1 - half, 1), (SIDE - half, 0)):
        assert len(extract_crops(frame, sites_at([40.0], [x]), window=20, pixels=24)) == count


def test_every_frame_by_its_own_distortion():
    scenes = [sheared_scene(matrix) for matrix in (np.eye(2), STRETCH)]
    movie = np.stack([frame for frame, _ in scenes])
    table = concat_sites(*(sites.assign(frame=k) for k, (_, sites) in enumerate(scenes)))
    own = extract_crops(movie, table, CropConfig(distortion="frame"))
    for k, (frame, _) in enumerate(scenes):
        alone = extract_crops(
            frame, table[table["frame"] == k].assign(frame=0), window=own.window_px
        )
        np.testing.assert_allclose(own.images[own.frame == k], alone.images, atol=2e-3)
    assert np.linalg.det(own.distortion) == pytest.approx(1)
    assert 0.4 < (own.distortion - np.eye(2))[0, 1] / (STRETCH - np.eye(2))[0, 1] < 0.6


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_sites_have_no_distortion(count):
    y, x = np.array([40.0, 50.0, 40.0])[:count], np.array([40.0, 40.0, 52.0])[:count]
    crops = extract_crops(atoms(), sites_at(y, x), window=20)
    np.testing.assert_array_equal(crops.distortion, np.eye(2))


# --------------------------------------------------------------------------- stripes and noise
def striped(rng, sd=0.5):
    y, x = lattice(low=0, high=SIDE - 1)
    table = sites_at(y, x, amplitude=np.full(y.size, 4.0), sigma=np.full(y.size, 2.0))
    white = atoms(amplitude=4.0) + rng.normal(0, 0.5, (SIDE, SIDE))
    return white, white + rng.normal(0, sd, (SIDE, 1)), table


def test_stripes_are_taken_off_frames(rng):
    white, frame, table = striped(rng)
    clean, crops = extract_crops(white, table), extract_crops(frame, table)
    kept = extract_crops(frame, table, CropConfig(destripe=False))
    inner = np.abs(table.set_index("site_id").loc[crops.site_id, "y"] - 48).to_numpy() < 20
    left = np.std((crops.images - clean.images)[inner])
    assert left < 0.5 * np.std((kept.images - clean.images)[inner])
    assert crops.noise_sd == pytest.approx(clean.noise_sd, rel=0.1)


def test_frames_without_stripes_are_cut_as_they_are(rng):
    white, _, table = striped(rng)
    kept = extract_crops(white, table, CropConfig(destripe=False))
    np.testing.assert_array_equal(extract_crops(white, table).images, kept.images)


def test_nothing_is_taken_off_what_was_not_measured(rng):
    """Probability maps and rendered atoms: no stripes, no stabilising."""
    white, frame, table = striped(rng)
    options = CropConfig(stabilise=True)
    shown = extract_crops(white, table, options, content=frame)
    plain = extract_crops(frame, table, CropConfig(destripe=False))
    np.testing.assert_array_equal(shown.images, plain.images)
    assert shown.noise_correlation is None
    rendered = extract_crops(frame, table, options, content="rendered")
    again = extract_crops(white, table, CropConfig(destripe=False), content="rendered")
    np.testing.assert_array_equal(rendered.images, again.images)


def test_the_channels_lose_their_own_stripes(rng):
    white, frame, table = striped(rng)
    dark = 7 - 2 * white + rng.normal(0, 2, (SIDE, 1))
    both = Frames(np.stack([frame, dark])[None], axis_labels=("t", "c", "y", "x"))
    crops = extract_crops(both, table)
    expected = extract_crops(Frames(np.stack([white, 7 - 2 * white])[None]), table)
    kept = extract_crops(both, table, CropConfig(destripe=False))
    for channel in (0, 1):
        left, had = (
            np.std(part.images[:, channel] - expected.images[:, channel]) for part in (crops, kept)
        )
        assert left < 0.6 * had


def test_correlated_noise_is_told(rng):
    _, _, table = striped(rng)
    noise = ndimage.gaussian_filter(rng.normal(0, 2.0, (SIDE, SIDE)), 0.8)
    crops = extract_crops(atoms(amplitude=4.0) + noise, table)
    assert crops.noise_correlation is not None
    middle = len(crops.noise_correlation) // 2
    assert crops.noise_correlation[middle, middle] == 1
    expected = math.exp(-1 / (4 * 0.8**2))
    assert crops.noise_correlation[middle, middle + 1] == pytest.approx(expected, abs=0.12)
    assert crops.noise_sd == pytest.approx(noise.std() / 4, rel=0.15)
    white = extract_crops(atoms(amplitude=4.0) + rng.normal(0, 0.5, (SIDE, SIDE)), table)
    assert white.noise_correlation is None


def test_the_noise_of_counts_can_be_made_the_same_everywhere(rng):
    y, x = lattice(12.0, low=0, high=SIDE - 1)
    clean = 10 + 10 * atoms(12.0, amplitude=20.0)
    table = sites_at(y, x)
    frames = 0.5 * rng.poisson(np.repeat(clean[None], 40, axis=0)) + 30
    here = concat_sites(*(table.assign(frame=k) for k in range(40)))

    def scatter(**options):
        """Spread over the frames at the brightest and at the darkest pixels of a crop."""
        images = extract_crops(frames, here, CropConfig(**options), window=24, pixels=24).images
        images = images.reshape(40, -1, 24, 24)
        mean, sd = images.mean(0), images.std(0)
        return sd[mean > np.quantile(mean, 0.95)].mean() / sd[mean < np.quantile(mean, 0.5)].mean()

    assert scatter() > 2
    assert scatter(stabilise=True) < 1.3


def test_where_no_gain_is_known_nothing_is_stabilised(rng):
    white, _, table = striped(rng)
    one, other = (extract_crops(white, table, CropConfig(stabilise=s)) for s in (False, True))
    np.testing.assert_array_equal(one.images, other.images)
    missing = np.full((SIDE, SIDE), np.nan)
    assert len(extract_crops(missing, table, CropConfig(stabilise=True), window=20)) == 0


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_frames_of_any_unit(unit, rng):
    """The default way, with stripes, keeps its digits."""
    _, frame, table = striped(rng)
    table = table.assign(amplitude=unit * table["amplitude"])
    crops = extract_crops(unit * frame, table, CropConfig(stabilise=True))
    plain = extract_crops(frame, table.assign(amplitude=4.0), CropConfig(stabilise=True))
    np.testing.assert_allclose(crops.images, plain.images, atol=1e-4)
    assert crops.noise_sd == pytest.approx(plain.noise_sd)


# --------------------------------------------------------------------------- content, layers
def rendered_table():
    y, x = lattice(low=0, high=SIDE - 1)
    return sites_at(y, x, amplitude=np.full(y.size, 2.0), sigma=np.full(y.size, 2.0))


def test_rendered_crops_show_the_fitted_atoms_and_nothing_else():
    table = rendered_table()
    dirt = np.random.default_rng(0).normal(0, 5, (SIDE, SIDE))
    crops = extract_crops(atoms() + dirt, table, content="rendered")
    clean = extract_crops(atoms(), table)
    inner = np.isin(
        crops.site_id, table["site_id"][(table[["y", "x"]] - 48).abs().max(axis=1) < 20]
    )
    np.testing.assert_allclose(crops.images[inner], clean.images[inner], atol=0.02)


def test_rendered_crops_by_the_config():
    one = extract_crops(atoms(), rendered_table(), CropConfig(content="rendered"))
    other = extract_crops(atoms(), rendered_table(), content="rendered")
    np.testing.assert_array_equal(one.images, other.images)


def test_rendered_crops_need_fitted_atoms():
    with pytest.raises(InputError, match="amplitude"):
        extract_crops(atoms(), sites_at([40.0], [40.0]), window=20, content="rendered")
    with pytest.raises(InputError, match="content"):
        extract_crops(atoms(), sites_at([40.0], [40.0]), window=20, content="painted")


def test_crops_of_another_array():
    frame, other = np.zeros((SIDE, SIDE)), atoms()
    table = sites_at(*lattice(low=20, high=75))
    one = extract_crops(frame, table, content=other)
    np.testing.assert_array_equal(one.images, extract_crops(other, table).images)
    with pytest.raises(InputError, match="must fit the frames"):
        extract_crops(frame, table, content=other[:50])


def test_channels_are_layers_of_a_crop():
    movie = np.stack([np.stack([atoms(), 3 * X, Y])] * 2)
    frames = Frames(movie, channels=("haadf", "dx", "dy"))
    table = sites_at([40.5], [45.5], frame=1)
    crops = extract_crops(frames, table, window=16, pixels=16)
    assert crops.images.shape == (1, 3, 16, 16)
    assert crops.channels == ("haadf", "dx", "dy")
    some = extract_crops(frames, table, window=16, pixels=16, channels=["dy", 0])
    assert some.channels == ("dy", "haadf")
    np.testing.assert_array_equal(some.images, crops.images[:, [2, 0]])
    np.testing.assert_allclose(crops.images[0, 2], np.tile(grid(16, 16), (16, 1)).T, atol=1e-4)
    with pytest.raises(InputError, match="no channel 'bf'"):
        extract_crops(frames, table, window=16, channels=["bf"])


def test_lags_are_layers_of_a_crop():
    movie = np.random.default_rng(0).normal(size=(4, SIDE, SIDE))
    table = concat_sites(*(sites_at([40.5], [45.5], frame=t) for t in range(4)))
    crops = extract_crops(movie, table, window=16, pixels=16, lags=(-1, 0, 2))
    assert crops.lags == (-1, 0, 2)
    assert len(crops.channels) == len(set(crops.channels)) == 3
    assert crops.frame.tolist() == [1]  # the others lack one of their frames
    assert np.isfinite(crops.noise_sd)
    for layer, frame in enumerate((0, 1, 3)):
        cut = movie[frame, 33:49, 38:54]
        np.testing.assert_allclose(crops.images[0, layer], less_mean(cut), atol=1e-5)


def test_every_frame_is_cut_from_itself():
    movie = np.random.default_rng(0).normal(size=(3, SIDE, SIDE))
    table = concat_sites(*(sites_at([40.5], [45.5], frame=t) for t in range(3)))
    crops = extract_crops(movie, table, window=16, pixels=16)
    assert crops.frame.tolist() == [0, 1, 2]
    for t in range(3):
        cut = movie[t, 33:49, 38:54]
        np.testing.assert_allclose(crops.images[t, 0], less_mean(cut), atol=1e-5)


def test_lazy_movies_are_read_a_frame_at_a_time():
    movie = np.random.default_rng(0).normal(size=(3, SIDE, SIDE))
    table = concat_sites(*(sites_at([40.0], [45.0], frame=t) for t in (0, 2)))
    seen = []

    def read(block, block_info=None):
        if block_info:
            seen.append(block_info[0]["array-location"][0][0])
        return block

    lazy = da.from_array(movie, chunks=(1, SIDE, SIDE)).map_blocks(read, dtype=float)
    seen.clear()
    crops = extract_crops(lazy, table, window=20)
    np.testing.assert_array_equal(crops.images, extract_crops(movie, table, window=20).images)
    assert set(seen) <= {0, 2}


def test_progress_and_cancelling():
    movie = np.stack([atoms()] * 3)
    table = concat_sites(*(sites_at([40.0], [45.0], frame=t) for t in range(3)))
    seen = []
    extract_crops(movie, table, window=20, progress=lambda *args: seen.append(args))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(Cancelled, match="after 2 of 3 frames"):
        extract_crops(movie, table, window=20, progress=lambda done, _: done < 2)


def test_neither_frames_nor_sites_are_changed():
    frame, table = atoms(), sites_at(*lattice(low=20, high=75))
    frame[30, 30] = np.nan
    before = frame.copy(), table.copy()
    extract_crops(frame, table)
    np.testing.assert_array_equal(frame, before[0])
    assert table.equals(before[1])


# --------------------------------------------------------------------------- the container
def make_crops(count=5, first_id=0, channels=1, pixels=8, **fields):
    rng = np.random.default_rng(first_id)
    images = rng.normal(size=(count, channels, pixels, pixels)).astype(np.float32)
    return Crops(images=images, site_id=np.arange(first_id, first_id + count), **fields)


def test_defaults_of_crops_made_from_arrays():
    crops = make_crops(channels=2)
    assert crops.frame.tolist() == [0] * 5
    assert crops.source.tolist() == [""] * 5
    assert crops.window_px == 8
    assert crops.native_pixel == 1
    assert math.isnan(crops.noise_sd)
    assert crops.noise_correlation is None
    assert np.isnan([crops.y, crops.x]).all()
    np.testing.assert_array_equal(crops.distortion, np.eye(2))
    assert crops.channels == ("channel 0", "channel 1")
    assert (len(crops), crops.pixels) == (5, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((5, 8, 8))},
        {"images": np.zeros((5, 1, 8, 9))},
        {"images": np.zeros((5, 0, 8, 8))},
        {"images": np.zeros((5, 1, 2, 2))},
        {"site_id": np.arange(4)},
        {"site_id": np.zeros(5, int)},
        {"frame": np.zeros(3, int)},
        {"source": np.array(["a", "b"])},
        {"channels": ("a", "b")},
        {"y": np.zeros(4)},
        {"x": np.zeros(6)},
        {"distortion": np.eye(3)},
    ],
)
def test_arrays_that_do_not_fit(change):
    with pytest.raises(InputError) as error:
        dataclasses.replace(make_crops(), **change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        (np.array([True, False, False, True, False]), [10, 13]),
        ([3, 0], [13, 10]),
        (np.array([], int), []),
        ([], []),
        ([-1], [14]),
    ],
)
def test_some_of_the_crops(rows, kept):
    crops = make_crops(
        first_id=10, frame=np.arange(5), source=np.array(list("abcde")), y=np.arange(5.0)
    )
    some = crops.select(rows)
    assert (some.y + 10).tolist() == kept
    assert np.isnan(some.x).all()
    assert some.site_id.tolist() == kept
    assert (some.frame + 10).tolist() == kept
    assert some.source.tolist() == ["abcde"[k - 10] for k in kept]
    np.testing.assert_array_equal(some.images, crops.images[[k - 10 for k in kept]])


@pytest.mark.parametrize("rows", [[7], np.ones(4, bool), [0.5]])
def test_rows_that_are_not_there(rows):
    with pytest.raises(InputError, match="none of the 5 crops"):
        make_crops().select(rows)


def test_crops_together():
    one = make_crops(3, 0, window_px=20.0, noise_sd=0.1, source=np.full(3, "a"))
    two = make_crops(2, 50, window_px=22.0, noise_sd=0.3, source=np.full(2, "b"))
    both = concat_crops(one, two)
    assert both.site_id.tolist() == [0, 1, 2, 50, 51]
    assert both.source.tolist() == list("aaabb")
    assert both.noise_sd == pytest.approx(0.2)
    assert both.window_px == pytest.approx(21)
    np.testing.assert_array_equal(both.images, np.concatenate([one.images, two.images]))
    assert concat_crops(one).site_id.tolist() == [0, 1, 2]


def test_places_distortions_and_noise_together():
    correlation = np.outer([0.5, 1, 0.5], [0, 1, 0])
    one = make_crops(3, 0, y=np.arange(3.0), x=-np.arange(3.0))
    two = make_crops(2, 50, distortion=np.diag([0.8, 1.25]), noise_correlation=correlation)
    both = concat_crops(one, two)
    np.testing.assert_array_equal(both.y, [0, 1, 2, np.nan, np.nan])
    np.testing.assert_array_equal(both.x, [0, -1, -2, np.nan, np.nan])
    assert np.linalg.det(both.distortion) == pytest.approx(1)
    np.testing.assert_allclose(both.noise_correlation, np.outer([0.25, 1, 0.25], [0, 1, 0]))
    assert concat_crops(one, make_crops(2, 50)).noise_correlation is None
    np.testing.assert_array_equal(concat_crops(two).distortion, two.distortion)


def test_crops_know_where_they_were_cut():
    table = sites_at([40.25, 5.0, 50.0], [45.5, 40.0, 30.0])
    crops = extract_crops(atoms(), table, window=20)
    kept = table.set_index("site_id").loc[crops.site_id]
    np.testing.assert_array_equal(crops.y, kept["y"])
    np.testing.assert_array_equal(crops.x, kept["x"])


def test_crops_that_do_not_go_together():
    for other in (make_crops(2, 50, pixels=9), make_crops(2, 50, channels=2), make_crops(2, 1)):
        with pytest.raises(InputError):
            concat_crops(make_crops(3), other)
    with pytest.raises(InputError, match="no crops"):
        concat_crops()


def test_lazy_crops_are_read_in_parts():
    crops = make_crops()
    lazy = dataclasses.replace(crops, images=da.from_array(crops.images, chunks=(2, 1, 8, 8)))
    np.testing.assert_array_equal(lazy.read(), crops.images)
    np.testing.assert_array_equal(lazy.read(slice(1, 3)), crops.images[1:3])
    np.testing.assert_array_equal(lazy.select([4, 0]).read(), crops.images[[4, 0]])
    np.testing.assert_array_equal(concat_crops(lazy, make_crops(1, 9)).images[:5], crops.images)


@pytest.mark.parametrize("kind", ["wall", "grid"])
def test_walls_and_grids_need_a_window_in_pixels(kind):
    movie = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    table = sites_at([30.0, 40.0, 50.0, 40.0], [40.0, 40.0, 40.0, 30.0]).assign(kind=kind)
    with pytest.raises(InputError, match="no neighbour distance: give the window in pixels"):
        extract_crops(movie, table)
    crops = extract_crops(movie, table, window=16)
    assert math.isnan(crops.window_nd)
    assert crops.window_px == 16


def test_an_amplitude_of_walls_is_no_host():
    movie = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    table = sites_at([30.0, 40.0, 50.0], [40.0, 40.0, 40.0]).assign(kind="wall")
    crops = extract_crops(movie, table.assign(amplitude=7.0), window=16)
    np.testing.assert_array_equal(crops.images, extract_crops(movie, table, window=16).images)


def test_sites_without_a_crop_are_counted_by_the_reason():
    movie = np.random.default_rng(0).normal(size=(3, SIDE, SIDE))
    movie[1, 20, 20] = np.nan
    one = sites_at([40.5, 0.0, 20.0, 60.5], [45.5, 40.0, 20.0, 45.5])
    table = concat_sites(*(one.assign(frame=t) for t in range(3)))
    region = np.ones((SIDE, SIDE), bool)
    region[55:] = False
    crops = extract_crops(movie, table, window=16, pixels=16, lags=(0, -1), region=region)
    assert crops.left_out == {
        "no such frame": 4,
        "at the border": 2,
        "outside the region": 2,
        "missing pixels": 2,
    }
    assert len(crops) + sum(crops.left_out.values()) == len(table)
    other = dataclasses.replace(crops, site_id=crops.site_id + 100)
    assert concat_crops(crops, other).left_out["no such frame"] == 8


@pytest.mark.parametrize("lags", [(), (0, 0), (0.5,), (-3,), (-1, 2)])
def test_lags_that_make_no_sense(lags):
    movie = np.random.default_rng(0).normal(size=(3, SIDE, SIDE))
    with pytest.raises(InputError, match="lags = "):
        extract_crops(movie, sites_at([40.5], [45.5]), window=16, lags=lags)


def test_layers_have_a_noise_each():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 2, SIDE, SIDE)) * np.array([1.0, 10.0])[:, None, None]
    data[:, 1] = ndimage.uniform_filter1d(data[:, 1], 2, axis=-1) * math.sqrt(2)
    table = concat_sites(*(sites_at([40.5, 42.0], [45.5, 40.0]).assign(frame=t) for t in (0, 1)))
    crops = extract_crops(data, table, window=16, pixels=16)
    np.testing.assert_allclose(crops.layer_noise, [1.0, 10.0], rtol=0.15)
    assert crops.noise_sd == crops.layer_noise[0]
    assert crops.noise_correlation.shape[0] == 2
    middle = crops.noise_correlation.shape[1] // 2
    assert crops.noise_correlation[1, middle, middle + 1] == pytest.approx(0.5, abs=0.12)
    assert concat_crops(crops).noise_correlation.shape == crops.noise_correlation.shape


def test_the_mean_can_stay_in():
    frame = np.random.default_rng(0).normal(size=(SIDE, SIDE)) - 5
    table = sites_at([40.5], [45.5])
    own, kept = (
        extract_crops(frame, table, CropConfig(subtract_mean=on, window=16, pixels=16))
        for on in (True, False)
    )
    assert kept.images.mean() == pytest.approx(-5, abs=0.3)
    np.testing.assert_allclose(kept.images - own.mean[0], own.images, atol=1e-5)
    assert kept.mean[0] == own.mean[0]
    assert not kept.subtract_mean
    with pytest.raises(InputError, match="mean taken off"):
        concat_crops(own, dataclasses.replace(kept, site_id=[9]))


def test_names_of_channels_are_known_whatever_the_lags():
    frames = Frames(np.zeros((3, 2, SIDE, SIDE)), channels=("a", "b (-1 frames)"))
    crops = extract_crops(frames, sites_at([40.5], [45.5], frame=1), window=16, lags=(-1, 0))
    assert crops.base_channels == frames.channels
    with pytest.raises(InputError, match="name each channel once"):
        extract_crops(frames, sites_at([40.5], [45.5]), window=16, channels=["a", 0])
