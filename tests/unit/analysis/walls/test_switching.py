"""Switched area, nucleation, residence and pinning."""

import numpy as np
import pytest

from napari_rvae import (
    Frames,
    InputError,
    nucleation_sites,
    pinning_centres,
    residence_map,
    switched_area,
)


def held_wall(n_frames=24, speed=2.0, delay=8.0, *, centre=(40.0, 40.0)):
    """A straight wall that goes to the right, and is late about one place."""
    y, x = np.mgrid[:80, :80].astype(float)
    late = delay * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 2.5**2))
    arrival = (x - 12) / speed + late
    frames = np.arange(n_frames)[:, None, None]
    return np.tanh((frames - arrival) * speed / 3)


def test_area_of_a_simulated_movie(growth, response):
    found = switched_area(response)
    true = growth.fields["polarization"] > 0
    np.testing.assert_allclose(found["area"], true.sum((1, 2)), rtol=0.02)
    gained = (true[1:] & ~true[:-1]).sum((1, 2))
    np.testing.assert_allclose(found["switched_up"][1:], gained, rtol=0.15, atol=30)
    assert found["time"].tolist() == growth.frames.table["time"].tolist()


def test_missing_pixels_count_in_no_domain():
    data = np.ones((2, 40, 40))
    data[:, :, 20:] = -1
    data[:, :10] = np.nan
    found = switched_area(data)
    assert found["area"].tolist() == [600, 600]
    assert found["share"].tolist() == [0.5, 0.5]
    with pytest.raises(InputError, match="zero or missing everywhere"):
        switched_area(np.zeros((2, 40, 40)))


def test_new_domains_are_found_where_they_begin(growth, response):
    found = nucleation_sites(response)
    true = growth.events
    assert len(found) == len(true)
    np.testing.assert_allclose(found[["frame", "y", "x"]], true[["frame", "y", "x"]], atol=1)
    assert (found["sign"] == 1).all()


def test_residence_is_slowness_relative_to_the_usual():
    found = residence_map(held_wall())
    assert np.nanmedian(found) == pytest.approx(1, abs=0.1)
    assert np.nanmax(found[34:47, 30:44]) > 1.7
    assert np.isnan(found[:, 0]).all()


def test_residence_counts_the_drive_and_not_the_frames():
    """A wall that waits because nothing drives it is not pinned."""
    data = held_wall(delay=0.0)
    waiting = np.concatenate([data[:10], np.repeat(data[9:10], 8, 0), data[10:]])
    frames = Frames(waiting)
    plain = residence_map(frames)
    frames.table["bias"] = np.r_[np.full(10, 5.0), np.zeros(8), np.full(14, 5.0)]
    told = residence_map(frames)
    assert np.nanmax(plain[20:60, 20:40]) > 2
    assert np.nanmax(told[20:60, 20:40]) < 1.3


@pytest.mark.parametrize("sign", [1, -1])
def test_a_centre_is_found_and_a_free_wall_has_none(sign):
    found = pinning_centres(sign * held_wall())
    assert len(found) == 1
    np.testing.assert_allclose(found[["y", "x"]].to_numpy(), [[40, 40]], atol=2)
    assert found["delay"][0] > 3
    assert len(pinning_centres(held_wall(delay=0.0))) == 0


def test_walls_that_go_back_are_held_there_too():
    there = held_wall()
    back = held_wall(centre=(20.0, 30.0))[:, :, ::-1]  # from the right, held at x = 49
    frames = Frames(np.concatenate([there, -back]))
    frames.table["bias"] = np.r_[np.full(24, 3.0), np.full(24, -3.0)]
    found = pinning_centres(frames).sort_values("y")
    np.testing.assert_allclose(found[["y", "x"]].to_numpy(), [[20, 49], [40, 40]], atol=2)


def test_too_little_to_tell():
    with pytest.raises(InputError, match="5 are the least"):
        residence_map(held_wall(4))
    with pytest.raises(InputError, match="No wall passed"):
        pinning_centres(np.repeat(held_wall()[:1], 8, 0))
