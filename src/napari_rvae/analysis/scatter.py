"""Two columns of a table against each other: the points, their density, and the axes' ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis.maps import ANGLE_COLUMNS
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = [
    "MAX_POINTS",
    "Scatter",
    "bin_counts",
    "density_counts",
    "plot_range",
    "plotted_values",
    "scatter_of",
]

#: Above this many points a scatter is a blot: a density says more.
MAX_POINTS = 100_000


@dataclass(frozen=True, eq=False)
class Scatter:
    """Sites in the plane of two columns.

    Attributes
    ----------
    row
        Row (M,) of each in its table; those without one of the two values are left out.
    x, y
        Values (M,), angles in degrees.
    n_missing
        Rows that were left out.
    """

    row: NDArray[np.int64]
    x: Array
    y: Array
    n_missing: int

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.row)

    @property
    def is_dense(self) -> bool:
        """Whether there are so many points that a density says more."""
        return len(self) > MAX_POINTS

    def take(self, chosen: NDArray[np.bool_]) -> Scatter:
        """Return some of the points."""
        return Scatter(self.row[chosen], self.x[chosen], self.y[chosen], self.n_missing)


def plotted_values(table: pd.DataFrame, column: str, *, in_degrees: bool = True) -> Array:
    """Values (N,) of a column as a plot shows them.

    Parameters
    ----------
    table
        Sites table.
    column
        A column of numbers; -1, which stands for none, is NaN where it numbers units or tracks.
    in_degrees
        Whether angles and their standard deviations are in degrees.

    Raises
    ------
    InputError
        If the column is missing or holds no numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.analysis.scatter import plotted_values
    >>> plotted_values(pd.DataFrame({"angle": [0.0, 3.141592653589793]}), "angle").tolist()
    [0.0, 180.0]
    """
    if column not in table:
        raise InputError(f"The sites table lacks the column {column}.")
    if table[column].dtype.kind not in "fiub":
        raise InputError(f"Column {column!r} holds no numbers: choose another one for an axis.")
    values = table[column].to_numpy(float)
    if column == "unit" or column.endswith("_id"):
        values = np.where(values < 0, np.nan, values)
    if in_degrees and column.removesuffix("_sd") in ANGLE_COLUMNS:
        values = np.degrees(values)
    return values


def scatter_of(table: pd.DataFrame, x: str, y: str) -> Scatter:
    """Put two columns of a table against each other.

    Parameters
    ----------
    table
        Sites table, or the features of a layer.
    x, y
        Columns of numbers.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.analysis.scatter import scatter_of
    >>> points = scatter_of(pd.DataFrame({"z0": [1.0, None, 3.0], "z1": 0.5}), "z0", "z1")
    >>> points.row.tolist(), points.n_missing
    ([0, 2], 1)
    """
    along, up = plotted_values(table, x), plotted_values(table, y)
    known = np.isfinite(along) & np.isfinite(up)
    row = np.flatnonzero(known)
    return Scatter(row, along[row], up[row], len(known) - len(row))


def plot_range(values: ArrayLike, *, percent: float = 0.1) -> tuple[float, float]:
    """Ends of an axis: where nearly all values are, with a margin; never equal.

    Parameters
    ----------
    values
        Numbers (N,); NaN and infinities do not count.
    percent
        Share of the values, in per cent, that may lie beyond either end.

    Examples
    --------
    >>> from napari_rvae.analysis.scatter import plot_range
    >>> plot_range([0.0, 1.0], percent=0)
    (-0.05, 1.05)
    """
    array = np.asarray(values, float)
    known = array[np.isfinite(array)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(known, (percent, 100 - percent)))
    margin = 0.05 * (high - low) or max(0.5, 0.05 * abs(low))
    return low - margin, high + margin


def bin_counts(values: ArrayLike, ends: tuple[float, float], bins: int) -> NDArray[np.int64]:
    """Histogram (bins,) of values between two ends.

    Examples
    --------
    >>> from napari_rvae.analysis.scatter import bin_counts
    >>> bin_counts([0.1, 0.2, 0.9], (0, 1), 2).tolist()
    [2, 1]
    """
    counts, _ = np.histogram(np.asarray(values, float), bins=bins, range=ends)
    return np.asarray(counts, np.int64)


def density_counts(
    points: Scatter,
    x_ends: tuple[float, float],
    y_ends: tuple[float, float],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """Number of points (rows, columns) in each cell of a grid; y grows upwards.

    Parameters
    ----------
    points
        The points; those beyond the ends are left out.
    x_ends, y_ends
        Ends of the two axes.
    shape
        Rows and columns of the grid.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.analysis.scatter import density_counts, scatter_of
    >>> points = scatter_of(pd.DataFrame({"z0": [0.1, 0.9], "z1": [0.1, 0.9]}), "z0", "z1")
    >>> density_counts(points, (0, 1), (0, 1), (2, 2)).tolist()
    [[0, 1], [1, 0]]
    """
    counts, _, _ = np.histogram2d(
        points.y, points.x, bins=list(shape), range=[list(y_ends), list(x_ends)]
    )
    return np.asarray(counts[::-1], np.int64)
