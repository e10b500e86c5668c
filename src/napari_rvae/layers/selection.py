"""The points that are selected in a layer of sites, and the classes that are given to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_rvae.analysis.selection import CLASS, label_sites
from napari_rvae.errors import InputError
from napari_rvae.layers.edits import new_site
from napari_rvae.layers.units import rows_of_sites

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["How", "name_selection", "select_points", "selected_sites"]

#: What becomes of the points that are selected already.
How = Literal["replace", "add", "remove"]


def selected_sites(layer: Any) -> NDArray[np.int64]:
    """Numbers of the sites that are selected in a layer.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`.

    Returns
    -------
    ndarray of shape (M,)
        Their ``site_id``, ascending by row.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae import selected_sites
    >>> points = Points([[5, 5], [5, 9]], features={"site_id": [3, 7]})
    >>> points.selected_data = {1}
    >>> selected_sites(points).tolist()
    [7]
    """
    ids = _site_ids(layer)
    rows = np.fromiter(layer.selected_data, np.int64, len(layer.selected_data))
    return ids[np.sort(rows[rows < len(ids)])]


def select_points(layer: Any, site_id: ArrayLike, *, how: How = "replace") -> int:
    """Select the points of some sites in a layer.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`.
    site_id
        Numbers of the sites, such as those of :func:`~napari_rvae.select_sites`; those that are
        not there any more are left out.
    how
        "replace" the selection, "add" to it, or "remove" from it.

    Returns
    -------
    int
        How many points are selected now.

    Raises
    ------
    InputError
        If it is no layer of sites, or `how` is something else.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae import select_points
    >>> points = Points([[5, 5], [5, 9]], features={"site_id": [3, 7]})
    >>> select_points(points, [7]), sorted(points.selected_data)
    (1, [1])
    """
    _site_ids(layer)
    if how not in get_args(How):
        raise InputError(f"how = {how!r}: choose replace, add or remove.")
    now, rows = set(layer.selected_data), set(rows_of_sites(layer, site_id).tolist())
    if how == "add":
        rows |= now
    elif how == "remove":
        rows = now - rows
    _select_rows(layer, now, rows)
    return len(rows)


def _select_rows(layer: Any, before: set[int], rows: set[int]) -> None:
    """Select points instead of those before, and tell once.

    Setting ``layer.selected_data`` tells of every point, and looks in every column for a value that
    all of them share: a second for half of 100,000 points.
    """
    selection = layer.selected_data
    with selection.events.items_changed.blocked():
        selection.replace_selection(rows)
    selection.events.items_changed.emit(tuple(rows - before), tuple(before - rows))
    # this finds the points to be ringed; asked for the highlight, it would find them twice
    layer.refresh(thumbnail=False, data_displayed=False, highlight=False, extent=False)
    layer.events.highlight()


def name_selection(
    layer: Any, name: str, *, site_id: ArrayLike | None = None, column: str = CLASS
) -> int:
    """Give the selected sites of a layer a class, as :func:`~napari_rvae.label_sites` does.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`.
    name
        The class; "" takes the sites out of theirs.
    site_id
        Numbers of the sites; those that are selected, if left out.
    column
        Column of the classes, a feature of the layer like any other: sites can be coloured by it,
        and it goes into tables and runs.

    Returns
    -------
    int
        How many sites it was.

    Raises
    ------
    InputError
        If nothing is selected, a site is not there, or the column holds numbers.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae import name_selection
    >>> points = Points([[5, 5], [5, 9]], features={"site_id": [3, 7]})
    >>> points.selected_data = {1}
    >>> name_selection(points, "edge"), points.features["class"].tolist()
    (1, ['', 'edge'])
    """
    _site_ids(layer)
    chosen = selected_sites(layer) if site_id is None else np.unique(np.asarray(site_id, np.int64))
    if not len(chosen):
        raise InputError("No site is selected: select some in the plot or in the viewer first.")
    features = label_sites(layer.features, chosen, name, column=column)
    layer.features = features
    layer.feature_defaults = new_site(features)
    return len(chosen)


def _site_ids(layer: Any) -> NDArray[np.int64]:
    features = getattr(layer, "features", None)
    if features is None or "site_id" not in features:
        raise InputError(
            f"Layer {getattr(layer, 'name', '')!r} holds no sites: detect atoms first."
        )
    return np.asarray(features["site_id"], np.int64)
