"""Tracks as arrays: what was seen of each in every frame, from its first sighting on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Movie", "Sightings", "describe_movie", "gather_sightings"]


@dataclass(frozen=True, eq=False)
class Sightings:
    """N tracks in T frames each, aligned at their first sightings; U visible states.

    Parameters
    ----------
    probability
        Of each visible state (N, T, U); NaN where nothing was read.
    seen
        Whether it was detected (N, T).
    looked
        Whether the frame was looked at and the track had not ended (N, T).
    length
        Frames (N,) up to the end of the movie, or until the place is out of sight.
    place
        Positions (N, T, 2) in neighbour distances, drift removed; NaN where not seen.
    row
        Row of the table (N, T), -1 for none.
    track
        Number of each track (N,).
    source
        Name of its movie (N,).
    first_frame
        Frame of its first sighting (N,).
    """

    probability: Array
    seen: Mask
    looked: Mask
    length: Ids
    place: Array
    row: Ids
    track: Ids
    source: NDArray[np.object_]
    first_frame: Ids

    def __len__(self) -> int:
        """Return the number of tracks."""
        return len(self.track)

    def take(self, tracks: Ids) -> Sightings:
        """Some of the tracks."""
        return Sightings(
            probability=self.probability[tracks],
            seen=self.seen[tracks],
            looked=self.looked[tracks],
            length=self.length[tracks],
            place=self.place[tracks],
            row=self.row[tracks],
            track=self.track[tracks],
            source=self.source[tracks],
            first_frame=self.first_frame[tracks],
        )


@dataclass(frozen=True, eq=False)
class Movie:
    """One source: its frames, drift and edges, in neighbour distances."""

    first: int
    last: int
    looked: Mask  # (F,): frames in which anything was detected
    drift: Array  # (F, 2)
    low: Array  # (2,): the corner of all sites
    high: Array
    distance: float


def describe_movie(part: pd.DataFrame, drift: pd.DataFrame) -> Movie:
    """What must be known of a source to say where its tracks end.

    Parameters
    ----------
    part
        Sites of one source.
    drift
        ``frame``, ``drift_y``, ``drift_x`` in pixels.
    """
    distance = tables.neighbour_distance(part)
    frames = part["frame"].to_numpy(np.int64)
    first, last = int(frames.min()), int(frames.max())
    looked = np.zeros(last - first + 1, bool)
    looked[frames - first] = True
    points = part[["y", "x"]].to_numpy(float)
    points = points[np.isfinite(points).all(axis=1)]
    known = drift["frame"].to_numpy(float)
    path = [
        np.interp(np.arange(first, last + 1), known, drift[name]) for name in ("drift_y", "drift_x")
    ]
    return Movie(
        first=first,
        last=last,
        looked=looked,
        drift=np.stack(path, axis=1) / distance,
        low=points.min(axis=0) / distance,
        high=points.max(axis=0) / distance,
        distance=distance,
    )


def gather_sightings(
    table: pd.DataFrame,
    movies: Mapping[str, Movie],
    track: Ids,
    probability: Array,
    *,
    border: float,
    min_sightings: int,
) -> Sightings:
    """Gather the sightings of the tracks of a table.

    Parameters
    ----------
    table
        Sites table of any number of sources.
    movies
        See :func:`describe_movie`, by source; sources without one are left out.
    track
        Track of each row (R,), -1 for rows that do not count; unique over all sources.
    probability
        Of each visible state (R, U), NaN where nothing was read.
    border
        Width of the rim that counts as out of sight, in neighbour distances.
    min_sightings
        Tracks with fewer are left out.
    """
    source = table["source"].to_numpy(object)
    width = max((len(movie.looked) for movie in movies.values()), default=1)
    counts = pd.Series(track).map(pd.Series(track).value_counts()).to_numpy()
    points = table[["y", "x"]].to_numpy(float)
    usable = (track >= 0) & (counts >= min_sightings) & np.isfinite(points).all(axis=1)
    frames = table["frame"].to_numpy(np.int64)
    parts = [
        _of_movie(np.flatnonzero(usable & (source == name)), movie, frames, points, track)
        for name, movie in movies.items()
    ]
    rows, which, at, first, last, numbers, names = _numbered(parts, list(movies))
    shape = (len(numbers), width)
    seen, row = np.zeros(shape, bool), np.full(shape, -1, np.int64)
    place = np.full((*shape, 2), np.nan)
    read = np.full((*shape, probability.shape[1]), np.nan)
    looked, length = np.zeros(shape, bool), np.zeros(len(numbers), np.int64)
    seen[which, at], row[which, at], read[which, at] = True, rows, probability[rows]
    for name, movie in movies.items():
        here = np.flatnonzero(names == name)
        mine = np.isin(which, here)
        moved = points[rows[mine]] / movie.distance - movie.drift[frames[rows[mine]] - movie.first]
        place[which[mine], at[mine]] = moved
        span = slice(None, len(movie.looked))
        length[here] = _lengths(place[here, span], first[here], last[here], movie, border)
        steps = np.arange(len(movie.looked))
        frame = np.minimum(first[here, None] + steps, len(movie.looked) - 1)
        looked[here, span] = movie.looked[frame] & (steps < length[here, None])
    begin = np.array([movies[name].first for name in names], np.int64)
    return Sightings(
        probability=read,
        seen=seen,
        looked=looked,
        length=length,
        place=place,
        row=row,
        track=numbers,
        source=names,
        first_frame=first + begin,
    )


def _of_movie(
    rows: Ids, movie: Movie, frames: Ids, points: Array, track: Ids
) -> tuple[Ids, Ids, Ids, Ids, Ids, Ids]:
    """Rows by track and frame, each one's track and step; first and last frame, and numbers."""
    since = frames[rows] - movie.first
    order = np.lexsort((points[rows, 1], points[rows, 0], since, track[rows]))
    rows, since = rows[order], since[order]
    numbers, begin, which = np.unique(track[rows], return_index=True, return_inverse=True)
    end = np.append(begin[1:], len(rows)) - 1 if len(rows) else begin
    return rows, which, since - since[begin][which], since[begin], since[end], numbers


