"""Fragments: connected groups of sites that are not host, with canonical names, through time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_rvae import tables
from napari_rvae.analysis.bonds import RING_SIZES, bonded_pairs, find_faces
from napari_rvae.analysis.descriptors import neighbour_distances, relative_amplitudes
from napari_rvae.analysis.fragment_tracks import EVENT_COLUMNS, Event, Seen, follow_fragments
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units import Units

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]
    Words = NDArray[np.str_]

__all__ = ["Fragments", "find_fragments"]

#: An atom so many times brighter than its frame's atoms, or dimmer, is of another species.
_OTHER_SPECIES = 1.35

#: A species of this share of the host's sites belongs to the host.
_HOST_SHARE = 0.05

#: More rings than this are counted, not listed: a grain boundary.
_MOST_RINGS = 8

#: Columns of the summary, with their types.
_SUMMARY = {
    "fragment_id": "int64",
    "fragment_track_id": "int64",
    "source": "str",
    "frame": "int64",
    "name": "str",
    "n_sites": "int64",
    "y": "float64",
    "x": "float64",
    "complete": "bool",
}


#: So many names of fragments are told in one line.
_LISTED = 6


@dataclass(frozen=True, eq=False)
class Fragments:
    """Fragments of a sites table.

    Returned by :func:`~napari_rvae.find_fragments`.

    Attributes
    ----------
    table
        One row for each site, in order: ``site_id`` and ``fragment_id`` (int64, -1 = none).
    summary
        One row for each fragment in each frame: ``fragment_id``, ``fragment_track_id`` (int64, the
        same fragment through the frames; -1 where sites are not linked), ``source``, ``frame``,
        ``name``, ``n_sites`` (those that are not host), ``y``, ``x`` (their mean, in pixels) and
        ``complete`` (False where the frame's edge may hide a part).
    events
        What becomes of fragments, one row for each event: ``event`` ("appear", "vanish", "merge",
        "split", "change" where the name changes, "regroup" where several become several),
        ``source``, ``frame`` (the first after it), ``before`` and ``after`` (names, joined by
        " + "), ``fragment_track_id`` (of the one that goes on, or ends), ``y``, ``x``.
    """

    table: pd.DataFrame
    summary: pd.DataFrame
    events: pd.DataFrame

    def __len__(self) -> int:
        """Return the number of fragments, counted in each frame."""
        return len(self.summary)

    def __repr__(self) -> str:
        """Return the commonest fragments in one line."""
        names = self.summary["name"].value_counts()
        listed = [f"{count:,} x {name}" for name, count in names.head(_LISTED).items()]
        listed += [f"{len(names) - _LISTED} more names"] if len(names) > _LISTED else []
        return f"Fragments({len(self):,} in all frames: {'; '.join(listed)})"

    @property
    def counts(self) -> pd.DataFrame:
        """Number of fragments of each name (columns, the most frequent first) in each frame."""
        if not len(self.summary):
            return pd.DataFrame()
        found = pd.crosstab(self.summary["frame"], self.summary["name"])
        return found[found.sum().sort_values(ascending=False, kind="stable").index]


def find_fragments(
    table: pd.DataFrame,
    units: Units | pd.DataFrame,
    *,
    hosts: Iterable[int] | None = None,
    elements: Mapping[str, str] | None = None,
    neighbour_distance: float | None = None,
    max_gap: int = 1,
    progress: Callable[[int, int], bool | None] | None = None,
) -> Fragments:
    """Find connected groups of sites that are not host, name them, and follow them.

    Parameters
    ----------
    table
        Sites table. ``species`` (:func:`~napari_rvae.classify_atoms`) names the atoms; where it
        says nothing, ``amplitude`` tells atoms "A" from brighter ("A+") and dimmer ones ("A-").
        ``lattice_track_id`` and ``track_id`` (:func:`~napari_rvae.link_sites`) let fragments be
        followed.
    units
        Units of the sites, or any table with ``site_id`` and ``unit``.
    hosts
        Numbers of the units that are host; those whose name says so, and unit 0, when left out.
    elements
        What to call a species in names, such as ``{"A": "C", "A+": "Si"}``.
    neighbour_distance
        In pixels, for all sources; measured for each when left out.
    max_gap
        A fragment may be missing for so many frames.
    progress
        Called as ``progress(done, total)`` after each frame; False stops.

    Returns
    -------
    Fragments
        Numbered by source, frame, y and x.

    Raises
    ------
    InputError
        If the tables do not fit together.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Sites that are not host, and vacancies, hang together when they are bonded, or at the same ring
    that is not of the host's size (the most frequent one of the table). The name does not depend
    on the order of the sites, nor on how the fragment lies. It says, as far as there is something
    to say:

    - atoms of a species that is no host's, with all atoms bonded to them, as a formula: "SiC3",
      "Si2C4"; foreign species first, each in the order of the alphabet;
    - the number of vacancies: "vacancy", "2 vacancies";
    - the sizes of the rings that are not the host's, up to 8: "5-7", "5-5-7-7", of more than
      eight their number; "hole" for a larger closed one without a vacancy in it;
    - without any of these "edge" where the outside touches it, else the formula of its sites.

    A fragment goes on where its atoms, or the places that it stands on or beside, are those of a
    fragment before. Of several that merge the track with most in common goes on.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from napari_rvae import find_fragments
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((5, 5)).reshape(2, -1)
    >>> species = np.where(np.arange(25) == 12, "Si", "C")
    >>> sites = make_sites(frame=0, y=y, x=x, species=species)
    >>> units = pd.DataFrame({"site_id": sites["site_id"], "unit": 1 * (species == "Si")})
    >>> find_fragments(sites, units).summary["name"].tolist()
    ['SiC4']
    """
    table = tables.validate_sites(table)
    labels = units if isinstance(units, pd.DataFrame) else units.table
    if not {"site_id", "unit"} <= set(labels):
        raise InputError("The units lack a column site_id or unit: give what find_units returns.")
    joined = tables.join_latents(table, labels[["site_id", "unit"]])
    sites = _Sites.of(joined, _host_units(units, hosts), elements or {})
    distances = neighbour_distances(table, neighbour_distance)
    groups = tables.group_rows(table)
    frames = [_FrameGraph.of(sites, rows, distances[source]) for source, _, rows in groups]
    usual = _usual_ring([frame.sizes for frame in frames])
    fragment = np.full(len(table), -1, np.int64)
    seen: list[Seen] = []
    for done, ((source, number, _), frame) in enumerate(zip(groups, frames, strict=True)):
        for core, name, complete in _fragments_of(frame, sites, usual):
            fragment[core] = len(seen)
            seen.append(
                sites.seen(core, frame.beside(core), source, number, name, complete=complete)
            )
        if progress is not None and progress(done + 1, len(groups)) is False:
            raise Cancelled("The search for fragments was stopped: there is none.")
    linked = "lattice_track_id" in table
    times = [(source, number) for source, number, _ in groups]
    track: list[int] = [-1] * len(seen)
    events: list[Event] = []
    if linked:
        track, events = follow_fragments(seen, times, max_gap)
    found = pd.DataFrame({"site_id": table["site_id"].to_numpy(np.int64), "fragment_id": fragment})
    columns = [name for name in _SUMMARY if name != "fragment_track_id"]
    rows = [(number, *one.row) for number, one in enumerate(seen)]
    summary = pd.DataFrame(rows, columns=columns)
    summary.insert(1, "fragment_track_id", track)
    return Fragments(
        found,
        summary.astype(_SUMMARY),
        pd.DataFrame(events, columns=list(EVENT_COLUMNS)).astype(EVENT_COLUMNS),
    )


def _host_units(units: Units | pd.DataFrame, hosts: Iterable[int] | None) -> set[int]:
    """Numbers of the units that are host."""
    if hosts is not None:
        return {int(number) for number in hosts}
    if isinstance(units, pd.DataFrame):
        return {0}
    if "is_host" in units.summary:
        return set(units.summary.loc[units.summary["is_host"].astype(bool), "unit"])
    return {0} | {unit for unit, name in units.names.items() if re.search(r"\bhost\b", name)}


class _Sites(NamedTuple):
    """What is known of all N sites."""

    points: Array
    is_atom: Mask
    is_core: Mask  # not host
    species: Words  # "" for vacancies
    foreign: frozenset[str]  # species that are no host's
    place: Ids  # lattice site, -1 = none
    atom: Ids  # atom track, -1 = none

    @classmethod
    def of(cls, table: pd.DataFrame, hosts: set[int], elements: Mapping[str, str]) -> _Sites:
        is_atom = (table["kind"] != "vacancy").to_numpy()
        unit = table["unit"].to_numpy(np.int64)
        points = table[["y", "x"]].to_numpy(float)
        is_core = ((unit >= 0) & ~np.isin(unit, list(hosts))) | ~is_atom
        is_core &= np.isfinite(points).all(axis=1)
        species = np.where(is_atom, _species(table), "")
        species = np.array([elements.get(name, name) for name in species], dtype=np.str_)
        inside = pd.Series(species[is_atom & ~is_core]).value_counts(normalize=True)
        if inside.empty:
            inside = pd.Series(species[is_atom]).value_counts(normalize=True).head(1)
        usual = set(inside[inside >= _HOST_SHARE].index)
        foreign = frozenset(set(np.unique(species[is_atom]).tolist()) - usual)

        def numbers(name: str) -> Ids:
            if name not in table:
                return np.full(len(table), -1, np.int64)
            return table[name].fillna(-1).to_numpy(np.int64)

        return cls(
            points,
            is_atom,
            is_core,
            species,
            foreign,
            numbers("lattice_track_id"),
            numbers("track_id"),
        )

    def seen(
        self, core: Ids, beside: Ids, source: str, frame: int, name: str, *, complete: bool
    ) -> Seen:
        """Put together what the tracking and the summary want to know of a fragment."""

        def known(numbers: Ids) -> frozenset[int]:
            return frozenset(numbers[numbers >= 0].tolist())

        y, x = self.points[core].mean(axis=0)
        own = (source, frame, name, len(core), float(y), float(x), complete)
        foreign = core[np.isin(self.species[core], list(self.foreign))]
        return Seen(
            own, known(self.place[core]), known(self.place[beside]), known(self.atom[foreign])
        )


def _species(table: pd.DataFrame) -> Words:
    """Name of the species of each site; by its brightness where it has none."""
    amplitude = relative_amplitudes(table)
    named = np.select(
        [amplitude > _OTHER_SPECIES, amplitude < 1 / _OTHER_SPECIES], ["A+", "A-"], "A"
    )
    if "species" not in table:
        return named
    given = table["species"].fillna("").to_numpy(np.str_)
    # atoms off the lattice, or with nothing to compare with, have no species of their own
    unknown = (given == "") | (given == tables.OFF_LATTICE)
    if unknown.all():
        return named
    names, counts = np.unique(given[~unknown], return_counts=True)
    return np.where(unknown, np.where(named == "A", names[counts.argmax()], named), given)


class _FrameGraph(NamedTuple):
    """Bonds and faces of one frame; rows are those of the whole table."""

    rows: Ids  # all with a position
    bonds: Ids  # (M, 2) between atoms
    links: Ids  # (L, 2) the same, and to vacancies
    corners: dict[int, Ids]  # rows of each closed face, and of the vacancies in it
    sizes: Ids  # bonds around each of these faces
    outside: Ids  # rows that the outside touches

    @classmethod
    def of(cls, sites: _Sites, rows: Ids, distance: float) -> _FrameGraph:
        here = rows[np.isfinite(sites.points[rows]).all(axis=1)]
        none = np.zeros((0, 2), np.int64)
        if not np.isfinite(distance) or not len(here):
            return cls(here, none, none, {}, np.zeros(0, np.int64), here)
        points, is_atom = sites.points[here] / distance, sites.is_atom[here]
        bonds = bonded_pairs(points, is_atom)
        links = bonds if is_atom.all() else bonded_pairs(points, np.ones(len(here), bool))
        faces = find_faces(points, bonds)
        inside = np.flatnonzero(~is_atom & (faces.within >= 0))
        face = np.concatenate([faces.face, faces.within[inside]])
        site = here[np.concatenate([faces.site, inside])]
        corners = {
            int(number): np.sort(site[face == number])
            for number in np.unique(face[sites.is_core[site]])
            if number > 0
        }
        lone = np.setdiff1d(here[is_atom], here[bonds])  # without bonds: nothing is known of it
        outside = np.concatenate([site[face == 0], lone])
        return cls(here, here[bonds], here[links], corners, faces.size, outside)

    def beside(self, core: Ids) -> Ids:
        """Rows that are linked to a fragment, without its own."""
        touching = self.links[np.isin(self.links, core).any(axis=1)]
        return np.setdiff1d(touching, core)


def _usual_ring(sizes: list[Ids]) -> int:
    """Size of the host's rings: the most frequent one."""
    counted = np.bincount(np.concatenate(sizes)) if sizes else np.zeros(0, np.int64)
    counted = counted[: RING_SIZES[-1] + 1]
    counted[: RING_SIZES[0]] = 0
    return int(counted.argmax()) if counted.any() else 0


def _fragments_of(frame: _FrameGraph, sites: _Sites, usual: int) -> list[tuple[Ids, str, bool]]:
    """Rows, name and completeness of each fragment of a frame, by y and x."""
    odd = {n: rows for n, rows in frame.corners.items() if frame.sizes[n] != usual}
    pairs = frame.links[sites.is_core[frame.links].all(axis=1)]
    for corners in odd.values():
        core = corners[sites.is_core[corners]]
        pairs = np.concatenate([pairs, np.column_stack([core[:-1], core[1:]])])
    core = np.sort(frame.rows[sites.is_core[frame.rows]])
    if not len(core):
        return []
    ends = np.searchsorted(core, pairs)
    shape = (len(core), len(core))
    graph = coo_array((np.ones(len(ends)), ends.T), shape=shape)
    _, label = connected_components(graph, directed=False)
    found = []
    for number in range(label.max() + 1):
        rows = core[label == number]
        rings = [n for n, corners in odd.items() if np.isin(corners, rows).any()]
        complete = not np.isin(np.concatenate([rows, frame.beside(rows)]), frame.outside).any()
        name = _name(rows, frame, sites, [(int(frame.sizes[n]), odd[n]) for n in rings])
        found.append((rows, name, complete))
    return sorted(found, key=lambda one: tuple(sites.points[one[0]].mean(axis=0)))


def _name(rows: Ids, frame: _FrameGraph, sites: _Sites, rings: list[tuple[int, Ids]]) -> str:
    """Canonical name of a fragment, from what it is made of."""
    parts = []
    foreign = rows[np.isin(sites.species[rows], list(sites.foreign)) & sites.is_atom[rows]]
    if len(foreign):
        bonded = frame.bonds[np.isin(frame.bonds, foreign).any(axis=1)]
        parts.append(_formula(np.union1d(bonded, foreign), sites))
    empty = int((~sites.is_atom[rows]).sum())
    if empty:
        parts.append("vacancy" if empty == 1 else f"{empty} vacancies")
    small = sorted(size for size, _ in rings if size <= RING_SIZES[-1])
    if small:
        few = len(small) <= _MOST_RINGS
        parts.append("-".join(map(str, small)) if few else f"{len(small)} odd rings")
    if any(size > RING_SIZES[-1] and sites.is_atom[corners].all() for size, corners in rings):
        parts.append("hole")
    if not parts:
        at_edge = np.isin(rows, frame.outside).any()
        parts.append("edge" if at_edge else _formula(rows, sites))
    return ", ".join(parts)


def _formula(rows: Ids, sites: _Sites) -> str:
    """Formula of some atoms: foreign species first, each in the order of the alphabet."""
    names, counts = np.unique(sites.species[rows][sites.is_atom[rows]], return_counts=True)
    order = sorted(range(len(names)), key=lambda i: (names[i] not in sites.foreign, names[i]))
    return "".join(
        (str(names[i]) if names[i].isalpha() else f"({names[i]})")
        + (str(counts[i]) if counts[i] > 1 else "")
        for i in order
    )
