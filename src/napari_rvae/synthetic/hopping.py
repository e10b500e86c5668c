"""Silicon that hops in graphene at planted rates, beside a hole whose edge atoms leave.

Every change is drawn with a known chance and written down, so that events and rates found in the
movie can be compared with the true ones.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.config import option
from napari_rvae.errors import InputError
from napari_rvae.synthetic.lattice import grown_points, honeycomb
from napari_rvae.synthetic.scan import (
    Columns,
    ScanConfig,
    checked_shape,
    drift_path,
    inside_frame,
    make_frames,
    random_streams,
    record,
    scan_distortion,
    scan_margin,
    sheared,
)
from napari_rvae.synthetic.sheet import Sheet, bonded_sheet, relaxed
from napari_rvae.synthetic.simulation import Simulation, true_sites
from napari_rvae.tables import fold_angle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["STATES", "HoppingConfig", "simulate_hopping"]

#: States of a silicon atom: three-fold on either sublattice, four-fold, gone.
STATES = ("si3 on 0", "si3 on 1", "si4", "gone")
_FOUR, _GONE = 2, 3
#: Length of a C-C bond in nm; Si-C bonds in the picture, in C-C bonds.
_BOND_LENGTH, _SI3_BOND, _SI4_BOND = 0.142, 1.12, 1.32
#: Silicon keeps this far from other silicon and from the hole at first, in bonds.
_APART, _FROM_HOLE = 5.0, 3.0
#: What a place holds, beside the number of a silicon atom.
_CARBON, _EMPTY, _HOLE = -1, -2, -3


@dataclass(frozen=True, kw_only=True)
class HoppingConfig(ScanConfig):
    """Options of :func:`simulate_hopping`: chances per frame, the specimen, and the scan."""

    drift: float = option(2.0, "Mean drift of the specimen.", low=0.0, unit="px per frame")
    n_silicon: int = option(12, "Number of silicon atoms.", low=0, high=1000)
    hop: float = option(
        0.02, "Chance that three-fold silicon goes to the next place.", low=0.0, high=0.3
    )
    far_hop: float = option(
        0.005, "Chance that it goes two bonds, to its own sublattice.", low=0.0, high=0.3
    )
    to_four: float = option(
        0.01, "Chance that a neighbour leaves it, so that it has four.", low=0.0, high=0.3
    )
    from_four: float = option(
        0.01, "Chance that the lost atom comes back; once for either side.", low=0.0, high=0.3
    )
    loss: float = option(0.002, "Chance that silicon is lost.", low=0.0, high=0.3)
    edge_loss: float = option(
        0.004, "Chance that an atom at the edge of the hole leaves.", low=0.0, high=0.3
    )
    hole: float = option(
        3.0, "Radius of the hole; 0: none.", low=0.0, high=100.0, unit="neighbour distances"
    )
    si_contrast: float = option(3.5, "Brightness of silicon relative to carbon.", low=0.0)
    rotation: float = option(0.1, "Angle of the lattice.", low=-math.pi, high=math.pi, unit="rad")
    disorder: float = option(
        0.01,
        "Standard deviation of fixed random displacements.",
        low=0.0,
        high=0.2,
        unit="neighbour distances",
    )

    @property
    def transition(self) -> Array:
        """Planted chances (4, 4) per frame between :data:`STATES`."""
        three = self.hop, self.to_four, self.loss
        matrix = np.array(
            [
                [0, *three],
                [self.hop, 0, self.to_four, self.loss],
                [self.from_four, self.from_four, 0, self.loss],
                [0, 0, 0, 0],
            ]
        )
        return matrix + np.diag(1 - matrix.sum(axis=1))


def simulate_hopping(
    config: HoppingConfig | None = None,
    *,
    n_frames: int = 50,
    size: int | tuple[int, int] = 384,
    seed: int = 0,
    **overrides: Any,
) -> Simulation:
    """Simulate a STEM movie of silicon that changes its place in graphene at known rates.

    Parameters
    ----------
    config
        Options of rates, specimen and scan; None takes the defaults.
    n_frames
        Number of frames, T.
    size
        Side of a frame in pixels, or (Y, X).
    seed
        Start of the random numbers.
    **overrides
        Options that replace those of `config`, such as ``hop=0.05``.

    Returns
    -------
    Simulation
        ``events`` has one row for each change: ``frame`` (the first after it), ``y``, ``x`` (in
        that frame), ``atom`` (number of the silicon atom, -1 for the edge), ``from_state``,
        ``to_state`` (of :data:`STATES`; -1 for the edge) and ``bonds`` that it went. ``fields`` has
        also ``states`` (N, T) and ``transition`` (4, 4). ``environment`` of the sites is "bulk",
        "si3", "si4", "beside_si", "beside_vacancy", "edge" or, for a missing atom, "vacancy".

    Raises
    ------
    InputError
        If an option is out of range.
    TypeError
        If an option's name is unknown.

    Examples
    --------
    >>> from napari_rvae.synthetic import simulate_hopping
    >>> movie = simulate_hopping(n_frames=2, size=128, n_silicon=1, hop=0.3, hole=0, seed=1)
    >>> movie.fields["states"].shape
    (1, 2)
    """
    config = dataclasses.replace(config or HoppingConfig(), **overrides)
    shape = checked_shape(size, n_frames)
    if (np.diag(config.transition) < 0).any() or config.far_hop > np.diag(config.transition).min():
        raise InputError("The chances per frame of a silicon atom add up to more than 1.")
    specimen_rng, motion_rng, scan_rng = random_streams(seed)
    drift = drift_path(config, n_frames, motion_rng)
    world = _World(config, shape, drift, specimen_rng)
    columns, truths, states = [], [], []
    for number in range(n_frames):
        if number:
            world.advance(number)
        atoms, truth = world.picture(number, shape)
        columns.append(atoms)
        truths.append(truth)
        states.append(world.state.copy())
    recording = record(columns, drift, shape, config, scan_rng)
    return Simulation(
        frames=make_frames(recording, config, spacing=_BOND_LENGTH, name="hopping", seed=seed),
        sites=true_sites(truths),
        fields={
            "expected": recording.expected,
            "background": recording.background,
            "drift": drift,
            "states": np.stack(states, axis=1),
            "transition": config.transition,
        },
        events=world.event_table(),
    )


class _World:
    """The sheet, what is on its places, and what has happened so far."""

    def __init__(
        self,
        config: HoppingConfig,
        shape: tuple[int, int],
        drift: Array,
        rng: np.random.Generator,
    ) -> None:
        self._config, self._rng, self._drift = config, rng, drift
        distance = config.neighbour_distance
        margin = scan_margin(config, shape, drift) + 3 * distance
        points = grown_points(honeycomb(distance), (config.rotation,), shape, margin, rng)
        self._sheet: Sheet = bonded_sheet(points, distance)
        count = len(self._sheet.position)
        self._near = [self._sheet.neighbours(place) for place in range(count)]
        self._content = np.full(count, _CARBON)
        # what is in the middle of the movie's frames stays in sight longest
        middle = (np.array(shape) - 1) / 2 - drift[len(drift) // 2]
        offset = self._sheet.position - middle
        self._content[np.hypot(*offset.T) < config.hole * distance] = _HOLE
        self._drop_dangling()
        self._silicon = self._scatter(offset, shape)
        self._content[self._silicon] = np.arange(len(self._silicon))
        self.state = self._sheet.sublattice[self._silicon].copy()
        self._gap = np.full(len(self._silicon), -1)  # the empty place beside four-fold silicon
        self._disorder = rng.normal(0, config.disorder * distance, (count, 2))
        self._position = self._sheet.position.copy()
        self._events: list[tuple[float, ...]] = []
        self._settle(max_steps=200)

    def _scatter(self, offset: Array, shape: tuple[int, int]) -> Ids:
        """Places of the silicon at first, apart from each other and from hole and rim."""
        distance = self._config.neighbour_distance
        rim = np.array(shape) / 2 - np.abs(offset)
        able = (rim > 2 * distance).all(axis=1)
        able &= np.hypot(*offset.T) > (self._config.hole + _FROM_HOLE) * distance
        chosen: list[int] = []
        while len(chosen) < self._config.n_silicon and able.any():
            place = int(self._rng.choice(np.flatnonzero(able)))
            chosen.append(place)
            away = np.hypot(*(self._sheet.position - self._sheet.position[place]).T)
            able &= away > _APART * distance
        return np.array(chosen, np.int64)

    def advance(self, frame: int) -> None:
        """Go on to the next frame."""
        for atom in self._rng.permutation(len(self._silicon)):
            if self.state[atom] != _GONE:
                self._change(int(atom), frame)
        self._erode(frame)
        self._settle(max_steps=40)

    def _change(self, atom: int, frame: int) -> None:
        """Draw what a silicon atom does in this frame, and do it where there is room."""
        old, here = int(self.state[atom]), int(self._silicon[atom])
        before = self._where(atom)
        new = int(self._rng.choice(4, p=self._config.transition[old]))
        bonds = 0
        if new == old:
            # given that the state stays, so that the chance is that of the option
            stays = self._config.transition[old, old]
            if old == _FOUR or self._rng.random() >= self._config.far_hop / stays:
                return
            ways = [q for p in self._near[here] for q in self._near[p] if q != here]
            bonds = 2
        elif new == _FOUR or old != _FOUR:
            ways, bonds = list(self._near[here]), int(new < _FOUR)
        else:
            ways = [here]
        if not self._act(atom, old, new, ways):
            return
        after = self._where(atom)
        place = (before + after) / 2 + self._drift[frame]
        self._events.append((frame, *place, atom, old, new, bonds))

    def _act(self, atom: int, old: int, new: int, ways: list[int]) -> bool:
        """Move atoms for a change of state; False if there is no room."""
        here = int(self._silicon[atom])
        free = [way for way in ways if self._content[way] == _CARBON and self._is_quiet(way, atom)]
        if new == _GONE:
            self._content[here] = _EMPTY
            if old == _FOUR:
                self._gap[atom] = -1
        elif old == _FOUR:
            gap = int(self._gap[atom])
            self._content[gap], self._gap[atom] = _CARBON, -1
            if self._sheet.sublattice[here] != new:
                self._swap(atom, gap)
        elif not free:
            return False
        elif new == _FOUR:
            gap = int(self._rng.choice(free))
            self._content[gap], self._gap[atom] = _EMPTY, gap
        else:
            self._swap(atom, int(self._rng.choice(free)))
        self.state[atom] = new
        return True

    def _is_quiet(self, place: int, atom: int) -> bool:
        """Whether a place has only carbon, and this atom, beside it."""
        around = self._content[self._near[place]]
        return bool(np.isin(around, (_CARBON, atom)).all())

    def _swap(self, atom: int, place: int) -> None:
        self._content[self._silicon[atom]], self._content[place] = _CARBON, atom
        self._silicon[atom] = place

    def _where(self, atom: int) -> Array:
        """Place (2,) of a silicon atom, without drift."""
        here = self._sheet.position[self._silicon[atom]]
        gap = self._gap[atom]
        return np.asarray(here if gap < 0 else (here + self._sheet.position[gap]) / 2)

    def _erode(self, frame: int) -> None:
        """Let atoms leave the edge of the hole, with those that then hang on one bond."""
        rim = [
            place
            for place in np.flatnonzero(self._content == _CARBON)
            if (self._content[self._near[place]] == _HOLE).any()
            and np.isin(self._content[self._near[place]], (_CARBON, _HOLE)).all()
        ]
        for place in rim:
            if self._content[place] == _CARBON and self._rng.random() < self._config.edge_loss:
                self._content[place] = _HOLE
                self._drop_dangling()
                where = self._sheet.position[place] + self._drift[frame]
                self._events.append((frame, *where, -1, -1, -1, 0))

    def _drop_dangling(self) -> None:
        """Carbon at the hole that hangs on fewer than two bonds goes, too."""
        for _ in range(3):
            there = self._content >= _CARBON
            at_hole = self._sheet.degree(self._content == _HOLE) > 0
            loose = (self._content == _CARBON) & at_hole & (self._sheet.degree(there) < 2)
            self._content[loose] = _HOLE

    def _settle(self, max_steps: int) -> None:
        """Relax the atoms that are there; four-fold silicon is bound to the gap's neighbours."""
        sheet, distance = self._sheet, self._sheet.distance
        there = self._content >= _CARBON
        bonds = sheet.bonds[there[sheet.bonds].all(axis=1)]
        silicon = (self._content[bonds] >= 0).any(axis=1)
        length = np.where(silicon, _SI3_BOND, 1.0)
        pins, extra = sheet.position.copy(), []
        for atom in np.flatnonzero(self._gap >= 0):
            here, gap = int(self._silicon[atom]), int(self._gap[atom])
            pins[here] = self._where(int(atom))
            length[(bonds == here).any(axis=1)] = _SI4_BOND
            extra += [(here, other) for other in self._near[gap] if other != here and there[other]]
        bonds = np.concatenate([bonds, np.array(extra, np.int64).reshape(-1, 2)])
        length = np.concatenate([length, np.full(len(extra), _SI4_BOND)])
        # an atom that has just moved begins at its new place
        far = np.hypot(*(self._position - pins).T) > 0.4 * distance
        start = np.where(far[:, None], pins, self._position)
        self._position = relaxed(start, pins, bonds, length * distance, max_steps=max_steps)

    def picture(
        self, number: int, shape: tuple[int, int]
    ) -> tuple[Columns, dict[str, NDArray[Any]]]:
        """Atoms of one frame, for the scan and for the table."""
        config, content, sheet = self._config, self._content, self._sheet
        moved = self._position + self._disorder + self._drift[number]
        position = sheared(moved, config, centre=(shape[0] - 1) / 2)
        there, silicon = content >= _CARBON, content >= 0
        amplitude = config.host_peak * np.where(silicon, config.si_contrast, there)
        gaps = np.isin(np.arange(len(content)), self._gap[self._gap >= 0])
        environment = self._environments(gaps)
        lattice = config.rotation + math.pi * (sheet.sublattice == 1) + scan_distortion(config)
        regular = np.isin(environment, ("bulk", "si3", "vacancy"))
        truth = {
            "y": position[:, 0],
            "x": position[:, 1],
            "species": np.select([silicon, there], ["Si", "C"], ""),
            "sublattice": sheet.sublattice,
            "environment": environment,
            "grain": np.zeros(len(content), np.int64),
            "angle": np.where(regular, fold_angle(lattice, 1), math.nan),
            "symmetry": np.where(regular, 3, 0),
            "amplitude": amplitude,
            "sigma": np.full(len(content), config.probe_sigma),
            "track_id": np.where(silicon, len(content) + content, np.arange(len(content))),
        }
        rows = inside_frame(position, shape) & (there | ((content == _EMPTY) & ~gaps))
        return (
            Columns(position[there], amplitude[there]),
            {name: values[rows] for name, values in truth.items()},
        )

    def _environments(self, gaps: NDArray[np.bool_]) -> NDArray[np.str_]:
        """Class (N,) of every place."""
        content, degree = self._content, self._sheet.degree
        silicon = content >= 0
        four = np.zeros(len(content), bool)
        four[self._silicon[self.state == _FOUR]] = True
        beside_silicon = (degree(silicon) > 0) | (degree(gaps) > 0)
        return np.select(
            [
                content == _EMPTY,
                silicon & four,
                silicon,
                degree(content == _HOLE) > 0,
                degree((content == _EMPTY) & ~gaps) > 0,
                beside_silicon,
            ],
            ["vacancy", "si4", "si3", "edge", "beside_vacancy", "beside_si"],
            "bulk",
        )

    def event_table(self) -> pd.DataFrame:
        """Everything that has happened."""
        names = ["frame", "y", "x", "atom", "from_state", "to_state", "bonds"]
        table = pd.DataFrame(self._events, columns=names)
        whole = dict.fromkeys(["frame", "atom", "from_state", "to_state", "bonds"], "int64")
        return table.astype({**whole, "y": "float64", "x": "float64"})
