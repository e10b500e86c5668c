import numpy as np
import pytest

from napari_rvae.analysis.descriptors import relative_amplitudes
from napari_rvae.analysis.levels import slow_levels
from napari_rvae.tables import make_sites

SIZE = 250.0


@pytest.fixture
def movie(honeycomb, rng):
    """Make a table of three frames of a honeycomb, from the logarithms of its brightness."""

    def make(level, noise=0.08, points=None):
        points = honeycomb(SIZE, 12.0) if points is None else points
        frame = np.repeat(np.arange(3), len(points))
        y, x = np.tile(points, (3, 1)).T
        planted = np.tile(level(points), 3)
        amplitude = 7.0 * np.exp(planted + rng.normal(0, noise, frame.size))
        odd = planted - np.tile(_ramp(points), 3) > 0.1
        return make_sites(frame=frame, y=y, x=x, amplitude=amplitude, odd=odd)

    return make


def _ramp(points, height=0.4):
    return np.log(1 + height * (2 * points[:, 1] / SIZE - 1))


def _step(points, height=0.35):
    return np.where(points[:, 0] > 0.45 * SIZE, height, 0.0)


def _left(table):
    """Logarithms of the brightness of the sites, without what varies slowly, and their places."""
    return np.log(relative_amplitudes(table)), table[["y", "x"]].to_numpy() / SIZE


def test_where_nothing_varies_nothing_is_changed(movie):
    table = movie(lambda points: np.zeros(len(points)))
    assert (slow_levels(table, table["amplitude"].to_numpy()) == 1).all()


@pytest.mark.parametrize("height", [0.25, 0.5])
def test_ramps_are_taken_out(movie, height):
    found, place = _left(movie(lambda points: _ramp(points, height)))
    assert found.std() < 0.1  # of which 0.08 are noise
    for edge in (place[:, 1] < 0.2, place[:, 1] > 0.8):
        assert abs(np.median(found[edge])) < 0.04


def test_a_step_between_phases_stays(movie):
    table = movie(_step)
    assert (slow_levels(table, table["amplitude"].to_numpy()) == 1).all()


def test_of_a_ramp_over_two_phases_the_step_stays(movie):
    found, place = _left(movie(lambda points: _ramp(points) + _step(points)))
    bright = place[:, 0] > 0.45
    for part in (place[:, 1] < 0.3, place[:, 1] > 0.7):
        step = np.median(found[part & bright]) - np.median(found[part & ~bright])
        assert step == pytest.approx(0.35, abs=0.07)


def test_sublattices_keep_their_ratio_on_a_ramp(movie):
    points = 12.0 * np.stack(np.indices((21, 21)), axis=-1).reshape(-1, 2)
    bright = np.indices((21, 21)).sum(axis=0).ravel() % 2 == 1
    table = movie(lambda p: _ramp(p) + np.where(bright, 0.9, 0.0), points=points)
    found, place = _left(table)
    own = table["odd"].to_numpy(bool)
    for part in (place[:, 1] < 0.3, place[:, 1] > 0.7):
        ratio = np.median(found[part & own]) - np.median(found[part & ~own])
        assert ratio == pytest.approx(0.9, abs=0.03)
        assert np.median(found[part & ~own]) == pytest.approx(-0.45, abs=0.1)


def test_dopants_keep_their_brightness_on_a_ramp(movie, rng):
    dopant = rng.random(2000) < 0.05
    table = movie(lambda points: _ramp(points) + np.where(dopant[: len(points)], 1.2, 0.0))
    found, place = _left(table)
    own = table["odd"].to_numpy(bool)
    for part in (place[:, 1] < 0.4, place[:, 1] > 0.6):
        assert np.median(found[part & own]) == pytest.approx(1.2, abs=0.06)


def test_each_frame_has_its_own_levels(movie, honeycomb):
    up, down = movie(_ramp), movie(lambda points: _ramp(points, -0.4))
    both = up["frame"].to_numpy() % 2 == 1
    table = up.assign(amplitude=np.where(both, up["amplitude"], down["amplitude"]))
    assert _left(table)[0].std() < 0.1


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_few_or_unknown_sites_are_no_trouble(movie, count):
    table = movie(_ramp).iloc[:count].copy()
    assert (slow_levels(table, table["amplitude"].to_numpy()) == 1).all()
    table.loc[table.index[::2], ["y", "amplitude"]] = np.nan
    level = slow_levels(table, table["amplitude"].to_numpy())
    assert level.shape == (count,)


def test_unknown_and_negative_amplitudes_do_not_spoil_the_rest(movie):
    table = movie(_ramp)
    table.loc[table.index[::9], "amplitude"] = np.nan
    table.loc[table.index[::13], "amplitude"] = -1.0
    found = relative_amplitudes(table)
    good = table["amplitude"].to_numpy() > 0
    assert np.log(found[good]).std() < 0.1
    assert np.isnan(found[table["amplitude"].isna().to_numpy()]).all()
