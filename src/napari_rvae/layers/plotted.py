"""The colour of each site in a plot: as in the viewer, or by a column of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.layers.colours import (
    colour_features,
    colour_table,
    known_categories,
    known_colours,
)
from napari_rvae.layers.place import record_of
from napari_rvae.layers.styles import MISSING_COLOUR, PointStyle

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.layers.colours import Colouring

    Pixels = NDArray[np.uint8]

__all__ = ["colour_bar", "density_colours", "plotted_colours"]


def plotted_colours(layer: Any, column: str | None = None) -> Pixels:
    """Colours of the sites of a layer.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`.
    column
        What to colour by, as :func:`~napari_rvae.color_points` would; as the layer is coloured
        now, if left out.

    Returns
    -------
    ndarray of shape (N, 4)
        Red, green, blue, alpha, 0 to 255.

    Raises
    ------
    InputError
        If there is no such column.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae.layers import plotted_colours
    >>> points = Points([[5, 5], [5, 9]], features={"z0": [0.0, 1.0]}, face_color="red")
    >>> plotted_colours(points)[0].tolist()
    [255, 0, 0, 255]
    """
    if column is None:
        return _bytes(layer.face_color)
    colouring = _colouring(layer, column)
    values = colouring.features[colouring.feature]
    if colouring.options["color_mode"] == "cycle":
        return _of_categories(values, colouring.options["categorical_colormap"]["colormap"])
    low, high = colouring.options["contrast_limits"]
    numbers = values.to_numpy(float)
    table = np.vstack([_table(colouring), _rgba(MISSING_COLOUR)])
    level = np.rint(255 * np.clip((numbers - low) / (high - low), 0, 1))
    return np.asarray(table[np.where(np.isfinite(level), level, 256).astype(int)])


def colour_bar(layer: Any, column: str) -> tuple[Pixels, tuple[float, float]] | None:
    """Colours (256, 4) of a column of numbers, and the values at their ends; None for categories.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`.
    column
        What it is coloured by.
    """
    colouring = _colouring(layer, column)
    if colouring.options["color_mode"] == "cycle":
        return None
    return _table(colouring), colouring.options["contrast_limits"]


def density_colours(name: str = "viridis") -> Pixels:
    """Colours (256, 4) of a density, 0 to 255.

    Parameters
    ----------
    name
        A colormap of Matplotlib's.
    """
    return _bytes(colour_table(name))


def _colouring(layer: Any, column: str) -> Colouring:
    """Colours of a column; those of the layer where it shows this column."""
    record = record_of(layer)
    shown = record if record.get("column") == column else {}
    return colour_features(
        layer.features,
        column,
        symmetry=shown.get("symmetry", 1),
        contrast_limits=shown.get("contrast_limits"),
        style=PointStyle(),
        categories=known_categories(record, column),
        colors=known_colours(record, column),
    )


def _table(colouring: Colouring) -> Pixels:
    return _bytes(colouring.options["continuous_colormap"]["colors"])


def _of_categories(values: pd.Series[Any], colours: dict[Any, str]) -> Pixels:
    """Colour of each value; grey where there is none."""
    codes, known = values.factorize()
    table = np.stack([_rgba(colours.get(value, MISSING_COLOUR)) for value in [*known, None]])
    return np.asarray(table[codes])


def _rgba(colour: str) -> Pixels:
    from matplotlib.colors import to_rgba

    return _bytes(to_rgba(colour))


def _bytes(colours: ArrayLike) -> Pixels:
    """Colours 0 to 1 as 0 to 255."""
    return np.asarray(np.rint(255 * np.asarray(colours, float)), np.uint8)
