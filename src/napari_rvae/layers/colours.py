"""Which colour a value has: numbers, angles and categories, and the legend of these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.appearance import UNIT_COLOURS
from napari_rvae.errors import InputError
from napari_rvae.layers.place import layer_kind, record_of, robust_limits
from napari_rvae.layers.styles import MISSING_COLOUR, Colours, PointStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Colouring",
    "LegendEntry",
    "as_categories",
    "category_colours",
    "colour_features",
    "colour_table",
    "column_label",
    "degrees_name",
    "is_angle",
    "is_categorical",
    "known_categories",
    "known_colours",
    "legend",
    "legend_of",
    "note_categories",
    "on_circle",
    "show_colour_bar",
]

#: A longer legend than this is not kept in the metadata.
_MAX_KEPT = 100


#: Units of columns that have one and are no angle.
_UNITS = {
    **dict.fromkeys(("y", "x", "y_sd", "x_sd", "sigma", "shift_y", "shift_x"), "px"),
    **dict.fromkeys(("off_centre_y", "off_centre_x", "off_centre", "off_centre_sd"), "px"),
    "wall_position": "px",
    "curvature": "1/px",
    "displacement": "px",
    "speed": "px/s",
    **dict.fromkeys(("lattice_rotation", "misorientation", "polarization_turn"), "rad"),
}


@dataclass(frozen=True)
class LegendEntry:
    """One colour of a legend.

    Parameters
    ----------
    value
        Value of the column; None for the sites that have none.
    name
        What to call it.
    colour
        Its colour, "#rrggbb".
    count
        Number of sites.
    """

    value: int | str | bool | None
    name: str
    colour: str
    count: int


@dataclass(frozen=True, eq=False)
class Colouring:
    """How points are coloured by a column.

    Parameters
    ----------
    feature
        The feature to colour by: the column itself, or one that holds it in degrees.
    features
        The features with that one.
    options
        Napari's options: color_mode, and the colours of numbers or of categories.
    record
        What the layer's metadata say of it.
    """

    feature: str
    features: pd.DataFrame
    options: dict[str, Any]
    record: dict[str, Any]


def colour_features(
    features: pd.DataFrame,
    column: str,
    *,
    symmetry: int = 1,
    contrast_limits: tuple[float, float] | None = None,
    style: PointStyle,
    categories: Mapping[int, str] | None = None,
    colors: Mapping[int, str] | None = None,
) -> Colouring:
    """Decide how to colour points by a column of their features, which are left as they are."""
    if column not in features:
        raise InputError(f"The sites table lacks the column {column}.")
    if symmetry < 1:
        raise InputError(f"symmetry = {symmetry}: the order of a symmetry is 1 or more.")
    if is_categorical(features[column]):
        values = as_categories(features[column])
        entries = legend_of(features, column, categories, colors)
        kept = [asdict(entry) for entry in entries] if len(entries) <= _MAX_KEPT else None
        cycle = {"colormap": category_colours(values, colors), "fallback_color": [MISSING_COLOUR]}
        return Colouring(
            feature=column,
            features=features.assign(**{column: values}),
            options={"color_mode": "cycle", "categorical_colormap": cycle},
            record={"column": column, "colours": "categorical", "legend": kept},
        )
    return _colour_numbers(features, column, symmetry, contrast_limits, style)


def _colour_numbers(
    features: pd.DataFrame,
    column: str,
    symmetry: int,
    contrast_limits: tuple[float, float] | None,
    style: PointStyle,
) -> Colouring:
    """Colour by a column of numbers; angles are shown in degrees."""
    cyclic = is_angle(column, symmetry)
    shown = degrees_name(column, symmetry)
    if cyclic:
        folded = np.degrees(tables.fold_angle(features[column].to_numpy(float), symmetry))
        features = features.assign(**{shown: folded})
        contrast_limits = contrast_limits or (-180 / symmetry, 180 / symmetry)
    elif shown != column:
        features = features.assign(**{shown: np.degrees(features[column])})
    # napari's own limits are NaN as soon as one value is
    limits = contrast_limits or robust_limits(features[shown].to_numpy(float), style.percentiles)
    limits = (float(limits[0]), float(limits[1]))
    colours = style.cyclic_colormap if cyclic else style.colormap
    return Colouring(
        feature=shown,
        features=features,
        # the mode is always given: napari guesses it from the values, warns, and guesses wrong
        options={
            "color_mode": "colormap",
            "continuous_colormap": {
                # what is missing is grey instead of invisible
                "name": f"{colours if isinstance(colours, str) else 'cyclic'}, grey if missing",
                "colors": colour_table(colours),
                "nan_color": MISSING_COLOUR,
            },
            "contrast_limits": limits,
        },
        record={
            "column": column,
            "feature": shown,
            "colours": "cyclic" if cyclic else "continuous",
            "contrast_limits": limits,
            "symmetry": symmetry if cyclic else None,
        },
    )


def is_angle(column: str, symmetry: int | None = None) -> bool:
    """Whether a column is a direction; any column is that has a symmetry."""
    from napari_rvae.analysis.maps import ANGLE_COLUMNS  # loads much of SciPy

    return column in ANGLE_COLUMNS or (symmetry or 1) > 1


def degrees_name(column: str, symmetry: int = 1) -> str:
    """Name under which a column is shown: angles and their errors in degrees, others as is."""
    if is_angle(column, symmetry):
        folded = f" mod {360 / symmetry:.4g} deg" if symmetry > 1 else ""
        return f"{column}{folded} (deg)"
    stem = column.removesuffix("_sd")
    return f"{column} (deg)" if stem != column and is_angle(stem) else column


def column_label(column: str) -> str:
    """Name of a column with the unit that it is shown in."""
    return f"{column} ({_UNITS[column]})" if column in _UNITS else degrees_name(column)


def is_categorical(column: pd.Series[Any]) -> bool:
    """Whether a column holds whole numbers or words, which have one colour each."""
    return bool(column.dtype.kind != "f")


def as_categories(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return whole numbers as they are, words with "" for what is missing."""
    if column.dtype.kind in "iub" and not column.hasnans:
        return column
    if column.dtype.kind in "iu":
        return column.fillna(-1).astype("int64")
    return column.astype("str").where(column.notna(), "")


