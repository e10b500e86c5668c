"""What the beam does to a graphene sheet: dopants that hop, vacancies, a hole that grows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from napari_rvae.config import option
from napari_rvae.synthetic.lattice import grown_points, honeycomb
from napari_rvae.synthetic.scan import ScanConfig, inside_frame
from napari_rvae.synthetic.sheet import (
    BRIDGE,
    Sheet,
    bonded_sheet,
    bridge_bonds,
    distorted_places,
    relaxed,
    rotate_bonds,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CARBON", "DIVACANCY", "HOLE", "SILICON", "VACANCY", "GrapheneConfig", "Moment", "Story"]

# What a place of the sheet holds.
CARBON, SILICON, VACANCY, DIVACANCY, HOLE = range(5)

#: Si-C bonds in the picture, in C-C bonds: three-fold silicon stands out of the sheet, which
#: shortens its bonds of 0.17 to 0.18 nm in projection.
_SI3_BOND, _SI4_BOND = 1.12, 1.32

#: Defects keep this far from each other, and from the hole and the boundary, in C-C bonds.
_SPACING, _CLEARANCE = 5.0, 3.0


@dataclass(frozen=True, kw_only=True)
class GrapheneConfig(ScanConfig):
    """Options of :func:`simulate_graphene`: the specimen's, and those of the scan."""

    rotation: float = option(
        0.1, "Angle of the first grain.", low=-math.pi, high=math.pi, unit="rad"
    )
    grains: int = option(2, "Number of grains.", low=1, high=2)
    misorientation: float = option(
        0.3,
        "Angle of the second grain minus that of the first.",
        low=-math.pi,
        high=math.pi,
        unit="rad",
    )
    si3: float = option(0.006, "Silicon in three-fold places, per site.", low=0.0, high=0.05)
    si4: float = option(0.004, "Silicon in four-fold places, per site.", low=0.0, high=0.05)
    si_contrast: float = option(
        3.5, "Brightness of silicon relative to carbon.", low=0.0, high=100.0
    )
    hop_rate: float = option(
        0.1,
        "Chance per frame that a three-fold silicon swaps with a neighbour.",
        low=0.0,
        high=1.0,
    )
    vacancies: float = option(
        0.005,
        "Missing atoms, per site; half from the start, half lost on the way.",
        low=0.0,
        high=0.05,
    )
    stone_wales: int = option(2, "Number of rotated bonds (5-7 defects).", low=0, high=1000)
    hole_start: float = option(
        1.2, "Radius of the hole in the first frame.", low=0.0, unit="neighbour distances"
    )
    hole_end: float | None = option(
        None,
        "Radius of the hole in the last frame; 0: no hole; empty: 4.5, less in small frames.",
        low=0.0,
        unit="neighbour distances",
    )
    disorder: float = option(
        0.01,
        "Standard deviation of fixed random displacements.",
        low=0.0,
        high=0.2,
        unit="neighbour distances",
    )


def _hole_radii(
    config: GrapheneConfig, shape: tuple[int, int], n_frames: int
) -> NDArray[np.float64]:
    """Radius (T,) of the hole in px; all zero where there is none."""
    if config.hole_end is None:
        end = min(4.5 * config.neighbour_distance, 0.2 * min(shape))
    else:
        end = config.hole_end * config.neighbour_distance
    if end == 0:
        return np.zeros(n_frames)
    return np.linspace(min(config.hole_start * config.neighbour_distance, end), end, n_frames)


class Moment(NamedTuple):
    """The sheet in one frame."""

    sheet: Sheet
    boundary: NDArray[np.bool_]  # (N,): distorted by the grain boundary
    content: NDArray[np.int64]  # (N,): CARBON, SILICON, ...
    atom: NDArray[np.int64]  # (N,): number of the atom or vacancy, -1 for nothing
    position: NDArray[np.float64]  # (N, 2): relaxed, without drift


