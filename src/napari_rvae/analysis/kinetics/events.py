"""Events: when and where something changed, one for each physical change.

A change shows in the windows of all its neighbours. What the model says of single tracks, and the
jumps of dopants, are therefore merged in place and time.
"""

from __future__ import annotations

import heapq
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_rvae.analysis.kinetics.hidden_markov import Posterior
from napari_rvae.analysis.kinetics.sightings import Sightings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["atom_changes", "merge_changes", "place_changes"]

#: A change is spread over so many steps before and after.
_SPREAD = 1
#: A jump and a change of state at most so many frames apart are the same.
_JOIN = 2
#: Changes of places so near to an event of a dopant (frames, neighbour distances) are its own.
_ABSORB_FRAMES, _ABSORB_ND = 2, 3.6

#: A place that is not seen for so many frames after a change has lost its atom for sure.
_SURELY_EMPTY = 6

_COLUMNS = ("source", "frame", "y", "x", "track", "from_state", "to_state", "probability", "unseen")


def _peaks(change: Array, least: float) -> list[tuple[int, int, float]]:
    """Events in the probabilities (N, T - 1) of a change: (track, step, probability)."""
    found = []
    width = 2 * _SPREAD + 1
    if not change.size:
        return []
    wide = np.pad(change, ((0, 0), (_SPREAD, _SPREAD)))
    sums = np.lib.stride_tricks.sliding_window_view(wide, width, axis=1).sum(axis=2)
    for track in np.flatnonzero((sums >= least).any(axis=1)):
        left = change[track].copy()
        while True:
            near = np.convolve(left, np.ones(width), "same")
            middle = int(np.argmax(near + 1e-3 * left))
            if near[middle] < least:
                break
            low, high = max(0, middle - _SPREAD), middle + _SPREAD + 1
            found.append((int(track), low + int(np.argmax(left[low:high])), min(1.0, near[middle])))
            left[low:high] = 0
    return found


def _ends(model: Posterior, track: int, step: int, length: int, *, spread: int) -> tuple[int, int]:
    """Most probable states before and after a change about a step."""
    pairs = sum(
        model.step(track, near)
        for near in range(max(0, step - spread), min(length - 1, step + spread + 1))
    )
    pairs = np.array(pairs)
    np.fill_diagonal(pairs, 0)
    before, after = np.unravel_index(int(pairs.argmax()), pairs.shape)
    return int(before), int(after)


def _without_spikes(steps: Ids, places: Array, tolerance: float) -> tuple[Ids, Array]:
    """Leave out single sightings elsewhere: nearly always another atom in place of a missed one.

    So is the first or the last sighting of a track, if it is the only one at its place.
    """
    if len(steps) < 3:
        return steps, places
    jump = np.hypot(*np.diff(places, axis=0).T) > tolerance
    back = np.hypot(*(places[2:] - places[:-2]).T) < tolerance
    good = ~np.concatenate([jump[:1], jump[:-1] & back, jump[-1:]])
    return steps[good], places[good]


def atom_changes(
    seen: Sightings, model: Posterior, *, jump: float, least: float
) -> list[tuple[object, ...]]:
    """Changes of dopants: of their state, joined with their jumps.

    Parameters
    ----------
    seen
        Tracks of atoms.
    model
        The fitted model.
    jump
        Least distance of a jump in neighbour distances.
    least
        Least probability of a change of state.

    Returns
    -------
    list
        (source, frame, y, x, track, from_state, to_state, probability, unseen): the frame is
        the first after the change, and `unseen` the number of frames from there on in which the
        track was not detected; places in neighbour distances, drift removed.
    """
    changes: list[tuple[object, ...]] = []
    by_track: dict[int, list[tuple[int, float]]] = {}
    for number, step, probability in _peaks(model.change(seen.length), least):
        by_track.setdefault(number, []).append((step, probability))
    for track in range(len(seen)):
        steps = np.flatnonzero(seen.seen[track])
        steps, places = _without_spikes(steps, seen.place[track, steps], jump)
        far = np.flatnonzero(np.hypot(*np.diff(places, axis=0).T) > jump)
        jumps = {int(steps[k + 1]): (places[k] + places[k + 1]) / 2 for k in far}
        for step, chance in by_track.get(track, []):
            ends = _ends(model, track, step, int(seen.length[track]), spread=_SPREAD)
            near = sorted((abs(when - step - 1), when) for when in jumps)
            if near and near[0][0] <= _JOIN:
                frame = near[0][1]
                changes.append(_change(seen, track, frame, jumps.pop(frame), ends, 1.0))
                continue
            last = max(int(np.searchsorted(steps, step + 1, "right")) - 1, 0)
            changes.append(_change(seen, track, step + 1, places[last], ends, chance))
        for frame, place in jumps.items():
            state = model.state[track]
            ends = int(state[frame - 1].argmax()), int(state[frame].argmax())
            changes.append(_change(seen, track, frame, place, ends, 1.0))
    return changes


