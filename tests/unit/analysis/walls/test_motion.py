"""Displacement of walls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_rvae import Frames, InputError, wall_motion
from napari_rvae.tables import make_sites


def circle(radius, frame, centre=(100.0, 100.0), sign=1, step=2.0):
    """A wall round a positive domain (sign 1) or a negative one."""
    count = round(2 * math.pi * radius / step)
    phi = 2 * math.pi * (np.arange(count) + 0.3) / count
    outwards = np.stack([-np.sin(phi), np.cos(phi)])
    return make_sites(
        frame=frame,
        y=centre[0] + radius * outwards[0],
        x=centre[1] + radius * outwards[1],
        kind="wall",
        normal_angle=phi + (math.pi if sign > 0 else 0.0),
        normal_period=np.full(count, 2 * math.pi),
        curvature=np.full(count, sign / radius),
    )


def movie_of(*tables):
    import pandas as pd

    table = pd.concat(tables, ignore_index=True)
    return table.assign(site_id=np.arange(len(table)))


@settings(max_examples=25, deadline=None)
@given(st.floats(15, 60), st.floats(-6, 6), st.sampled_from([1, -1]))
def test_a_round_domain_grows(radius, step, sign):
    table = movie_of(circle(radius, 0, sign=sign), circle(radius + step, 1, sign=sign))
    found = wall_motion(table)["displacement"].to_numpy()
    first = (table["frame"] == 0).to_numpy()
    np.testing.assert_allclose(found[first], -sign * step, atol=0.02 + 0.01 * abs(step))
    assert np.isnan(found[~first]).all()


def test_speed_is_per_second_and_needs_times():
    table = movie_of(circle(30, 0), circle(33, 1))
    frames = Frames(np.zeros((2, 200, 200)))
    assert wall_motion(table, frames)["speed"].isna().all()
    frames.table["time"] = [10.0, 16.0]
    found = wall_motion(table, frames)
    np.testing.assert_allclose(found["speed"].dropna(), found["displacement"].dropna() / 6)
    frames.table["time"] = [10.0, 10.0]
    with pytest.raises(InputError, match="times of the frames do not grow"):
        wall_motion(table, frames)


def test_a_wall_of_the_other_sign_is_another_wall():
    table = movie_of(circle(30, 0, sign=1), circle(33, 1, sign=-1))
    assert wall_motion(table)["displacement"].isna().all()
    axis = table.assign(normal_period=math.pi)
    assert wall_motion(axis)["displacement"].notna().sum() == (table["frame"] == 0).sum()


def test_a_wall_too_far_away_is_not_found():
    table = movie_of(circle(30, 0), circle(45, 1))
    assert wall_motion(table, max_step=10)["displacement"].isna().all()
    assert wall_motion(table, max_step=20)["displacement"].dropna().median() == pytest.approx(
        -15, abs=0.01
    )


def test_kinds_of_walls_are_kept_apart():
    one = movie_of(circle(30, 0), circle(31, 1)).assign(wall_type="180")
    other = one.assign(wall_type="ferroelastic", x=one["x"] + 0.4)
    table = movie_of(one, other.loc[other["frame"] == 0])
    found = wall_motion(table)["displacement"]
    assert found[table["wall_type"] == "ferroelastic"].isna().all()


def line(x, frame, angle, rows=(0.0, 60.0), wall=0, step=4.0):
    """A straight upright wall, its first and last site half a step from where it ends."""
    y = np.arange(rows[0] + step / 2, rows[1], step)
    return make_sites(
        frame=frame,
        y=y,
        x=np.full(y.size, x),
        kind="wall",
        normal_angle=np.full(y.size, angle),
        normal_period=np.full(y.size, 2 * math.pi),
        wall_id=np.full(y.size, wall),
    )


def test_no_piece_of_wall_passes_another_one():
    """Two domains grow together: their walls are gone, and a third one is not theirs."""
    gap = [line(20.0, 0, math.pi), line(26.0, 0, 0.0, wall=1), line(35.0, 0, math.pi, wall=2)]
    found = wall_motion(movie_of(*gap, line(35.5, 1, math.pi)))["displacement"].to_numpy()
    assert np.isnan(found[:30]).all()  # that at 20 would have passed the one at 26
    np.testing.assert_allclose(found[30:45], -0.5)
    later = [line(23.0, 1, 0.0), line(30.0, 1, math.pi, wall=1)]
    found = wall_motion(movie_of(gap[0], *later))["displacement"]
    assert found.isna().all()  # the one at 23 comes between


def test_a_wall_goes_on_a_little_beyond_its_last_site():
    table = movie_of(line(20.0, 0, 0.0, rows=(0, 60)), line(22.0, 1, 0.0, rows=(1, 49)))
    found = wall_motion(table)["displacement"].to_numpy()[:15]
    np.testing.assert_allclose(found[:12], 2.0)  # sites up to y = 46; the last one is at 47
    assert np.isnan(found[13:]).all()


def test_walls_that_come_near_to_each_other_are_not_joined():
    """The lower wall ends where the upper one begins, two px aside."""
    table = movie_of(
        line(20.0, 0, 0.0, rows=(0, 60)),
        line(21.0, 1, 0.0, rows=(0, 30)),
        line(23.0, 1, 0.0, rows=(30, 60), wall=1),
    )
    found = wall_motion(table)["displacement"].to_numpy()[:15]
    assert set(found.round(6)) == {1.0, 3.0}


def test_an_axis_moves_whichever_way_its_normals_point():
    later = line(21.5, 1, 0.0)
    later.loc[::2, "normal_angle"] = math.pi
    table = movie_of(line(20.0, 0, 0.0), later).assign(normal_period=math.pi)
    np.testing.assert_allclose(wall_motion(table)["displacement"].to_numpy()[:15], 1.5, atol=0.01)


def test_displacement_of_a_simulated_movie(growth):
    """Against the zero of the next frame's polarization along the normal."""
    sites = growth.sites.query("wall_type == '180'").reset_index(drop=True)
    found = wall_motion(sites, growth.frames)["displacement"].to_numpy()
    steps = np.arange(-10, 10, 0.05)
    errors = []
    for frame in range(growth.frames.n_frames - 1):
        rows = np.flatnonzero((sites["frame"] == frame).to_numpy() & np.isfinite(found))
        angle = sites["normal_angle"].to_numpy()[rows]
        ray = np.stack([-np.sin(angle), np.cos(angle)])[..., None] * steps
        ray += sites[["y", "x"]].to_numpy()[rows].T[..., None]
        later = growth.fields["polarization"][frame + 1]
        value = ndimage.map_coordinates(later, ray, order=1, mode="nearest")
        rises = (value[:, :-1] < 0) & (value[:, 1:] >= 0)
        place = np.where(rises, np.abs(steps[1:] - 0.025), np.inf)
        known = np.isfinite(place.min(1))
        errors.append((steps[1:] - 0.025)[place.argmin(1)][known] - found[rows][known])
    error = np.concatenate(errors)
    assert error.size > 500
    assert math.sqrt((error**2).mean()) < 0.3


def test_bad_requests():
    with pytest.raises(InputError, match="normal_angle"):
        wall_motion(make_sites(frame=0, y=[1.0], x=[1.0]))
    with pytest.raises(InputError, match="max_step"):
        wall_motion(circle(30, 0), max_step=0)
    with pytest.raises(InputError, match="there are 2 frames"):
        wall_motion(movie_of(circle(30, 0), circle(30, 5)), np.zeros((2, 200, 200)))
