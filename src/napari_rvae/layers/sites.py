"""Sites -> points, directions and tracks over the frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.appearance import UNIT_COLOURS
from napari_rvae.analysis.maps import ANGLE_COLUMNS
from napari_rvae.errors import InputError
from napari_rvae.frames import Frames, as_frames
from napari_rvae.layers.place import LayerTuple, placement, provenance, robust_limits
from napari_rvae.layers.styles import MISSING_COLOUR, PointStyle, TrackStyle, VectorStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["points_layer", "tracks_layer", "vectors_layer"]


def points_layer(
    sites: pd.DataFrame,
    frames: Any = None,
    *,
    color_by: str | None = None,
    symmetry: int = 1,
    contrast_limits: tuple[float, float] | None = None,
    source: str | None = None,
    name: str | None = None,
    style: PointStyle | None = None,
) -> LayerTuple:
    """Make a Points layer of the sites.

    Parameters
    ----------
    sites
        Sites table; all its columns become the layer's features. Sites without a position are
        left out; vacancies are rings.
    frames
        Frames that the sites lie on: gives scale, units and axis labels.
    color_by
        Column to colour by: numbers by a colormap, angles by a cyclic one, whole numbers and
        words by one colour each. Sites without a value are grey.
    symmetry
        Order by which an angle is folded before it is coloured.
    contrast_limits
        Ends of the colormap; the 1st and 99th percentile over all frames when left out.
    source
        Draw the sites of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and sizes.

    Returns
    -------
    tuple
        Data (N, 3) as (frame, y, x), or (N, 2) as (y, x) for one image; options; "points".

    Raises
    ------
    InputError
        If the column is missing, or the table holds several sources and none is named.

    Examples
    --------
    >>> from napari_rvae import points_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[6.0, 7.0], z0=[0.1, 0.2])
    >>> data, options, kind = points_layer(sites, color_by="z0")
    >>> data.shape, options["name"], kind
    ((2, 3), 'z0', 'points')
    """
    style = style or PointStyle()
    need = [] if color_by is None else [color_by]
    sites, distance = _drawable(sites, source, need)
    frames = _optional(frames)
    data = _coordinates(sites, frames)
    features = sites.reset_index(drop=True)
    options: dict[str, Any] = {
        "name": name or color_by or "sites",
        "features": features,
        "size": style.size * distance,
        "border_width": style.border_width,
        "border_color": style.border_colour,
        "face_color": style.colour,
        "symbol": np.where(sites["kind"] == "vacancy", style.vacancy_symbol, style.symbol).tolist(),
        **placement(frames, data.shape[1]),
    }
    shown: dict[str, Any] = {}
    if color_by is not None:
        column, colours = _colours(features, color_by, symmetry, contrast_limits, style)
        options["face_color"] = {"color_properties": column, **colours}
        shown = {"column": color_by, "contrast_limits": colours.get("contrast_limits")}
        if color_by in ANGLE_COLUMNS:
            shown["symmetry"] = symmetry
    options["metadata"] = provenance("sites", frames, source=source, **shown)
    return data, options, "points"


def _colours(
    features: pd.DataFrame,
    color_by: str,
    symmetry: int,
    contrast_limits: tuple[float, float] | None,
    style: PointStyle,
) -> tuple[str, dict[str, Any]]:
    """Column to colour by (a folded angle is added to the features) and napari's colour options.

    The mode is always given: napari guesses it from the values, warns, and guesses wrong.
    """
    column = features[color_by]
    if column.dtype.kind != "f":
        return color_by, {
            "color_mode": "cycle",
            "categorical_colormap": {
                "colormap": _category_colours(column),
                "fallback_color": [MISSING_COLOUR],
            },
        }
    shown, colormap = color_by, style.colormap
    if color_by in ANGLE_COLUMNS or symmetry > 1:
        colormap = style.cyclic_colormap
        contrast_limits = contrast_limits or (-math.pi / symmetry, math.pi / symmetry)
        if symmetry > 1:
            shown = f"{color_by} modulo 1/{symmetry} turn"
            features[shown] = tables.fold_angle(column, symmetry)
    return shown, {
        "color_mode": "colormap",
        "continuous_colormap": _colormap(colormap),
        # napari's own limits are NaN as soon as one value is
        "contrast_limits": contrast_limits or robust_limits(column.to_numpy(), style.percentiles),
    }


def _category_colours(column: pd.Series[Any]) -> dict[Any, str]:
    """Colour of each word or whole number; -1, "" and what is missing are grey."""
    values = column.dropna().unique()
    if column.dtype.kind in "iub":
        numbers = {value: int(value) for value in values if value != -1}
    else:
        words = sorted(value for value in values if value != "")
        numbers = {word: number for number, word in enumerate(words)}
    return {value: UNIT_COLOURS[n % len(UNIT_COLOURS)] for value, n in numbers.items()}


def _colormap(name: str) -> dict[str, Any]:
    """Colormap of this name in which what is missing is grey instead of invisible."""
    from matplotlib import colormaps

    colours = colormaps[name](np.linspace(0, 1, 256))
    return {"name": f"{name}, grey if missing", "colors": colours, "nan_color": MISSING_COLOUR}


def vectors_layer(
    sites: pd.DataFrame,
    frames: Any = None,
    *,
    column: str = "angle",
    symmetry: int = 1,
    source: str | None = None,
    name: str | None = None,
    style: VectorStyle | None = None,
) -> LayerTuple:
    """Make a Vectors layer of directions: an arm for each equivalent direction of each site.

    Parameters
    ----------
    sites
        Sites table with `column`; sites without a value are left out.
    frames
        Frames that the sites lie on.
    column
        Column of angles a in radians: what points to the right, (0, 1), in the canonical picture
        points to (-sin a, cos a) in the frame, as (y, x), y down, in physical lengths.
    symmetry
        Number of arms n, at a + 2 pi k / n.
    source
        Draw the sites of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and sizes; hue is the angle folded by `symmetry`, and an arm is the fainter the
        less is known of it (column ``angle_sd``): at the spread of a random angle it is faintest.

    Returns
    -------
    tuple
        Data (n N, 2, 3), or (n N, 2, 2) for one image: start and direction; options; "vectors".

    Raises
    ------
    InputError
        If the column is missing, or the table holds several sources and none is named.

    Examples
    --------
    >>> from napari_rvae import vectors_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[5.0], x=[6.0], angle=[0.3])
    >>> vectors_layer(sites, symmetry=3)[0].shape
    (3, 2, 2)
    """
    if symmetry < 1:
        raise InputError(f"symmetry = {symmetry}: the order of a symmetry is 1 or more.")
    style = style or VectorStyle()
    sites, distance = _drawable(sites, source, [column])
    sites = sites[np.isfinite(sites[column].to_numpy(float))]
    frames = _optional(frames)
    start = np.repeat(_coordinates(sites, frames), symmetry, axis=0)
    angle = sites[column].to_numpy(float)
    arms = (angle[:, None] + 2 * math.pi / symmetry * np.arange(symmetry)).ravel()
    height, width = (1.0, 1.0) if frames is None else frames.pixel_size
    # the length in pixels is that of square pixels of the same area
    length = style.length * distance * math.sqrt(height * width)
    direction = np.zeros(start.shape)
    direction[:, -2] = -np.sin(arms) * length / height
    direction[:, -1] = np.cos(arms) * length / width
    colours = _arm_colours(sites, column, symmetry, style)
    options = {
        "name": name or f"{column} (directions)",
        "features": pd.DataFrame(
            {"site_id": np.repeat(sites["site_id"].to_numpy(), symmetry), column: arms}
        ),
        # napari takes no empty list of colours
        "edge_color": colours if len(colours) else MISSING_COLOUR,
        "edge_width": style.width * distance,
        "vector_style": "line",
        "metadata": provenance(
            "directions", frames, column=column, symmetry=symmetry, source=source
        ),
        **placement(frames, start.shape[1]),
    }
    return np.stack([start, direction], axis=1), options, "vectors"


def _arm_colours(
    sites: pd.DataFrame, column: str, symmetry: int, style: VectorStyle
) -> NDArray[np.float64]:
    """Colours (n N, 4) of the arms."""
    from matplotlib import colormaps

    angle = tables.fold_angle(sites[column].to_numpy(float), symmetry)
    colours = np.asarray(colormaps[style.colormap](angle * symmetry / (2 * math.pi) + 0.5), float)
    deviation = "angle_sd" if column in ("angle", "lattice_angle") else f"{column}_sd"
    if deviation in sites:
        random = math.pi / symmetry / math.sqrt(3)
        known = 1 - sites[deviation].to_numpy(float) / random
        colours[:, 3] = np.clip(np.nan_to_num(known), style.faintest, 1.0)
    return np.repeat(colours.reshape(-1, 4), symmetry, axis=0)


def tracks_layer(
    sites: pd.DataFrame,
    frames: Any = None,
    *,
    column: str = "track_id",
    color_by: str | None = None,
    source: str | None = None,
    name: str | None = None,
    style: TrackStyle | None = None,
) -> LayerTuple:
    """Make a Tracks layer of linked sites.

    Parameters
    ----------
    sites
        Sites table after :func:`~napari_rvae.link_sites`.
    frames
        Frames that the sites lie on.
    column
        "track_id" for atoms, "lattice_track_id" for places of the lattice.
    color_by
        Column of numbers to colour by; the track itself when left out.
    source
        Draw the sites of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and sizes.

    Returns
    -------
    tuple
        Data (N, 4) as (track, frame, y, x), tracks of one site left out; options; "tracks".

    Raises
    ------
    InputError
        If a column is missing, no track has two sites, or the table holds several sources and
        none is named.

    Examples
    --------
    >>> from napari_rvae import tracks_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[5.0, 5.0], x=[6.0, 6.5], track_id=[7, 7])
    >>> tracks_layer(sites)[0].tolist()
    [[7.0, 0.0, 5.0, 6.0], [7.0, 1.0, 5.0, 6.5]]
    """
    style = style or TrackStyle()
    sites, _ = _drawable(sites, source, [column, *([color_by] if color_by else [])])
    frames = _optional(frames)
    sites = sites[sites[column] >= 0]
    sites = sites[sites.groupby(column)[column].transform("size") > 1]
    if not len(sites) or (frames is not None and "t" not in frames.axis_labels):
        raise InputError(f"No {column} has two sites: link a movie first (link_sites).")
    sites = sites.sort_values([column, "frame"], kind="stable", ignore_index=True)
    # napari colours by numbers only, and one missing value makes all tracks invisible
    chosen = dict.fromkeys(["site_id", *([color_by] if color_by else [])])
    features = pd.DataFrame({feature: _filled(sites[feature]) for feature in chosen})
    options = {
        "name": name or ("atom tracks" if column == "track_id" else "lattice tracks"),
        "features": features,
        "color_by": color_by or "track_id",
        "colormap": style.colormap,
        "tail_length": style.tail_length,
        "tail_width": style.tail_width,
        "metadata": provenance("tracks", frames, column=column, source=source),
        **placement(frames, 3),
    }
    return sites[[column, "frame", "y", "x"]].to_numpy(float), options, "tracks"


def _filled(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Values (N,) of a column of numbers, the missing ones replaced by the median."""
    if column.dtype.kind not in "fiub":
        raise InputError(f"Column {column.name!r} holds no numbers: tracks cannot show it.")
    values = column.to_numpy(float)
    known = values[np.isfinite(values)]
    return np.where(np.isfinite(values), values, np.median(known) if known.size else 0.0)


def _optional(frames: Any) -> Frames | None:
    return None if frames is None else as_frames(frames)


def _drawable(
    sites: pd.DataFrame, source: str | None, need: list[str]
) -> tuple[pd.DataFrame, float]:
    """Sites of one source that have a position, and their neighbour distance in pixels."""
    sites = tables.validate_sites(sites, need=need)
    if source is not None:
        sites = sites[sites["source"] == source]
    names = sites["source"].unique()
    if len(names) > 1:
        raise InputError(f"The table holds {len(names)} sources: name one, source={names[0]!r}.")
    distance = tables.neighbour_distance(sites)
    sites = sites[np.isfinite(sites[["y", "x"]].to_numpy(float)).all(1)]
    return sites, distance if math.isfinite(distance) else 10.0


def _coordinates(sites: pd.DataFrame, frames: Frames | None) -> NDArray[np.float64]:
    """Positions (N, 3) as (frame, y, x), or (N, 2) as (y, x) for one image."""
    moves = "t" in frames.axis_labels if frames is not None else bool((sites["frame"] > 0).any())
    return sites[["frame", "y", "x"] if moves else ["y", "x"]].to_numpy(float)
