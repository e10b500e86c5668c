import dataclasses
import math

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
        np.testing.assert_allclose(image, expected - expected.mean(), atol=5e-3)


def test_a_window_of_whole_pixels_between_pixels_is_a_slice():
    """An even window about a corner of pixels samples the pixels themselves."""
    frame = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    crops = extract_crops(frame, sites_at([40.5], [30.5]), window=16, pixels=16)
    cut = frame[33:49, 23:39]
    np.testing.assert_allclose(crops.images[0, 0], cut - cut.mean(), atol=1e-5)


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
    with pytest.raises(InputError, match="0 sites have no neighbour distance"):
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
    np.testing.assert_allclose(crops.images.mean((2, 3)), 0, atol=1e-5)


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
    assert crops.mean[0] == pytest.approx(cut.mean(), rel=1e-5)
    assert crops.sd[0] == pytest.approx(cut.std(), rel=1e-5)


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
        np.testing.assert_allclose(crops.images[0, layer], cut - cut.mean(), atol=1e-5)


def test_every_frame_is_cut_from_itself():
    movie = np.random.default_rng(0).normal(size=(3, SIDE, SIDE))
    table = concat_sites(*(sites_at([40.5], [45.5], frame=t) for t in range(3)))
    crops = extract_crops(movie, table, window=16, pixels=16)
    assert crops.frame.tolist() == [0, 1, 2]
    for t in range(3):
        cut = movie[t, 33:49, 38:54]
        np.testing.assert_allclose(crops.images[t, 0], cut - cut.mean(), atol=1e-5)


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
    crops = make_crops(first_id=10, frame=np.arange(5), source=np.array(list("abcde")))
    some = crops.select(rows)
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