class Story:
    """A sheet that changes from frame to frame.

    Parameters
    ----------
    config
        Options of the specimen.
    shape
        Rows and columns (Y, X) of a frame.
    n_frames
        Number of frames, over which the hole grows.
    margin
        Pixels of sheet that are needed beyond the frame.
    rng
        Source of everything random about the specimen.
    """

    def __init__(
        self,
        config: GrapheneConfig,
        shape: tuple[int, int],
        n_frames: int,
        margin: float,
        rng: np.random.Generator,
    ) -> None:
        self._config, self._rng = config, rng
        distance = config.neighbour_distance
        angles = (config.rotation, config.rotation + config.misorientation)[: config.grains]
        points = grown_points(honeycomb(distance), angles, shape, margin + 3 * distance, rng)
        sheet = bonded_sheet(points, distance)
        self._radii = _hole_radii(config, shape, n_frames)
        self._from_hole = self._hole_distance(sheet, shape)
        self._clear = self._clear_places(sheet, shape)
        chosen = self._choose(sheet, int(inside_frame(sheet.position, shape).sum()))
        sheet = rotate_bonds(sheet, chosen["stone_wales"])
        settled = relaxed(
            sheet.position,
            sheet.position,
            sheet.bonds,
            np.full(len(sheet.bonds), distance),
            max_steps=300,
        )
        self._boundary = distorted_places(sheet, settled) & ~sheet.five_seven
        self._set_up(sheet, settled, chosen)

    def _hole_distance(self, sheet: Sheet, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Distance (N,) in px from the hole's centre, uneven so that the rim is ragged."""
        centre = self._rng.uniform([0.55, 0.2], [0.7, 0.35]) * np.array(shape)
        offset = sheet.position - centre
        theta, radius = np.arctan2(*offset.T), np.hypot(*offset.T)
        phase = self._rng.uniform(-math.pi, math.pi, 3)
        waves = sum(np.sin((k + 2) * theta + phase[k]) for k in range(3))
        return np.asarray(radius * (1 + 0.08 * waves))

    def _clear_places(self, sheet: Sheet, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Places (N,) inside the frame and away from its rim, the boundary and the hole."""
        distance = self._config.neighbour_distance
        rim = np.minimum(sheet.position, np.array(shape) - 1 - sheet.position).min(axis=1)
        clear = (rim > 2 * distance) & (sheet.boundary_distance > _CLEARANCE * distance)
        if self._radii.any():
            clear &= self._from_hole > self._radii.max() + _CLEARANCE * distance
        return np.asarray(clear)

    def _choose(self, sheet: Sheet, n_sites: int) -> dict[str, NDArray[np.int64]]:
        """Draw places for the defects, well apart; fewer than asked where there is no room."""
        config, rng = self._config, self._rng
        wanted = {
            "stone_wales": config.stone_wales,
            "si4": round(config.si4 * n_sites),
            "si3": round(config.si3 * n_sites),
            "vacancy": round(config.vacancies * n_sites),
        }
        free = self._clear.copy()
        chosen: dict[str, NDArray[np.int64]] = {}
        tree = cKDTree(sheet.position)
        for name, number in wanted.items():
            places: list[int] = []
            while len(places) < number and free.any():
                place = int(rng.choice(np.flatnonzero(free)))
                places.append(place)
                near = tree.query_ball_point(
                    sheet.position[place], _SPACING * config.neighbour_distance
                )
                free[near] = False
            chosen[name] = np.array(places, dtype=np.int64)
        for name in ("stone_wales", "si4"):  # these concern a bond: add one of its neighbours
            partners = [int(rng.choice(sheet.neighbours(place))) for place in chosen[name]]
            pairs = zip(chosen[name].tolist(), partners, strict=True)
            chosen[name] = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
        return chosen

    def _set_up(
        self, sheet: Sheet, settled: NDArray[np.float64], chosen: dict[str, NDArray[np.int64]]
    ) -> None:
        """Put the atoms in their places."""
        sheet, bridges = bridge_bonds(sheet, chosen["si4"])
        extra = len(bridges)
        self._sheet = sheet
        self._position = np.concatenate([settled, sheet.position[bridges]])
        self._pins = self._position.copy()
        self._boundary = np.concatenate([self._boundary, np.zeros(extra, bool)])
        self._from_hole = np.concatenate([self._from_hole, np.full(extra, np.inf)])
        self._clear = np.concatenate([self._clear, np.zeros(extra, bool)]) & ~sheet.five_seven
        n_places = len(sheet.position)
        self._content = np.full(n_places, CARBON)
        self._content[chosen["si3"]] = SILICON
        self._content[bridges] = SILICON
        self._content[chosen["si4"].ravel()] = DIVACANCY
        self._atom = np.where(self._content == DIVACANCY, -1, np.arange(n_places))
        self._onset = np.full(n_places, -1)
        self._onset[chosen["vacancy"]] = self._rng.integers(
            0, len(self._radii), chosen["vacancy"].size
        )
        self._onset[chosen["vacancy"][::2]] = 0
        spread = self._config.disorder * self._config.neighbour_distance
        self._disorder = self._rng.normal(0.0, spread, (n_places, 2))
        self._knock_out(0)
        self._grow_hole(0)
        self._settle(max_steps=200)

    def advance(self, frame: int) -> None:
        """Go on to the next frame, number `frame`."""
        self._hop()
        self._knock_out(frame)
        self._grow_hole(frame)
        self._settle(max_steps=60)

    def _hop(self) -> None:
        """Let three-fold silicon change places with a neighbour that has only carbon around."""
        sheet = self._sheet
        three_fold = np.flatnonzero((self._content == SILICON) & (sheet.sublattice >= 0))
        for place in three_fold[self._rng.random(three_fold.size) < self._config.hop_rate]:
            target = int(self._rng.choice(sheet.neighbours(place)))
            if self._clear[target] and self._in_carbon(target, but=int(place)):
                for array in (self._content, self._atom):
                    array[[place, target]] = array[[target, place]]

    def _knock_out(self, frame: int) -> None:
        """Take the atoms whose time has come, unless silicon has moved in beside them."""
        for place in np.flatnonzero(self._onset == frame):
            if self._in_carbon(int(place)):
                self._content[place] = VACANCY
                self._atom[place] = place + self._content.size  # the atom's number ends with it

    def _in_carbon(self, place: int, but: int = -1) -> bool:
        """Whether a place and its neighbours, save `but`, hold carbon."""
        around = np.append(self._sheet.neighbours(place), place)
        return bool((self._content[around[around != but]] == CARBON).all())

    def _grow_hole(self, frame: int) -> None:
        """Take the atoms that the hole has reached, and those it left hanging on one bond."""
        hole = (self._content == HOLE) | (self._from_hole < self._radii[frame])
        for _ in range(3):
            lost = self._sheet.degree(hole)
            hole |= (lost > 0) & (self._sheet.degree(~hole) < 2)
        self._content[hole] = HOLE
        self._atom[hole] = -1

    def _settle(self, max_steps: int) -> None:
        """Relax the atoms that are there."""
        sheet = self._sheet
        bonds = sheet.bonds[np.isin(self._content[sheet.bonds], (CARBON, SILICON)).all(axis=1)]
        silicon = self._content[bonds] == SILICON
        four_fold = sheet.sublattice[bonds] == BRIDGE
        stretch = np.select(
            [(silicon & four_fold).any(axis=1), silicon.any(axis=1)], [_SI4_BOND, _SI3_BOND], 1.0
        )
        self._position = relaxed(
            self._position, self._pins, bonds, stretch * sheet.distance, max_steps=max_steps
        )

    def moment(self) -> Moment:
        """Return the sheet as it is now."""
        return Moment(
            sheet=self._sheet,
            boundary=self._boundary,
            content=self._content.copy(),
            atom=self._atom.copy(),
            position=self._position + self._disorder,
        )
