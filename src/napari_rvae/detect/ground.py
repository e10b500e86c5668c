"""What the ground beneath atoms is, by the backgrounds that each of them tells by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_rvae.device import bands, side_by_side

__all__ = ["Ground", "shared_ground"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: So many atoms are looked at in one go.
_GO = 4096

#: Values so many standard deviations off the middle of those around are cut.
_FAR = 2.5

#: Means over neighbours are taken so many times, each of them of those before: planes through 14
#: become such through about 60.
_WIDER = 3

#: What is finer counts as far as its mean square around there exceeds that of noise by so many of
#: the latter's standard deviations: a mean square has noise itself.
_DOUBT = 2.0


class Ground(NamedTuple):
    """The ground beneath atoms, in the units of their backgrounds.

    Parameters
    ----------
    level
        Height (N,).
    slope
        Growth (N, 2) per pixel along y and x.
    variance
        Variance (N,) of an atom's true background about the height: where neighbours agree, that
        of the height alone.
    """

    level: Floats
    slope: Floats
    variance: Floats


def shared_ground(points: Floats, value: Floats, variance: Floats, mates: Ints) -> Ground:
    """Tell the ground from the backgrounds of all atoms, as finely as it is bumpy.

    Its coarsest picture is a mean of planes that runs over many atoms. What planes through fewer
    atoms add to that counts as far as its mean square around there exceeds what noise alone would
    add (the filter of N. Wiener, its spectrum replaced by local means: empirical Bayes), scale by
    scale, and so does what bends within the smallest planes.

    Parameters
    ----------
    points
        Positions (N, 2) of the atoms.
    value, variance
        Background (N,) that each tells by itself, and its variance.
    mates
        Numbers (N, K) of the nearest other atoms of each.

    Returns
    -------
    Ground
        Values far off those around (vacancies filled by a neighbour's tails, dirt) count less.
    """
    mean, drawn = _means(mates), np.random.default_rng(0).normal(size=len(mates))
    noise = mean @ variance
    slope, wide = _slope(points, value, noise, mates, mean, drawn)
    levels, known = [_heights(points, value, slope, mates)], [drawn[mates].mean(axis=1)]
    for _ in range(_WIDER):
        levels.append(_wider(points, levels[-1], wide, mean))
        known.append(mean @ known[-1])
    level, error = _as_fine_as_told(levels, known, noise, mean)
    bend = _cut_means(value - level, mates)
    share, own = _share(bend, (drawn - known[0])[mates].mean(axis=1), noise, mean, 1)
    level, error = level + share * bend, error + share * own
    return Ground(level, slope, error + _apart(value - level, variance, mean, drawn))


def _each(work: Callable[[slice], tuple[Floats, ...]], count: int) -> list[Floats]:
    """What some work says of all atoms, part by part."""
    parts = bands(count, _GO)
    looks = side_by_side(work, parts, most=len(parts))
    return [np.concatenate(column) for column in zip(*looks, strict=True)]


def _slope(
    points: Floats,
    value: Floats,
    noise: Floats,
    mates: Ints,
    mean: sparse.csr_array,
    drawn: Floats,
) -> tuple[Floats, Floats]:
    """Slope (N, 2) of a value about each point, as finely as its mates tell it.

    Least squares, with values far from the mates' median cut.
    """

    def tilt(part: slice) -> tuple[Floats, Floats]:
        apart = points[mates[part]] - points[part, None]
        slopes = _slopes(apart, np.stack([_cut(value[mates[part]]), drawn[mates[part]]], axis=1))
        return slopes[:, 0], slopes[:, 1]

    first, known = _each(tilt, len(points))
    slopes, drawn_slopes = [first], [known]
    for _ in range(_WIDER):
        slopes.append(mean @ slopes[-1])
        drawn_slopes.append(mean @ drawn_slopes[-1])
    return _as_fine_as_told(slopes, drawn_slopes, noise, mean)[0], slopes[-1]


def _heights(points: Floats, value: Floats, slope: Floats, mates: Ints) -> Floats:
    """Heights (N,) of planes of given slopes through the mates."""

    def height(part: slice) -> tuple[Floats]:
        apart = points[mates[part]] - points[part, None]
        flat = value[mates[part]] - np.einsum("nki,ni->nk", apart, slope[part])
        return (_cut(flat).mean(axis=1),)

    return _each(height, len(points))[0]


def _means(mates: Ints) -> sparse.csr_array:
    """Matrix (N, N) that takes the mean over each atom and its mates."""
    count, each = len(mates), mates.shape[1] + 1
    near = np.concatenate([np.arange(count)[:, None], mates], axis=1)
    share = np.full(near.size, 1 / each)
    start = np.arange(0, near.size + 1, each)
    return sparse.csr_array((share, near.ravel(), start), shape=(count, count))


def _wider(points: Floats, level: Floats, slope: Floats, mean: sparse.csr_array) -> Floats:
    """Mean (N,) over each atom and its mates, which lie on one side of it at a rim."""
    aside = points - mean @ points
    return np.asarray(mean @ level + (aside * slope).sum(axis=1))


def _as_fine_as_told(
    scales: list[Floats], drawn: list[Floats], noise: Floats, mean: sparse.csr_array
) -> tuple[Floats, Floats]:
    """The widest of several scales with what each finer one adds, as far as noise does not.

    How much of the noise each scale keeps is told by what becomes of noise that was drawn with
    variance 1: it depends on how many mates neighbours share. `noise` (N,) is the variance of the
    values; the answer's variance is returned, too.
    """
    result, error = scales[-1], float(np.mean(_square(drawn[-1]))) * noise
    for number in range(len(scales) - 1, 0, -1):
        detail = scales[number - 1] - scales[number]
        share, own = _share(detail, drawn[number - 1] - drawn[number], noise, mean, number)
        result = result + (share * detail.T).T
        error = error + share * own
    return result, error


def _square(value: Floats) -> Floats:
    """Squares (N,) of values (N,), or of lengths of vectors (N, 2)."""
    return value**2 if value.ndim == 1 else (value**2).sum(axis=1)


def _share(
    detail: Floats, drawn: Floats, noise: Floats, mean: sparse.csr_array, times: int
) -> tuple[Floats, Floats]:
    """How far a detail (N,) counts, by its mean square around there, and its noise (N,)."""
    square, usual = _square(detail), _square(drawn)
    gain = float(np.mean(usual))
    for _ in range(times):
        square, usual = mean @ square, mean @ usual
    doubt = gain + _DOUBT * float(np.std(usual))
    share = np.maximum(square - doubt * noise, 0) / np.maximum(square, 1e-30)
    return np.asarray(share), gain * noise


def _apart(rest: Floats, variance: Floats, mean: sparse.csr_array, drawn: Floats) -> Floats:
    """How far (N,) true backgrounds are from the ground, as a variance, by what is left of them."""
    usual = float(np.median(variance))
    everywhere = (1.4826 * float(np.median(np.abs(rest)))) ** 2 - usual
    square, noise, chance = (mean @ (mean @ part) for part in (rest**2, variance, drawn**2))
    here = square - (1 + _DOUBT * float(np.std(chance))) * noise
    return np.asarray(np.maximum(np.maximum(here, everywhere), 0))


def _cut_means(value: Floats, mates: Ints) -> Floats:
    """Mean (N,) over each atom's mates, of which none is far from their middle."""
    return _each(lambda part: (_cut(value[mates[part]]).mean(axis=1),), len(value))[0]


def _cut(values: Floats) -> Floats:
    """Values (n, K) of which none is far from the middle of its row."""
    usual = _medians(values)[:, None]
    limit = _FAR * 1.4826 * _medians(np.abs(values - usual))[:, None]
    return np.clip(values, usual - limit, usual + limit)


def _slopes(apart: Floats, values: Floats) -> Floats:
    """Slopes (n, S, 2) of values (n, S, K) at steps (n, K, 2), by least squares."""
    count = apart.shape[1]
    arms = apart - (np.full(count, 1 / count) @ apart)[:, None]
    spread = arms.transpose(0, 2, 1) @ arms
    spread += 1e-3 * np.trace(spread, axis1=1, axis2=2)[:, None, None] * np.eye(2)  # in one line
    return np.asarray(values @ arms @ np.linalg.inv(spread))


def _medians(values: Floats) -> Floats:
    """Median (n,) of each short row (n, K), five times as fast as :func:`numpy.median`."""
    ordered, size = np.sort(values, axis=1), values.shape[1]
    return np.asarray((ordered[:, (size - 1) // 2] + ordered[:, size // 2]) / 2)
