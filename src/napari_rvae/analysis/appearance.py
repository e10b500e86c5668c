"""Which central atoms look alike, what to call them, and how to colour them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = [
    "ALIKE_SPREADS",
    "CYCLIC_COLOURS",
    "HOST_RATIO",
    "NEXT_TO",
    "SURELY_ALIKE",
    "TOLERANCE",
    "TURNED",
    "UNIT_COLOURS",
    "comparable",
    "difference",
    "median_of_known",
    "renamed",
    "same_species",
    "unit_colour",
    "unit_names",
    "unused_colour",
    "unused_name",
]

#: Colour of each unit by its number: the host's is quiet, the others differ in hue and lightness
#: (after Okabe and Ito, safe for the colour-blind).
UNIT_COLOURS = (
    "#9db8d2",
    "#e69f00",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#c8b900",
    "#7b4fa6",
    "#8c564b",
    "#17becf",
    "#f781bf",
    "#4daf4a",
    "#1f3a93",
    "#a6761d",
    "#e7298a",
    "#66a61e",
    "#00429d",
    "#fdbf6f",
    "#6a3d9a",
    "#b15928",
)

#: Colours of angles, at equal steps of perceived difference. Directions 60 degrees apart or more
#: differ for the colour-blind too (light against dark, blue against yellow), and none is as dark or
#: as pale as an image below may be.
CYCLIC_COLOURS = (
    "#7441a7",
    "#5a59c6",
    "#4378d8",
    "#3796e0",
    "#4bb1dd",
    "#71c8d2",
    "#9edabf",
    "#cde7a1",
    "#ffe66b",
    "#ffc71d",
    "#ffa500",
    "#fb8723",
    "#e46d40",
    "#cb5958",
    "#af496e",
    "#923f87",
)

#: Two central atoms look alike within these tolerances: 0.4 neighbours, order parameters within
#: 0.18, bonds within 4 %, amplitudes (their own and their neighbours') within a factor of 1.35.
TOLERANCE = np.array([0.4, *[0.18] * 6, 0.04, 0.3, 0.3])
#: They are not alike if the bonds of the one are turned against their neighbours' by so many
#: radians more than those of the other: 5 degrees, beyond which lattices are of two grains by the
#: custom of electron backscatter diffraction, or a little less.
TURNED = 0.08
#: Atoms are one unit's only if they look alike within so much of the tolerances, or within so many
#: spreads of the host's own atoms, whichever is more.
SURELY_ALIKE, ALIKE_SPREADS = 0.6, 3.0
#: Which descriptors tell another element, or another number of neighbours.
_SPECIES = [0, -2, -1]
#: A central atom so many times brighter than the host's, or dimmer, is called so.
_NAMED_RATIO = 1.25
#: Hosts whose amplitudes differ by a larger factor are named apart.
HOST_RATIO = 1.4
#: Between the name of an environment's unit and those of the units that stand beside it.
NEXT_TO = ", next to "


def comparable(central: Array) -> Array:
    """Descriptors with the logarithms of the amplitudes, as the tolerances want them."""
    return np.concatenate([central[:, :-2], np.log(np.maximum(central[:, -2:], 0.05))], axis=1)


def median_of_known(values: Array) -> Array:
    """Median (K,) of the known values of each column of (N, K); NaN where there is none."""
    return pd.DataFrame(values).median().to_numpy(float)


def difference(one: Array, other: Array, tolerance: Array = TOLERANCE) -> float:
    """How much two central atoms differ, 1 = just not alike any more.

    The largest difference of a descriptor in units of its tolerance; without amplitude it cannot
    be told and is inf.
    """
    if not np.isfinite([one[-1], other[-1]]).all():
        return float("inf")
    apart = np.abs(one - other) / tolerance
    return float("inf") if np.isnan(apart).any() else float(apart.max())


def same_species(one: Array, other: Array) -> bool:
    """Whether atoms have the same number of neighbours, brightness, and neighbours of the same.

    Both are :func:`comparable`; what is not known is not the same.
    """
    apart = np.abs(one - other)[_SPECIES] / TOLERANCE[_SPECIES]
    return bool((apart <= 1).all())


def unit_names(
    central: Array, what: NDArray[np.str_], hosts: list[int], rings: Sequence[str] = ()
) -> list[str]:
    """Names that say what the central atom looks like; two may have the same.

    Parameters
    ----------
    central
        Descriptors (G, 10), amplitudes relative to the host's; the first are those of the host.
    what
        "atom", "vacancy" or "other" (G,).
    hosts
        Which of them are hosts.
    rings
        Unusual rings, or the gap, that each is at, in words; "" for none.
    """
    given = list(rings) or [""] * len(central)
    names = [
        f"unit {number}"
        if kind == "other"
        else _name(central[number], central[0], kind, given[number])
        for number, kind in enumerate(what)
    ]
    names[0] = "host"
    if len(hosts) > 1 and np.isfinite(central[hosts, -1]).all():
        levels = _brightness_levels(central[hosts, -1])
        words = ["dim", *["medium"] * (int(levels.max()) - 1), "bright"]
        for level, number in zip(levels, hosts, strict=True):
            names[number] = f"{words[level]} host" if levels.max() else "host"
    return names


def renamed(name: str, owner: str, old: str, new: str, known: Collection[str]) -> str:
    """Name of an environment after a unit was given another one.

    Parameters
    ----------
    name
        What it is called: a unit's name, perhaps numbered, and the units that it is next to.
    owner
        Name, before, of the unit that it belongs to.
    old, new
        What the unit was called and is called now.
    known
        Names of all units, before.

    Examples
    --------
    >>> from napari_rvae.analysis.appearance import renamed
    >>> renamed("host (2), next to edge and gap", "host", "edge", "rim", {"host", "edge", "gap"})
    'host (2), next to rim and gap'
    """
    base, next_to, beside = name.partition(NEXT_TO)
    longest = sorted(known, key=len, reverse=True)
    # "edge (2)" may be a unit's name, or the second environment of "edge": its own unit comes first
    whole = next((one for one in (owner, *longest) if _begins(base, one)), "")
    if whole == old:
        base = new + base[len(old) :]
    if next_to:
        either = "|".join(map(re.escape, longest))
        found = rf"(^| and )({either})(?=$| and | \(\d+\)$)"
        beside = re.sub(found, lambda at: at[1] + (new if at[2] == old else at[2]), beside)
    return base + next_to + beside


def _begins(text: str, name: str) -> bool:
    """Whether a text is a name, with at most a number or more words after it."""
    return text.startswith(name) and re.match(r"$| \(\d+\)|: ", text[len(name) :]) is not None


def unit_colour(unit: int) -> str:
    """Colour of a unit that was given none: that of its number, everywhere the same."""
    return UNIT_COLOURS[unit % len(UNIT_COLOURS)]


def unused_name(name: str, taken: Container[str]) -> str:
    """Return the name, numbered where it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def unused_colour(taken: Sequence[str], *, is_host: bool = False) -> str:
    """Return the next colour of the palette; when all are taken, the one that fewest units have.

    The host's quiet colour is for a host alone, as long as there are others.
    """
    choice = UNIT_COLOURS if is_host else (*UNIT_COLOURS[1:], UNIT_COLOURS[0])
    fewest = min(taken.count(colour) for colour in choice)
    return next(colour for colour in choice if taken.count(colour) == fewest)


