"""A figure of several windows: what they have in common, and which picture is new at each scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_rvae.figures.page import dress, new_figure, percentile_limits, theme_of
from napari_rvae.figures.plots import picture_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_rvae.analysis.windows import WindowComparison
    from napari_rvae.figures.page import Theme

__all__ = ["windows_figure"]

#: Inches: width of the page and height of a row of pictures.
_WIDTH, _ROW = 12.0, 1.3

#: Share of the width that a row of pictures has.
_PICTURES = 0.46


def windows_figure(
    comparison: WindowComparison, *, theme: Literal["light", "dark"] = "light"
) -> Figure:
    """Draw what :func:`~napari_rvae.compare_windows` found.

    Parameters
    ----------
    comparison
        Models of several windows.
    theme
        "light" for print, "dark" for the screen.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the mean canonical correlation of every two windows; right, a row of pictures for each
        window along the direction that is newest in it, drawn to one scale.

    Raises
    ------
    InputError
        If the theme is unknown.

    Examples
    --------
    >>> from napari_rvae import compare_windows, detect_atoms, simulate_graphene
    >>> from napari_rvae.figures import windows_figure
    >>> movie = simulate_graphene(n_frames=1, size=192).frames
    >>> found = compare_windows(movie, detect_atoms(movie), (2.3, 3.5), epochs=1, n_pictures=3)
    >>> len(windows_figure(found).axes)
    7
    """
    look = theme_of(theme)
    summary = comparison.summary
    figure = new_figure((_WIDTH, _ROW * len(summary) + 0.6), look)
    _draw_matrix(figure, comparison, look)
    title = "What is new at each scale"
    figure.text(0.34, 0.95, title, color=look.ink, fontsize=10.5, va="center")
    for number, row in enumerate(summary.to_dict("records")):
        _draw_row(figure, row, comparison, number, look)
    return figure


def _draw_matrix(figure: Figure, comparison: WindowComparison, look: Theme) -> None:
    """Canonical correlations as a square."""
    summary = comparison.summary
    count = len(summary)
    left = figure.add_axes((0.06, 0.14, 0.24, 0.72), facecolor=look.paper)
    dress(left, "Mean canonical correlation", look)
    known = summary["window_nd"].notna().all()
    widths = summary["window_nd" if known else "window_px"]
    sides = [f"{side:.1f}" if known else f"{side:g}" for side in widths]
    matrix = np.eye(count)
    place = {side: number for number, side in enumerate(widths)}
    for row in comparison.correlations.to_dict("records"):
        i, j = place[row["window_nd"]], place[row["other_nd"]]
        matrix[i, j] = matrix[j, i] = row["mean"]
    left.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
    left.set(xticks=range(count), xticklabels=sides, yticks=range(count), yticklabels=sides)
    unit = "neighbour distances" if known else "px"
    left.set_xlabel(f"window ({unit})", color=look.ink, fontsize=8.5)
    for (i, j), value in np.ndenumerate(matrix):
        ink = "black" if value > 0.6 else "white"
        left.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)


def _draw_row(
    figure: Figure,
    row: Mapping[Any, Any],
    comparison: WindowComparison,
    number: int,
    look: Theme,
) -> None:
    """Pictures of one window, their size by that of the window, and what there is to say."""
    pictures = comparison.pictures[number]
    tall = 0.86 / len(comparison.summary)
    middle = 0.92 - (number + 0.55) * tall
    shape = figure.get_figheight() / figure.get_figwidth()
    largest = min(0.9 * tall, 0.95 * _PICTURES / len(pictures) / shape)
    high = largest * row["window_px"] / float(comparison.summary["window_px"].max())
    wide = high * shape
    limits = percentile_limits(pictures[:, 0], 0.5)
    for column, picture in enumerate(pictures):
        centre = 0.52 + (column + 0.5) * _PICTURES / len(pictures)
        axes = figure.add_axes((centre - wide / 2, middle - high / 2, wide, high))
        picture_panel(axes, np.asarray(picture[0], float), limits)
    side = f"{row['window_nd']:.1f} neighbour distances"
    if np.isnan(row["window_nd"]):
        side = f"{row['window_px']:g} px"
    words = f"{side}\n{row['in_use']} latents in use\n"
    words += f"{row['new']:.0%} new, {row['noise']:.0%} noise"
    figure.text(0.34, middle, words, color=look.ink, fontsize=9, va="center")
