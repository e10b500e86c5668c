import itertools

import numpy as np
import pandas as pd
import pytest

from napari_rvae.analysis.kinetics import hidden_markov, rates
from napari_rvae.analysis.kinetics.sightings import describe_movie, gather_sightings
from napari_rvae.analysis.track_quality import movie_drift
from napari_rvae.tables import make_sites


def _brute_force(likelihood, transition, start):
    """Smoothed states (T, K) of one track, over all its histories."""
    n_frames, n_states = likelihood.shape
    total = np.zeros((n_frames, n_states))
    for way in itertools.product(range(n_states), repeat=n_frames):
        weight = start[way[0]] * likelihood[0, way[0]]
        for t in range(1, n_frames):
            weight *= transition[way[t - 1], way[t]] * likelihood[t, way[t]]
        total[np.arange(n_frames), way] += weight
    return total / total.sum(axis=1, keepdims=True)


def test_smoothed_states_are_those_of_all_histories(rng):
    likelihood = rng.random((2, 5, 3))
    transition, start = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(3))
    length = np.array([5, 5])
    found = hidden_markov._smoothed(likelihood, transition, start, length)
    for track in range(2):
        truth = _brute_force(likelihood[track], transition, start)
        assert np.allclose(found.state[track], truth)
    assert np.isclose(found.counts.sum(), 8)
    pairs = sum(found.step(0, step) for step in range(4))
    assert np.allclose(pairs.sum(axis=0), found.state[0, 1:].sum(axis=0))
    assert np.allclose(
        found.change(length)[0], [1 - np.trace(found.step(0, step)) for step in range(4)]
    )


def test_drawn_histories_have_the_smoothed_states(rng):
    likelihood = rng.random((1, 4, 3))
    transition, start = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(3))
    many = np.repeat(likelihood, 4000, axis=0)
    drawn = rates._draw_states(many, transition[None], start[None], rng)[0]
    shares = np.stack([(drawn == k).mean(axis=0) for k in range(3)], axis=1)
    assert np.abs(shares - _brute_force(likelihood[0], transition, start)).max() < 0.03


def test_beyond_the_end_of_a_track_nothing_is_counted(rng):
    states = rng.integers(0, 2, (3, 4, 6)).astype(np.int8)
    length = np.array([6, 1, 3, 2])
    counts = rates.count_steps(states, length, 2)
    assert (counts.sum(axis=(1, 2)) == 5 + 0 + 2 + 1).all()


def test_the_gradient_of_the_calibration(rng):
    logs, others = np.log(rng.dirichlet(np.ones(3), 50)), rng.dirichlet(np.ones(3), 50)
    data = (logs, others, np.log(others.mean(axis=0)), 2.0)
    values = np.array([0.3, -0.4, 0.2, -2.0])
    _, slope = hidden_markov._misfit(values, *data)
    for k in range(4):
        step = 1e-5 * np.eye(4)[k]
        higher, lower = (hidden_markov._misfit(values + s * step, *data)[0] for s in (1, -1))
        assert slope[k] == pytest.approx((higher - lower) / 2e-5, rel=1e-4)


def _seen(sites, track, *, border=1.5):
    drift = movie_drift(sites)
    movies = {"": describe_movie(sites, drift)}
    chance = np.ones((len(sites), 1))
    return gather_sightings(sites, movies, track, chance, border=border, min_sightings=2)


def _grid(n_frames, step=0.0):
    y, x = 10.0 * np.indices((8, 8)).reshape(2, -1)
    frame, place = np.indices((n_frames, 64)).reshape(2, -1)
    return make_sites(
        frame=frame, y=y[place] + step * frame, x=x[place], lattice_track_id=place, track_id=place
    )


def test_a_track_that_leaves_the_frames_is_censored_and_one_that_stops_is_not():
    sites = _grid(10, step=10.0)
    # the frame shows rows 0 to 70 px; the lattice goes down by one row a frame
    sites = sites[sites["y"].between(0, 70)].reset_index(drop=True)
    lost = (sites["lattice_track_id"] == 20) & (sites["frame"] >= 3)
    sites = sites[~lost].reset_index(drop=True)
    seen = _seen(sites, sites["lattice_track_id"].to_numpy(), border=0.5)
    by_track = dict(zip(seen.track.tolist(), seen.length.tolist(), strict=True))
    assert by_track[4] == 8  # begins in row 0, in sight until row 7
    assert by_track[20] == 5  # begins in row 2: it could have been seen in rows 5 and 6


def test_frames_that_nobody_looked_at_say_nothing():
    sites = _grid(6)
    sites = sites[sites["frame"] != 2].reset_index(drop=True)
    seen = _seen(sites, sites["lattice_track_id"].to_numpy(), border=-1)
    assert not seen.looked[:, 2].any()
    calibration = hidden_markov.Calibration(
        1.0, np.zeros(1), 0.0, 0.05, np.ones(1), np.ones((1, 1))
    )
    assert (hidden_markov.emissions(seen, calibration)[:, 2] == 1).all()


def test_places_are_without_drift():
    sites = _grid(5, step=3.0)
    seen = _seen(sites, sites["lattice_track_id"].to_numpy())
    assert np.allclose(seen.place, seen.place[:, :1])


def test_tracks_of_several_sources_keep_their_clocks():
    one, two = _grid(5), _grid(8)
    two["frame"] += 100
    two[["lattice_track_id", "track_id"]] += 1000
    sites = pd.concat([one.assign(source="a"), two.assign(source="b")], ignore_index=True)
    sites["site_id"] = np.arange(len(sites))
    drift = movie_drift(sites)
    movies = {
        name: describe_movie(sites[sites["source"] == name], drift[drift["source"] == name])
        for name in "ab"
    }
    track = sites["lattice_track_id"].to_numpy()
    seen = gather_sightings(
        sites, movies, track, np.ones((len(sites), 1)), border=-1, min_sightings=2
    )
    assert seen.length.tolist() == [5] * 64 + [8] * 64
    assert set(seen.first_frame[64:]) == {100}
    assert (sites["lattice_track_id"].to_numpy()[seen.row[:, 0]] == seen.track).all()
