import numpy as np
import pytest
from scipy import ndimage

from napari_rvae import (
    Frames,
    analyse_frames,
    read_frames,
    simulate_graphene,
    simulate_perovskite,
)
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.render import render_gaussians

COLUMNS = [
    *("frame", "noise_sd", "gain", "offset", "readout_noise", "row_noise_sd"),
    *("noise_lag_y", "noise_lag_x", "contrast", "blur", "ellipticity", "ellipse_angle"),
    *("distortion_yy", "distortion_yx", "distortion_xy", "distortion_xx"),
    *("stretch", "stretch_sd", "flyback_columns", "missing", "quality", "keep"),
]


@pytest.fixture
def movie(rng):
    """Three frames of counts; the last is blurred more and lacks a quarter."""
    y, x = (grid.ravel() * 14.0 for grid in np.mgrid[:12, :12])
    frames = [
        rng.poisson(5 + render_gaussians(y, x, 80.0, sigma, (160, 160))) for sigma in (2.5, 2.5, 4)
    ]
    frames[2] = frames[2].astype(float)
    frames[2][:80, :80] = np.nan
    return np.stack(frames)


def test_a_row_for_every_frame(movie):
    table = analyse_frames(movie)
    assert table.columns.tolist() == COLUMNS
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["gain"].iloc[:2].to_numpy() == pytest.approx(1, rel=0.2)
    assert table["blur"].iloc[:2].to_numpy() == pytest.approx(2.5, rel=0.15)
    assert table["blur"].iloc[2] > 1.2 * table["blur"].iloc[1]
    assert table["missing"].tolist() == [0, 0, 0.25]
    assert (table["row_noise_sd"] < 1).all()


def test_a_channel_is_chosen_by_number_or_name(movie):
    both = Frames(np.stack([movie[:1] * 0, movie[:1]], axis=1), channels=("dark", "adf"))
    named, numbered = analyse_frames(both, channel="adf"), analyse_frames(both, channel=1)
    assert named.equals(numbered)
    assert named["noise_sd"].iloc[0] > 0
    assert analyse_frames(both)["noise_sd"].iloc[0] == 0
    with pytest.raises(InputError, match="no channel"):
        analyse_frames(both, channel="bf")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30, -3.0])
def test_a_flat_frame_is_measured_without_a_word(value):
    table = analyse_frames(np.full((32, 32), value))
    assert table["noise_sd"].tolist() == [0]
    assert table["missing"].iloc[0] == (0.0 if np.isfinite(value) else 1.0)
    assert np.isnan(table["blur"].iloc[0])
    assert table["contrast"].tolist() == [0]
    assert table["quality"].tolist() == [0]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
@pytest.mark.parametrize("shape", [(8, 8), (8, 300), (2, 33, 57)])
def test_any_type_and_shape(dtype, shape, rng):
    table = analyse_frames(rng.integers(0, 2, shape).astype(dtype))
    assert len(table) == (shape[0] if len(shape) == 3 else 1)
    assert table["quality"].between(0, 1).all()


# --------------------------------------------------------------------------- quality
@pytest.fixture(scope="module")
def good():
    """Eight frames of graphene, one as good as the other."""
    return np.asarray(simulate_graphene(n_frames=8, size=192, seed=2).frames.data, float)


@pytest.fixture(scope="module")
def mixed(good):
    """The same movie with frames that are noisy, blurred, blank, noise alone, and half there."""
    rng, movie = np.random.default_rng(0), good.copy()
    movie[1] += rng.normal(0, 2 * np.std(movie[1]), movie[1].shape)
    movie[2] = ndimage.gaussian_filter(movie[2], 3.0)
    movie[3] = movie[0].mean()
    movie[4] = rng.poisson(movie[0].mean(), movie[4].shape)
    movie[5, :96] = np.nan
    return movie


def test_good_frames_have_a_quality_near_one(good):
    assert (analyse_frames(good)["quality"] > 0.9).all()


def test_bad_frames_are_told_from_good_ones(mixed):
    quality = analyse_frames(mixed)["quality"]
    assert (quality[[0, 6, 7]] > 0.9).all()
    assert 0.01 < quality[1] < 0.3  # noisy
    assert 0.3 < quality[2] < 0.8  # blurred
    assert quality[3] == 0  # blank
    assert quality[4] < 0.05  # nothing but noise
    assert 0.35 < quality[5] <= 0.5  # half of it missing


