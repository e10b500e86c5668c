"""Places of the lattice where no atom was found, and what the frame shows there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree
from scipy.special import expit

from napari_rvae.detect.indexing import LatticeIndex
from napari_rvae.preprocess.noise import fill_missing, robust_sd

__all__ = ["EmptyPlaces", "FrameAtoms", "empty_places", "look_at_places", "missed_share"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The eight neighbours by translation.
_STEPS = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])

#: Of those inside the frame, this share must be filled, and so many.
_SURROUNDED, _LEAST_NEIGHBOURS = 0.7, 4

#: Seen from the place, no two successive neighbours by translation stand farther apart.
_WIDEST_GAP = math.radians(170)

#: An atom this near fills the place, though displaced; one off the lattice may have left it from
#: farther away. In neighbour distances.
_FILLED, _DISPLACED = 0.5, 0.85

#: A place this near to the frame's edge is not judged, in neighbour distances.
_RIM = 0.5

#: Atoms that tell how high one would be here.
_HOSTS = 8

#: Heights are known no better than this share: neighbours are not drawn exactly.
_MODEL_ERROR = 0.15

#: So many atoms around a place are drawn and taken away.
_DRAWN = 24

#: Pixels up to this many sigma away are looked at.
_RADIUS = 2.2

#: Neighbours with none opposite them count as so many with one.
_ALONE = 0.2

#: How well places are predicted is taken from so many atoms or more; their misses are cut at so
#: many standard deviations, and count beyond their own errors from so many standard errors on.
_ENOUGH, _CUT, _SURE = 12, 4.0, 3.0

#: Atoms below this signal-to-noise ratio are usually missed.
_SEEN = 3.5


@dataclass(frozen=True)
class FrameAtoms:
    """The atoms of one frame; arrays (N,), NaN where unknown."""

    points: Floats  # (N, 2)
    sublattice: Ints
    amplitude: Floats
    noise: Floats  # standard deviations of the amplitudes
    sigma: Floats
    background: Floats

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Whether all is known of each atom."""
        known = np.isfinite(self.amplitude) & np.isfinite(self.background)
        return np.asarray(known & np.isfinite(self.noise) & (self.sigma > 0))

    def select(self, rows: NDArray[np.bool_]) -> FrameAtoms:
        """Return some of the atoms."""
        return FrameAtoms(**{name: part[rows] for name, part in vars(self).items()})


@dataclass(frozen=True)
class EmptyPlaces:
    """Places without atoms; arrays (M,)."""

    points: Floats  # (M, 2)
    spread: Floats  # (M, 2): standard deviations of the positions
    sublattice: Ints
    support: Floats  # share of the neighbours by translation that are there

    def select(self, rows: NDArray[np.bool_]) -> EmptyPlaces:
        """Return some of the places."""
        return EmptyPlaces(**{name: part[rows] for name, part in vars(self).items()})


