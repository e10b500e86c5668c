"""The report page, put together from its panels, and its export."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from napari_rvae.figures.maps import map_panels
from napari_rvae.figures.page import (
    PAGE_INCHES,
    Page,
    Panel,
    dress,
    length_text,
    length_unit,
    make_page,
    percentile_limits,
)
from napari_rvae.figures.plots import picture_panel, plot_panels, unit_pictures
from napari_rvae.figures.verdicts import draw_verdicts, verdicts_height
from napari_rvae.frames import as_frames
from napari_rvae.io import write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure, FigureBase

    from napari_rvae.analysis.halves import SplitHalf
    from napari_rvae.analysis.units import Units
    from napari_rvae.vae import RVAE
    from napari_rvae.vae.checks import ModelChecks

__all__ = ["report_figure", "save_figure"]

# Shares of the page.
_LEFT, _RIGHT, _GAP = 0.035, 0.975, 0.04
_TABLE_LEFT = 0.79

#: Bottom and height of each row of panels, by the number of rows.
_ROWS = {
    1: ((0.12, 0.76),),
    2: ((0.56, 0.34), (0.07, 0.36)),
    3: ((0.605, 0.285), (0.285, 0.235), (0.06, 0.15)),
}


def report_figure(
    frames: Any,
    sites: pd.DataFrame,
    *,
    model: RVAE | None = None,
    units: Units | None = None,
    metrics: Mapping[str, float] | None = None,
    checks: ModelChecks | None = None,
    halves: SplitHalf | None = None,
    seconds: float | None = None,
    frame: int | None = None,
    theme: Literal["light", "dark"] = "light",
) -> Figure:
    """Draw a movie's sites, angles, latents and units on one page.

    Panels whose data are not there are left out.

    Parameters
    ----------
    frames
        Frames or array-like (Y, X), (T, Y, X), (T, C, Y, X); the first channel is shown.
    sites
        Sites table of this movie, with latents where it has them.
    model
        Trained model: adds the manifold, the loss and the units' decoded pictures.
    units
        Units found: adds their shares, names and colours.
    metrics
        Figures against a known truth, for the table on the page.
    checks
        What :func:`napari_rvae.vae.checks.check_model` found: adds the verdicts at the bottom.
    halves
        What :func:`napari_rvae.split_half` found: adds its verdicts to these.
    seconds
        How long the work took.
    frame
        Number of the frame that is shown; the middle one when left out.
    theme
        "light" for print, "dark" for the screen.

    Returns
    -------
    matplotlib.figure.Figure
        The page, 16 x 10 inches, with verdicts somewhat taller; see :func:`save_figure`.

    Raises
    ------
    InputError
        If the theme or the frame is unknown, or the sites belong to several movies.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.figures import report_figure
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[10.0, 20.0, 30.0], x=[10.0, 20.0, 30.0])
    >>> len(report_figure(np.zeros((1, 48, 48)), sites).axes)
    1
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = make_page(as_frames(frames), sites, model=model, units=units, frame=frame, theme=theme)
    verdicts = [] if checks is None else checks.verdicts
    verdicts = [*verdicts, *(() if halves is None else halves.checks)]
    width, height = PAGE_INCHES
    below = verdicts_height(len(verdicts))
    figure = Figure(figsize=(width, height + below), facecolor=page.theme.paper)
    FigureCanvasAgg(figure)
    main: FigureBase = figure
    if verdicts:
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[height, below])
        main, strip = parts[:, 0]
        draw_verdicts(strip, page, verdicts)
    _headline(main, page, seconds)
    panels = [row for row in (map_panels(page), plot_panels(page)) if row]
    cards = len(page.units) > 0 and model is not None and len(page.latents) > 0
    rows = _ROWS[len(panels) + bool(cards or metrics)]
    columns = max(2, *(len(row) for row in panels)) if len(panels) > 1 else len(panels[0])
    for row, (bottom, tall) in zip(panels, rows, strict=False):
        _fill_row(main, page, row, (columns, bottom, tall))
    if cards and model is not None:
        _cards(main, page, model, _TABLE_LEFT - 0.04 if metrics else _RIGHT, rows[-1])
    if metrics:
        _metrics_table(main, page, metrics, rows[-1])
    return figure


