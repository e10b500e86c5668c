"""Sites of successive frames -> tracks: of the places of the lattice, and of the atoms on them.

Position alone cannot follow a hopping dopant, because the place it leaves is filled at once.
Hence two products: a lattice-site track is a place, whoever sits on it; an atom track is an atom.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from napari_rvae import tables
from napari_rvae.analysis.dopants import atom_tracks
from napari_rvae.config import TrackConfig
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["link_sites", "with_tracks"]

#: The common shift of two frames is looked for this far from its prediction, in neighbour
#: distances; a honeycomb lattice repeats itself only after 1.73, a square one after 1.
_SHIFT_SEARCH = 0.9
#: Cell of the vote for the common shift, in neighbour distances.
_SHIFT_CELL = 0.05
#: The place of a site is the mean over about so many of its last sightings.
_MEMORY = 5


def link_sites(
    table: pd.DataFrame,
    config: TrackConfig | None = None,
    *,
    drift: pd.DataFrame | None = None,
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> pd.DataFrame:
    """Link the sites of successive frames into tracks.

    Parameters
    ----------
    table
        Sites table of any number of frames and sources; vacancies take part. ``species``, else
        ``amplitude``, tells which atoms are dopants.
    config
        Options; the defaults need no tuning.
    drift
        What :func:`~napari_rvae.measure_drift` found in the images: ``frame``, ``y``, ``x`` in
        pixels, and ``source`` if there are several. It tells where to look for the next frame's
        sites; without it, that is where the last step leads.
    progress
        Called as ``progress(done, total)`` after each frame; False stops.
    **overrides
        Single options of :class:`~napari_rvae.TrackConfig`.

    Returns
    -------
    DataFrame
        The table, its order and number of rows kept, with two int64 columns, -1 = none:

        - ``lattice_track_id``: the same place of the lattice, drift removed, filled or not;
        - ``track_id``: the same atom. It equals ``lattice_track_id`` except for dopants (a rare
          species, or atoms far brighter than the rest of their frame) that change their place:
          these keep their number. Vacancies have none.

        Numbers are unique over all sources. Sites without a position have neither; so have
        sources in which no neighbour distance can be measured (fewer than three sites a frame).

    Raises
    ------
    InputError
        If the table is no sites table.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    The drift is one shift for each frame, found by a vote over the displacements of neighbouring
    sites, around a prediction from the last step. A lattice looks the same after a shift by one
    of its periods, so a *change* of drift by more than half a period between two frames cannot be
    told from one in the other direction; the smaller change is taken, and
    :func:`~napari_rvae.track_quality` calls the frame ambiguous.

    Examples
    --------
    >>> from napari_rvae import link_sites
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(
    ...     frame=[0, 0, 0, 1, 1, 1], y=[5.0] * 6, x=[10.0, 20.0, 30.0, 12.0, 22.0, 32.0]
    ... )
    >>> link_sites(sites)["lattice_track_id"].tolist()
    [0, 1, 2, 0, 1, 2]
    """
    config = dataclasses.replace(config or TrackConfig(), **overrides)
    table = tables.validate_sites(table)
    lattice = np.full(len(table), -1, np.int64)
    atom = np.full(len(table), -1, np.int64)
    groups = tables.group_rows(table)
    total, done, offset = len(groups), 0, 0
    for source in dict.fromkeys(source for source, _, _ in groups):
        frames = [(frame, rows) for name, frame, rows in groups if name == source]
        rows = np.concatenate([rows for _, rows in frames])
        part = table.iloc[rows]
        distance = tables.neighbour_distance(part)
        if math.isfinite(distance):
            points = table[["y", "x"]].to_numpy(float) / distance
            linker = _LatticeLinker(config, _given_drift(drift, source, distance))
            for frame, here in frames:
                lattice[here], points[here] = linker.add(frame, points[here])
                done += 1
                if progress is not None and progress(done, total) is False:
                    raise Cancelled("The linking was stopped: no track was written.")
            atom[rows] = atom_tracks(part, lattice[rows], points[rows], linker.count, config)
        for ids in (lattice, atom):
            ids[rows] = np.where(ids[rows] >= 0, ids[rows] + offset, -1)
        offset = max(offset, int(atom.max(initial=-1)) + 1, int(lattice.max(initial=-1)) + 1)
    return table.assign(lattice_track_id=lattice, track_id=atom)


def with_tracks(
    table: pd.DataFrame, *, progress: Callable[[int, int], bool | None] | None = None
) -> pd.DataFrame:
    """Return the sites with tracks, where they can have any: a movie that is not linked, is now.

    Atoms, vacancies and the points of a grid stand at places that are there in every frame. Sites
    along walls do not: they are samples of a line that moves, and which of them is the nearest in
    the next frame means nothing. So these are left as they are.

    Parameters
    ----------
    table
        Sites table.
    progress
        Called as ``progress(done, total)`` after each frame; False stops.

    Returns
    -------
    DataFrame
        The table itself if it has tracks (``lattice_track_id`` or ``track_id``), if no source has
        two frames, or if most sites lie along walls; else that of :func:`link_sites`.

    Raises
    ------
    InputError
        If the table is no sites table.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> from napari_rvae import with_tracks
    >>> from napari_rvae.tables import make_sites
    >>> places = {"y": [5.0] * 6, "x": [10.0, 20.0, 30.0, 10.0, 20.0, 30.0]}
    >>> with_tracks(make_sites(frame=[0, 0, 0, 1, 1, 1], **places))["track_id"].tolist()
    [0, 1, 2, 0, 1, 2]
    >>> "track_id" in with_tracks(make_sites(frame=[0, 0, 0, 1, 1, 1], kind="wall", **places))
    False
    """
    table = tables.validate_sites(table)
    frames = table.groupby("source", observed=True)["frame"]
    is_movie = bool((frames.min() < frames.max()).any())
    is_linked = bool({"lattice_track_id", "track_id"} & set(table))
    if is_linked or not is_movie or bool((table["kind"] == "wall").mean() > 0.5):
        return table
    return link_sites(table, progress=progress)


def _given_drift(drift: pd.DataFrame | None, source: str, distance: float) -> dict[int, Points]:
    """Drift (2,) of each frame in neighbour distances, as far as it was given."""
    if drift is None:
        return {}
    missing = [name for name in ("frame", "y", "x") if name not in drift]
    if missing:
        raise InputError(f"The drift lacks the column {', '.join(missing)}: see measure_drift.")
    mine = drift[drift["source"] == source] if "source" in drift else drift
    places = mine[["y", "x"]].to_numpy(float) / distance
    known = zip(mine["frame"].to_numpy(np.int64), places, strict=True)
    return {int(frame): place for frame, place in known if np.isfinite(place).all()}


class _LatticeLinker:
    """Follows the places of one source from frame to frame; lengths in neighbour distances."""

    def __init__(self, config: TrackConfig, drift: dict[int, Points]) -> None:
        self._config, self._drift = config, drift
        self._place = np.empty((0, 2))  # drift removed
        self._sightings = np.empty(0)
        self._last = np.empty(0, np.int64)  # frame in which it was last seen
        self._frame: int | None = None
        self._shift, self._step = np.zeros(2), np.zeros(2)  # of this frame, and its change

    @property
    def count(self) -> int:
        """Number of places seen so far."""
        return len(self._place)

    def add(self, frame: int, points: Points) -> tuple[Ids, Points]:
        """Link the points (N, 2) of the next frame; return their ids and places without drift."""
        ids = np.full(len(points), -1, np.int64)
        placed = np.full(points.shape, np.nan)
        known = np.flatnonzero(np.isfinite(points).all(1))
        # in an order of their own, so that the numbers do not depend on the table's
        known = known[np.lexsort((points[known, 1], points[known, 0]))]
        live = np.flatnonzero(frame - self._last <= self._config.place_gap + 1)
        self._follow_drift(frame, self._place[live], points[known])
        here = points[known] - self._shift
        old, new = _match(self._place[live], here, self._config.max_step_nd)
        self._update(live[old], here[new], frame)
        ids[known[new]] = live[old]
        fresh = np.setdiff1d(np.arange(len(known)), new, assume_unique=True)
        ids[known[fresh]] = self.count + np.arange(len(fresh))
        self._place = np.concatenate([self._place, here[fresh]])
        self._sightings = np.concatenate([self._sightings, np.ones(len(fresh))])
        self._last = np.concatenate([self._last, np.full(len(fresh), frame)])
        placed[known] = here
        return ids, placed

    def _follow_drift(self, frame: int, places: Points, points: Points) -> None:
        elapsed = 1 if self._frame is None else frame - self._frame
        if frame in self._drift and self._frame in self._drift:
            predicted = self._shift + self._drift[frame] - self._drift[self._frame]
        else:
            predicted = self._shift + self._step * elapsed
        change = _common_shift(places + predicted, points)
        self._step = (predicted + change - self._shift) / elapsed
        self._shift = predicted + change
        self._frame = frame

    def _update(self, sites: Ids, points: Points, frame: int) -> None:
        self._sightings[sites] = np.minimum(self._sightings[sites] + 1, _MEMORY)
        self._place[sites] += (points - self._place[sites]) / self._sightings[sites, None]
        self._last[sites] = frame


def _common_shift(reference: Points, points: Points) -> Points:
    """Shift (2,) that takes most of the reference points to points, the smallest of equals."""
    if not len(reference) or not len(points):
        return np.zeros(2)
    k = min(8, len(reference))
    near = np.asarray(cKDTree(reference).query(points, k, distance_upper_bound=_SHIFT_SEARCH)[1])
    near = near.reshape(len(points), k)  # the length of the reference where there is none
    which, _ = np.nonzero(near < len(reference))
    offsets = points[which] - reference[near[near < len(reference)]]
    if not len(offsets):
        return np.zeros(2)
    half = math.ceil(_SHIFT_SEARCH / _SHIFT_CELL)
    cells = np.rint(offsets / _SHIFT_CELL).astype(np.int64) + half
    side = 2 * half + 1
    votes = np.bincount(cells[:, 0] * side + cells[:, 1], minlength=side**2).reshape(side, side)
    votes = gaussian_filter(votes.astype(float), 1.5, mode="constant")
    best = (np.argwhere(votes >= 0.8 * votes.max()) - half) * _SHIFT_CELL
    shift = best[np.argmin(np.hypot(best[:, 0], best[:, 1]))]
    for _ in range(3):
        agrees = np.hypot(*(offsets - shift).T) < 0.3
        if agrees.any():
            shift = np.median(offsets[agrees], axis=0)
    return np.asarray(shift)


def _match(reference: Points, points: Points, radius: float) -> tuple[Ids, Ids]:
    """Pairs (reference, point), one to one: mutual nearest neighbours first, then of the rest."""
    free, unmatched = np.arange(len(reference)), np.arange(len(points))
    pairs: list[tuple[Ids, Ids]] = [(free[:0], free[:0])]
    while len(free) and len(unmatched):
        distance, near = map(np.asarray, cKDTree(reference[free]).query(points[unmatched]))
        back = np.asarray(cKDTree(points[unmatched]).query(reference[free])[1])
        mutual = (distance <= radius) & (back[near] == np.arange(len(unmatched)))
        if not mutual.any():
            break
        pairs.append((free[near[mutual]], unmatched[mutual]))
        free, unmatched = np.delete(free, near[mutual]), unmatched[~mutual]
    old, new = zip(*pairs, strict=True)
    return np.concatenate(old), np.concatenate(new)