def _numbered(
    parts: list[tuple[Ids, Ids, Ids, Ids, Ids, Ids]], names: list[str]
) -> tuple[Ids, Ids, Ids, Ids, Ids, Ids, NDArray[np.object_]]:
    """Put the tracks of several sources one after the other."""
    none = (np.empty(0, np.int64),) * 6
    rows, which, at, first, last, numbers = zip(none, *parts, strict=True)
    offsets = np.cumsum([0, *(len(part) for part in numbers[:-1])])
    shifted = [part + offset for part, offset in zip(which, offsets, strict=True)]
    owner = np.repeat(np.array(["", *names], object), [len(part) for part in numbers])
    together = [np.concatenate(part) for part in (rows, shifted, at, first, last, numbers)]
    return (*together, owner)  # type: ignore[return-value]


def _lengths(place: Array, first: Ids, last: Ids, movie: Movie, border: float) -> Ids:
    """Frames (N,) until the last place of a track leaves the frames, or the movie ends."""
    n_frames = len(movie.looked)
    steps = np.arange(place.shape[1])
    frame = np.minimum(first[:, None] + steps, n_frames - 1)
    here = np.take_along_axis(place, (last - first)[:, None, None], axis=1)
    position = here + movie.drift[frame]
    inside = ((position > movie.low + border) & (position < movie.high - border)).all(axis=2)
    outside = ~inside & (steps >= (last - first)[:, None])
    leaves = np.where(outside.any(axis=1), outside.argmax(axis=1), n_frames - first)
    return np.asarray(np.clip(leaves, last - first + 1, n_frames - first), np.int64)