def empty_places(
    index: LatticeIndex,
    points: Floats,
    sublattice: Ints,
    spacing: float,
    box: tuple[Floats, Floats],
) -> EmptyPlaces:
    """Predict where atoms are missing in one frame.

    Parameters
    ----------
    index
        Places of the atoms.
    points
        Their positions (N, 2) in pixels.
    sublattice
        Their sublattices (N,).
    spacing
        Neighbour distance in pixels.
    box
        Least and largest y and x of the frame: neighbours beyond it are not asked for.

    Returns
    -------
    EmptyPlaces
        Only where the crystal surrounds the place: most of the eight neighbours by translation
        are there, on all sides. So there are none outside of an edge, and in a hole only those
        that its rim still surrounds.
    """
    on = np.flatnonzero(index.on_lattice)
    if not on.size:
        return EmptyPlaces(np.empty((0, 2)), np.empty((0, 2)), on, np.empty(0))
    site = np.column_stack([index.crystal[on], index.place[on]])
    asked = np.concatenate(
        [
            np.repeat(site, len(_STEPS), axis=0),
            (index.cell[on, None] + _STEPS[None]).reshape(-1, 2),
        ],
        axis=1,
    )
    key = _keys(np.concatenate([np.column_stack([site, index.cell[on]]), asked]))
    there = _lookup(key[: len(on)], key[len(on) :])
    from_atom, way = np.repeat(on, len(_STEPS)), np.tile(np.arange(len(_STEPS)), len(on))
    free = there < 0
    neighbour = _neighbour_sublattices(
        sublattice[from_atom[~free]], way[~free], sublattice[on[there[~free]]]
    )
    place = np.unique(key[len(on) :][free], return_inverse=True)[1]
    votes = _Votes(from_atom[free], way[free], place.astype(np.int64))
    mean, basis = votes.position(points, index.basis)
    surrounded, support = votes.surroundings(mean, basis, box)
    label = votes.label(neighbour, sublattice)
    filled = _Votes(from_atom[~free], way[~free], there[~free])
    sure = _filled_error(filled, points, index.basis, sublattice, on)
    spread = sure[np.where(label < 0, len(sure) - 1, label)]
    # with fewer neighbours by as much less sure; and with them on one side, the step there counts
    spread = spread * np.sqrt(len(_STEPS) / np.bincount(votes.place, votes.weights()))[:, None]
    spread = np.hypot(spread, votes.lever()[:, None] * _step_error(filled, points, index.basis))
    found = EmptyPlaces(mean, spread, label, support)
    low, high = box
    inner = ((mean >= low + _RIM * spacing) & (mean <= high - _RIM * spacing)).all(axis=1)
    keep = surrounded & inner & _is_free(mean, points, index, spacing)
    return _one_each(found.select(keep), spacing)


def _keys(rows: Ints) -> Ints:
    """One whole number for each different row (N, 4)."""
    low = rows.min(axis=0)
    span = rows.max(axis=0) - low + 1
    weights = np.concatenate([np.cumprod(span[::-1])[::-1][1:], [1]])
    return np.asarray((rows - low) @ weights, np.int64)


def _lookup(known: Ints, wanted: Ints) -> Ints:
    """Position of each wanted number among the known ones, -1 where it is not."""
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    return np.where(known[order[at]] == wanted, order[at], -1)


def _neighbour_sublattices(own: Ints, way: Ints, other: Ints) -> Ints:
    """Sublattice (8, K) to which each step usually leads from each sublattice."""
    count = int(max(own.max(initial=0), other.max(initial=0))) + 1
    table = np.zeros((len(_STEPS), count, count), np.int64)
    good = (own >= 0) & (other >= 0)
    np.add.at(table, (way[good], own[good], other[good]), 1)
    return np.where(table.any(axis=2), table.argmax(axis=2), -1)


