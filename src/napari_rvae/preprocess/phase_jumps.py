"""Jumps of the phase in the middle of a scan, where the tip or the electronics changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Complex = NDArray[np.complex128]

__all__ = ["PhaseJump", "find_phase_jumps", "without_phase_jumps"]

#: A jump is so large at least, and so many times the usual turn between two rows (standard
#: deviation, within so many rows), which rows of a noisy scan have as well.
_LEAST, _STANDS_OUT, _NEARBY = math.radians(25), 6.0, 33
#: It stays: so many rows before and after it still differ by it, to within this share of it, or
#: this angle where that is more.
_STAYS, _SHARE, _ROUGHLY = 5, 0.5, math.radians(20)
#: Rows beside a jump are as alike as other rows to this share, and have this share of their power:
#: in a wall along the rows the phase turns as well, but the response is weak.
_ALIKE, _POWER = 0.6, 0.3
#: From this angle on it may be a wall along the rows, from one side of the scan to the other,
#: unless so many pixels of the rarer sign, of this share of the usual response, turn as well, to
#: within this angle: no wall exchanges both.
_MAYBE_WALL, _RARE, _STRONG, _WITHIN = math.radians(120), 4, 0.5, math.radians(60)
#: More jumps than this are another thing.
_MOST = 8


class PhaseJump(NamedTuple):
    """From a pixel of a scan on, all phases are turned."""

    row: int
    column: int  # the row's columns from here on are turned, or those before it
    forward: bool  # False: those before it
    angle: float  # radians


def find_phase_jumps(scan: Complex) -> list[PhaseJump]:
    """Find the places where the phase of a scan jumps and stays.

    The row before and the row after one row are nearly alike, so their product with each other, of
    one complex conjugated, has no phase as a whole; where it has one, the phase jumped in the row
    between. A jump by about half a turn is believed where both signs of the response, in these
    rows, turn; elsewhere a wall along the rows would look the same.

    Parameters
    ----------
    scan
        Amplitude times exp(i phase), (Y, X); NaN is left out.

    Returns
    -------
    list of PhaseJump
        In the order of their rows.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.preprocess.phase_jumps import find_phase_jumps
    >>> scan = np.exp(1j * np.random.default_rng(0).normal(0, 0.1, (32, 32)))
    >>> scan[20:] *= 1j
    >>> [(jump.row, round(np.degrees(jump.angle))) for jump in find_phase_jumps(scan)]
    [(20, 90)]
    """
    rest = np.nan_to_num(scan)
    found: list[PhaseJump] = []
    while len(found) < _MOST and (jump := _largest_jump(rest)) is not None:
        found.append(jump)
        rest = without_phase_jumps(rest, [jump])
    return sorted(found)


def without_phase_jumps(scan: Complex, jumps: list[PhaseJump]) -> Complex:
    """Turn back what comes after each jump.

    Parameters
    ----------
    scan
        Amplitude times exp(i phase), (Y, X).
    jumps
        What :func:`find_phase_jumps` found there.

    Returns
    -------
    ndarray of shape (Y, X)
        A copy; the scan itself without jumps.
    """
    if not jumps:
        return scan
    turned = scan.copy()
    for jump in jumps:
        back = np.exp(-1j * jump.angle)
        turned[jump.row + 1 :] *= back
        own = slice(jump.column, None) if jump.forward else slice(None, jump.column)
        turned[jump.row, own] *= back
    return turned


def _largest_jump(scan: Complex) -> PhaseJump | None:
    """The row whose neighbours differ most in phase, if that is a jump."""
    if len(scan) < 8:
        return None
    above, below = scan[:-2], scan[2:]
    product = (below * above.conj()).sum(axis=1)
    power = (np.abs(below) * np.abs(above)).sum(axis=1)
    turn = np.angle(product)
    alike = np.abs(product) / np.maximum(power, 1e-300)
    usual = 1.4826 * ndimage.median_filter(np.abs(turn), _NEARBY, mode="mirror")
    jumps = np.abs(turn) > np.maximum(_LEAST, _STANDS_OUT * usual)
    jumps &= (alike >= _ALIKE * np.median(alike)) & (power >= _POWER * np.median(power))
    for number in np.flatnonzero(jumps)[np.argsort(-np.abs(turn[jumps]), kind="stable")]:
        row, angle = int(number) + 1, float(turn[number])
        if not _stays(scan, row, angle):
            continue
        if abs(angle) < _MAYBE_WALL or _both_turn(scan, row, angle):
            return _placed(scan, row, angle)
    return None


def _stays(scan: Complex, row: int, angle: float) -> bool:
    """Whether the rows after one differ from those before it by an angle, and go on doing so."""
    allowed = max(_SHARE * abs(angle), _ROUGHLY)
    for far in range(2, min(_STAYS, row, len(scan) - 1 - row) + 1):
        product = (scan[row + far] * scan[row - far].conj()).sum()
        if abs(np.angle(product * np.exp(-1j * angle))) > allowed:
            return False
    return True


def _both_turn(scan: Complex, row: int, angle: float) -> bool:
    """Whether pixels of either sign turn between the rows beside one."""
    before, after = scan[row - 1], scan[row + 1]
    # the axis of a line through zero is half the angle of the squares
    along = (before * np.exp(-0.5j * np.angle((before**2).sum()))).real
    rare = along * np.sign(along.sum()) < -_STRONG * np.median(np.abs(along))
    turn = np.angle((after[rare] * before[rare].conj()).sum() * np.exp(-1j * angle))
    return int(rare.sum()) >= _RARE and bool(abs(turn) < _WITHIN)


def _placed(scan: Complex, row: int, angle: float) -> PhaseJump:
    """Where in its row a jump lies, the row scanned in either direction."""
    product = scan[row] * scan[row - 1].conj()
    gain = (product * np.exp(-1j * angle)).real - product.real  # of a pixel that is turned
    ahead = np.concatenate([np.cumsum(gain[::-1])[::-1], [0.0]])  # of all from a column on
    before = np.concatenate([[0.0], np.cumsum(gain)])
    forward = bool(ahead.max() >= before.max())
    return PhaseJump(row, int((ahead if forward else before).argmax()), forward, angle)
