"""Points whose category is switched off in the legend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from napari_rvae.errors import InputError
from napari_rvae.layers.colours import as_categories, is_categorical
from napari_rvae.layers.place import METADATA_KEY, record_of

__all__ = ["hidden_categories", "hide_categories"]

#: What stands for no category: in whole numbers, and in words.
_NONE = (-1, "")


def hide_categories(layer: Any, values: Iterable[Any], *, column: str | None = None) -> int:
    """Hide the points of some categories, and show all others.

    Parameters
    ----------
    layer
        Points layer of sites.
    values
        Values of the column, None for the sites that have none; nothing shows all points.
    column
        The column; the one that the layer is coloured by when left out.

    Returns
    -------
    int
        How many points are hidden.

    Raises
    ------
    InputError
        If there is no such column, or it holds numbers that are not whole.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae import color_points, hide_categories
    >>> points = Points([[5, 5], [5, 9]], features={"species": ["C", "Si"]})
    >>> color_points(points, "species")
    >>> hide_categories(points, ["C"]), points.shown.tolist()
    (1, [False, True])
    """
    hidden = list(values)
    record = layer.metadata.setdefault(METADATA_KEY, {})
    column = column or record.get("column")
    mask = np.zeros(len(layer.data), bool)
    if hidden:
        if column is None or column not in layer.features:
            raise InputError("The layer shows no categories: colour it by some first.")
        if not is_categorical(layer.features[column]):
            raise InputError(f"Column {column!r} holds numbers, not categories.")
        there = [value for value in hidden if value is not None]
        there += [*_NONE] if None in hidden else []
        mask = as_categories(layer.features[column]).isin(there).to_numpy()
    record.pop("hidden", None)
    if hidden:
        record["hidden"] = hidden
    if not np.array_equal(np.asarray(layer.shown), ~mask):
        layer.shown = ~mask
    return int(mask.sum())


def hidden_categories(layer: Any) -> list[Any]:
    """Categories of a layer that are hidden, as :func:`hide_categories` took them."""
    return list(record_of(layer).get("hidden", ()))
