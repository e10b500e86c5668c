"""Sublattices of a movie: of the places of the cell, those that brightness splits, and numbers.

Geometry comes first: places of the cell that no translation takes to each other are different
sublattices. Where the places alone make a finer lattice than the atoms do (both columns of a
perovskite stand on one square lattice), every other place being brighter tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from napari_rvae.detect.indexing import LatticeIndex

__all__ = ["SublatticeNumbers", "brightness_levels", "split_by_brightness"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The ways in which every other place of a lattice can differ: by rows along either translation,
#: or as on a chessboard; and the two translations of each half, in the whole's.
_HALVINGS = (
    (np.array([1, 0]), np.array([[2, 0], [0, 1]])),
    (np.array([0, 1]), np.array([[1, 0], [0, 2]])),
    (np.array([1, 1]), np.array([[1, 1], [1, -1]])),
)

#: Halves are halved once more at most.
_DEPTH = 2

#: Neighbours over which brightness is compared.
_AROUND = 24

#: Brightness alternates when it does so by this share of the mean, and this many standard errors.
_LEAST_CONTRAST, _SURE = 0.04, 5.0

#: Fewer atoms are not split.
_LEAST_ATOMS = 24

#: Orders of the bond directions that tell sublattices apart.
_ORDERS = np.arange(1, 7)

#: Crystals of one orientation have signatures that differ by less than this.
_SAME_ORIENTATION = 0.2

#: Sublattices whose brightness differs by less than this share are as bright.
_AS_BRIGHT = 0.05


def split_by_brightness(index: LatticeIndex, points: Floats, amplitude: Floats) -> Ints:
    """Sublattice (N,) of each atom within its crystal, -1 = none.

    Parameters
    ----------
    index
        Places of the atoms.
    points
        Their positions (N, 2).
    amplitude
        Their heights (N,), NaN where unknown.

    Returns
    -------
    ndarray
        Whole numbers in no meaningful order.
    """
    label = np.full(len(points), -1, np.int64)
    following = 0
    for crystal in range(int(index.crystal.max(initial=-1)) + 1):
        for place in range(int(index.place[index.crystal == crystal].max(initial=-1)) + 1):
            atoms = np.flatnonzero((index.crystal == crystal) & (index.place == place))
            part = _halved(index.cell[atoms], points[atoms], amplitude[atoms])
            label[atoms] = following + part
            following += int(part.max(initial=-1)) + 1
    return label


def _halved(cell: Ints, points: Floats, amplitude: Floats, depth: int = _DEPTH) -> Ints:
    """Number (N,) of the part of a lattice that each atom belongs to, from 0."""
    part = np.zeros(len(cell), np.int64)
    known = np.isfinite(amplitude)
    if depth == 0 or known.sum() < _LEAST_ATOMS:
        return part
    near = _nearest(points, points[known], _AROUND)
    capped = np.minimum(amplitude[known], 3 * np.median(amplitude[known]))
    relative = amplitude / np.maximum(capped[near].mean(axis=1), 1e-30)
    best, strength = None, 0.0
    for way, halves in _HALVINGS:
        sign = 1 - 2 * ((cell @ way) % 2)
        wave = np.clip(relative - 1, -1, 1) * sign
        local = wave[known][near].mean(axis=1)
        if _alternates(wave[known], local[known]) and (np.median(np.abs(local)) > strength):
            strength = float(np.median(np.abs(local)))
            best = np.where(local * sign > 0, 0, 1), halves
    if best is None:
        return part
    half, halves = best
    following = 0
    for k in (0, 1):
        mine = np.flatnonzero(half == k)
        coarse = np.floor(cell[mine] @ np.linalg.inv(halves) + 1e-6).astype(np.int64)
        finer = _halved(coarse, points[mine], amplitude[mine], depth - 1)
        part[mine] = following + finer
        following += int(finer.max(initial=-1)) + 1
    return part


def _nearest(points: Floats, known: Floats, count: int) -> Ints:
    """Numbers (N, K) of the known points nearest to each point."""
    count = min(count, len(known))
    return np.asarray(cKDTree(known).query(points, count)[1], np.int64).reshape(len(points), count)


def _alternates(wave: Floats, local: Floats) -> bool:
    """Whether brightness alternates from place to place, beyond chance."""
    contrast = float(np.median(np.abs(local)))
    # not a robust one: dopants scatter the local means, too
    spread = float(np.sqrt(np.mean((wave - local) ** 2)))
    error = 0.6745 * spread / np.sqrt(_AROUND)
    return contrast > _LEAST_CONTRAST and contrast > _SURE * error


class _Signature(NamedTuple):
    """What the sublattices of one crystal look like."""

    bonds: NDArray[np.complex128]  # (K, M): mean of exp(i m phi) over the bonds
    brightness: Floats  # (K,): logarithm, over the crystal's mean

    def cost(self, other: _Signature) -> Floats:
        """How unlike each two sublattices are (K, K')."""
        bonds = np.abs(self.bonds[:, None] - other.bonds[None]) ** 2
        light = (self.brightness[:, None] - other.brightness[None]) ** 2
        return np.asarray(bonds.sum(axis=2) + np.nan_to_num(light))


def _signature(
    index: LatticeIndex, label: Ints, labels: Ints, amplitude: Floats, spacing: float
) -> _Signature:
    """Signature of the sublattices `labels` (K,) of one crystal."""
    first, second, step = index.pairs
    own = np.searchsorted(labels, label)
    own = np.where(np.isin(label, labels), own, -1)
    near = (own[first] >= 0) & (own[second] >= 0)
    number, step = own[first[near]], step[near] * spacing / index.scale
    weight = np.exp(-2.0 * (step**2).sum(axis=1))
    phi = np.arctan2(-step[:, 0], step[:, 1])
    wave = weight[:, None] * np.exp(1j * _ORDERS * phi[:, None])
    total = np.zeros((len(labels), len(_ORDERS)), np.complex128)
    np.add.at(total, number, wave)
    size = np.bincount(number, weight, minlength=len(labels))
    known = np.isfinite(amplitude)
    light = np.array([np.median(amplitude[(own == k) & known]) if ((own == k) & known).any()
                      else np.nan for k in range(len(labels))])  # fmt: skip
    brightness = np.log(np.maximum(light, 1e-30))
    return _Signature(total / np.maximum(size, 1e-9)[:, None], brightness - np.mean(brightness))


@dataclass
class SublatticeNumbers:
    """Numbers for sublattices that stay the same over the frames of a movie.

    Crystals that have been seen are remembered by the directions of their bonds and their
    brightness; the sublattices of a new one get the numbers of those that they are most like.
    """

    known: list[tuple[_Signature, Ints]] = field(default_factory=list)

    def number(self, index: LatticeIndex, label: Ints, amplitude: Floats, spacing: float) -> Ints:
        """Number (N,) of the sublattice of each atom of the next frame, -1 = none.

        Parameters
        ----------
        index
            Lattices of the frame.
        label
            Sublattices as :func:`split_by_brightness` gives them.
        amplitude
            Heights (N,).
        spacing
            Neighbour distance in pixels.
        """
        result = np.full(len(label), -1, np.int64)
        for crystal in range(int(index.crystal.max(initial=-1)) + 1):
            labels = np.unique(label[(index.crystal == crystal) & (label >= 0)])
            seen = _signature(index, label, labels, amplitude, spacing)
            numbers = self._numbers(seen)
            mine = np.isin(label, labels) & (label >= 0)
            result[mine] = numbers[np.searchsorted(labels, label[mine])]
        return result

    def _numbers(self, seen: _Signature) -> Ints:
        """Numbers (K,) of the sublattices of a crystal; remember an orientation that is new."""
        count, best = len(seen.brightness), None
        for signature, numbers in self.known:
            if len(numbers) != count:
                continue
            cost = seen.cost(signature)
            rows, columns = linear_sum_assignment(cost)
            mean = float(cost[rows, columns].mean())
            if best is None or mean < best[0]:
                best = (mean, numbers[columns])
        if best is None:
            best = (np.inf, _first_numbers(seen))
        if best[0] > _SAME_ORIENTATION:
            self.known.append((seen, best[1]))
        return best[1]


def _first_numbers(seen: _Signature) -> Ints:
    """Numbers (K,): those whose bonds point to the right most come first."""
    spread = (np.abs(seen.bonds - seen.bonds.mean(axis=0)) ** 2).sum(axis=0)
    order = np.argsort(-seen.bonds[:, int(np.argmax(spread))].real, kind="stable")
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order))
    return numbers


def brightness_levels(brightness: Floats, alike: float = _AS_BRIGHT) -> Ints:
    """Level (K,) of each sublattice, 0 the brightest; NaN is on a level with the brightest.

    Sublattices whose brightness differs by less than the share `alike` are on one level.
    """
    value = np.where(np.isfinite(brightness), brightness, np.nanmax(brightness, initial=0.0))
    order = np.argsort(-value, kind="stable")
    step = value[order][1:] < (1 - alike) * value[order][:-1]
    level = np.empty(len(value), np.int64)
    level[order] = np.concatenate([[0], np.cumsum(step)])
    return level
