"""Points in the viewer -> the same points in other colours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_rvae.errors import InputError
from napari_rvae.layers.colours import (
    Colouring,
    colour_features,
    known_categories,
    known_colours,
    note_categories,
    show_colour_bar,
)
from napari_rvae.layers.edits import new_site
from napari_rvae.layers.place import METADATA_KEY, layer_kind, provenance
from napari_rvae.layers.sites import near_border, plain_colours
from napari_rvae.layers.styles import PointStyle

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["color_points"]

#: What the metadata say of the colours, and what follows from them.
_COLOUR_KEYS = ("column", "feature", "colours", "contrast_limits", "symmetry", "legend")

#: napari says so while one column takes the place of another.
_EXPECTED_WARNINGS = r"property used for|Feature '.*' looks like categorical"


def color_points(
    layer: Any,
    color_by: str | None,
    *,
    symmetry: int = 1,
    contrast_limits: tuple[float, float] | None = None,
    categories: Mapping[int, str] | None = None,
    colors: Mapping[int, str] | None = None,
    style: PointStyle | None = None,
) -> None:
    """Colour the points of a layer by another column, in place, as :func:`points_layer` would.

    Numbers get the layer's colour bar (for angles in degrees, as a feature of its own), categories
    a legend: :func:`napari_rvae.layers.legend`. A layer that bears the name of its column follows.

    Parameters
    ----------
    layer
        Points layer of the viewer.
    color_by
        Column of its features; None for no column.
    symmetry
        Order by which an angle is folded before it is coloured.
    contrast_limits
        Ends of the colormap, in degrees for angles; the 1st and 99th percentile over all frames
        when left out.
    categories
        Names of whole numbers for the legend; those given earlier for the column when left out.
    colors
        Colours of whole numbers, such as :attr:`~napari_rvae.Units.colors`; those given
        earlier when left out, else those of the palette.
    style
        Colours.

    Raises
    ------
    InputError
        If it is no Points layer, or has no such column.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, color_points, points_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[5.0, 5.0], x=[6.0, 9.0], z0=[0.1, 0.2], unit=[0, 1])
    >>> (layer,) = add_layers(ViewerModel(), points_layer(sites, color_by="z0"))
    >>> color_points(layer, "unit")
    >>> layer.name, layer.face_colorbar.visible
    ('unit', False)
    """
    if layer_kind(layer) != "Points":
        name = getattr(layer, "name", "")
        raise InputError(f"Layer {name!r} is a {layer_kind(layer)} layer: choose a Points layer.")
    style = style or PointStyle()
    record = layer.metadata.setdefault(METADATA_KEY, provenance("sites", None)[METADATA_KEY])
    features = _without_copies(layer.features, record)
    colouring = None
    if color_by is not None:
        names = categories or known_categories(record, color_by)
        own = colors or known_colours(record, color_by)
        colouring = colour_features(
            features,
            color_by,
            symmetry=symmetry,
            contrast_limits=contrast_limits,
            style=style,
            categories=names,
            colors=own,
        )
        note_categories(record, color_by, categories, colors)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _EXPECTED_WARNINGS)
        _apply(layer, features, colouring, style, record)
    earlier = record.get("column") or "sites"
    for key in _COLOUR_KEYS:
        record.pop(key, None)
    if colouring is not None:
        record.update({k: v for k, v in colouring.record.items() if v is not None})
    if layer.name == earlier:
        layer.name = color_by or "sites"
    show_colour_bar(layer)


def _without_copies(features: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    """Features without the copy in degrees of the column that was shown so far."""
    copy = record.get("feature", record.get("column"))
    return (
        features if copy == record.get("column") else features.drop(columns=copy, errors="ignore")
    )


def _apply(
    layer: Any,
    features: pd.DataFrame,
    colouring: Colouring | None,
    style: PointStyle,
    record: Mapping[str, Any],
) -> None:
    """Hand the colours to napari in the one order in which no step meets values it cannot show."""
    layer.face_color = style.colour
    chosen = features if colouring is None else colouring.features
    if chosen is not layer.features:
        layer.features = chosen
    if "site_id" in chosen:  # whoever set the features last: a new point is a site of its own
        layer.feature_defaults = new_site(chosen)
    if colouring is None:
        _apply_plain(layer, *plain_colours(near_border(layer.data, record), style))
        return
    layer.border_color = style.border_colour
    options = colouring.options
    if options["color_mode"] == "colormap":
        layer.face_contrast_limits = options["contrast_limits"]
        layer.face_colormap = options["continuous_colormap"]
    else:
        layer.face_color_cycle = options["categorical_colormap"]
    layer.face_color = colouring.feature
    layer.face_color_mode = options["color_mode"]


def _apply_plain(layer: Any, faces: Any, rims: Any) -> None:
    """Colour faces and rims; new points are as those inside, and the selected are left alone."""
    with layer.block_update_properties():
        layer.face_color = faces["colors"] if isinstance(faces, dict) else faces
        layer.border_color = rims["colors"] if isinstance(rims, dict) else rims
        layer.current_face_color = faces["current_color"] if isinstance(faces, dict) else faces
        layer.current_border_color = rims["current_color"] if isinstance(rims, dict) else rims
