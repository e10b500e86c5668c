"""The panels over a frame: sites, angles, latents, units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.analysis.appearance import CYCLIC_COLOURS
from napari_rvae.figures.page import (
    MAX_UNITS,
    PAGE_INCHES,
    Page,
    Panel,
    length_unit,
    percentile_limits,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Colormap, Normalize

__all__ = ["map_panels"]

#: Marker, colour and plural of each kind of site.
_KINDS = {
    "atom": ("o", "#ffb000", "atoms"),
    "vacancy": ("s", "#00c2ff", "vacancies"),
    "wall": ("d", "#ffb000", "wall sites"),
    "grid": ("+", "#ffb000", "grid sites"),
}


def map_panels(page: Page) -> list[tuple[str, Panel]]:
    """Choose the panels whose data are there, as (title, panel)."""
    panels: list[tuple[str, Panel]] = [(f"Sites in frame {page.index}", _sites_panel)]
    if page.angle:
        panels.append((page.angle.replace("_", " ").capitalize(), _angle_panel))
    panels += [(f"Latent {name}", _latent_panel(name)) for name in page.latents]
    if len(page.units):
        panels.append(("Structural units", _units_panel))
    return panels


def _sites_panel(axes: Axes, page: Page) -> None:
    _show_frame(axes, page)
    area = _marker_area(axes, page, 0.7)
    parts = []
    for kind, group in page.here.groupby("kind"):
        marker, colour, plural = _KINDS[str(kind)]
        style = {"c": colour} if marker == "+" else {"facecolors": "none", "edgecolors": colour}
        _dots(axes, group, s=area, marker=marker, linewidths=0.7, **style)
        parts.append(f"{len(group):,} {plural}" if len(group) != 1 else f"1 {kind!s}")
    text = ", ".join(parts) or "no sites in this frame"
    place = _below(page, 0.03)
    axes.text(0, place, text, color=page.theme.ink, fontsize=8, va="top", transform=axes.transAxes)


def _angle_panel(axes: Axes, page: Page) -> None:
    from matplotlib.colors import Normalize

    half = 180 / page.angle_order
    degrees = np.degrees(page.here[page.angle])
    dots = _coloured(axes, page, degrees, _hue_circle(), Normalize(-half, half))
    _colour_bar(axes, page, dots, "degrees", [-half, -half / 2, 0, half / 2, half])


def _latent_panel(name: str) -> Panel:
    def draw(axes: Axes, page: Page) -> None:
        from matplotlib.colors import Normalize

        low, high = percentile_limits(page.table[name], 1)  # the same in every frame
        dots = _coloured(axes, page, page.here[name], "viridis", Normalize(low, high))
        _colour_bar(axes, page, dots, f"{name} (1 to 99 % of all sites)")

    return draw


def _units_panel(axes: Axes, page: Page) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.lines import Line2D

    place = {int(unit): float(i) for i, unit in enumerate(page.units["unit"])}
    colours = ListedColormap(list(page.units["colour"]))
    norm = BoundaryNorm(np.arange(len(page.units) + 1) - 0.5, len(page.units))
    _coloured(axes, page, page.here["unit"].map(place), colours, norm)
    shown = page.units.head(MAX_UNITS)
    axes.legend(
        [Line2D([], [], marker="o", ls="", color=c, markersize=4.5) for c in shown["colour"]],
        [
            shorten(f"{unit}  {name}", 20)
            for unit, name in zip(shown["unit"], shown["name"], strict=True)
        ],
        loc="upper left",
        bbox_to_anchor=(-0.02, _below(page, 0.02)),
        ncols=2,
        fontsize=7,
        frameon=False,
        labelcolor=page.theme.ink,
        handletextpad=0.1,
        columnspacing=0.8,
        labelspacing=0.25,
        borderpad=0.0,
    )


def _show_frame(axes: Axes, page: Page) -> None:
    """Show the frame in grey, with a scale bar where its scale is known."""
    image = page.frames.frame(page.index)
    low, high = percentile_limits(image, 0.5)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=page.frames.pixel_aspect)
    rows, columns = page.frames.frame_shape
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), autoscale_on=False)
    if length_unit(page.frames):
        axes.set(xticks=[], yticks=[])
        _scale_bar(axes, page)
    else:
        axes.locator_params(nbins=5)
        for axis, length in ((axes.xaxis, columns), (axes.yaxis, rows)):
            ticks = [tick for tick in axis.get_majorticklocs() if 0 <= tick <= length - 0.5]
            axis.set_ticks(
                ticks, [f"{tick:g} px" if tick == ticks[-1] else f"{tick:g}" for tick in ticks]
            )


def _scale_bar(axes: Axes, page: Page) -> None:
    from matplotlib.patches import Rectangle

    columns, size = page.frames.frame_shape[1], page.frames.pixel_size[1]
    longest = 0.3 * columns * size
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest)
    wide, high = length / size / columns, 0.012  # shares of the panel
    shade = Rectangle((0.02, 0.02), wide + 0.06, 0.12, color="black", alpha=0.6)
    bar = Rectangle((0.05, 0.04), wide, high, color="white")
    for number, patch in enumerate((shade, bar)):
        # above the sites
        patch.set(transform=axes.transAxes, linewidth=0, zorder=3 + number)
        axes.add_patch(patch)
    axes.text(
        0.05 + wide / 2,
        0.06,
        f"{length:g} {length_unit(page.frames)}",
        color="white",
        fontsize=7.5,
        ha="center",
        va="bottom",
        transform=axes.transAxes,
        zorder=5,
    )


def _marker_area(axes: Axes, page: Page, share: float) -> float:
    """Area of a marker (points squared) whose diameter is a share of a neighbour distance."""
    rows, columns = page.frames.frame_shape
    box, (width, height) = axes.get_position(), PAGE_INCHES
    per_pixel = 72 * min(box.width * width / columns, box.height * height / rows)
    spacing = page.distance if math.isfinite(page.distance) else 0.05 * columns
    return float(np.clip(share * spacing * per_pixel, 1.0, 14.0) ** 2)


def _dots(axes: Axes, sites: pd.DataFrame, **style: Any) -> PathCollection:
    # thousands of markers bloat a PDF, so they become pixels there too
    return axes.scatter(sites["x"], sites["y"], rasterized=True, **style)


def _coloured(
    axes: Axes, page: Page, values: pd.Series, cmap: str | Colormap, norm: Normalize
) -> PathCollection:
    """Draw the sites of the frame in colours; those without a value as grey rings."""
    _show_frame(axes, page)
    area = _marker_area(axes, page, 0.85)
    known = np.isfinite(values.to_numpy(float))
    rings = {"facecolors": "none", "edgecolors": "#8a8f98", "linewidths": 0.5}
    _dots(axes, page.here[~known], s=area, **rings)
    colours = {"c": values[known], "cmap": cmap, "norm": norm, "linewidths": 0}
    return _dots(axes, page.here[known], s=area, **colours)


def _below(page: Page, gap: float) -> float:
    """Height (share of the panel) just below the frame and its tick labels, if any."""
    return -gap if length_unit(page.frames) else -gap - 0.07


def _colour_bar(
    axes: Axes,
    page: Page,
    dots: PathCollection,
    text: str,
    ticks: Sequence[float] | None = None,
) -> None:
    inset = axes.inset_axes((0.0, _below(page, 0.075), 1.0, 0.04))
    figure = axes.get_figure(root=True)
    assert figure is not None  # noqa: S101 - axes of a page
    bar = figure.colorbar(dots, cax=inset, orientation="horizontal", ticks=ticks)
    bar.outline.set(edgecolor=page.theme.faint, linewidth=0.5)
    inset.tick_params(colors=page.theme.ink, labelsize=7.5, length=2, width=0.5, pad=1.5)
    bar.set_label(text, color=page.theme.ink, fontsize=8, labelpad=1)


def _hue_circle() -> Colormap:
    """Colours of angles, the same as in the viewer."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("angles", [*CYCLIC_COLOURS, CYCLIC_COLOURS[0]])
