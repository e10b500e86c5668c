import dataclasses
import math

import numpy as np
import pytest

from napari_rvae.errors import InputError
from napari_rvae.synthetic.scan import (
    Columns,
    ScanConfig,
    checked_shape,
    drift_path,
    make_frames,
    random_streams,
    record,
    scan_distortion,
    sheared,
)

QUIET = ScanConfig(
    background=0.0,
    contamination=0.0,
    drift=0.0,
    jitter=0.0,
    row_noise=0.0,
    readout_noise=0.0,
)
SHAPE = (64, 48)


def scan(*, n_frames=1, atoms=((32.0, 24.0),), peak=None, seed=0, **options):
    config = dataclasses.replace(QUIET, **options)
    position = np.array(atoms, float).reshape(-1, 2)
    heights = np.full(len(position), config.host_peak if peak is None else peak)
    movie = [Columns(position, heights)] * n_frames
    rng = np.random.default_rng(seed)
    return record(movie, np.zeros((n_frames, 2)), SHAPE, config, rng)


def test_a_column_collects_its_dose():
    seen = scan(dose=1500.0)
    assert seen.expected.sum() == pytest.approx(1500.0, rel=1e-4)


def test_counts_are_poisson_around_what_is_expected():
    seen = scan(n_frames=400, dose=1500.0, background=2.0, background_ramp=0.0)
    total = seen.counts.sum((1, 2), dtype=float)
    mean = 1500.0 + 2.0 * math.prod(SHAPE)
    assert total.mean() == pytest.approx(mean, abs=4 * math.sqrt(mean / 400))
    assert total.var() == pytest.approx(mean, rel=0.3)
    assert np.array_equal(seen.counts, np.round(seen.counts))


def test_the_expected_atom_sits_where_it_was_put():
    expected = scan(atoms=[(31.3, 22.8)])[1][0].astype(float)
    y, x = np.indices(SHAPE)
    assert (expected * y).sum() / expected.sum() == pytest.approx(31.3, abs=1e-3)
    assert (expected * x).sum() / expected.sum() == pytest.approx(22.8, abs=1e-3)
    spread = (expected * (y - 31.3) ** 2).sum() / expected.sum()
    assert math.sqrt(spread) == pytest.approx(QUIET.probe_sigma, rel=1e-3)


def test_readout_noise_and_row_noise_have_their_strength():
    seen = scan(n_frames=50, atoms=[], row_noise=3.0, readout_noise=2.0)
    rows = seen.counts.mean(2)
    assert rows.std() == pytest.approx(math.hypot(3.0, 2.0 / math.sqrt(SHAPE[1])), rel=0.1)
    assert (seen.counts - rows[..., None]).std() == pytest.approx(2.0, rel=0.05)
    assert not seen.expected.any()


def test_jitter_moves_whole_rows():
    expected = scan(jitter=1.0).expected[0].astype(float)
    rows = expected[28:37]
    centres = rows @ np.arange(SHAPE[1]) / rows.sum(1)
    assert centres.std() == pytest.approx(1.0, rel=0.6)
    height = np.exp(-((np.arange(28, 37) - 32) ** 2) / (2 * QUIET.probe_sigma**2))
    np.testing.assert_allclose(rows.sum(1) / rows.sum(1)[4], height, rtol=1e-3)


def test_the_background_rises_by_its_share_and_keeps_its_mean():
    seen = scan(atoms=[], background=10.0, background_ramp=0.4)
    np.testing.assert_array_equal(seen.expected, seen.background)
    assert np.ptp(seen.background) == pytest.approx(4.0, rel=1e-4)
    assert seen.background.mean() == pytest.approx(10.0, rel=1e-4)


def test_contamination_moves_with_the_specimen_and_has_its_height():
    config = dataclasses.replace(QUIET, contamination=0.5)
    nothing = Columns(np.empty((0, 2)), np.empty(0))
    drift = np.array([[0.0, 0.0], [3.0, -2.0]])
    seen = record([nothing] * 2, drift, (128, 128), config, np.random.default_rng(0))
    assert seen.background[0].max() == pytest.approx(0.5 * config.host_peak, rel=1e-5)
    np.testing.assert_allclose(seen.background[1, 3:, :-2], seen.background[0, :-3, 2:], rtol=1e-5)