def category_colours(
    column: pd.Series[Any], colors: Mapping[int, str] | None = None
) -> dict[Any, str]:
    """Colour of each value of a column in order; -1 and "", which stand for none, are left out.

    Whole numbers can have colours of their own.
    """
    values = column.value_counts(sort=False).sort_index().index.tolist()
    if column.dtype.kind in "iub":
        numbers = {value: int(value) for value in values if value != -1}
    else:
        numbers = {word: n for n, word in enumerate(word for word in values if word != "")}
    given = {str(value): colour for value, colour in (colors or {}).items()}
    palette = {value: UNIT_COLOURS[n % len(UNIT_COLOURS)] for value, n in numbers.items()}
    return {value: given.get(str(value), colour) for value, colour in palette.items()}


def legend_of(
    features: pd.DataFrame,
    column: str,
    categories: Mapping[int, str] | None = None,
    colors: Mapping[int, str] | None = None,
) -> list[LegendEntry]:
    """Legend of a column of whole numbers or words.

    Parameters
    ----------
    features
        Sites table, or the features of a layer.
    column
        Name of the column.
    categories
        Names of whole numbers, such as :attr:`~napari_rvae.Units.names`.
    colors
        Colours of whole numbers, such as :attr:`~napari_rvae.Units.colors`; those of the palette,
        by number, when left out.

    Returns
    -------
    list
        An entry for each value that occurs, in order; the sites that have none come last, as
        "none". Empty for numbers that are not whole: they have a colour bar.

    Raises
    ------
    InputError
        If the column is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.layers import legend_of
    >>> [entry.name for entry in legend_of(pd.DataFrame({"unit": [0, 1, -1]}), "unit", {0: "host"})]
    ['host', 'unit 1', 'none']
    """
    if column not in features:
        raise InputError(f"The sites table lacks the column {column}.")
    if not is_categorical(features[column]):
        return []
    values = as_categories(features[column])
    # by their text: where metadata were stored as JSON, numbers are no keys
    names = {str(value): name for value, name in (categories or {}).items()}
    counts: dict[Any, int] = values.value_counts().to_dict()
    entries = [
        LegendEntry(value, _name_of(value, column, names), colour, int(counts[value]))
        for value, colour in category_colours(values, colors).items()
    ]
    missing = len(values) - sum(entry.count for entry in entries)
    return [*entries, LegendEntry(None, "none", MISSING_COLOUR, missing)] if missing else entries


