"""How bright a host's atoms are across a frame: thickness, ground and illumination are uneven.

An atom is bright or dim against the host around it. What changes slowly over the frame is the
specimen's thickness or the microscope's, and no other element; a step is the border of another
phase.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.polynomial.legendre import legvander2d
from scipy.spatial import cKDTree
from skimage.filters import threshold_multiotsu

from napari_rvae import tables

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["slow_levels"]

#: An atom's surroundings: so many atoms, of which the middle half by brightness counts.
_AROUND = 16
#: A step is sharp in the median of so many.
_NEAREST = 7
#: Two kinds of atoms everywhere, as those of two sublattices: each has this share at least, and
#: together they explain so much of the variance.
_COMMON, _TWO_KINDS = 0.2, 0.85
#: A surface of degree p bends p - 1 times: so many neighbour distances from bend to bend at least.
_LEAST_WAVE = 5.0
#: Highest degree of a surface, and largest number of phases of different brightness.
_MOST_DEGREE, _MOST_PHASES = 6, 3
#: Each of so many parts of the atoms is foretold from the others; the simplest surface is taken
#: that is worse than the best by so many standard errors at most.
_FOLDS, _ERRORS = 4, 2.0
#: Rounds of least squares with weights.
_ROUNDS = 5
#: Rounds of telling phases, and the surface with them.
_MOST_ROUNDS = 30
#: Frames of a source by which the kind of surface is chosen, fewer if these have so many atoms; and
#: atoms that a surface is fitted to.
_FRAMES, _ENOUGH, _FITTED = 5, 4000, 2000
#: Cells of the histogram that thresholds between phases are found in.
_BINS = 64
#: Amplitudes below this share of the typical one count as so much.
_LEAST = 0.05


class _Kind(NamedTuple):
    """What the levels of a frame are described by."""

    phases: int  # of different brightness, with steps between
    degree: int  # of the polynomial surface that is common to all

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return (self.degree + 1) * (self.degree + 2) // 2 + self.phases - 1


class _Fit(NamedTuple):
    """A surface and the phases."""

    surface: Array  # coefficients
    offset: Array  # of each phase, the first is 0
    phase: Ids  # of each atom
    error: float  # mean square


def slow_levels(table: pd.DataFrame, amplitude: Array) -> Array:
    """Factor (N,) by which amplitudes vary slowly over each frame, about 1.

    The logarithms of the amplitudes, freed of the difference of two sublattices and of what is
    rare, are described by a polynomial surface, and by up to three phases between which the
    brightness steps. The degree and the number of phases are those that foretell atoms best from
    others (four-fold cross-validation over the frames of a source, with the loss of a Cauchy
    distribution), or the simplest that are as good within twice the standard error (L. Breiman et
    al., Classification and Regression Trees, 1984). The factor is that of the surface: steps stay.

    Parameters
    ----------
    table
        Sites table.
    amplitude
        Amplitude (N,) of each site, NaN where it is not known.

    Returns
    -------
    ndarray
        1 throughout where nothing varies, or there are too few atoms to tell.
    """
    level = np.ones(len(table))
    points = table[["y", "x"]].to_numpy(float)
    known = np.isfinite(points).all(axis=1) & (amplitude > 0)
    usable = known & (table["kind"] != "vacancy").to_numpy()
    groups = tables.group_rows(table)
    for source in dict.fromkeys(name for name, _, _ in groups):
        frames = [rows[known[rows]] for name, _, rows in groups if name == source]
        atoms = [rows[usable[rows]] for rows in frames]
        kind = _chosen(points, amplitude, atoms)
        if kind.degree == 0:
            continue
        for rows, own in zip(frames, atoms, strict=True):
            if len(own) >= max(2 * kind.parameters, 2 * _AROUND):
                level[rows] = _factor(points, amplitude, own, rows, kind)
    return level


def _factor(points: Array, amplitude: Array, atoms: Ids, rows: Ids, kind: _Kind) -> Array:
    """Factor of each of some rows of one frame, fitted to its atoms."""
    box, logarithm = _Box.around(points[atoms]), _logarithm(amplitude[atoms])
    smooth = _medians(points[atoms], logarithm - _sublattice_offset(points[atoms], logarithm))
    picked = _picked(len(atoms), _FITTED)
    fitted = points[atoms][picked]
    fit = _fitted(fitted, box.terms(fitted, kind.degree), smooth[picked], kind)
    # beyond the atoms a polynomial means nothing
    log_level = box.terms(points[rows], kind.degree) @ fit.surface
    inside = box.terms(points[atoms], kind.degree) @ fit.surface
    return np.exp(np.clip(log_level, inside.min(), inside.max()) - np.median(inside))


def _chosen(points: Array, amplitude: Array, frames: list[Ids]) -> _Kind:
    """Simplest surface that foretells atoms from others as well as the best, within the error."""
    frames = [rows for rows in frames if len(rows) >= 4 * _AROUND]
    if not frames:
        return _Kind(1, 0)
    typical = float(np.median([len(rows) for rows in frames]))
    frames = [frames[k] for k in _picked(len(frames), max(min(int(_ENOUGH / typical), _FRAMES), 1))]
    side = math.sqrt(typical)
    degrees = range(min(_MOST_DEGREE, int(side / _LEAST_WAVE)) + 1)
    kinds = [_Kind(phases, degree) for phases in range(1, _MOST_PHASES + 1) for degree in degrees]
    kinds.sort(key=lambda kind: kind.parameters)
    loss = np.concatenate([_foretold(points[rows], amplitude[rows], kinds) for rows in frames])
    worse = loss - loss[:, [int(np.argmin(loss.mean(axis=0)))]]
    error = worse.std(axis=0) / math.sqrt(len(loss))
    return kinds[int(np.argmax(worse.mean(axis=0) <= _ERRORS * error))]


def _foretold(points: Array, amplitude: Array, kinds: list[_Kind]) -> Array:
    """Loss (N, K) of each atom by each kind of surface, fitted to atoms of which it is none."""
    picked = _picked(len(points), _FITTED)
    logarithm = _logarithm(amplitude)
    values = (logarithm - _sublattice_offset(points, logarithm))[picked]
    points = points[picked]
    box, fold = _Box.around(points), np.random.default_rng(0).permutation(len(points)) % _FOLDS
    off = np.zeros((len(points), len(kinds)))
    for number in range(_FOLDS):
        seen, other = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        tree = cKDTree(points[seen])
        smooth = _medians(points[seen], values[seen])
        nearest = tree.query(points[other], 3)[1]
        for k, kind in enumerate(kinds):
            own, there = (box.terms(points[rows], kind.degree) for rows in (seen, other))
            fit = _fitted(points[seen], own, smooth, kind)
            told = np.median(fit.offset[fit.phase[nearest]], axis=1)
            off[other, k] = values[other] - there @ fit.surface - told
    noise = 1.4826 * float(np.median(np.abs(off), axis=0).min())
    # a few atoms of another element, and those at a step, must not decide
    return np.log1p((off / max(noise, 1e-6)) ** 2)


def _fitted(points: Array, terms: Array, brightness: Array, kind: _Kind) -> _Fit:
    """Fit a surface and phases by least squares; the better one of two beginnings."""
    plain = np.asarray(np.linalg.lstsq(terms, brightness, rcond=None)[0], np.float64)
    flat = np.zeros(len(brightness), np.int64)
    if kind.phases == 1:
        error = float(np.mean((brightness - terms @ plain) ** 2))
        return _Fit(plain, np.zeros(1), flat, error)
    starts = (plain, _beside_steps(points, terms, brightness))
    begun = [_with_phases(terms, brightness, kind, start) for start in starts]
    return min(begun, key=lambda fit: fit.error)


def _beside_steps(points: Array, terms: Array, brightness: Array) -> Array:
    """Coefficients of the surface whose rise between near atoms is right for most of them.

    Least absolute deviations, by least squares with weights: pairs on both sides of a step are few.
    """
    near = np.asarray(cKDTree(points).query(points, min(_NEAREST + 6, len(points)))[1])
    near = near.reshape(len(points), -1)[:, _NEAREST:]
    here, there = np.repeat(np.arange(len(points)), near.shape[1]), near.ravel()
    rise, change = terms[here, 1:] - terms[there, 1:], brightness[here] - brightness[there]
    slope: Array = np.zeros(rise.shape[1])
    weight: Array = np.ones(len(change))
    for _ in range(_ROUNDS if slope.size else 0):
        weighted = rise * weight[:, None]
        square = weighted.T @ rise + 1e-9 * np.eye(len(slope))
        slope = np.asarray(np.linalg.solve(square, weighted.T @ change), np.float64)
        off = np.abs(change - rise @ slope)
        weight = 1 / np.maximum(off, 0.1 * np.median(off) + 1e-9)
    surface = np.append(0.0, slope)
    surface[0] = np.median(brightness - terms @ surface)
    return surface


def _with_phases(terms: Array, brightness: Array, kind: _Kind, surface: Array) -> _Fit:
    """Tell phases by the brightness that a surface leaves, fit the surface anew, and so on."""
    phase = _phases(brightness - terms @ surface, kind.phases)
    for _ in range(_MOST_ROUNDS):
        member = (phase[:, None] == np.arange(1, kind.phases)).astype(float)
        both = np.column_stack([terms, member])
        found = np.linalg.lstsq(both, brightness, rcond=None)[0]
        surface, offset = found[: terms.shape[1]], np.append(0.0, found[terms.shape[1] :])
        left = brightness - terms @ surface
        error = float(np.mean((left - offset[phase]) ** 2))
        told = np.abs(left[:, None] - offset).argmin(axis=1)
        if (told == phase).all():  # comes soon, but for ties that rounding breaks
            break
        phase = told
    return _Fit(surface, offset, phase, error)


def _phases(values: Array, count: int) -> Ids:
    """Phase of each value, by thresholds that make the spread within least (N. Otsu, 1979)."""
    # equal values but for their last digits are in one bin
    count = min(count, int(np.count_nonzero(np.histogram(values, _BINS)[0])))
    if count < 2:
        return np.zeros(len(values), np.int64)
    phase: Ids = np.digitize(values, threshold_multiotsu(values, count, nbins=_BINS)).astype(int)
    return phase


def _medians(points: Array, values: Array) -> Array:
    """Medians (N,) of an atom and those nearest: unlike means they leave a step sharp."""
    near = cKDTree(points).query(points, min(_NEAREST, len(points)))[1].reshape(len(points), -1)
    middle: Array = np.median(values[near], axis=1)
    return middle


def _sublattice_offset(points: Array, values: Array) -> Array:
    """How far two kinds of atoms, both common, are from their mean; 0 where there is one kind.

    Of one normal distribution the halves explain 0.64 of the variance, of any with one mode at
    most 0.75.
    """
    near = cKDTree(points).query(points, min(_AROUND, len(points)))[1].reshape(len(points), -1)
    around, cut = np.sort(values[near], axis=1), near.shape[1] // 4
    off = values - around[:, cut : near.shape[1] - cut].mean(axis=1)
    inner = np.clip(off, *np.quantile(off, [0.02, 0.98]))
    upper = _phases(inner, 2) == 1
    share = float(upper.mean())
    if not _COMMON <= share <= 1 - _COMMON:
        return np.zeros_like(off)
    offset = np.where(upper, np.median(off[upper]), np.median(off[~upper]))
    between = share * (1 - share) * float(inner[upper].mean() - inner[~upper].mean()) ** 2
    return offset if between > _TWO_KINDS * inner.var() else np.zeros_like(off)


def _logarithm(amplitude: Array) -> Array:
    """Logarithm of amplitudes over the typical one."""
    relative: Array = np.log(np.maximum(amplitude / np.median(amplitude), _LEAST))
    return relative


def _picked(count: int, most: int) -> Ids:
    """Numbers of at most so many of `count` things, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


class _Box(NamedTuple):
    """Rectangle in which polynomials are made."""

    middle: Array  # (2,)
    half: Array  # (2,)

    @classmethod
    def around(cls, points: Array) -> _Box:
        """The smallest one that holds the points (N, 2)."""
        low, high = points.min(axis=0), points.max(axis=0)
        return cls((low + high) / 2, np.maximum((high - low) / 2, 1e-9))

    def terms(self, points: Array, degree: int) -> Array:
        """Legendre polynomials (N, K) of up to that degree at points (N, 2)."""
        y, x = np.clip((points - self.middle) / self.half, -1.0, 1.0).T
        orders = np.add.outer(np.arange(degree + 1), np.arange(degree + 1)).ravel()
        terms: Array = legvander2d(y, x, [degree, degree])[:, orders <= degree]
        return terms