def test_dark_atoms_are_taken_out_of_a_bright_ground():
    options = {"background": 5.0, "background_ramp": 0.0}
    bright, dark = scan(**options), scan(**options, contrast="dark")
    ground = bright.expected.max()
    np.testing.assert_allclose(dark.background, ground, rtol=1e-6)
    np.testing.assert_allclose(dark.expected, ground + 5.0 - bright.expected, atol=1e-4)
    assert dark.expected.min() > 0
    assert dark.expected[0].argmin() == bright.expected[0].argmax()


def test_drift_begins_at_zero_and_has_its_speed(rng):
    config = dataclasses.replace(QUIET, drift=0.8)
    path = drift_path(config, 2000, rng)
    assert path.shape == (2000, 2)
    assert not path[0].any()
    assert np.hypot(*path[-1]) / 1999 == pytest.approx(0.8, abs=0.05)
    assert not drift_path(QUIET, 5, rng).any()


def test_shear_moves_rows_along_x_about_the_centre():
    config = dataclasses.replace(QUIET, shear=0.1)
    moved = sheared(np.array([[0.0, 5.0], [20.0, 5.0], [40.0, 5.0]]), config, centre=20.0)
    np.testing.assert_allclose(moved, [[0.0, 3.0], [20.0, 5.0], [40.0, 7.0]])


def test_a_shear_turns_a_triangle_by_half_of_itself():
    config = dataclasses.replace(QUIET, shear=0.06)
    triangle = np.array([[-math.sin(a), math.cos(a)] for a in 2 * math.pi / 3 * np.arange(3)])
    moved = sheared(triangle, config)
    # phase of the three-fold harmonic, counter-clockwise with y down
    phase = np.angle(
        np.sum((moved[:, 1] - 1j * moved[:, 0]) * np.exp(-2j * math.pi / 3 * np.arange(3)))
    )
    assert scan_distortion(config) == pytest.approx(phase, abs=1e-6)
    assert scan_distortion(config) > 0


@pytest.mark.parametrize(
    ("size", "shape"), [(64, (64, 64)), ((9, 20), (9, 20)), ([9, 20], (9, 20))]
)
def test_sizes(size, shape):
    assert checked_shape(size, 1) == shape


@pytest.mark.parametrize("size", [7, (7, 64), (64, 64, 64), 64.0, "big", (), None])
def test_bad_sizes(size):
    with pytest.raises(InputError, match="size"):
        checked_shape(size, 1)


@pytest.mark.parametrize("number", [0, -1, 2.0, True, None])
def test_bad_numbers_of_frames(number):
    with pytest.raises(InputError, match="n_frames"):
        checked_shape(64, number)


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_bad_seeds(seed):
    with pytest.raises(InputError, match="seed"):
        random_streams(seed)


def test_the_dose_is_per_square_angstrom_and_frame():
    seen = scan(n_frames=2, atoms=[], background=3.0, background_ramp=0.0)
    config = dataclasses.replace(QUIET, pixel_size=0.02, frame_time=0.5)
    frames = make_frames(seen, config, spacing=0.142, name="x", seed=0)
    assert frames.table["dose"].tolist() == pytest.approx([3.0 / 0.2**2] * 2)
    assert frames.table["time"].tolist() == [0.0, 0.5]
    assert frames.scale == (0.5, 0.02, 0.02)


def test_the_default_width_follows_the_distance():
    assert ScanConfig(neighbour_distance=20.0).probe_sigma == pytest.approx(4.8)
    assert ScanConfig(sigma=2.0).probe_sigma == 2.0


def test_a_slanted_scan_slants_the_images_of_atoms_too():
    """An atom's second moments are those of a round one, sheared about its own centre."""
    config = dataclasses.replace(QUIET, shear=0.2, neighbour_distance=14.0, sigma=3.0, dose=2e5)
    shape = (81, 101)
    position = sheared(np.array([[60.0, 48.0]]), config, centre=40.0)
    atom = Columns(position, np.array([config.host_peak]))
    seen = record([atom], np.zeros((1, 2)), shape, config, np.random.default_rng(0))
    picture = (seen.expected - seen.background)[0].astype(float)
    y, x = np.indices(shape)
    assert (picture * y).sum() / picture.sum() == pytest.approx(60, abs=0.01)
    assert (picture * x).sum() / picture.sum() == pytest.approx(52, abs=0.01)
    dy, dx = y - 60, x - 52
    second = [(picture * a * b).sum() / picture.sum() for a, b in ((dy, dy), (dy, dx), (dx, dx))]
    np.testing.assert_allclose(second, 9 * np.array([1, 0.2, 1.04]), rtol=0.01)