def _name_of(value: Any, column: str, names: Mapping[str, str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return names.get(str(value), value if isinstance(value, str) else f"{column} {value}")


def legend(layer: Any) -> list[LegendEntry]:
    """Legend of a Points layer as it is coloured now.

    Parameters
    ----------
    layer
        A layer of :func:`~napari_rvae.points_layer`, coloured by it or by
        :func:`~napari_rvae.color_points`.

    Returns
    -------
    list
        See :func:`legend_of`; empty where the layer shows no categories.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae import color_points
    >>> from napari_rvae.layers import legend
    >>> points = Points([[5, 5], [5, 9]], features={"species": ["C", "Si"]})
    >>> color_points(points, "species")
    >>> [entry.name for entry in legend(points)]
    ['C', 'Si']
    """
    record = record_of(layer)
    column = record.get("column")
    if column is None or column not in layer.features:
        return []
    names, colors = known_categories(record, column), known_colours(record, column)
    return legend_of(layer.features, column, names, colors)


def known_categories(record: Mapping[str, Any], column: str) -> dict[Any, str]:
    """Names of the values of a column that a layer's metadata know."""
    return dict(record.get("categories", {}).get(column, {}))


def known_colours(record: Mapping[str, Any], column: str) -> dict[Any, str]:
    """Colours of the values of a column that a layer's metadata know."""
    return dict(record.get("category_colors", {}).get(column, {}))


def note_categories(
    record: dict[str, Any],
    column: str,
    categories: Mapping[int, str] | None,
    colors: Mapping[int, str] | None,
) -> None:
    """Note the names and colours of the values of a column in a layer's metadata, if any."""
    for key, given in (("categories", categories), ("category_colors", colors)):
        if given:  # text, as JSON has no other keys
            record.setdefault(key, {})[column] = {str(k): v for k, v in given.items()}


def colour_table(colours: Colours) -> NDArray[np.float64]:
    """Colours (256, 4) of a colormap by name, or of colours at equal steps round a circle."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba_array

    if isinstance(colours, str):
        return np.asarray(colormaps[colours](np.linspace(0, 1, 256)), float)
    stops = to_rgba_array([*colours, colours[0]])
    places = np.linspace(0, len(colours), 256)
    return np.stack([np.interp(places, np.arange(len(stops)), c) for c in stops.T], axis=1)


def on_circle(angle: NDArray[np.float64], symmetry: int, colours: Colours) -> NDArray[np.float64]:
    """Colours (N, 4) of angles (N,) in radians, folded by the symmetry."""
    folded = tables.fold_angle(angle, symmetry) * symmetry / (2 * math.pi) + 0.5
    table = colour_table(colours)
    return np.asarray(table[np.clip(np.rint(folded * 255).astype(int), 0, 255)])


def show_colour_bar(layer: Any) -> None:
    """Show the colour bar of a layer where it has one: of points by numbers, and of maps."""
    record, points = record_of(layer), layer_kind(layer) == "Points"
    bar = getattr(layer, "face_colorbar" if points else "colorbar", None)
    if bar is None or record.get("kind") not in ("sites", "map"):
        return
    numbers = record.get("colours") in ("continuous", "cyclic")
    bar.visible = numbers and not (points and len(layer.data) == 0)
