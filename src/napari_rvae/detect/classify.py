"""Name what each site is: its sublattice, its species by brightness, and vacancies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_rvae.config import SpeciesConfig
from napari_rvae.detect.indexing import LatticeIndex, index_atoms
from napari_rvae.detect.species import (
    HostRatio,
    Odd,
    name_odd,
    odd_atoms,
    pool_tracks,
    ratio_to_host,
)
from napari_rvae.detect.sublattices import (
    SublatticeNumbers,
    brightness_levels,
    split_by_brightness,
)
from napari_rvae.detect.vacancies import (
    EmptyPlaces,
    FrameAtoms,
    empty_places,
    look_at_places,
    missed_share,
)
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.frames import Frames, as_frames, as_region
from napari_rvae.tables import OFF_LATTICE, group_rows, neighbour_distance, validate_sites

__all__ = ["classify_atoms"]

#: Sublattices whose brightness differs by less than this share get one letter: overlapping
#: neighbours and the fit make as much.
_SAME_LETTER = 0.25

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def classify_atoms(
    sites: pd.DataFrame,
    frames: Any = None,
    config: SpeciesConfig | None = None,
    *,
    region: Any = None,
    channel: int | str = 0,
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> pd.DataFrame:
    """Tell sublattices, species and vacancies, without labels.

    The lattice comes first: from the displacements of the neighbours, in every part of a frame,
    through strain, missing atoms and several grains. Within a sublattice, atoms are compared in
    brightness with those around them. Places of the lattice without an atom become sites of kind
    "vacancy".

    Parameters
    ----------
    sites
        Sites table, of any number of frames and sources. Of atoms without ``amplitude`` and
        ``snr`` only the geometry is used. Where there is a ``track_id``, all sightings of an atom
        are judged together.
    frames
        The frames of the sites (one source): what they show at a vacancy is measured.
    config
        Options; the defaults need no tuning.
    region
        Bool (Y, X) or (T, Y, X), True where vacancies may lie; needs `frames`.
    channel
        Number or name of the channel of `frames`.
    progress
        Called as ``progress(done, total)`` after each frame; False stops.
    **overrides
        Single options of :class:`~napari_rvae.SpeciesConfig`, such as ``vacancies=False``.

    Returns
    -------
    DataFrame
        The table, its rows and their order kept, with three columns:

        - ``sublattice`` (int64): number, the brightest first, the same in all frames; -1 where
          there is no lattice;
        - ``species``: "A" for the host of the brightest sublattices, "B", ... for dimmer ones;
          "A+" and "A-" for atoms that are brighter or dimmer than their host; "off lattice" for
          an atom inside a crystal that stands on no place of its lattice; "" for a vacancy and
          for atoms without a lattice or amplitude to compare;
        - ``species_probability``: of what the row says, from 0 to 1; NaN where nothing is
          compared ("off lattice" and "").

        Vacancies follow at the end with new ``site_id``. Their position is that which their
        neighbours predict, with ``y_sd`` and ``x_sd``; ``amplitude`` is what `frames` show there
        (NaN without), ``lattice_support`` the share of the neighbours that are there. Vacancies
        that the table has already stay as they are.

    Raises
    ------
    InputError
        If the table is no sites table, frames are given for several sources or do not hold the
        sites' frames, or a region is given without frames.
    Cancelled
        If `progress` returned False.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import classify_atoms
    >>> from napari_rvae.tables import make_sites
    >>> y, x = (g.ravel() for g in np.mgrid[0:120:10.0, 0:120:10.0])
    >>> atoms = make_sites(frame=0, y=np.delete(y, 65), x=np.delete(x, 65))
    >>> classify_atoms(atoms)["kind"].value_counts().to_dict()
    {'atom': 143, 'vacancy': 1}
    """
    config = dataclasses.replace(config or SpeciesConfig(), **overrides)
    sites = validate_sites(sites)
    movie = None if frames is None else as_frames(frames)
    _check_movie(sites, movie)
    if region is not None and movie is None:
        raise InputError("A region was given without frames: give the frames, too.")
    view = None if movie is None else _View(movie, movie.channel_index(channel), region)
    groups = group_rows(sites)
    labelled = _Labels(sites)
    vacancies, done = [], 0
    for source in dict.fromkeys(source for source, _, _ in groups):
        mine = [(frame, rows) for name, frame, rows in groups if name == source]
        part = sites[sites["source"] == source]
        lattices = _Lattices(neighbour_distance(part[part["kind"] == "atom"]))
        for frame, rows in mine:
            lattices.add(frame, rows, labelled)
            done += 1
            if progress is not None and progress(done, len(groups)) is False:
                raise Cancelled("The classification was stopped: no site was named.")
        labelled.order_sublattices(lattices.rows)
        labelled.name_species(lattices.rows, config)
        if config.vacancies:
            finder = _VacancyFinder(labelled, source, lattices.spacing, view, config)
            vacancies += [finder.find(seen) for seen in lattices.frames]
    return _joined(labelled.table(), vacancies)


def _check_movie(sites: pd.DataFrame, movie: Frames | None) -> None:
    if movie is None or not len(sites):
        return
    if len(sites["source"].unique()) > 1:
        raise InputError("The table holds several sources: classify one with its frames at a time.")
    last = int(sites["frame"].max())
    if last >= movie.n_frames or int(sites["frame"].min()) < 0:
        raise InputError(
            f"The sites' last frame is {last}, of {movie.n_frames} frames counted from 0: give the "
            "frames that they were found in."
        )


@dataclass(frozen=True)
class _FrameLattice:
    """The lattices of one frame."""

    frame: int
    rows: Ints  # rows of the table: atoms with a position
    index: LatticeIndex


class _Lattices:
    """The lattices of the frames of one source."""

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing
        self.frames: list[_FrameLattice] = []
        self._numbers = SublatticeNumbers()

    @property
    def rows(self) -> list[Ints]:
        """Rows of each frame's atoms."""
        return [seen.rows for seen in self.frames]

    def add(self, frame: int, rows: Ints, labelled: _Labels) -> None:
        """Find the lattices of the next frame, and number their sublattices."""
        rows = rows[labelled.is_atom[rows]]
        points = labelled.points[rows]
        index = index_atoms(points, self.spacing)
        amplitude = labelled.amplitude[rows]
        label = split_by_brightness(index, points, amplitude)
        labelled.sublattice[rows] = self._numbers.number(index, label, amplitude, self.spacing)
        labelled.off_lattice[rows] = index.off_lattice
        self.frames.append(_FrameLattice(frame, rows, index))