def save_figure(figure: Figure, path: str | Path, *, dpi: float = 120) -> Path:
    """Write a figure to a file, whole or not at all.

    Parameters
    ----------
    figure
        The figure.
    path
        Target; its suffix says what is written: .png, .pdf or .svg. An existing file is
        replaced.
    dpi
        Pixels per inch of pictures.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    InputError
        If the suffix is another one, or the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from matplotlib.figure import Figure
    >>> from napari_rvae.figures import save_figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(Figure(), Path(folder) / "page.png").name
    'page.png'
    """
    return write_figure(path, figure, dpi=dpi)


def _headline(figure: FigureBase, page: Page, seconds: float | None) -> None:
    frames, theme = page.frames, page.theme
    rows, columns = frames.frame_shape
    facts = [f"{frames.n_frames} frame{'s' * (frames.n_frames > 1)} of {rows} x {columns} px"]
    if length_unit(frames):
        facts.append(f"{frames.pixel_size[1]:.4g} {length_unit(frames)} per px")
    facts.append(f"{len(page.table):,} sites")
    if math.isfinite(page.distance):
        facts.append(f"nearest neighbours {length_text(page.distance, frames)} apart")
    if page.model is not None:
        facts.append(f"trained on {page.model.device_}")
    if seconds is not None:
        facts.append(f"{seconds:.0f} s")
    name = frames.name or "Frames without a name"
    figure.text(_LEFT, 0.965, name, color=theme.ink, fontsize=17, weight="bold", va="center")
    figure.text(_LEFT, 0.935, " · ".join(facts), color=theme.faint, fontsize=10.5, va="center")


def _fill_row(
    figure: FigureBase,
    page: Page,
    panels: Sequence[tuple[str, Panel]],
    grid: tuple[int, float, float],
) -> None:
    """Draw panels of one size side by side; `grid` is (columns, bottom, height)."""
    columns, bottom, height = grid
    step = (_RIGHT - _LEFT + _GAP) / columns
    for number, (title, draw) in enumerate(panels):
        box = (_LEFT + number * step, bottom, step - _GAP, height)
        axes = figure.add_axes(box, facecolor=page.theme.paper)
        dress(axes, title, page.theme)
        draw(axes, page)


def _metrics_table(
    figure: FigureBase, page: Page, metrics: Mapping[str, float], row: tuple[float, float]
) -> None:
    bottom, height = row
    axes = figure.add_axes((_TABLE_LEFT, bottom - 0.03, _RIGHT - _TABLE_LEFT, height + 0.03))
    axes.set_axis_off()
    dress(axes, "Against the known truth", page.theme)
    step = 1 / max(len(metrics), 6)
    for number, (name, value) in enumerate(metrics.items()):
        place = 1 - (number + 0.5) * step
        style: dict[str, Any] = {"color": page.theme.ink, "fontsize": 8, "va": "center"}
        axes.text(0.0, place, name.replace("_", " "), **style)
        axes.text(1.0, place, _number_text(value), ha="right", **style)


def _number_text(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if isinstance(value, int) or abs(value) >= 10 else f"{value:.3f}"


def _cards(
    figure: FigureBase, page: Page, model: RVAE, right: float, row: tuple[float, float]
) -> None:
    """Draw the picture of each unit in its colour, with its name and count."""
    bottom, height = row
    pictures = unit_pictures(page, model)
    limits = percentile_limits(pictures, 0.5)
    step = (right - _LEFT) / max(len(pictures), 7)
    side = min(0.9 * step * PAGE_INCHES[0], (height - 0.03) * PAGE_INCHES[1])  # inches
    width, tall = side / PAGE_INCHES[0], side / PAGE_INCHES[1]
    title = "Units: decoded picture, number of sites"
    hidden = len(page.units) - len(pictures)
    if hidden:
        title += f" ({hidden} more not shown)"
    figure.text(_LEFT, bottom + height + 0.01, title, color=page.theme.ink, fontsize=10.5)
    shown = page.units.head(len(pictures))
    for number, picture in enumerate(pictures):
        unit = shown.iloc[number]
        box = (_LEFT + number * step, bottom + height - tall, width, tall)
        axes = figure.add_axes(box)
        picture_panel(axes, picture, limits)
        for spine in axes.spines.values():
            spine.set(color=unit["colour"], linewidth=2.2)
        name = textwrap.fill(f"{unit['unit']}  {unit['name']}", 18, max_lines=3, placeholder="…")
        text = f"{name}\n{unit['count']:,}"
        axes.set_xlabel(text, color=page.theme.ink, fontsize=7.5, labelpad=3)
