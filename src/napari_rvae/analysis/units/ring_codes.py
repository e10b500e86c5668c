"""Groups of unusual rings, and their codes: how many rings of each size a group is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_rvae.analysis.bonds import RING_SIZES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = [
    "BITS",
    "EDGE",
    "GAP",
    "LEAST_SEEN",
    "OTHER",
    "UNKNOWN",
    "USUAL",
    "VACANCY",
    "RingGroups",
    "is_named",
    "is_part",
    "ring_counts_of",
    "ring_words",
]

#: Codes of sites on usual rings only, of those whose rings nobody knows (the frame's edge cuts
#: them), and of those on rings that have no name of their own: at a gap, or of a large group.
USUAL, UNKNOWN, OTHER = 0, -1, 1 << 24
#: Codes of atoms that lack a bond: to a missing atom, to an edge, to another small gap.
VACANCY, EDGE, GAP = 1 << 25, (1 << 25) + 1, (1 << 25) + 2
#: Bits of a code for the number of rings of each size.
BITS = 4
#: A group that is seen in part is told by so many rings: fewer may be of anything.
LEAST_SEEN = 3


@dataclass(frozen=True, eq=False)
class RingGroups:
    """The group of unusual rings that each of N sites is at.

    Parameters
    ----------
    code
        What the group is made of (N,): 0 for usual rings only, -1 where it is not known.
    group
        Number of the group (N,), -1 for none; each frame has groups of its own.
    whole
        False (N,) where the frame's edge may hide a part of the group.
    """

    code: Ids
    group: Ids
    whole: Mask

    def of(self, rows: Ids | Mask) -> RingGroups:
        """Return the groups of some rows."""
        return RingGroups(self.code[rows], self.group[rows], self.whole[rows])


def is_named(code: Ids) -> Mask:
    """Which codes (N,) say what a group of unusual rings is made of."""
    named: Mask = (code > USUAL) & (code < OTHER)
    return named


def ring_counts_of(code: int) -> Ids:
    """Rings of each size (R,) that a named group is made of."""
    return (code >> (BITS * np.arange(len(RING_SIZES)))) & ((1 << BITS) - 1)


def is_part(part: int, whole: int) -> bool:
    """Whether a named group has all rings of another one."""
    return bool((ring_counts_of(part) <= ring_counts_of(whole)).all())


def ring_words(code: int) -> str:
    """What a group is made of in words: "5-5-7-7 rings"; "" for usual or unknown ones."""
    if code >= VACANCY:
        return {VACANCY: "beside vacancy", EDGE: "edge"}.get(code, "beside gap")
    if code <= USUAL or code >= OTHER:
        return ""
    counts = zip(RING_SIZES, ring_counts_of(code).tolist(), strict=True)
    sizes = [str(size) for size, count in counts for _ in range(count)]
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        return f"{'-'.join(sizes)} pair"
    return f"{'-'.join(sizes)} ring{'s' if len(sizes) > 1 else ''}"
