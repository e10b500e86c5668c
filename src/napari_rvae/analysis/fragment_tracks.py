"""Fragments from frame to frame: which goes on, which merge, which split."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EVENT_COLUMNS", "Seen", "follow_fragments"]

#: Columns of a table of events, with their types.
EVENT_COLUMNS = {
    "event": "str",
    "source": "str",
    "frame": "int64",
    "before": "str",
    "after": "str",
    "fragment_track_id": "int64",
    "y": "float64",
    "x": "float64",
}

#: What two fragments have in common counts so much: an atom, a place both stand on, a place that
#: one stands on and the other beside.
_ATOM, _PLACE, _BESIDE = 4, 2, 1


#: A row of that table.
Event: TypeAlias = tuple[str, str, int, str, str, int, float, float]


class Seen(NamedTuple):
    """A fragment in one frame."""

    row: tuple[str, int, str, int, float, float, bool]  # source, frame, name, n_sites, y, x, ...
    places: frozenset[int]
    beside: frozenset[int]
    atoms: frozenset[int]

    @property
    def name(self) -> str:
        """Its name."""
        return self.row[2]

    def in_common(self, other: Seen) -> int:
        """How much two fragments have in common; 0 for nothing."""
        return (
            _ATOM * len(self.atoms & other.atoms)
            + _PLACE * len(self.places & other.places)
            + _BESIDE * (len(self.places & other.beside) + len(self.beside & other.places))
        )


class _Open(NamedTuple):
    """A track that may go on."""

    track: int
    last: Seen


class _Tracks:
    """Tracks of one source that may still go on, and what happened to them."""

    def __init__(self, first: int) -> None:
        self.still: list[_Open] = []
        self.events: list[Event] = []
        self.following = first
        self._is_first = True

    def add(self, frame: int, now: list[Seen], max_gap: int) -> list[int]:
        """Tracks of the fragments of the next frame."""
        lost = [one for one in self.still if frame - one.last.row[1] > max_gap + 1]
        for one in lost:
            self.still.remove(one)
            self.events.append(_event("vanish", one.last.row[1] + 1, [one.last], [], one.track))
        track = [-1] * len(now)
        taken: set[int] = set()
        for before, after in _groups(self.still, now):
            old, new = [self.still[i].last for i in before], [now[j] for j in after]
            for i, j in _heirs(old, new):
                track[after[j]] = self.still[before[i]].track
            for j in after:
                if track[j] < 0:
                    track[j], self.following = self.following, self.following + 1
            taken.update(before)
            kind = _kind(old, new)
            if kind and not (self._is_first and kind == "appear"):
                self.events.append(_event(kind, frame, old, new, track[after[0]]))
        self._is_first = False
        self.still = [one for i, one in enumerate(self.still) if i not in taken]
        self.still += [_Open(number, one) for number, one in zip(track, now, strict=True)]
        return track


def follow_fragments(
    seen: list[Seen], frames: list[tuple[str, int]], max_gap: int
) -> tuple[list[int], list[Event]]:
    """Track of each fragment, and the events.

    Parameters
    ----------
    seen
        Fragments, sorted by source and frame.
    frames
        Source and number of every frame, in the same order, those without fragments included.
    max_gap
        A fragment may be missing for so many frames.

    Returns
    -------
    tuple
        Track number of each, and rows of `EVENT_COLUMNS`, by source and frame. What is there in
        the first frame of a source does not appear, and what is there in the last, or so shortly
        before it that it may only be missing, does not vanish.
    """
    track: list[int] = []
    events: list[Event] = []
    tracks, source = _Tracks(0), None
    for name, frame in frames:
        if name != source:
            events += tracks.events
            tracks, source = _Tracks(tracks.following), name
        end = len(track)
        while end < len(seen) and seen[end].row[:2] == (name, frame):
            end += 1
        now = seen[len(track) : end]
        track += tracks.add(frame, now, max_gap)
    events += tracks.events
    return track, sorted(events, key=lambda row: row[1:3])


def _groups(still: list[_Open], now: list[Seen]) -> list[tuple[list[int], list[int]]]:
    """Old tracks and new fragments that have something in common; every new one is in a group."""
    count = len(still) + len(now)
    where: dict[int, list[int]] = {}
    for i, one in enumerate(still):
        for place in one.last.places | one.last.beside:
            where.setdefault(place, []).append(i)
        for atom in one.last.atoms:
            where.setdefault(-1 - atom, []).append(i)
    links = set()
    for j, new in enumerate(now):
        keys = [*(new.places | new.beside), *(-1 - atom for atom in new.atoms)]
        near = {i for key in keys for i in where.get(key, ())}
        links |= {(i, j) for i in near if still[i].last.in_common(new)}
    ends = np.array([(i, len(still) + j) for i, j in sorted(links)], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), ends.T), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for number, group in enumerate(label.tolist()):
        side = int(number >= len(still))
        groups.setdefault(group, ([], []))[side].append(number - side * len(still))
    return [group for group in groups.values() if group[1]]


def _heirs(old: list[Seen], new: list[Seen]) -> list[tuple[int, int]]:
    """Pairs (old, new) that go on: those with most in common."""
    common: NDArray[np.int64] = np.array([[a.in_common(b) for b in new] for a in old])
    if not common.size:
        return []
    pairs = zip(*linear_sum_assignment(-common), strict=True)
    return [(int(i), int(j)) for i, j in pairs if common[i, j]]


def _kind(old: list[Seen], new: list[Seen]) -> str:
    """What happened in a group; "" for nothing."""
    if not old:
        return "appear"
    if len(old) == len(new) == 1:
        return "change" if old[0].name != new[0].name else ""
    if len(new) == 1:
        return "merge"
    return "split" if len(old) == 1 else "regroup"


def _event(kind: str, frame: int, old: list[Seen], new: list[Seen], track: int) -> Event:
    """One row of the table of events."""
    where = np.mean([one.row[4:6] for one in (new or old)], axis=0)
    before, after = (" + ".join(sorted(one.name for one in side)) for side in (old, new))
    source = (new or old)[0].row[0]
    return (kind, source, frame, before, after, track, float(where[0]), float(where[1]))
