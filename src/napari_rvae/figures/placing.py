"""Words on a drawing, put where they cover nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Board"]

#: Room around words, in points.
_PAD = 0.8
#: Words that lie out of the drawing count as much as if they covered this many times their area.
_OUTSIDE = 3.0


class Board:
    """What is on axes already: discs and words, in pixels.

    Parameters
    ----------
    axes
        Axes whose limits and aspect will not change any more.
    discs
        Middles (K, 2) of discs in data coordinates.
    radius
        Their radius.
    """

    def __init__(self, axes: Axes, discs: Array, radius: float) -> None:
        axes.apply_aspect()
        self._axes = axes
        to_pixels = axes.transData.transform
        self._discs = np.asarray(to_pixels(np.asarray(discs, float).reshape(-1, 2)), float)
        edge = to_pixels([[0.0, 0.0], [radius, 0.0]])
        self._radius = float(edge[1, 0] - edge[0, 0])
        self._frame = np.asarray(axes.get_window_extent().extents, float)
        figure = axes.get_figure(root=True)
        assert figure is not None  # noqa: S101 - these axes are drawn on one
        self._pad = _PAD * figure.dpi / 72
        self._boxes = np.empty((0, 4))

    def size_of(self, text: Text) -> Array:
        """Width and height (2,) of words in pixels."""
        box = text.get_window_extent()
        return np.array([box.width, box.height])

    def pixels(self, places: Any) -> Array:
        """Pixels (M, 2) of places in data coordinates."""
        return np.asarray(self._axes.transData.transform(np.asarray(places, float)), float)

    def covered(self, middles: Array, size: Array) -> Array:
        """How much (M,) words of this size would cover, or stand out of the axes; 0 = nothing.

        Parameters
        ----------
        middles
            Middles (M, 2) of the words in pixels.
        size
            Their width and height.
        """
        low, high = middles - size / 2 - self._pad, middles + size / 2 + self._pad
        boxes = self._boxes
        shared = np.minimum(high[:, None], boxes[:, 2:]) - np.maximum(low[:, None], boxes[:, :2])
        total = np.maximum(shared, 0).prod(axis=2).sum(axis=1)
        nearest = np.clip(self._discs, low[:, None], high[:, None])
        inside = self._radius - np.linalg.norm(nearest - self._discs, axis=2)
        total = total + (np.maximum(inside, 0) * size.min()).sum(axis=1)
        out = np.maximum(self._frame[:2] - low, 0) + np.maximum(high - self._frame[2:], 0)
        return np.asarray(total + _OUTSIDE * (out * size[::-1]).sum(axis=1))

    def put(self, text: Text, middle: Array) -> None:
        """Put words with their middle at a pixel (2,), and remember that they are there."""
        size = self.size_of(text)
        text.set(
            ha="center", va="center", position=self._axes.transData.inverted().transform(middle)
        )
        box = np.concatenate([middle - size / 2 - self._pad, middle + size / 2 + self._pad])
        self._boxes = np.concatenate([self._boxes, box[None]])

    def put_name(self, text: Text, disc: int, wordings: Sequence[str], *, below: bool) -> None:
        """Put a name below or above its disc, or beside it, the shorter the less room there is.

        Parameters
        ----------
        text
            The name.
        disc
            Number of its disc.
        wordings
            What it may say, the best first.
        below
            Whether it rather stands below.
        """
        best: tuple[float, str, Array] | None = None
        for wording in wordings:
            text.set_text(wording)
            size = self.size_of(text)
            reach = self._radius * 1.12 + size / 2
            first = -1.0 if below else 1.0
            offsets = [(0, first), (0, -first), (1, 0), (-1, 0)]
            middles = self._discs[disc] + np.array(offsets) * (reach + self._pad)
            covers = self.covered(middles, size)
            number = int(covers.argmin())
            if best is None or covers[number] < 0.8 * best[0]:
                best = float(covers[number]), wording, middles[number]
            if best[0] <= 0:
                break
        if best is not None:
            text.set_text(best[1])
            self.put(text, best[2])

    def put_beside(self, text: Text, way: Array, side: Array) -> bool:
        """Put words on a line, or beside it, near its middle; leave them out where nothing fits.

        Parameters
        ----------
        text
            The words.
        way
            Points (M, 2) along the line in data coordinates.
        side
            Direction (2,) from the line in which the words rather stand.

        Returns
        -------
        bool
            Whether there was room.
        """
        size, points = self.size_of(text), self.pixels(way)
        away = float(np.abs(side) @ size) / 2 + self._pad
        # beside lines that lead up or down, on lines that lead across
        shifts = (1.0, -1.0, 0.0) if abs(side[0]) > abs(side[1]) else (0.0, 1.0, -1.0)
        order = np.argsort(np.abs(np.arange(len(points)) - (len(points) - 1) / 2), kind="stable")
        middles = np.concatenate([points[order] + shift * away * side for shift in shifts])
        rank = np.concatenate([np.arange(len(order)) + 3 * k for k in range(len(shifts))])
        free = np.flatnonzero(self.covered(middles, size) <= 0)
        if not free.size:
            text.remove()
            return False
        self.put(text, middles[free[rank[free].argmin()]])
        return True