def test_the_unit_of_the_frames_does_not_matter(mixed):
    plain, other = analyse_frames(mixed), analyse_frames(1e-9 * mixed + 3e-7)
    np.testing.assert_allclose(other["quality"], plain["quality"], atol=0.02)
    np.testing.assert_allclose(other["contrast"], 1e-9 * plain["contrast"], rtol=0.01)


def test_twice_the_noise_is_half_the_quality(good):
    """Where everything is far above the noise, in a movie of clean frames."""
    movie = np.stack([ndimage.gaussian_filter(frame, 1.5) for frame in good])
    noise = np.random.default_rng(0).normal(0, 0.1 * movie.std(), movie.shape)
    movie += noise
    movie[3] += np.sqrt(3) * noise[::-1][3]
    quality = analyse_frames(movie)["quality"]
    assert quality[3] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("number", "low", "high"), [(0, 0.95, 1), (1, 0.02, 0.8), (3, 0, 0), (4, 0, 0.05)]
)
def test_a_single_frame_is_judged_by_its_contrast_to_noise(mixed, number, low, high):
    (quality,) = analyse_frames(mixed[number])["quality"]
    assert low <= quality <= high


def test_a_movie_of_noise_is_not_good_because_all_of_it_is_bad(rng):
    assert (analyse_frames(rng.normal(0, 1, (5, 128, 128)))["quality"] < 0.1).all()


def test_a_movie_without_noise_is_good():
    y, x = (grid.ravel() * 14.0 for grid in np.mgrid[:10, :10])
    frame = render_gaussians(y, x, 80.0, 2.5, (128, 128))
    assert (analyse_frames(np.stack([frame, frame]))["quality"] > 0.95).all()


def test_progress_is_told_and_can_stop(good):
    seen = []

    def progress(done, total):
        seen.append((done, total))
        return done < 3

    with pytest.raises(Cancelled, match="after 3 of 8 frames"):
        analyse_frames(good, progress=progress)
    assert seen == [(1, 8), (2, 8), (3, 8)]
    assert len(analyse_frames(good[:2], progress=lambda *_: None)) == 2


# --------------------------------------------------------------------------- what the noise is
def test_the_readout_noise_or_the_offset_where_the_gain_is_known(movie, rng):
    counts = movie[0]
    seen = analyse_frames(
        np.stack(
            [
                counts + rng.normal(0, 6, counts.shape),
                0.5 * counts + 100,
                rng.normal(50, 5, counts.shape),
                np.full(counts.shape, 7.0),
            ]
        )
    )
    assert seen["gain"].iloc[:2].to_numpy() == pytest.approx([1, 0.5], rel=0.25)
    assert seen["readout_noise"].iloc[0] == pytest.approx(6, rel=0.25)
    assert seen["offset"].iloc[1] == pytest.approx(100, rel=0.1)
    known = np.isfinite(seen[["offset", "readout_noise"]]).to_numpy()
    np.testing.assert_array_equal(known, [[False, True], [True, False], [False] * 2, [False] * 2])


def test_noise_that_is_correlated_along_the_rows(movie, rng):
    clean = ndimage.gaussian_filter(movie[0], 1.5)
    white = rng.normal(0, 5, clean.shape)
    slow = ndimage.uniform_filter1d(white, 2, axis=1)
    seen = analyse_frames(np.stack([clean + white, clean + slow, np.full(clean.shape, 7.0)]))
    lags = seen[["noise_lag_y", "noise_lag_x"]].to_numpy()
    np.testing.assert_allclose(lags[:2], [[0, 0], [0, 0.5]], atol=0.1)
    assert np.isnan(lags[2]).all()


# --------------------------------------------------------------------------- what to keep
def test_frames_that_are_much_worse_than_the_movie_are_not_to_be_kept(mixed):
    table = analyse_frames(mixed)
    assert table["keep"].dtype == bool
    assert table["keep"].tolist() == [True, False, True, False, False, True, True, True]
    assert table["keep"].equals(table["quality"] >= table["quality"][[0, 5, 6, 7]].min() * 0.5)


