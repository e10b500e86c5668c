"""Tracks with planted rates, read with errors: a table without pictures, to try kinetics on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import norm

from napari_rvae.errors import InputError
from napari_rvae.tables import make_sites

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["Readings", "simulate_readings"]

#: Distance of the places in px, and their number along a side for each dopant among them.
_SPACING, _ROOM = 10.0, 12.0


class Readings(NamedTuple):
    """A table of linked sites, and its truth."""

    sites: pd.DataFrame  # unit, unit_probability, true_state, species, tracks
    probabilities: pd.DataFrame  # site_id and unit_0, unit_1, ...
    states: Ids  # (N, T) of the dopants; -1 before a track begins


def simulate_readings(
    transition: ArrayLike,
    *,
    n_tracks: int = 20,
    n_frames: int = 50,
    missed: float = 0.05,
    error: float = 0.03,
    sureness: float = 1.0,
    sticky: float = 0.0,
    late: float = 0.3,
    second_half: ArrayLike | None = None,
    seed: int = 0,
) -> Readings:
    """Simulate dopants that change their state among host atoms that do not.

    Readings of a state are points around its corner of a simplex, with normal noise, so that the
    probabilities are right at a sureness of 1.

    Parameters
    ----------
    transition
        Probabilities (K, K) per frame between the states; the last one is gone for good.
    n_tracks
        Number of dopants, N.
    n_frames
        Number of frames, T.
    missed
        Chance that a dopant is not detected in a frame.
    error
        Chance that the most probable state is a wrong one.
    sureness
        Factor on the logarithms of the probabilities: above 1 they are too sure.
    sticky
        Correlation of the errors of successive frames.
    late
        Share of the dopants that appear later than in the first frame.
    second_half
        Other transition probabilities for the second half of the movie.
    seed
        Start of the random numbers.

    Returns
    -------
    Readings
        Unit k is state k, and unit K - 1 the host's.

    Examples
    --------
    >>> from napari_rvae.synthetic.readings import simulate_readings
    >>> made = simulate_readings([[0.9, 0.1], [0, 1]], n_tracks=2, n_frames=5, late=0)
    >>> made.states.shape
    (2, 5)
    """
    chances = [np.asarray(transition, float)]
    chances.append(chances[0] if second_half is None else np.asarray(second_half, float))
    if any(np.abs(chance.sum(axis=1) - 1).max() > 1e-9 for chance in chances):
        raise InputError("The transition probabilities of a state do not add up to 1.")
    rng = np.random.default_rng(seed)
    states = _histories(chances, n_tracks, n_frames, late, rng)
    n_states = len(chances[0]) - 1
    reading = _read(states, n_states, error, sureness, sticky, rng)
    seen = (states >= 0) & (states < n_states) & (rng.random(states.shape) >= missed)
    return _as_table(states, reading, seen, rng)


def _histories(
    chances: list[Array], n_tracks: int, n_frames: int, late: float, rng: np.random.Generator
) -> Ids:
    """True states (N, T), from the first frame of each on; -1 before."""
    n_states = len(chances[0]) - 1
    states = np.empty((n_tracks, n_frames), np.int64)
    states[:, 0] = rng.integers(0, n_states, n_tracks)
    for t in range(1, n_frames):
        steps = np.cumsum(chances[int(t >= n_frames // 2)], axis=1)[states[:, t - 1]]
        states[:, t] = np.minimum((rng.random((n_tracks, 1)) > steps).sum(axis=1), n_states)
    first = rng.integers(0, max(n_frames - 4, 1), n_tracks)
    first[rng.random(n_tracks) >= late] = 0
    before = np.arange(n_frames) < first[:, None]
    states[before | (states[np.arange(n_tracks), first] == n_states)[:, None]] = -1
    return states


def _read(
    states: Ids,
    n_states: int,
    error: float,
    sureness: float,
    sticky: float,
    rng: np.random.Generator,
) -> Array:
    """Probabilities (N, T, K - 1) of the visible states."""
    noise = rng.standard_normal((*states.shape, n_states))
    for t in range(1, states.shape[1]):
        noise[:, t] = sticky * noise[:, t - 1] + np.sqrt(1 - sticky**2) * noise[:, t]
    apart = _separation(error, n_states)
    corner = np.eye(n_states)[np.clip(states, 0, n_states - 1)]
    return np.asarray(softmax(sureness * apart * (apart * corner + noise), axis=-1))


def _separation(error: float, n_states: int) -> float:
    """Distance of the states in standard deviations that makes this many errors."""
    if n_states < 2:
        return 5.0
    grid = np.linspace(-8, 20, 2801)

    def excess(apart: float) -> float:
        right = norm.pdf(grid - apart) * norm.cdf(grid) ** (n_states - 1)
        return float(1 - np.trapezoid(right, grid) - error)

    return float(brentq(excess, 0.1, 9.0))


def _as_table(
    states: Ids, reading: Array, seen: NDArray[np.bool_], rng: np.random.Generator
) -> Readings:
    """Put the dopants on every third place of a square lattice."""
    n_tracks, n_frames = states.shape
    side = int(np.ceil(np.sqrt(_ROOM * n_tracks))) + 8
    y, x = np.indices((side, side)).reshape(2, -1)
    inner = np.flatnonzero((y > 2) & (y < side - 3) & (x > 2) & (x < side - 3))
    inner = inner[(y[inner] % 3 == 0) & (x[inner] % 3 == 0)]
    number = np.full(side**2, -1)
    number[rng.permutation(inner)[:n_tracks]] = np.arange(n_tracks)
    frame, place = np.indices((n_frames, side**2)).reshape(2, -1)
    dopant = number[place]
    there = (dopant < 0) | seen[np.maximum(dopant, 0), frame]
    frame, place, dopant = frame[there], place[there], dopant[there]
    n_units = reading.shape[2] + 1
    chance = np.zeros((len(frame), n_units))
    chance[:, -1] = 1.0
    chance[dopant >= 0, :-1] = reading[dopant[dopant >= 0], frame[dopant >= 0]]
    chance[dopant >= 0, -1] = 0.0
    columns: dict[str, Any] = {f"unit_{k}": chance[:, k] for k in range(n_units)}
    sites = make_sites(
        frame=frame,
        y=_SPACING * y[place] + rng.normal(0, 0.3, len(frame)),
        x=_SPACING * x[place] + rng.normal(0, 0.3, len(frame)),
        species=np.where(dopant >= 0, "Si", "C"),
        true_state=np.where(dopant >= 0, states[np.maximum(dopant, 0), frame], -1),
        lattice_track_id=place,
        track_id=np.where(dopant >= 0, side**2 + dopant, place),
        unit=chance.argmax(axis=1),
        unit_probability=chance.max(axis=1),
        **columns,
    )
    return Readings(sites.drop(columns=list(columns)), sites[["site_id", *columns]], states)