def place_changes(seen: Sightings, model: Posterior, *, least: float) -> list[tuple[object, ...]]:
    """Changes of the state of places, as :func:`atom_changes`; places of the lattice stay."""
    middle = np.nanmedian(seen.place, axis=1) if len(seen) else np.empty((0, 2))
    return [
        _change(
            seen,
            track,
            step + 1,
            middle[track],
            _ends(model, track, step, int(seen.length[track]), spread=_SPREAD),
            probability,
        )
        for track, step, probability in _peaks(model.change(seen.length), least)
    ]


def _change(
    seen: Sightings,
    track: int,
    step: int,
    place: Array,
    ends: tuple[int, int],
    probability: float,
) -> tuple[object, ...]:
    frame = int(seen.first_frame[track]) + step
    where = float(place[0]), float(place[1])
    looked = np.flatnonzero(seen.looked[track, step:])
    again = np.flatnonzero(seen.seen[track, step:][looked])
    unseen = int(again[0]) if len(again) else len(looked)
    number = int(seen.track[track])
    return (seen.source[track], frame, *where, number, *ends, float(probability), unseen)


def merge_changes(
    atoms: list[tuple[object, ...]],
    places: list[tuple[object, ...]],
    *,
    radius: float,
    min_sites: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Merge changes into events.

    Every change of a dopant is an event, to which the changes of places beside it belong. The
    other changes of places gather about those with most others at most one frame and `radius`
    apart; what shows at fewer than `min_sites` places is dropped, unless an atom has gone for good.

    Returns
    -------
    tuple of DataFrame
        Events (``source, frame, y, x, track, tracked, from_state, to_state, probability,
        n_sites``), and the changes of places that are events of their own (``event, from_state,
        to_state``). States of atoms and of places have numbers of their own.
    """
    dopants = pd.DataFrame(atoms, columns=list(_COLUMNS))
    dopants = dopants.sort_values("probability", ascending=False, kind="stable")
    dopants = dopants.drop_duplicates(["track", "frame"]).reset_index(drop=True)
    changes = pd.DataFrame(places, columns=list(_COLUMNS))
    owner = _owners(dopants, changes)
    sites = np.ones(len(dopants))
    owned = pd.DataFrame({"owner": owner, "track": changes["track"]})[owner >= 0]
    own = owned.groupby("owner")["track"].nunique()
    sites[own.index.to_numpy(np.int64)] += own.to_numpy()
    events: list[pd.DataFrame] = [dopants.assign(tracked="atom", n_sites=sites)]
    rest: pd.DataFrame = changes[owner < 0].reset_index(drop=True)
    rest["event"] = _stars(rest, radius)
    kept: list[pd.DataFrame] = []
    for _, group in rest.groupby("event", sort=True):
        lost = (group["unseen"] >= _SURELY_EMPTY).any()
        if lost or group["track"].nunique() >= min_sites:
            events.append(_place_event(group))
            kept.append(group[["event", "from_state", "to_state"]])
    columns = [*_COLUMNS[:5], "tracked", *_COLUMNS[5:-1], "n_sites"]
    table = pd.concat([part for part in events if len(part)] or events[:1], ignore_index=True)
    table = table[columns].sort_values(["source", "frame", "y", "x"], ignore_index=True)
    none = pd.DataFrame({name: [] for name in ("event", "from_state", "to_state")}, dtype="int64")
    return table, pd.concat(kept, ignore_index=True) if kept else none


def _place_event(group: pd.DataFrame) -> pd.DataFrame:
    """One event of several changed places: that of its most frequent change, in their middle."""
    kinds = group.groupby(["from_state", "to_state"])["probability"].agg(["size", "max"])
    before, after = kinds.sort_values(["size", "max"]).index[-1]
    alike = group[(group["from_state"] == before) & (group["to_state"] == after)]
    middle = group[["y", "x"]].mean()
    nearest = np.argmin(np.hypot(alike["y"] - middle["y"], alike["x"] - middle["x"]))
    event: pd.DataFrame = alike.iloc[[int(nearest)]]
    return event.assign(
        frame=int(np.median(group["frame"])),
        y=middle["y"],
        x=middle["x"],
        tracked="place",
        probability=group["probability"].max(),
        n_sites=float(group["track"].nunique()),
    )


def _space_time(changes: pd.DataFrame, length_of_frame: float) -> Array:
    """Places and times (M, 3) as one space; sources are far apart."""
    source = changes["source"].map(lambda name: zlib.crc32(str(name).encode()) % 997 * 1e6)
    return np.stack(
        [
            changes["y"].to_numpy(float) + source.to_numpy(float),
            changes["x"].to_numpy(float),
            changes["frame"].to_numpy(float) * length_of_frame,
        ],
        axis=1,
    )


def _owners(dopants: pd.DataFrame, changes: pd.DataFrame) -> Ids:
    """Event of a dopant (M,) that each change of a place belongs to, -1 for none."""
    if not len(dopants) or not len(changes):
        return np.full(len(changes), -1, np.int64)
    length = _ABSORB_ND / (_ABSORB_FRAMES + 0.5)
    events, points = _space_time(dopants, length), _space_time(changes, length)
    near, number = cKDTree(events).query(points, 8, distance_upper_bound=1.5 * _ABSORB_ND)
    near, number = np.asarray(near), np.asarray(number)
    safe = np.minimum(number, len(events) - 1)
    flat = np.hypot(*(events[safe, :2] - points[:, None, :2]).transpose(2, 0, 1))
    frames = np.abs(events[safe, 2] - points[:, None, 2]) / length
    good = np.isfinite(near) & (flat <= _ABSORB_ND) & (frames <= _ABSORB_FRAMES + 0.1)
    first = good.argmax(axis=1)
    return np.where(good.any(axis=1), number[np.arange(len(points)), first], -1).astype(np.int64)


def _stars(changes: pd.DataFrame, radius: float) -> Ids:
    """Event (M,) of each change: those with most others near gather these about them."""
    count = len(changes)
    event = np.full(count, -1, np.int64)
    if not count:
        return event
    points = _space_time(changes, radius)
    pairs = cKDTree(points).query_pairs(1.5 * radius, output_type="ndarray")
    flat = np.hypot(*(points[pairs[:, 0], :2] - points[pairs[:, 1], :2]).T)
    frames = np.abs(points[pairs[:, 0], 2] - points[pairs[:, 1], 2]) / radius
    pairs = pairs[(flat <= radius) & (frames < 1.1)]
    near: list[list[int]] = [[] for _ in range(count)]
    for one, two in pairs.tolist():
        near[one].append(two)
        near[two].append(one)
    tracks = changes["track"].to_numpy()
    heap = [(-len({tracks[k] for k in near[n]}), n) for n in range(count)]
    heapq.heapify(heap)
    while heap:
        size, middle = heapq.heappop(heap)
        if event[middle] >= 0:
            continue
        free = [k for k in near[middle] if event[k] < 0]
        now = -len({tracks[k] for k in free})
        if now > size:  # others have gone to another event meanwhile
            heapq.heappush(heap, (now, middle))
            continue
        event[[middle, *free]] = middle
    return event
