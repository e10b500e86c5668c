"""Two columns of a layer of sites against each other: what the colours mean, and the figure."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.analysis.scatter import density_counts, plot_range, scatter_of
from napari_rvae.errors import InputError
from napari_rvae.io import FIGURES, write_figure
from napari_rvae.layers.colours import (
    LegendEntry,
    column_label,
    known_categories,
    known_colours,
    legend_of,
)
from napari_rvae.layers.figures import name_colours, writable
from napari_rvae.layers.hiding import hidden_categories
from napari_rvae.layers.place import record_of
from napari_rvae.layers.plotted import colour_bar, density_colours, plotted_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_rvae.analysis.scatter import Scatter

__all__ = ["PlotKey", "plot_figure", "plot_key", "save_plot_figure"]

_MM = 25.4

#: Cells of a density along each axis.
_CELLS = 120

#: Names of a legend at most, size of its letters, and width of a letter, in points.
_MOST_NAMES, _LETTERS, _LETTER = 20, 6.5, 3.6


@dataclass(frozen=True, eq=False)
class PlotKey:
    """What the colours of a plot mean.

    Attributes
    ----------
    title
        What is coloured by, with its unit.
    bar
        Colours (256, 4) from low to high, 0 to 255; None for categories.
    ends
        Values at the ends of the bar.
    entries
        Categories with their colours and counts; none for numbers.
    """

    title: str
    bar: NDArray[np.uint8] | None = None
    ends: tuple[float, float] = (0.0, 1.0)
    entries: tuple[LegendEntry, ...] = ()


def plot_key(
    layer: Any, column: str | None = None, *, rows: NDArray[np.int64] | None = None
) -> PlotKey | None:
    """Say what the colours of a plot mean.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`.
    column
        What is coloured by; as the layer is coloured now, if left out.
    rows
        Numbers of the points that are counted, such as those that a plot shows; all that are not
        hidden in the viewer, if left out.

    Returns
    -------
    PlotKey or None
        Categories that are hidden in the viewer are left out. None where nothing is coloured by.

    Raises
    ------
    InputError
        If there is no such column.
    """
    record = record_of(layer)
    column = column or record.get("column")
    if column is None:
        return None
    if column not in layer.features:
        raise InputError(f"The sites table lacks the column {column}.")
    title = column_label(column)
    if record.get("column") == column:
        title = str(record.get("feature", title))
    found = colour_bar(layer, column)
    if found is not None:
        return PlotKey(title, *found)
    shown = np.flatnonzero(layer.shown) if rows is None else rows
    looks = known_categories(record, column), known_colours(record, column)
    known = legend_of(layer.features, column, *looks)
    counts = {
        entry.value: entry.count for entry in legend_of(layer.features.iloc[shown], column, *looks)
    }
    hidden = hidden_categories(layer) if record.get("column") == column else []
    entries = tuple(
        LegendEntry(entry.value, entry.name, entry.colour, counts.get(entry.value, 0))
        for entry in known
        if entry.value not in hidden and (entry.value is not None or None in counts)
    )
    return PlotKey(title, entries=entries)


def plot_figure(
    layer: Any,
    x: str,
    y: str,
    *,
    color: str | None = None,
    frame: int | None = None,
    x_ends: tuple[float, float] | None = None,
    y_ends: tuple[float, float] | None = None,
    width_mm: float = 85.0,
) -> Figure:
    """Draw two columns of the sites of a layer against each other, as the Latent plot shows them.

    Parameters
    ----------
    layer
        Points layer of :func:`~napari_rvae.points_layer`; points that are hidden in the viewer are
        left out, and those that are selected are ringed.
    x, y
        Columns of numbers; angles are in degrees.
    color
        What to colour by; as in the viewer, if left out. Above 100,000 points the density is drawn.
    frame
        Frame whose sites are drawn, those of the others are faint; all, if left out.
    x_ends, y_ends
        Ends of the axes; nearly all of the sites, if left out.
    width_mm
        Width of the figure in mm; 85 is one column of most journals.

    Returns
    -------
    Figure
        Of Matplotlib, with a colour bar, or a legend with counts.

    Raises
    ------
    InputError
        If a column is missing or holds no numbers, or the width is no length.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, plot_figure, points_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[1.0, 5.0], x=[1.0, 2.0], z0=[0.0, 1.0], z1=[0.5, 0.2])
    >>> (layer,) = add_layers(ViewerModel(), points_layer(sites, color_by="z0"))
    >>> figure = plot_figure(layer, "z0", "z1")
    >>> figure.axes[0].get_xlabel(), len(figure.axes)
    ('z0', 2)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not (math.isfinite(width_mm) and 10 <= width_mm <= 1000):
        raise InputError(f"width_mm = {width_mm}: give 10 to 1000.")
    points = scatter_of(layer.features, x, y)
    points = points.take(np.asarray(layer.shown, bool)[points.row])
    if not len(points):
        raise InputError(f"No site that is shown has a value of both {x} and {y}.")
    inches = width_mm / _MM
    figure = Figure(figsize=(inches, 0.8 * inches), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(*(x_ends or plot_range(points.x)))
    axes.set_ylim(*(y_ends or plot_range(points.y)))
    axes.set_xlabel(column_label(x), fontsize=7)
    axes.set_ylabel(column_label(y), fontsize=7)
    axes.tick_params(labelsize=6, length=2, width=0.5)
    if points.is_dense:
        _draw_density(figure, axes, points)
    else:
        asked = _draw_points(axes, layer, points, color, frame)
        _draw_key(figure, axes, plot_key(layer, color, rows=asked.row))
    return figure


def save_plot_figure(
    layer: Any,
    x: str,
    y: str,
    path: str | os.PathLike[str],
    *,
    dpi: float = 300.0,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write what :func:`plot_figure` draws to a file, at print size.

    Parameters
    ----------
    layer, x, y
        See :func:`plot_figure`.
    path
        The file: .png, .svg or .pdf.
    dpi
        Pixels per inch of a picture.
    overwrite
        Whether a file that is there may be replaced.
    **options
        Of :func:`plot_figure`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        See :func:`plot_figure`; or if the suffix is another one, or the file is there
        already or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, points_layer, save_plot_figure
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[1.0, 5.0], x=[1.0, 2.0], z0=[0.0, 1.0])
    >>> (layer,) = add_layers(ViewerModel(), points_layer(sites))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_plot_figure(layer, "z0", "y", Path(folder) / "plot.svg").name
    'plot.svg'
    """
    target = writable(path, FIGURES, overwrite=overwrite)
    return write_figure(target, plot_figure(layer, x, y, **options), dpi=dpi)


def _draw_density(figure: Figure, axes: Axes, points: Scatter) -> None:
    """Draw how many points lie where, on a logarithmic scale."""
    from matplotlib.colors import ListedColormap, LogNorm

    x_ends, y_ends = axes.get_xlim(), axes.get_ylim()
    counts = density_counts(points, x_ends, y_ends, (_CELLS, _CELLS)).astype(float)
    shown = axes.imshow(
        np.where(counts > 0, counts, np.nan),
        cmap=ListedColormap(density_colours() / 255),
        norm=LogNorm(1, max(2.0, counts.max())),
        extent=(*x_ends, *y_ends),
        aspect="auto",
    )
    bar = figure.colorbar(shown, ax=axes, fraction=0.05)
    bar.set_label("sites in a cell", fontsize=7)
    bar.ax.tick_params(labelsize=6, length=2, width=0.5)


def _draw_points(
    axes: Axes, layer: Any, points: Scatter, color: str | None, frame: int | None
) -> Scatter:
    """Draw the points, those of other frames faint, ring what is selected; return the asked."""
    here = np.ones(len(points), bool)
    if frame is not None:
        here = layer.features["frame"].to_numpy()[points.row] == frame
    others = points.take(~here)
    asked = points.take(here)
    colours = plotted_colours(layer, color)[asked.row] / 255
    look: dict[str, Any] = {"s": 5, "linewidths": 0, "rasterized": len(points) > _CELLS**2}
    axes.scatter(others.x, others.y, color="0.85", **look)
    axes.scatter(asked.x, asked.y, c=colours, **look)
    chosen = np.zeros(len(layer.data), bool)
    rows = np.fromiter(layer.selected_data, np.int64, len(layer.selected_data))
    chosen[rows[rows < len(chosen)]] = True
    ringed = asked.take(chosen[asked.row])
    axes.scatter(ringed.x, ringed.y, s=14, linewidths=0.7, facecolors="none", edgecolors="#ff5a36")
    return asked


def _draw_key(figure: Figure, axes: Axes, key: PlotKey | None) -> None:
    """Draw the colour bar, or name the categories below."""
    if key is None:
        return
    if key.bar is not None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize

        shown = ScalarMappable(Normalize(*key.ends), ListedColormap(key.bar / 255))
        bar = figure.colorbar(shown, ax=axes, fraction=0.05)
        bar.set_label(key.title, fontsize=7)
        bar.ax.tick_params(labelsize=6, length=2, width=0.5)
        return
    names = [
        (f"{entry.name} ({entry.count:,})", entry.colour) for entry in key.entries[:_MOST_NAMES]
    ]
    letters = max((len(name) for name, _ in names), default=1) + 5
    across = int(72 * figure.get_figwidth() / (_LETTER * letters))
    name_colours(
        figure,
        names,
        size=3,
        title=key.title,
        title_fontsize=_LETTERS,
        fontsize=_LETTERS,
        loc="outside lower center",
        ncols=max(1, min(len(names), across)),
        labelspacing=0.3,
    )
