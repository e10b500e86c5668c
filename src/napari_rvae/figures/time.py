"""A movie at a glance: the density of a column against the frame, and shares over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from napari_rvae.analysis.appearance import unit_colour
from napari_rvae.analysis.scatter import plot_range, plotted_values
from napari_rvae.analysis.shares import group_shares
from napari_rvae.errors import InputError
from napari_rvae.figures.page import new_figure, plain_axes, theme_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_rvae.figures.page import Theme

__all__ = ["time_figure", "time_marks"]

#: Cells of the density that goes up, and most groups that are drawn.
_CELLS, _MOST = 60, 12


def time_figure(
    table: pd.DataFrame,
    column: str | None = None,
    groups: str | None = None,
    *,
    labels: Mapping[Any, str] | None = None,
    colors: Mapping[Any, str] | None = None,
    theme: Literal["light", "dark"] = "light",
    size: tuple[float, float] = (8.0, 2.4),
) -> Figure:
    """Draw a column's density against the frame, and the share of each group of sites.

    Parameters
    ----------
    table
        Sites table of one movie.
    column
        A column of numbers, such as "z0"; angles are in degrees.
    groups
        A column of whole numbers or words, such as "unit" or "class"; -1 and "" count for none.
        The most common group is left out where there are others: it would flatten them.
    labels, colors
        Name and colour of a group.
    theme
        "light" for print, "dark" for the screen.
    size
        Width and height in inches.

    Raises
    ------
    InputError
        If neither column is given, one is missing, or `column` holds no numbers.

    Examples
    --------
    >>> from napari_rvae.figures.time import time_figure
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 0, 1, 1], y=[1.0] * 4, x=[2.0] * 4, z0=[0.0, 1.0, 0.2, 0.8])
    >>> len(time_figure(sites, "z0").axes)
    1
    """
    if column is None and groups is None:
        raise InputError("There is nothing to draw over time: give a column or groups.")
    look = theme_of(theme)
    figure = new_figure(size, look)
    figure.set_layout_engine("constrained")
    rows = [name for name in (column, groups) if name is not None]
    parts: Any = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes in parts:
        axes.set_facecolor(look.paper)
        plain_axes(axes, look)
    if column is not None:
        _draw_density(parts[0], table, column, look)
    if groups is not None:
        _draw_shares(parts[-1], table, groups, labels or {}, colors or {}, look)
    first, last = int(table["frame"].min()), int(table["frame"].max())
    parts[-1].set_xlim(first - 0.5, last + 0.5)
    parts[-1].locator_params(axis="x", integer=True)
    parts[-1].set_xlabel("frame", fontsize=8, color=look.ink, labelpad=1)
    return figure


def _draw_density(axes: Any, table: pd.DataFrame, column: str, look: Theme) -> None:
    from matplotlib.colors import LogNorm

    values, frame = plotted_values(table, column), table["frame"].to_numpy(float)
    known = np.isfinite(values)
    edges = np.arange(frame.min() - 0.5, frame.max() + 1)
    up = np.linspace(*plot_range(values), _CELLS + 1)
    counts, *_ = np.histogram2d(frame[known], values[known], bins=[edges, up])
    shown = np.ma.masked_equal(counts.T, 0)
    axes.pcolormesh(edges, up, shown, norm=LogNorm(), cmap="viridis", rasterized=True)
    axes.set_ylabel(column, fontsize=8, color=look.ink)


def _draw_shares(
    axes: Any,
    table: pd.DataFrame,
    groups: str,
    labels: Mapping[Any, str],
    colors: Mapping[Any, str],
    look: Theme,
) -> None:
    shares = 100 * group_shares(table, groups)
    common = shares.mean().sort_values(ascending=False, kind="stable").index
    whole = len(common) > 1 and groups == "unit"
    for number, group in enumerate(common[1:_MOST] if whole else common[:_MOST]):
        own = unit_colour(int(group if groups == "unit" else number + 1))
        colour = colors.get(group, own)
        name = labels.get(group, str(group))
        axes.plot(shares.index, shares[group], color=colour, linewidth=1.3, label=name)
    axes.set_ylim(bottom=0)
    if len(common):
        options: dict[str, Any] = {"frameon": False, "fontsize": 7, "labelcolor": look.ink}
        # beside all panels: beside its own one, many names would leave the panel no room
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", **options)
    axes.set_ylabel(f"{groups} (%)", fontsize=8, color=look.ink)


def time_marks(figure: Figure, table: pd.DataFrame) -> tuple[dict[int, float], tuple[float, float]]:
    """Where each frame lies in a figure of :func:`time_figure`, for a marker.

    Parameters
    ----------
    figure
        The figure; it is drawn, so that its panels have their places.
    table
        The table that it was made from.

    Returns
    -------
    dict
        Share of the width from the left, by frame.
    tuple
        Shares of the height from the top between which the panels lie.
    """
    figure.canvas.draw()
    first, last = figure.axes[0], figure.axes[-1]
    frames = np.arange(int(table["frame"].min()), int(table["frame"].max()) + 1)
    places = last.transData.transform(np.stack([frames, np.zeros(len(frames))], 1))
    across = figure.transFigure.inverted().transform(places)[:, 0]
    reach = 1 - first.get_position().y1, 1 - last.get_position().y0
    return dict(zip(frames.tolist(), across.tolist(), strict=True)), reach