class _Labels:
    """What is known of each row of a sites table."""

    def __init__(self, sites: pd.DataFrame) -> None:
        self.sites = sites
        count = len(sites)

        def column(name: str) -> Floats:
            return sites[name].to_numpy(float) if name in sites else np.full(count, np.nan)

        self.points = sites[["y", "x"]].to_numpy(float)
        self.is_atom = (sites["kind"] == "atom").to_numpy() & np.isfinite(self.points).all(axis=1)
        amplitude, snr = column("amplitude"), column("snr")
        self.amplitude = np.where(amplitude > 0, amplitude, np.nan)
        self.noise = np.where(snr > 0, self.amplitude / snr, np.nan)
        self.sigma, self.background = column("sigma"), column("background")
        self.track = sites["track_id"].to_numpy(np.int64) if "track_id" in sites else None
        self.sublattice = np.full(count, -1, np.int64)
        self.off_lattice = np.zeros(count, bool)
        self.species = np.full(count, "", object)
        self.probability = np.full(count, np.nan)

    def _brightness(self, rows: list[Ints]) -> Floats:
        """Median amplitude of each sublattice, over that of its frame."""
        light, label = [], []
        for here in rows:
            known = here[(self.sublattice[here] >= 0) & np.isfinite(self.amplitude[here])]
            if known.size:
                light.append(self.amplitude[known] / np.median(self.amplitude[known]))
                label.append(self.sublattice[known])
        count = max((int(self.sublattice[here].max(initial=-1)) for here in rows), default=-1) + 1
        result = np.full(count, np.nan)
        if light:
            values = pd.Series(np.concatenate(light)).groupby(np.concatenate(label)).median()
            result[values.index.to_numpy()] = values.to_numpy()
        return result

    def order_sublattices(self, rows: list[Ints]) -> None:
        """Number the sublattices of a source anew, the brightest first."""
        brightness = self._brightness(rows)
        if not brightness.size:
            return
        order = np.lexsort((np.arange(len(brightness)), brightness_levels(brightness)))
        number = np.empty(len(order), np.int64)
        number[order] = np.arange(len(order))
        for here in rows:
            on = here[self.sublattice[here] >= 0]
            self.sublattice[on] = number[self.sublattice[on]]

    def name_species(self, rows: list[Ints], config: SpeciesConfig) -> None:
        """Name the atoms of one source."""
        for here in rows:
            self.species[here[self.off_lattice[here]]] = OFF_LATTICE
        brightness = self._brightness(rows)
        if not brightness.size:
            return
        level = brightness_levels(brightness, _SAME_LETTER)
        seen = self._ratios(rows)
        hosts: list[tuple[str, Ints, Ints]] = []  # letter, atoms, and their rows in its table
        odd: list[Odd] = []
        for number in range(int(level.max()) + 1):
            mine = [here[np.isin(self.sublattice[here], np.flatnonzero(level == number))]
                    for here in rows]  # fmt: skip
            atoms = np.concatenate(mine)
            self.species[atoms[np.isfinite(self.amplitude[atoms])]] = _letter(number)
            known = np.isfinite(np.stack(seen)[:, atoms]).all(axis=0)
            if known.any():
                atoms = atoms[known]
                pooled, row = self._pooled(seen.select(atoms), atoms)
                hosts.append((_letter(number), atoms, row))
                odd.append(odd_atoms(pooled, least_contrast=config.least_contrast))
        named = name_odd(odd, config.false_discovery_rate)
        for (letter, atoms, row), chances, side in zip(hosts, odd, named, strict=True):
            self._name_odd(letter, atoms, row, chances, side)

    def _ratios(self, rows: list[Ints]) -> HostRatio:
        """Each atom's amplitude over that of its sublattice around it."""
        every = HostRatio(*(np.full(len(self.species), np.nan) for _ in range(3)))
        for here in rows:
            for number in np.unique(self.sublattice[here]):
                mine = here[self.sublattice[here] == number]
                if number >= 0:
                    part = ratio_to_host(self.points[mine], self.amplitude[mine], self.noise[mine])
                    for column, values in zip(every, part, strict=True):
                        column[mine] = values
        return every

    def _pooled(self, seen: HostRatio, atoms: Ints) -> tuple[HostRatio, Ints]:
        """Ratios with all sightings of an atom as one, and the row of each sighting there."""
        if self.track is None:
            return seen, np.arange(len(atoms))
        return pool_tracks(seen, self.track[atoms])

    def _name_odd(self, letter: str, atoms: Ints, row: Ints, odd: Odd, side: Ints) -> None:
        """Name the atoms of one host: as bright, brighter (side 1) or dimmer (-1)."""
        host = 1 - odd.brighter - odd.dimmer
        chance = np.choose(side + 1, [odd.dimmer, host, odd.brighter])
        name = np.array([f"{letter}-", letter, f"{letter}+"], object)[side + 1]
        self.species[atoms], self.probability[atoms] = name[row], chance[row]

    def atoms(self, rows: Ints) -> FrameAtoms:
        """Return what is known of some atoms of one frame."""
        return FrameAtoms(
            points=self.points[rows],
            sublattice=self.sublattice[rows],
            amplitude=self.amplitude[rows],
            noise=self.noise[rows],
            sigma=self.sigma[rows],
            background=self.background[rows],
        )

    def table(self) -> pd.DataFrame:
        """Return the table with its new columns."""
        return self.sites.assign(
            sublattice=self.sublattice,
            species=pd.Series(self.species, index=self.sites.index, dtype="str"),
            species_probability=self.probability,
        )


