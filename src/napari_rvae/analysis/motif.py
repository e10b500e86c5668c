"""The atoms of one small picture: where they are, what is bonded, and what to call it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = [
    "Motif",
    "bonded_pairs",
    "brightness_class",
    "central_height",
    "locate_atoms",
    "parse_elements",
]

#: Atoms of a picture are at least so far apart, in neighbour distances.
_APART = 0.45
#: An atom within this distance of the middle, in neighbour distances, is the central one.
_CENTRAL = 0.35
#: What is fainter than this share of a host's atom is none.
_FAINTEST = 0.35
#: The fit moves an atom by at most this, in neighbour distances, or it has found another one.
_SLIP = 0.3
#: Width of an atom's image in neighbour distances, where nobody has measured it: a first guess.
_USUAL_SIGMA = 0.22
#: Two atoms are bonded up to this many times the shortest bond of either ...
_LONGER = 1.28
#: ... which is taken between these, in neighbour distances: a large dopant keeps its neighbours
#: farther away.
_BONDS = (0.8, 1.3)
#: Of an atom whose neighbours lie outside the picture in part, the shortest bond may be any: so
#: much is taken.
_PARTLY = 1.1
#: Brighter or dimmer than its host by this factor is another class.
_RATIO = 1.25
_CLASS = re.compile(r"[A-Z][+-]?")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, eq=False)
class Motif:
    """Atoms of a picture and the bonds between them.

    Attributes
    ----------
    offset
        Where they are (A, 2): (dy, dx) from the middle of the picture, y down, in neighbour
        distances; the central atom, if there is one, comes first.
    amplitude
        Their heights (A,) in those of a host's atom.
    label
        Class of brightness of each (A,): "A" for the (brightest) host, "B" for the next one,
        "A+" and "A-" for what is brighter and dimmer than it, or the names given for these.
    bonds
        Pairs of atoms (B, 2) that are bonded.
    has_centre
        Whether an atom is in the middle; a vacancy has none there.
    """

    offset: Array
    amplitude: Array
    label: tuple[str, ...]
    bonds: Ids
    has_centre: bool

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.offset)

    @property
    def neighbours(self) -> Ids:
        """Atoms bonded to the central one; those around the empty middle, where there is none."""
        if self.has_centre:
            mine = self.bonds[(self.bonds == 0).any(axis=1)]
            return np.sort(mine[mine != 0])
        distance = np.hypot(*self.offset.T)
        return np.flatnonzero(distance < _LONGER * np.clip(distance.min(initial=1.0), *_BONDS))

    @property
    def text(self) -> str:
        """What it is in words: "A+ with three A"."""
        if not len(self):
            return "no atoms"
        middle = self.label[0] if self.has_centre else "empty site"
        return f"{middle} with {self.around}" if self.around else f"{middle} alone"

    @property
    def around(self) -> str:
        """What the neighbours are in words: "two A and one A+"; "" for none."""
        around = [self.label[number] for number in self.neighbours]
        kinds = sorted(set(around), key=lambda kind: (-around.count(kind), kind))
        return " and ".join(f"{_in_words(around.count(kind))} {kind}" for kind in kinds)


def _in_words(number: int) -> str:
    return _NUMBERS[number] if number < len(_NUMBERS) else str(number)


def brightness_class(amplitude: float, hosts: Sequence[float] = (1.0,)) -> str:
    """Class of an atom by its brightness: the host it is like, and whether brighter or dimmer.

    Parameters
    ----------
    amplitude
        Height of the atom.
    hosts
        Heights of the hosts' atoms in the same unit, positive; the brightest is called "A".

    Returns
    -------
    str
        "A", "B", ... within a factor of 1.25 of a host's, else the nearest host with "+" or "-".

    Examples
    --------
    >>> from napari_rvae.analysis.motif import brightness_class
    >>> [brightness_class(a, (1.0, 2.0)) for a in (2.1, 1.0, 4.0, 0.5)]
    ['A', 'B', 'A+', 'B-']
    """
    levels = sorted(hosts, reverse=True)
    ratios = [max(amplitude, 1e-9) / level for level in levels]
    number = int(np.argmin(np.abs(np.log(ratios))))
    sign = "+" if ratios[number] > _RATIO else "-" if ratios[number] < 1 / _RATIO else ""
    return f"{chr(ord('A') + number)}{sign}"


def parse_elements(text: str) -> dict[str, str]:
    """Read what the classes of brightness are called.

    Parameters
    ----------
    text
        Such as "A = C, A+ = Si"; empty for none.

    Returns
    -------
    dict
        Name of each class, for :func:`locate_atoms` and :func:`~napari_rvae.unit_cards`.

    Raises
    ------
    InputError
        If a part is no class with a name.

    Examples
    --------
    >>> from napari_rvae.analysis.motif import parse_elements
    >>> parse_elements("A = C, A+ = Si")
    {'A': 'C', 'A+': 'Si'}
    """
    names = {}
    for part in filter(str.strip, text.replace(";", ",").split(",")):
        key, sign, name = (piece.strip() for piece in part.partition("="))
        if not sign or not name or not _CLASS.fullmatch(key):
            raise InputError(
                f"{part.strip()!r} does not say what a class of atoms is called: write such as "
                "A = C, A+ = Si (A is the host, B the next one, A+ brighter, A- dimmer than A)."
            )
        names[key] = name
    return names


def bonded_pairs(
    points: ArrayLike, spacing: float = 1.0, *, whole: NDArray[np.bool_] | None = None
) -> Ids:
    """Pairs of atoms that stand beside each other.

    Parameters
    ----------
    points
        Positions (N, 2) in one frame or picture, without NaN.
    spacing
        Neighbour distance in the same unit.
    whole
        Which atoms have all their neighbours among the points (N,), all of them when left out;
        the shortest bond of the others may be one that is not seen, and is taken for 1.1
        neighbour distances.

    Returns
    -------
    ndarray of int64 (B, 2)
        Row numbers, the smaller one first: nearer than 1.28 times the shortest bond of either of
        the two, which is taken between 0.8 and 1.3 neighbour distances.

    Examples
    --------
    >>> from napari_rvae.analysis.motif import bonded_pairs
    >>> bonded_pairs([[0, 0], [0, 10], [0, 20]], 10.0).tolist()
    [[0, 1], [1, 2]]
    """
    places = np.asarray(points, float).reshape(-1, 2) / spacing
    if len(places) < 2:
        return np.empty((0, 2), np.int64)
    pairs = cKDTree(places).query_pairs(_LONGER * _BONDS[1], output_type="ndarray")
    distance = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    shortest = np.full(len(places), np.inf)
    for side in pairs.T:
        np.minimum.at(shortest, side, distance)
    shortest = np.clip(shortest, *_BONDS)
    if whole is not None:
        shortest[~whole] = _PARTLY
    near = distance < _LONGER * np.maximum(*shortest[pairs].T)
    kept = np.asarray(pairs[near], np.int64)
    return kept[np.lexsort(kept.T[::-1])]


def locate_atoms(
    picture: ArrayLike,
    spacing: float,
    *,
    sigma: float = math.nan,
    hosts: Sequence[float] = (),
    is_dark: bool = False,
    elements: Mapping[str, str] | None = None,
) -> Motif:
    """Find the atoms of a decoded picture or a mean crop, and their bonds.

    Parameters
    ----------
    picture
        One channel (S, S). NaN, and what lies beyond the disc inside the square, is not looked at.
    spacing
        Neighbour distance in pixels of the picture.
    sigma
        Width (standard deviation) of an atom's image in its pixels; fitted where it is NaN.
    hosts
        Heights of the hosts' atoms in the units of the picture, the reference first; the height
        of the picture's central atom when left out.
    is_dark
        Whether atoms are darker than what is around them.
    elements
        What to call the classes of brightness, such as ``{"A": "C", "A+": "Si"}``.

    Returns
    -------
    Motif
        Gaussians are fitted to the maxima (:func:`~napari_rvae.detect.fit.fit_atoms`); what is
        lower than 0.35 of the faintest host's atom is none.

    Raises
    ------
    InputError
        If the picture is not square, or the spacing is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.motif import locate_atoms
    >>> from napari_rvae.render import render_gaussians
    >>> y, x = np.array([16.0, 16.0, 7.0]), np.array([16.0, 25.0, 16.0])
    >>> picture = render_gaussians(y, x, np.array([3.0, 1.0, 1.0]), 2.0, (33, 33))
    >>> locate_atoms(picture, 9.0, hosts=[1.0]).text
    'A+ with two A'
    """
    offset, heights = _atoms_of(picture, spacing, sigma=sigma, is_dark=is_dark)
    distance = np.hypot(*offset.T)
    order = np.argsort(distance, kind="stable")
    offset, heights, distance = offset[order], heights[order], distance[order]
    levels = [abs(level) for level in hosts if level] or [float(heights[0]) if len(heights) else 1]
    levels = levels if min(levels) > 0 else [1.0]
    real = heights >= _FAINTEST * min(levels)
    offset, heights, distance = offset[real], heights[real], distance[real]
    names = dict(elements or {})
    # beyond, neighbours lie outside the picture
    reach = (len(np.asarray(picture)) - 1) / 2 / spacing - _LONGER
    classes = [brightness_class(height, levels) for height in heights]
    return Motif(
        offset=offset,
        amplitude=heights / levels[0],
        label=tuple(names.get(name, name) for name in classes),
        bonds=bonded_pairs(offset, whole=distance <= max(reach, _CENTRAL)),
        has_centre=bool(len(distance) and distance[0] < _CENTRAL),
    )


def central_height(picture: ArrayLike, spacing: float, *, is_dark: bool = False) -> float:
    """Height of the atom in the middle of a picture, however faint; NaN where there is none.

    Parameters
    ----------
    picture, spacing, is_dark
        As those of :func:`locate_atoms`.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.motif import central_height
    >>> from napari_rvae.render import render_gaussians
    >>> y, x = np.array([16.0, 16.0, 7.0]), np.array([16.0, 25.0, 16.0])
    >>> picture = render_gaussians(y, x, np.array([0.2, 1.0, 1.0]), 2.0, (33, 33))
    >>> round(central_height(picture, 9.0), 2)
    0.2
    """
    offset, heights = _atoms_of(picture, spacing, is_dark=is_dark)
    distance = np.hypot(*offset.T)
    if distance.min(initial=math.inf) >= _CENTRAL:
        return math.nan
    return float(heights[distance.argmin()])


def _atoms_of(
    picture: ArrayLike, spacing: float, *, sigma: float = math.nan, is_dark: bool = False
) -> tuple[Array, Array]:
    """Offsets (A, 2) from the middle, in neighbour distances, and heights (A,) of the atoms."""
    values = np.array(picture, float)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise InputError(f"A picture of shape {values.shape}: give one channel (S, S).")
    if not spacing > 0:
        raise InputError(f"spacing = {spacing}: give the neighbour distance in pixels.")
    middle = (len(values) - 1) / 2
    line = np.arange(len(values)) - middle
    values[np.hypot(line[:, None], line) > middle] = np.nan
    places, heights = _fitted(-values if is_dark else values, spacing, sigma)
    return (places - middle) / spacing, heights


def _fitted(values: Array, spacing: float, sigma: float) -> tuple[Array, Array]:
    """Places (A, 2) and heights (A,) of the Gaussians that make up a picture with NaN in it."""
    # loads torch, which only those need who have pictures
    from napari_rvae.detect.fit import fit_atoms
    from napari_rvae.detect.peaks import local_maxima

    known = np.isfinite(values)
    if known.sum() < 9 or np.ptp(values[known]) <= 0:
        return np.empty((0, 2)), np.empty(0)
    floor = float(np.quantile(values[known], 0.05))
    y, x, _ = local_maxima(
        ndimage.gaussian_filter(np.where(known, values - floor, 0.0), 0.06 * spacing),
        _APART * spacing,
    )
    flat, middle = np.ones_like(values), (len(values) - 1) / 2
    if not math.isfinite(sigma):
        # by the atoms that are whole: at the edge a width cannot be told from a height
        inner = np.hypot(y - middle, x - middle) < middle - 0.5 * spacing
        guess = _USUAL_SIGMA * spacing
        free = fit_atoms(values, flat, y[inner], x[inner], guess, free_sigma=True)
        widths = free.sigma[free.amplitude > 0]
        sigma = float(np.median(widths)) if widths.size else guess
    fit = fit_atoms(values, flat, y, x, sigma, rounds=6)
    slip = np.hypot(fit.y - y, fit.x - x) / spacing
    seen = np.hypot(fit.y - middle, fit.x - middle) <= middle + 1
    kept = seen & (slip < _SLIP) & (fit.amplitude > 0) & np.isfinite(fit.amplitude)
    return np.stack([fit.y, fit.x], axis=1)[kept], fit.amplitude[kept]
