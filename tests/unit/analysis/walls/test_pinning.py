"""Places that hold walls: of walls that wait until the end, of other laws, and none where none."""

import numpy as np
import pytest

from napari_rvae import (
    Frames,
    InputError,
    pinning_centres,
    signed_response,
    simulate_walls,
)
from napari_rvae.analysis.walls.friction import wall_passages

Y, X = np.mgrid[:80, :80].astype(float)
TIME = np.arange(30.0)[:, None, None]
WAVES = 4 * np.sin(Y / 9) + 2 * np.cos(Y / 5)


def picture(distance, *, noise=0.1):
    """Response of walls 3 px wide at the zero of a distance, with noise."""
    rng = np.random.default_rng(3)
    return np.tanh(distance / 3) + rng.normal(0.0, noise, np.shape(distance))


def held_until_the_end():
    """A wall that stops at a place, bends around it, and is still there in the last frame."""
    return np.minimum(14 + 1.0 * TIME, 32 + (Y - 40) ** 2 / 6) - X


def round_domain(speed=0.8, tension=2.0, start=5.0):
    """A domain that grows, slowly at first: its own tension holds it back."""
    radii = [start]
    for _ in range(29 * 20):
        radii.append(radii[-1] + (speed - tension / radii[-1]) / 20)
    return np.array(radii[::20])[:, None, None] - np.hypot(Y - 40, X - 40)


def test_a_wall_that_is_held_until_the_end_shows_its_centre():
    found = pinning_centres(picture(held_until_the_end()))
    assert len(found) == 1
    one = found.iloc[0]
    assert abs(one["y"] - 40) < 1
    assert 32 < one["x"] < 37  # ahead of the wall
    assert one["arrived"] == pytest.approx(18, abs=2)
    assert one["released"] == -1
    assert one["strength"] > 0.7  # it stopped a wall


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_directions_are_alike(turn):
    data = picture(held_until_the_end())
    first = pinning_centres(data)
    turned = pinning_centres(np.rot90(data, turn, axes=(1, 2)))
    place = first[["y", "x"]].to_numpy() - 39.5
    for _ in range(turn):  # y', x' = -x, y
        place = np.stack([-place[:, 1], place[:, 0]], axis=1)
    np.testing.assert_allclose(turned[["y", "x"]].to_numpy() - 39.5, place, atol=0.6)


def test_what_bends_cost_is_not_taken_for_friction():
    (passage,) = wall_passages(picture(round_domain(), noise=0.0), 1.0)
    seen = passage.weight > 0
    slow = 1 - passage.free / passage.slope[seen]
    assert slow.max() > 0.2  # beside the place where it was born
    assert np.percentile(np.abs(passage.held[seen]), 90) < 0.1
    assert len(pinning_centres(picture(round_domain()))) == 0


@pytest.mark.parametrize("speed", [0.05, 0.3, 1.5])
def test_walls_that_go_evenly_are_held_nowhere(speed):
    assert len(pinning_centres(picture(25 + speed * TIME + WAVES - X))) == 0


def test_walls_that_do_not_move_say_so():
    with pytest.raises(InputError, match="No wall passed"):
        pinning_centres(picture(40 + WAVES - X + 0 * TIME))


def test_a_domain_that_stands_still_beside_a_wall_that_moves_is_no_centre():
    island = 6 - np.hypot(Y - 40, X - 66)
    assert len(pinning_centres(picture(np.maximum(10 + TIME - X, island)))) == 0


def test_walls_that_stop_along_a_line_are_not_held_by_a_centre():
    barrier = 50 + 0.7 * (Y - 40)
    assert len(pinning_centres(picture(np.minimum(15 + 1.5 * TIME, barrier) - X))) == 0


@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
def test_a_dead_row_is_no_centre(value):
    data = picture(15 + 1.5 * TIME + WAVES - X)
    data[:, 30] = value
    data[12, 50] = value
    assert len(pinning_centres(data)) == 0


def test_a_drive_that_fades_is_no_centre():
    """Where the drive is small, tension decides, and walls stand or go back by themselves."""
    movie = simulate_walls(n_frames=30, size=96, seed=603, pinning=0, waveform="triangle")
    assert len(pinning_centres(signed_response(movie.frames))) == 0


def test_centres_of_simulated_movies():
    passed, recalled, found, right = 0, 0, 0, 0
    for seed in (1, 2, 3):
        movie = simulate_walls(n_frames=30, size=96, seed=seed)
        places = pinning_centres(signed_response(movie.frames))[["y", "x"]].to_numpy()
        true = movie.tables["pinning"]
        distance = np.hypot(*(places[:, None] - true[["y", "x"]].to_numpy()).transpose(2, 0, 1))
        came = true["first_frame"].between(0, 24).to_numpy()
        passed += came.sum()
        recalled += (distance[:, came].min(0) <= 3).sum()
        found += len(places)
        right += (distance[:, (true["first_frame"] >= 0).to_numpy()].min(1) <= 3).sum()
    assert passed >= 8
    assert recalled / passed >= 0.8
    assert right / found >= 0.8


def test_the_drive_sets_the_scale_of_the_strength():
    """Twice the bias everywhere is the same movie in units of the mean drive."""
    frames = [Frames(picture(held_until_the_end())) for _ in range(2)]
    for frame, bias in zip(frames, (2.0, 4.0), strict=True):
        frame.table["bias"] = bias
    weak, strong = (pinning_centres(frame) for frame in frames)
    assert weak.equals(strong)


@pytest.mark.parametrize(("option", "value"), [("radius", 0.0), ("radius", -1.0), ("smooth", -1.0)])
def test_an_option_that_is_no_length_is_one_line(option, value):
    with pytest.raises(InputError, match=f"{option} = {value}: give pixels"):
        pinning_centres(np.ones((6, 32, 32)), **{option: value})