def _letter(number: int) -> str:
    """Name of a host: A, B, ..., Z, A1, B1, ..."""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 26] + (str(number // 26) if number > 25 else "")


class _View:
    """The frames in which vacancies are looked at."""

    def __init__(self, movie: Frames, channel: int, region: Any) -> None:
        self._movie, self._channel, self._region = movie, channel, as_region(region, movie)
        self.box = np.zeros(2), np.array(movie.frame_shape) - 1.0

    def frame(self, number: int) -> Floats:
        """Return a frame (Y, X)."""
        return self._movie.frame(number, self._channel)

    def seen(self, image: Floats, number: int, points: Floats) -> NDArray[np.bool_]:
        """Whether there is a pixel at each place (M, 2), and in the region."""
        row, column = np.clip(np.rint(points).astype(int), 0, np.array(image.shape) - 1).T
        seen = np.isfinite(image[row, column])
        if self._region is not None:
            mask = self._region if self._region.ndim == 2 else self._region[number]
            seen &= mask[row, column]
        return np.asarray(seen)


@dataclass(frozen=True)
class _VacancyFinder:
    """Finds and measures the vacancies of the frames of one source."""

    labelled: _Labels
    source: str
    spacing: float
    view: _View | None
    config: SpeciesConfig

    def find(self, seen: _FrameLattice) -> dict[str, Any]:
        """Columns of the vacancies of one frame; nothing where there are none."""
        atoms = self.labelled.atoms(seen.rows)
        places = empty_places(
            seen.index,
            atoms.points,
            atoms.sublattice,
            self.spacing,
            self._box(atoms.points),
        )
        places = places.select(~self._known_before(places.points, seen.frame))
        image = None
        if self.view is not None and len(places.points):
            image = self.view.frame(seen.frame)
            places = places.select(self.view.seen(image, seen.frame, places.points))
        if not len(places.points):
            return {}
        measured = _measured(image, atoms, places)
        likely = ~(measured["species_probability"] < self.config.least_probability)
        places = places.select(likely)
        return {
            "source": self.source,
            "frame": seen.frame,
            "y": places.points[:, 0],
            "x": places.points[:, 1],
            "y_sd": places.spread[:, 0],
            "x_sd": places.spread[:, 1],
            "lattice_support": places.support,
            "sublattice": places.sublattice,
            **{name: values[likely] for name, values in measured.items()},
        }

    def _box(self, points: Floats) -> tuple[Floats, Floats]:
        """Least and largest y and x of a frame; those of its atoms where it is not known."""
        if self.view is not None:
            return self.view.box
        return points.min(axis=0, initial=math.inf), points.max(axis=0, initial=-math.inf)

    def _known_before(self, points: Floats, frame: int) -> NDArray[np.bool_]:
        """Whether the table has a vacancy at each place already."""
        table = self.labelled.sites
        known = (table["kind"] == "vacancy") & (table["source"] == self.source)
        there = self.labelled.points[(known & (table["frame"] == frame)).to_numpy()]
        there = there[np.isfinite(there).all(axis=1)]
        if not len(there) or not len(points):
            return np.zeros(len(points), bool)
        return np.asarray(np.asarray(cKDTree(there).query(points)[0]) < 0.5 * self.spacing)


def _measured(image: Floats | None, atoms: FrameAtoms, places: EmptyPlaces) -> dict[str, Floats]:
    """What is at the places, if the frame can be asked, and the chance that it is nothing."""
    if image is None or atoms.measured.sum() < 3:
        return {"species_probability": 1 - missed_share(atoms, places)}
    known = atoms.select(atoms.measured)
    sign = _contrast(image, known)
    bright = dataclasses.replace(known, background=sign * known.background)
    look = look_at_places(sign * image, bright, places)
    return {
        "amplitude": look.amplitude,
        "sigma": look.sigma,
        "background": sign * look.background,
        "snr": look.amplitude / look.noise,
        "species_probability": look.chance,
    }


def _contrast(image: Floats, atoms: FrameAtoms) -> float:
    """1 where atoms are brighter than their background, -1 where they are darker."""
    place = np.rint(atoms.points).astype(int)
    place = np.clip(place, 0, np.array(image.shape) - 1)
    above = image[place[:, 0], place[:, 1]] - atoms.background
    return math.copysign(1.0, float(np.nanmedian(above)))


def _joined(table: pd.DataFrame, vacancies: list[dict[str, Any]]) -> pd.DataFrame:
    """Put the vacancies behind the other sites."""
    rows = [pd.DataFrame(part) for part in vacancies if part]
    if not rows:
        return table.reset_index(drop=True)
    new = pd.concat(rows, ignore_index=True)
    first = int(table["site_id"].max()) + 1
    new["site_id"] = np.arange(first, first + len(new), dtype=np.int64)
    new["kind"], new["species"] = "vacancy", ""
    joined = pd.concat([table, new], ignore_index=True)
    for name in table:
        if table[name].dtype.kind in "iu" and joined[name].dtype != table[name].dtype:
            joined[name] = joined[name].fillna(-1).astype(table[name].dtype)
    return joined[[*table.columns, *(name for name in new if name not in table)]]
