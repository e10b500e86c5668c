"""Columns of the sites -> pictures over the frames, drawn when they are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.analysis.appearance import UNIT_COLOURS
from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames
from napari_rvae.layers.colours import (
    as_categories,
    category_colours,
    colour_table,
    degrees_name,
    is_angle,
    is_categorical,
    legend_of,
)
from napari_rvae.layers.place import LayerTuple, placement, provenance, robust_limits
from napari_rvae.layers.sites import drawable
from napari_rvae.layers.styles import MapStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["map_layer"]


def map_layer(
    sites: pd.DataFrame,
    column: str,
    frames: Any,
    *,
    symmetry: int | None = None,
    contrast_limits: tuple[float, float] | None = None,
    categories: Mapping[int, str] | None = None,
    colors: Mapping[int, str] | None = None,
    source: str | None = None,
    name: str | None = None,
    style: MapStyle | None = None,
) -> LayerTuple:
    """Make a layer of a column of the sites as a picture over the frames.

    Each frame is drawn by :func:`~napari_rvae.latent_map` when it is looked at.

    Parameters
    ----------
    sites
        Sites table with `column`.
    column
        Name of a column. Angles are drawn in degrees and cyclic colours; whole numbers (units,
        tracks) and words (classes) become areas in the colours of the legend.
    frames
        Frames that the picture lies over.
    symmetry
        Order of the symmetry of an angle; 1 for ``angle``, ``lattice_angle``, ``normal_angle``.
    contrast_limits
        Ends of the colormap, in degrees for angles; the 1st and 99th percentile of the sites of
        all frames when left out.
    categories
        Names of whole numbers, such as :attr:`~napari_rvae.Units.names`.
    colors
        Colours of whole numbers, such as :attr:`~napari_rvae.Units.colors`; those of the
        palette when left out.
    source
        Draw the sites of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and opacity.

    Returns
    -------
    tuple
        Lazy data (T, Y, X) or (Y, X); options; "image" (float32, NaN where there is no site), or
        "labels" for whole numbers and words (value + 1, or the number of the word in order of the
        alphabet from 1 on, and 0 where there is no site).

    Raises
    ------
    InputError
        If the column is missing or holds no value, or the table holds several sources and none
        is named.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import map_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[2, 2, 8, 8], x=[2, 8, 2, 8], z0=[0.0, 1.0, 0.0, 1.0])
    >>> data, options, kind = map_layer(sites, "z0", np.zeros((11, 11)))
    >>> data.shape, options["name"], kind
    ((11, 11), 'z0 map', 'image')
    """
    from napari_rvae.analysis.maps import latent_map  # loads much of SciPy

    style, movie = style or MapStyle(), as_frames(frames)
    sites, distance = drawable(sites, source, [column])
    if not np.isfinite(distance):
        raise InputError("No frame has three sites: a map needs more of them.")
    if sites[column].dtype.kind not in "fiub":
        sites, categories, colors = _number_words(sites, column)
    if not _holds_values(sites[column]):
        raise InputError(f"Column {column!r} holds no value: there is nothing to draw.")
    picture = latent_map(
        sites, column, movie, symmetry=symmetry, neighbour_distance=distance, lazy=True
    )
    unit = "" if degrees_name(column, symmetry or 1) == column else " (deg)"
    record: dict[str, Any] = {"column": column, "source": source}
    if is_categorical(sites[column]) and not is_angle(column, symmetry):
        kind, look = "labels", _area_look(sites, column, categories, colors)
        picture = picture.map_blocks(_as_labels, dtype=np.int32)
        record["colours"] = "categorical"
    else:
        kind, look = "image", _number_look(sites, column, symmetry, contrast_limits, style)
        if unit:
            picture = picture.map_blocks(np.degrees, dtype=np.float32)
        record["colours"] = "cyclic" if is_angle(column, symmetry) else "continuous"
        record["contrast_limits"] = look["contrast_limits"]
        record["symmetry"] = (symmetry or 1) if is_angle(column, symmetry) else None
    options = {
        "name": name or f"{column} map{unit}",
        **look,
        "opacity": style.opacity,
        "blending": style.blending,
        "metadata": provenance("map", movie, **record),
        **placement(movie, picture.ndim),
    }
    return picture, options, kind


def _number_words(
    sites: pd.DataFrame, column: str
) -> tuple[pd.DataFrame, dict[int, str], dict[int, str]]:
    """Sites with numbers in place of words, -1 = none; the words and the colours of the numbers."""
    words = as_categories(sites[column])
    colours = category_colours(words)
    number = {word: n for n, word in enumerate(colours)}
    numbered = sites.assign(**{column: words.map(number).fillna(-1).astype("int64")})
    names = {n: f"{word}" for word, n in number.items()}
    return numbered, names, {number[word]: colour for word, colour in colours.items()}


def _holds_values(column: pd.Series[Any]) -> bool:
    """Whether there is anything but NaN, or but -1, which stands for none."""
    values = column.to_numpy()
    return bool(np.isfinite(values).any() if values.dtype.kind == "f" else (values != -1).any())


def _number_look(
    sites: pd.DataFrame,
    column: str,
    symmetry: int | None,
    contrast_limits: tuple[float, float] | None,
    style: MapStyle,
) -> dict[str, Any]:
    """Colormap and its ends; what is missing is transparent, as napari has it."""
    angle, order = is_angle(column, symmetry), symmetry or 1
    values = sites[column].to_numpy(float)
    if degrees_name(column, order) != column:
        values = np.degrees(values)
    limits = contrast_limits
    if limits is None:
        limits = (-180 / order, 180 / order) if angle else robust_limits(values, style.percentiles)
    colours = style.cyclic_colormap if angle else style.colormap
    name = colours if isinstance(colours, str) else "cyclic"
    return {
        "colormap": {"name": f"{name}, gaps transparent", "colors": colour_table(colours)},
        "contrast_limits": limits,
    }


def _area_look(
    sites: pd.DataFrame,
    column: str,
    categories: Mapping[int, str] | None,
    colors: Mapping[int, str] | None,
) -> dict[str, Any]:
    """Colours of labels, and their names, which napari shows under the cursor."""
    listed = legend_of(sites, column, categories, colors)
    entries = [entry for entry in listed if entry.value is not None]
    names = {
        "index": [int(entry.value or 0) + 1 for entry in entries],
        column: [entry.name for entry in entries],
    }
    if colors:
        own: dict[int | None, str] = {None: "transparent", 0: "transparent"}
        own |= {int(entry.value or 0) + 1: entry.colour for entry in entries}
        return {"colormap": own, "features": pd.DataFrame(names)}
    # label 0 is transparent; value 0 is label 1, and so on round
    return {"colormap": ["transparent", *UNIT_COLOURS], "features": pd.DataFrame(names)}


def _as_labels(values: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.nan_to_num(values + 1).astype(np.int32)
