"""What every panel of the report draws from: the data, the colours, the look of the axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from napari_rvae.analysis.appearance import unit_colour
from napari_rvae.errors import InputError
from napari_rvae.frames import Frames
from napari_rvae.tables import (
    join_latents,
    latent_names,
    neighbour_distance,
    validate_sites,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_rvae.analysis.units import Units
    from napari_rvae.vae import RVAE

__all__ = [
    "MAX_UNITS",
    "PAGE_INCHES",
    "Page",
    "Panel",
    "Theme",
    "dress",
    "label_axes",
    "length_text",
    "length_unit",
    "make_page",
    "new_figure",
    "percentile_limits",
    "plain_axes",
    "shorten",
    "theme_of",
]

#: Size of the page in inches: 16:10.
PAGE_INCHES = (16.0, 10.0)

#: More units than this are counted, not shown.
MAX_UNITS = 12

_UNIT_SIGNS = {
    "nanometer": "nm",
    "nanometre": "nm",
    "angstrom": "Å",
    "micrometer": "µm",
    "micrometre": "µm",
    "micron": "µm",
    "um": "µm",
    "picometer": "pm",
    "picometre": "pm",
    "meter": "m",
    "metre": "m",
}


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    paper: str
    ink: str
    faint: str
    accent: str
    second: str


_THEMES = {
    "light": Theme("#ffffff", ink="#1b1e23", faint="#7d848e", accent="#1f5fa8", second="#c77700"),
    "dark": Theme("#15171b", ink="#e8eaed", faint="#868d98", accent="#7db7f0", second="#f0a840"),
}


def theme_of(name: str) -> Theme:
    """Colours by their name; InputError for another one."""
    if name not in _THEMES:
        raise InputError(f"There is no theme {name!r}: choose light or dark.")
    return _THEMES[name]


@dataclass(frozen=True)
class Page:
    """The data and the look of one page."""

    frames: Frames
    table: pd.DataFrame  # sites with whatever latents and units there are
    index: int  # the frame that is shown
    theme: Theme
    model: RVAE | None
    units: pd.DataFrame  # unit, name, count, colour, the host first; empty without units
    distance: float  # between nearest neighbours, in pixels

    @property
    def here(self) -> pd.DataFrame:
        """The sites of the frame that is shown."""
        return self.table[self.table["frame"] == self.index]

    @property
    def angle(self) -> str:
        """The angle that can best be compared between sites, or "" without angles."""
        return next((name for name in ("lattice_angle", "angle") if self.has(name)), "")

    @property
    def angle_order(self) -> int:
        """Symmetry that the angles are folded by: the largest n with all within pi/n."""
        widest = float(np.nanmax(np.abs(self.table[self.angle].to_numpy(float))))
        return max(n for n in (1, 2, 3, 4, 6) if n == 1 or widest <= math.pi / n * 1.0001)

    @property
    def latents(self) -> tuple[str, ...]:
        """The two latents that spread most, by number; fewer if there are fewer."""
        spread = {name: self.table[name].std() for name in latent_names(self.table)}
        known = [name for name in spread if self.has(name)]
        return tuple(sorted(sorted(known, key=lambda name: -spread[name])[:2]))

    def has(self, column: str) -> bool:
        """Whether the table holds anything in a column."""
        return column in self.table and bool(np.isfinite(self.table[column]).any())


#: A panel draws the page's data on its axes.
Panel = Callable[["Axes", Page], None]


def make_page(
    frames: Frames,
    sites: pd.DataFrame,
    *,
    model: RVAE | None,
    units: Units | None,
    frame: int | None,
    theme: str,
) -> Page:
    """Check and join what is to be drawn; the arguments are those of ``report_figure``."""
    look = theme_of(theme)
    index = frames.n_frames // 2 if frame is None else frame
    if not 0 <= index < frames.n_frames:
        raise InputError(f"There is no frame {index}: there are {frames.n_frames}.")
    table = validate_sites(sites)
    if len(table["source"].unique()) > 1:
        raise InputError("The sites belong to several movies: draw one page for each source.")
    if units is not None:
        table = join_latents(table, units.table)
    legend = _unit_legend(table, units)
    return Page(frames, table, index, look, model, legend, neighbour_distance(table))


def _unit_legend(table: pd.DataFrame, units: Units | None) -> pd.DataFrame:
    """Name, count and colour of each unit; the host, or the most common one, comes first."""
    if units is not None:
        legend = units.summary[["unit", "name", "count"]].reset_index(drop=True)
    elif "unit" in table:
        counts = table.loc[table["unit"] >= 0, "unit"].value_counts()
        legend = counts.rename_axis("unit").reset_index(name="count")
        legend.insert(1, "name", [f"unit {unit}" for unit in legend["unit"]])
    else:
        legend = pd.DataFrame({"unit": [], "name": [], "count": []})
    colours = {} if units is None else units.colors
    legend["colour"] = [colours.get(unit, unit_colour(unit)) for unit in legend["unit"]]
    return legend


def dress(axes: Axes, title: str, theme: Theme) -> None:
    """Give axes their title and the colours of the page."""
    axes.set_title(title, color=theme.ink, fontsize=10.5, loc="left", pad=5)
    axes.tick_params(colors=theme.ink, labelsize=8, length=3, width=0.6)
    axes.set_anchor("NW")
    for spine in axes.spines.values():
        spine.set(color=theme.faint, linewidth=0.6)


def new_figure(size: tuple[float, float], look: Theme) -> Figure:
    """Make an empty figure (inches) that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor=look.paper)
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes, look: Theme) -> None:
    """Give axes the colours of the page, and open their box."""
    axes.tick_params(colors=look.ink, labelsize=8, length=3, width=0.6)
    for side, spine in axes.spines.items():
        spine.set(color=look.faint, linewidth=0.6)
        spine.set_visible(side in ("left", "bottom"))


def label_axes(axes: Axes, page: Page, x: str, y: str) -> None:
    """Name both axes of a plot, and open its box."""
    axes.set_xlabel(x, color=page.theme.ink, fontsize=8.5, labelpad=2)
    axes.set_ylabel(y, color=page.theme.ink, fontsize=8.5, labelpad=2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def percentile_limits(values: ArrayLike, percent: float) -> tuple[float, float]:
    """Limits that leave `percent` of the finite values out at either end; never equal."""
    array = np.asarray(values, dtype=float)
    finite = array[np.isfinite(array)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (percent, 100 - percent)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def length_unit(frames: Frames) -> str:
    """Short name of the unit of length, "" where there is none."""
    unit = frames.units[-1]
    return "" if unit in ("pixel", "px", "") else _UNIT_SIGNS.get(unit, unit)


def length_text(pixels: float, frames: Frames) -> str:
    """A length in pixels and, where the scale is known, in physical units."""
    unit, text = length_unit(frames), f"{pixels:.1f} px"
    return f"{text} ({pixels * frames.pixel_size[1]:.3g} {unit})" if unit else text


def shorten(text: str, length: int) -> str:
    """Cut a text to a length."""
    return text if len(text) <= length else text[: length - 1] + "…"
