"""What divides a unit into several states: classes of the lattice angle, or the sublattice.

Latents do not change when a crop is turned, so a dopant that hops to the other sublattice stays in
its unit. The hop is in the angle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import i0e, i1e

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Class", "Divide", "angle_classes", "angle_period", "by_angle", "by_sublattice"]

#: Share of angles that belong to no class.
_STRAY = 0.05
#: A class has this share of its unit and so many members.
_LEAST_SHARE, _LEAST_COUNT = 0.05, 5
#: Classes are apart if the density between them falls below this share of the lower one's top.
_VALLEY = 0.3
#: Neighbouring classes are this share of the period apart, sublattices are by a half. What is
#: closer is a tilt, or the host's picture on another symmetry, where several angles fit.
_LEAST_APART = 0.3
#: Classes that change in place at more than this share of what chance would do are no states.
_MOST_TURNS = 0.4
#: Concentrations of a class; the highest stands for 2 degrees at three-fold symmetry.
_LEAST_KAPPA, _MOST_KAPPA = 1.0, 100.0
#: Chance that a sublattice is wrong.
_WRONG = 0.02
_CELLS = 360


class Class(NamedTuple):
    """One class of a unit."""

    label: str
    angle: float  # middle in radians, NaN for a sublattice
    probability: Array  # (R,) that a site of the unit is in the class


#: Takes the probability (R,) of a unit and the rows (R,) that count, and gives the unit's classes;
#: none where there is but one.
Divide = Callable[["Array", "Mask"], list[Class]]


def by_sublattice(sublattice: Ids) -> Divide:
    """Divide units by the sublattice (R,), -1 = unknown."""

    def divide(share: Array, rows: Mask) -> list[Class]:
        mine = rows & (share > 0.5) & (sublattice >= 0)
        numbers, count = np.unique(sublattice[mine], return_counts=True)
        numbers = numbers[count >= max(_LEAST_COUNT, _LEAST_SHARE * count.sum())]
        if len(numbers) < 2:
            return []
        member = np.equal(sublattice[:, None], numbers)
        known = member.any(axis=1, keepdims=True)
        each = np.where(known, (1 - _WRONG) * member + _WRONG / len(numbers), 1 / len(numbers))
        return [Class(f"[{n}]", math.nan, each[:, k]) for k, n in enumerate(numbers)]

    return divide


def by_angle(angle: Array, stayed: Ids, max_classes: int) -> Divide:
    """Divide units by the class of the lattice angle.

    Parameters
    ----------
    angle
        Lattice angles (R,) in radians, NaN = unknown.
    stayed
        Rows (M, 2) that are successive sightings of an atom that stayed at its place. Where the
        class changes between them nearly as often as by chance, several angles fit one picture (a
        symmetry that the lattice does not have), and the unit is not divided.
    max_classes
        Most classes of a unit.
    """
    period = angle_period(angle)

    def divide(share: Array, rows: Mask) -> list[Class]:
        mine = rows & (share > 0.5) & np.isfinite(angle)
        if mine.sum() < 2 * _LEAST_COUNT:
            return []
        middle, kappa, weight = angle_classes(angle[mine], period, max_classes)
        if len(middle) < 2:
            return []
        turns = np.nan_to_num(angle) * (2 * math.pi / period)
        each = _shares(turns, middle * (2 * math.pi / period), kappa, weight)
        if _take_turns(each.argmax(axis=1), stayed[mine[stayed].all(axis=1)]):
            return []
        each[~np.isfinite(angle)] = weight
        return [
            Class(f"[{math.degrees(m):.0f}°]", float(m), each[:, k]) for k, m in enumerate(middle)
        ]

    return divide


def _take_turns(label: Ids, stayed: Ids) -> bool:
    """Whether labels (R,) change between rows (M, 2) nearly as often as by chance."""
    before, after = label[stayed[:, 0]], label[stayed[:, 1]]
    share = np.bincount(np.concatenate([before, after])) / max(2 * len(stayed), 1)
    by_chance = 1 - np.sum(share**2)
    return bool(len(stayed) and np.mean(before != after) > _MOST_TURNS * by_chance)


def angle_period(angle: Array) -> float:
    """Period by which lattice angles were folded: two pi over 6, 4, 3, 2 or 1, from their range.

    Angles that fill less than their range look as if they were folded further; the classes are the
    same then.
    """
    known = np.abs(angle[np.isfinite(angle)])
    most = float(known.max()) if known.size else math.pi
    for order in (6, 4, 3, 2):
        if most <= math.pi / order + 1e-6:
            return 2 * math.pi / order
    return 2 * math.pi


def angle_classes(angle: Array, period: float, max_classes: int) -> tuple[Array, Array, Array]:
    """Classes of angles: a mixture of von Mises distributions and a uniform one.

    The number of classes is that of the lowest Bayesian information criterion among those whose
    classes are apart: a valley lies between each two.

    Parameters
    ----------
    angle
        Angles (M,) in radians, finite.
    period
        Angles that differ by this are the same.
    max_classes
        Most classes.

    Returns
    -------
    tuple of ndarray
        Middles (C,) of the classes in radians, ascending, concentrations and weights.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.kinetics.divisions import angle_classes
    >>> noise = np.random.default_rng(0).normal(0, 0.1, 100)
    >>> middle, _, _ = angle_classes(noise + np.repeat([-0.5, 0.55], 50), 2 * np.pi / 3, 2)
    >>> len(middle)
    2
    """
    turns = angle * (2 * math.pi / period)
    best = _mixture(turns, 1)
    for number in range(2, max_classes + 1):
        found = _mixture(turns, number)
        if found[0] < best[0] and _are_apart(*found[1:], len(turns)):
            best = found
    _, middle, kappa, weight = best
    order = np.argsort(middle)
    return middle[order] * period / (2 * math.pi), kappa[order], weight[order]


def _density(turns: Array, middle: Array, kappa: Array) -> Array:
    """Density (M, C) of each class."""
    close = kappa * (np.cos(turns[..., None] - middle) - 1)
    return np.asarray(np.exp(close) / (2 * math.pi * i0e(kappa)))


def _shares(turns: Array, middle: Array, kappa: Array, weight: Array) -> Array:
    """Probability (M, C) of each class, where a stray angle says nothing."""
    inside = _density(turns, middle, kappa) * weight
    stray = _STRAY / (2 * math.pi)
    mixed = (1 - _STRAY) * inside + stray * weight
    return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))


def _mixture(turns: Array, number: int) -> tuple[float, Array, Array, Array]:
    """Criterion, middles, concentrations and weights of a mixture of `number` classes."""
    count, _ = np.histogram(turns % (2 * math.pi), _CELLS, (0, 2 * math.pi))
    spread = np.exp(-0.5 * (np.minimum(np.arange(_CELLS), _CELLS - np.arange(_CELLS)) / 10) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(count) * np.fft.rfft(spread), _CELLS)
    middle = np.empty(number)
    for k in range(number):  # begin at the highest tops that are not near one another
        middle[k] = (int(smooth.argmax()) + 0.5) * 2 * math.pi / _CELLS
        away = np.abs(np.angle(np.exp(1j * (np.arange(_CELLS) * 2 * math.pi / _CELLS - middle[k]))))
        smooth = np.where(away < 0.8 * math.pi / number, -1.0, smooth)
    kappa, weight = np.full(number, 10.0), np.full(number, 1 / number)
    total = np.ones(len(turns))
    for _ in range(50):
        inside = (1 - _STRAY) * weight * _density(turns, middle, kappa)
        total = inside.sum(axis=1) + _STRAY / (2 * math.pi)
        member = inside / total[:, None]
        size = member.sum(axis=0) + 1e-9
        resultant = (member * np.exp(1j * turns)[:, None]).sum(axis=0) / size
        middle, weight = np.angle(resultant), size / size.sum()
        kappa = _concentration(np.abs(resultant))
    criterion = -2 * np.log(total).sum() + (3 * number - 1) * math.log(max(len(turns), 2))
    return float(criterion), middle, kappa, weight


def _concentration(length: Array) -> Array:
    """Concentration of a von Mises distribution with this mean resultant length."""
    length = np.clip(length, 0, 1 - 1e-9)
    guess = length * (2 - length**2) / (1 - length**2)  # Banerjee and others, 2005
    ratio = i1e(guess) / i0e(guess)
    slope = 1 - ratio**2 - ratio / np.maximum(guess, 1e-9)
    better = guess - (ratio - length) / np.where(np.abs(slope) > 1e-12, slope, 1.0)
    return np.clip(better, _LEAST_KAPPA, _MOST_KAPPA)


def _are_apart(middle: Array, kappa: Array, weight: Array, count: int) -> bool:
    """Whether every class is large enough, and a valley lies between each two neighbours."""
    if weight.min() * count < _LEAST_COUNT or weight.min() < _LEAST_SHARE:
        return False
    order = np.argsort(middle)
    for one, two in zip(order, np.roll(order, -1), strict=True):
        gap = (middle[two] - middle[one]) % (2 * math.pi)
        if gap < 2 * math.pi * _LEAST_APART:
            return False
        path = middle[one] + np.linspace(0, gap, 60)
        density = (weight * _density(path, middle, kappa)).sum(axis=1)
        if density.min() > _VALLEY * min(density[0], density[-1]):
            return False
    return True