class _Votes(NamedTuple):
    """What single atoms say of empty places beside them; arrays (V,)."""

    atom: Ints
    way: Ints  # number of the step from the atom to the place
    place: Ints

    def weights(self) -> Floats:
        """How much each one counts: of two opposite atoms, what is wrong of the step drops out."""
        there = np.zeros((int(self.place.max(initial=-1)) + 1, len(_STEPS)), bool)
        there[self.place, self.way] = True
        return np.where(there[self.place, len(_STEPS) - 1 - self.way], 1.0, _ALONE)

    def position(self, points: Floats, basis: Floats) -> tuple[Floats, Floats]:
        """Mean position (M, 2) of each place, and the translations there; 0 without votes."""
        weight = self.weights()
        total = np.maximum(np.bincount(self.place, weight), 1e-30)

        def mean(values: Floats) -> Floats:
            rows = [np.bincount(self.place, weight * part) / total for part in values.T]
            return np.stack(rows, axis=1)

        # the same translations for all: else opposite steps would not cancel
        here = mean(basis[self.atom].reshape(-1, 4)).reshape(-1, 2, 2)
        step = np.einsum("pi,pij->pj", _STEPS[self.way].astype(float), here[self.place])
        return mean(points[self.atom] + step), here

    def lever(self) -> Floats:
        """How many translations (M,) the neighbours of each place are off it, in the mean."""
        weight = self.weights()
        total = np.maximum(np.bincount(self.place, weight), 1e-30)
        return np.hypot(*(np.bincount(self.place, weight * p) for p in _STEPS[self.way].T)) / total

    def opposite(self, places: Ints) -> Ints:
        """Atoms (K, 4, 2) that stand opposite each other about places with all eight."""
        where = np.zeros((int(self.place.max(initial=-1)) + 1, len(_STEPS)), np.int64)
        where[self.place, self.way] = self.atom
        half = len(_STEPS) // 2
        return np.stack([where[places, :half], where[places, : half - 1 : -1]], axis=2)

    def surroundings(
        self, middle: Floats, basis: Floats, box: tuple[Floats, Floats]
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Whether the lattice is there on all sides of each place, and its share that is."""
        filled = np.zeros((len(middle), len(_STEPS)), bool)
        filled[self.place, len(_STEPS) - 1 - self.way] = True  # from the place to the atom
        away = np.einsum("ki,mij->mkj", _STEPS.astype(float), basis)
        target = middle[:, None] + away
        inside = ((target >= box[0]) & (target <= box[1])).all(axis=2)
        support = (filled & inside).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
        bearing = np.where(filled | ~inside, np.arctan2(away[..., 0], away[..., 1]), np.inf)
        bearing = np.sort(bearing, axis=1)
        closed = np.concatenate([bearing, np.full((len(middle), 1), np.inf)], axis=1)
        number = np.isfinite(bearing).sum(axis=1)
        closed[np.arange(len(middle)), number] = bearing[:, 0] + 2 * math.pi
        with np.errstate(invalid="ignore"):
            widest = np.nan_to_num(np.diff(closed, axis=1), nan=0.0, posinf=0.0).max(axis=1)
        good = (support >= _SURROUNDED) & (filled.sum(axis=1) >= _LEAST_NEIGHBOURS)
        return good & (widest < _WIDEST_GAP), support

    def label(self, neighbour: Ints, sublattice: Ints) -> Ints:
        """Sublattice (M,) of each place that most of its neighbours expect."""
        said = neighbour[self.way, np.maximum(sublattice[self.atom], 0)]
        said = np.where(sublattice[self.atom] >= 0, said, -1)
        votes = np.zeros((int(self.place.max()) + 1, neighbour.shape[1] + 1), np.int64)
        np.add.at(votes, (self.place, said + 1), 1)
        votes[:, 0] = 0
        return np.where(votes.any(axis=1), votes.argmax(axis=1) - 1, -1)


def _filled_error(
    votes: _Votes, points: Floats, basis: Floats, sublattice: Ints, on: Ints
) -> Floats:
    """How far off (sublattices + 1, 2) a place is that all eight neighbours predict.

    From the atoms that have all of them: the middles of the four opposite pairs scatter as the
    neighbours' own errors say. Where atoms lie farther from what is predicted than these and their
    own errors explain, the lattice itself is not even, and that counts, too. Where few atoms have
    all neighbours, the prediction's error is that of a mean of so many atoms. The last row is that
    of all sublattices; NaN where hardly an atom has neighbours.
    """
    number = np.bincount(votes.place, minlength=len(on))
    whole = number == len(_STEPS)
    full = np.flatnonzero(whole if whole.sum() >= _ENOUGH else number >= _LEAST_NEIGHBOURS)
    atom = on[full]
    if not full.size:
        return np.full((1, 2), np.nan)
    miss = votes.position(points, basis)[0][full] - points[atom]
    count = int(sublattice.max(initial=-1)) + 1
    groups = [*(sublattice[atom] == k for k in range(count)), np.ones(full.size, bool)]
    total = np.array([_mean_square(miss[mine]) for mine in groups])
    mates = float(np.mean(number[full]))
    variance = total / (1 + mates) * mates / len(_STEPS)
    if whole.sum() >= _ENOUGH:
        ends = votes.opposite(full)
        pairs = points[ends].mean(axis=2)
        own = _own_variance(pairs, sublattice[ends], count)
        scatter = pairs.var(axis=1, ddof=1) / len(pairs[0])
        for row, mine in enumerate(groups):
            if mine.sum() >= _ENOUGH:
                mean = scatter[mine].mean(axis=0)
                left = total[row] - own[row] - mean
                chance = np.hypot(total[row], own[row]) * math.sqrt(2 / mine.sum())
                variance[row] = mean + np.where(left > _SURE * chance, left, 0.0)
    return np.sqrt(np.where(np.isfinite(variance), variance, variance[-1]))


def _step_error(votes: _Votes, points: Floats, basis: Floats) -> Floats:
    """How far off (2,) a translation is, from atoms with all eight neighbours; 0 of few.

    Half the difference of opposite atoms is a translation, but for their own errors.
    """
    full = np.flatnonzero(np.bincount(votes.place) == len(_STEPS))
    if full.size < _ENOUGH:
        return np.zeros(2)
    ends = votes.opposite(full)
    here = votes.position(points, basis)[1][full]
    step = np.einsum("pi,mij->mpj", _STEPS[: len(_STEPS) // 2].astype(float), here)
    miss = (points[ends[:, :, 1]] - points[ends[:, :, 0]]) / 2 - step
    own = points[ends].mean(axis=2).var(axis=1, ddof=1).mean(axis=0)
    return np.asarray(np.sqrt(np.maximum((miss**2).mean(axis=(0, 1)) - own, 0.0)))


def _mean_square(miss: Floats) -> Floats:
    """Mean square (2,) of deviations (K, 2), far ones cut; NaN of few."""
    if len(miss) < _ENOUGH:
        return np.full(2, np.nan)
    far = _CUT * np.array([robust_sd(part) for part in miss.T])
    return np.asarray((np.minimum(np.abs(miss), far) ** 2).mean(axis=0))


def _own_variance(pairs: Floats, label: Ints, count: int) -> Floats:
    """Variance (count + 1, 2) of the atoms of each sublattice, and of all, about an even lattice.

    From the scatter of the middles (K, 4, 2) of pairs about the same place, both atoms of that
    sublattice by their labels (K, 4, 2); from all where few places have two such pairs.
    """
    rows = np.full((count + 1, 2), np.nan)
    rows[-1] = 2 * pairs.var(axis=1, ddof=1).mean(axis=0)
    for number in range(count):
        mine = (label == number).all(axis=2)
        several = mine.sum(axis=1) > 1
        if several.sum() >= _ENOUGH:
            some = np.ma.array(pairs[several], mask=np.repeat(~mine[several, :, None], 2, axis=2))
            rows[number] = 2 * np.asarray(some.var(axis=1, ddof=1).mean(axis=0))
    return np.where(np.isfinite(rows), rows, rows[-1])


def _is_free(
    places: Floats, points: Floats, index: LatticeIndex, spacing: float
) -> NDArray[np.bool_]:
    """Whether no atom fills the place, or has left it for one beside the lattice."""
    free = np.asarray(cKDTree(points).query(places)[0]) > _FILLED * spacing
    strange = points[~index.on_lattice]
    if len(strange):
        free &= np.asarray(cKDTree(strange).query(places)[0]) > _DISPLACED * spacing
    return free


def _one_each(found: EmptyPlaces, spacing: float) -> EmptyPlaces:
    """Of places that two crystals predict beside each other, the one with more neighbours."""
    if len(found.points) < 2:
        return found
    pairs = cKDTree(found.points).query_pairs(_FILLED * spacing, output_type="ndarray")
    keep = np.ones(len(found.points), bool)
    weaker = np.where(found.support[pairs[:, 0]] < found.support[pairs[:, 1]], *pairs.T)
    keep[weaker] = False
    return found.select(keep)


@dataclass(frozen=True)
class Look:
    """What a frame shows at some places; arrays (M,)."""

    amplitude: Floats
    noise: Floats
    sigma: Floats
    background: Floats
    chance: Floats  # that there is no atom


@dataclass(frozen=True)
class _Hosts:
    """What an atom would be like at each place, by medians over those around; arrays (M,)."""

    amplitude: Floats
    noise: Floats
    sigma: Floats
    background: Floats
    odds: Floats  # filled places of the sublattice for each empty one


def _hosts(atoms: FrameAtoms, places: EmptyPlaces) -> _Hosts:
    columns = {name: np.full(len(places.points), np.nan) for name in
               ("amplitude", "noise", "sigma", "background")}  # fmt: skip
    odds = np.full(len(places.points), np.nan)
    for number in np.unique(places.sublattice):
        mine = places.sublattice == number
        host = (atoms.sublattice == number) & np.isfinite(atoms.amplitude)
        odds[mine] = max((atoms.sublattice == number).sum(), 1) / mine.sum()
        if not host.any():
            continue
        count = min(_HOSTS, int(host.sum()))
        near = cKDTree(atoms.points[host]).query(places.points[mine], count)[1]
        near = np.reshape(near, (int(mine.sum()), count))
        for name, values in columns.items():
            values[mine] = np.median(vars(atoms)[name][host][near], axis=1)
    return _Hosts(**columns, odds=odds)


def look_at_places(image: Floats, atoms: FrameAtoms, places: EmptyPlaces) -> Look:
    """Measure what is at the places of one frame, all atoms taken away.

    Parameters
    ----------
    image
        The frame (Y, X), atoms bright.
    atoms
        Its atoms, all measured, with a background as in `image`.
    places
        Where to look.

    Returns
    -------
    Look
        ``amplitude``: height of a Gaussian at the place, by least squares on the background that
        the atoms around have; its standard deviation is theirs. ``chance``: probability that the
        place is empty, against an atom as high as its neighbours, when as many places of the
        sublattice are filled as were found filled.
    """
    hosts = _hosts(atoms, places)
    width = float(np.median(atoms.sigma))
    offset = np.arange(-math.ceil(_RADIUS * width), math.ceil(_RADIUS * width) + 1)
    index = np.rint(places.points).astype(int)[:, :, None] + offset  # (M, 2, W)
    rows, columns = (np.clip(index[:, k], 0, n - 1) for k, n in enumerate(image.shape))
    near = cKDTree(atoms.points).query(places.points, min(_DRAWN, len(atoms.points)))[1]
    others = _blobs(rows, columns, atoms.points[near], width)  # (M, K, W, W)
    drawn = np.einsum("mk,mkij->mij", atoms.amplitude[near], others)
    window = fill_missing(image)[rows[:, :, None], columns[:, None, :]] - drawn
    blob = _blobs(rows, columns, places.points[:, None], width)[:, 0]
    above = blob * (window - hosts.background[:, None, None])
    amplitude = above.sum(axis=(1, 2)) / (blob**2).sum(axis=(1, 2))
    error = np.hypot(hosts.noise, _MODEL_ERROR * hosts.amplitude)
    gain = (amplitude**2 - (amplitude - hosts.amplitude) ** 2) / (2 * error**2)
    chance = np.asarray(expit(-(gain + np.log(hosts.odds))))
    return Look(amplitude, hosts.noise, hosts.sigma, hosts.background, chance)


def _blobs(rows: Ints, columns: Ints, centre: Floats, width: float) -> Floats:
    """Gaussians of height 1 at centres (M, K, 2) in windows (M, W) of a frame: (M, K, W, W)."""
    dy = np.exp(-((rows[:, None] - centre[..., :1]) ** 2) / (2 * width**2))
    dx = np.exp(-((columns[:, None] - centre[..., 1:]) ** 2) / (2 * width**2))
    return np.asarray(dy[..., :, None] * dx[..., None, :])


def missed_share(atoms: FrameAtoms, places: EmptyPlaces) -> Floats:
    """Chance (M,) that an empty place is none, but an atom that was missed in the noise.

    Without the frame: from the signal-to-noise ratio of the atoms around, and the numbers of
    places that are filled and empty; NaN where no amplitudes are known.
    """
    hosts = _hosts(atoms, places)
    missed = hosts.odds * stats.norm.cdf(_SEEN - hosts.amplitude / hosts.noise)
    return np.asarray(np.clip(missed, 0.0, 1.0))