def test_a_movie_that_shows_nothing_is_not_to_be_kept():
    assert not analyse_frames(np.full((3, 64, 64), 7.0))["keep"].any()


# --------------------------------------------------------------------------- shapes
@pytest.mark.parametrize("make", [simulate_graphene, simulate_perovskite])
@pytest.mark.parametrize("rotation", [0.0, 0.3])
def test_the_distortion_of_the_lattice(make, rotation):
    scan = {"n_frames": 1, "size": 384, "rotation": rotation, "shear": 0.04, "seed": 3}
    if make is simulate_graphene:
        scan |= {"grains": 1, "hole_end": 0.0}
    frames = make(**scan).frames
    (row,) = analyse_frames(frames).to_dict("records")
    assert row["stretch"] == pytest.approx(0.04, abs=3 * row["stretch_sd"])
    assert row["stretch_sd"] < 0.006
    found = [row[f"distortion_{name}"] for name in ("yy", "yx", "xy", "xx")]
    assert found == pytest.approx([1, 0.02, 0.02, 1], abs=0.006)
    # the probe is scanned with the same shear: atoms are longer along the diagonal
    assert row["ellipticity"] == pytest.approx(0.04, abs=0.015)
    assert row["ellipse_angle"] == pytest.approx(-np.pi / 4, abs=0.25)


def test_pixels_that_are_not_square_are_in_the_distortion():
    frame = simulate_perovskite(size=256, seed=3).frames.frame(0)
    wide = Frames(ndimage.zoom(frame, (1, 0.8)), scale=(0.8, 1.0), units=("nm", "nm"))
    (row,) = analyse_frames(wide).to_dict("records")
    assert row["distortion_yy"] / row["distortion_xx"] == pytest.approx(1.25, rel=0.02)
    assert row["stretch"] < 0.02


@pytest.mark.parametrize("angle", [0.0, 0.6, np.pi / 2])
def test_the_ellipse_of_the_probe(angle, rng):
    y, x = (grid.ravel() * 16.0 + 8 for grid in np.mgrid[:16, :16])
    grid = np.mgrid[:256, :256]
    frame = np.zeros((256, 256))
    along, across = (-np.sin(angle), np.cos(angle)), (np.cos(angle), np.sin(angle))
    for place in zip(y, x, strict=True):
        offset = [line - middle for line, middle in zip(grid, place, strict=True)]
        u, v = (axis[0] * offset[0] + axis[1] * offset[1] for axis in (along, across))
        frame += 50 * np.exp(-((u / 3.0) ** 2 + (v / 2.5) ** 2) / 2)
    (row,) = analyse_frames(rng.poisson(5 + frame)).to_dict("records")
    assert row["ellipticity"] == pytest.approx(0.2, abs=0.06)
    assert abs(np.sin(row["ellipse_angle"] - angle)) < 0.1


def test_without_a_lattice_there_is_no_distortion(rng):
    points = rng.uniform(0, 200, (120, 2))
    frame = rng.poisson(5 + render_gaussians(*points.T, 60.0, 2.5, (200, 200)))
    table = analyse_frames(np.stack([frame, rng.normal(size=(200, 200))]))
    assert table[["stretch", "stretch_sd", "distortion_yy", "distortion_xy"]].isna().all(axis=None)
    assert np.isnan(table["ellipticity"][1])


def test_columns_that_the_fly_back_spoilt(movie):
    spoilt = movie.copy()
    spoilt[1, :, :6] += 100
    assert analyse_frames(spoilt)["flyback_columns"].tolist() == [0, 6, 0]


# --------------------------------------------------------------------------- real frames
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("10_dso_8nm_none_none.png", 0.1),
        ("Si110_5nmX25us_03_none_none.png", 0.05),
        ("03_afterimage_8nm_crp.png", 0.1),
    ],
)
def test_row_noise_of_real_frames(data_folder, name, least):
    """As shares of the white noise; all three are noisier along y than along x."""
    (row,) = analyse_frames(read_frames(data_folder / "stem" / name)).to_dict("records")
    assert row["row_noise_sd"] > least * row["noise_sd"]
    assert row["noise_lag_x"] > 0.2 > abs(row["noise_lag_y"])
    assert row["flyback_columns"] == 0