def _brightness_levels(amplitude: Array) -> NDArray[np.int64]:
    """Number, from 0 for the dimmest, of the level of brightness of each host."""
    order = np.argsort(amplitude)
    steps = np.diff(np.log(np.maximum(amplitude[order], 1e-9))) > np.log(HOST_RATIO)
    levels = np.empty(amplitude.size, np.int64)
    levels[order] = np.concatenate([[0], np.cumsum(steps)])
    return levels


def _name(one: Array, host: Array, kind: str, rings: str) -> str:
    """Name of a unit by the descriptors of its central atom, the host's, and its rings."""
    words = ["vacancy"] if kind == "vacancy" else []
    if not words and one[-1] > _NAMED_RATIO:
        words.append("bright")
    elif not words and one[-1] < 1 / _NAMED_RATIO:
        words.append("dim")
    if np.isfinite(one[0]):
        count = round(one[0])
        if rings and not words:
            beside = _beside(one, host)
            return f"{rings}, {beside}" if beside else rings
        words.append(f"{count} neighbour" if count == 1 else f"{count} neighbours")
        if len(words) == 1 and count == round(host[0]):
            words.append(_difference(one, host))
    return ", ".join([*words, *([rings] if rings else [])]) or "other"


def _beside(one: Array, host: Array) -> str:
    """Whether the neighbours are brighter or dimmer than the host's; "" for neither."""
    neighbours = comparable(one[None])[0, -2] - comparable(host[None])[0, -2]
    if not abs(neighbours) > TOLERANCE[-2]:
        return ""
    return "beside bright" if neighbours > 0 else "beside dim"


def _difference(one: Array, host: Array) -> str:
    """What tells two atoms of the same brightness and coordination apart."""
    if beside := _beside(one, host):
        return beside
    if (np.abs(one - host) > TOLERANCE)[1:7].any():
        return "distorted"
    if abs(one[7] - host[7]) > TOLERANCE[7]:
        return "stretched" if one[7] > host[7] else "compressed"
    return "other surroundings"
