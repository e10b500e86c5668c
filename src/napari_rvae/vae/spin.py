"""Which functions of the disc turn as one: those of numbers, and those of vectors.

Turning a picture of numbers by `a` multiplies its part exp(i m phi) by exp(-i m a), so cosine and
sine of m phi turn into each other with the order m. The components of a vector turn, too: with
w = right + i up, a turn takes w(phi) to exp(i a) w(phi - a), so the part exp(i k phi) of w is
multiplied by exp(i (1 - k) a): the order is |1 - k| (spin-weighted functions of spin 1;
E. T. Newman, R. Penrose, J. Math. Phys. 7, 863 (1966)). Radial and azimuthal vectors, k = 1, do not
change at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SteerableFunction", "steerable_functions"]


class SteerableFunction(NamedTuple):
    """Functions whose coefficients Z = cosine + i sine become exp(i m a) Z in a turn by `a`.

    Attributes
    ----------
    order
        Angular order m.
    cosine, sine
        Numbers of functions of the disc and their weights; an empty sine where the order is 0.
    """

    order: int
    cosine: tuple[tuple[int, float], ...]
    sine: tuple[tuple[int, float], ...] = ()

    def part(self, which: int, count: int) -> NDArray[np.float64]:
        """Weights (count,) of the cosine, or of the sine."""
        weights = np.zeros(count)
        for number, weight in (self.cosine, self.sine)[which]:
            weights[number] = weight
        return weights


def steerable_functions(
    orders: NDArray[np.int64], channels: int, vectors: Sequence[tuple[int, int]] = ()
) -> list[SteerableFunction]:
    """All functions of pictures of several channels.

    Parameters
    ----------
    orders
        Angular order (n,) of each function of the disc, whose cosines (n) and sines (n) come one
        after the other, channel by channel.
    channels
        Number of channels.
    vectors
        Channels of the y (down) and x components of each vector.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.vae.spin import steerable_functions
    >>> [f.order for f in steerable_functions(np.array([0, 1, 2]), 1)]
    [0, 1, 2]
    >>> [f.order for f in steerable_functions(np.array([0, 1, 2]), 2, [(0, 1)])]
    [1, 0, 0, 2, 1, 3]
    """
    n = len(orders)
    paired = {channel for pair in vectors for channel in pair}
    found: list[SteerableFunction] = []
    for channel in range(channels):
        start = 2 * n * channel
        for index, order in enumerate(orders if channel not in paired else ()):
            sine = ((start + n + index, 1.0),) if order else ()
            found.append(SteerableFunction(int(order), ((start + index, 1.0),), sine))
    for down, right in vectors:
        for index, order in enumerate(orders):
            found += _of_vector(int(order), 2 * n * right + index, 2 * n * down + index, n)
    return found


def _of_vector(order: int, right: int, down: int, n: int) -> list[SteerableFunction]:
    """Functions of a vector that go with cosine and sine of one order; `up` is minus `down`."""
    if order == 0:
        return [SteerableFunction(1, ((right, 1.0),), ((down, -1.0),))]
    h = math.sqrt(0.5)
    # exp(i order phi): ((right cos + up sin) + i (up cos - right sin)) / 2
    real = ((right, h), (down + n, -h))
    imaginary = ((down, -h), (right + n, -h))
    if order == 1:
        first = [SteerableFunction(0, real), SteerableFunction(0, imaginary)]
    else:
        turned = tuple((number, -weight) for number, weight in imaginary)
        first = [SteerableFunction(order - 1, real, turned)]
    # exp(-i order phi): ((right cos - up sin) + i (up cos + right sin)) / 2
    other = SteerableFunction(order + 1, ((right, h), (down + n, h)), ((down, -h), (right + n, h)))
    return [*first, other]
