"""One site on one page: pictures, the angle's posterior, latents with errors, the track."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_rvae.figures.page import new_figure, percentile_limits, plain_axes, theme_of
from napari_rvae.tables import latent_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from napari_rvae.analysis.inspection import SiteInspection
    from napari_rvae.figures.page import Theme

__all__ = ["site_figure"]

_TITLES = ("crop", "aligned", "decoded", "residual")

#: Colours of the latents, that read on light and dark.
_COLOURS = ("#2f8fd0", "#d08700", "#2e9e5b", "#c05fb5", "#c0392b", "#7f8c8d")


def site_figure(
    inspection: SiteInspection,
    *,
    theme: Literal["light", "dark"] = "light",
    size: tuple[float, float] = (10.0, 3.0),
) -> Figure:
    """Draw what :func:`~napari_rvae.inspect_site` found.

    Parameters
    ----------
    inspection
        What is known of the site.
    theme
        "light" for print, "dark" for the screen.
    size
        Width and height in inches; side by side where it is wide, one below the other where not.

    Returns
    -------
    matplotlib.figure.Figure
        Pictures of the first channel, the posterior of the angle as a polar plot (0 to the right,
        counter-clockwise as on the screen), the latents with their standard deviations over where
        nine in ten sites lie (grey), and the latents of the track against the frame.

    Examples
    --------
    >>> from napari_rvae import RVAE, detect_atoms, extract_crops, inspect_site, simulate_graphene
    >>> from napari_rvae.figures import site_figure
    >>> frames = simulate_graphene(n_frames=1, size=128).frames
    >>> sites = detect_atoms(frames)
    >>> crops = extract_crops(frames, sites)
    >>> found = inspect_site(RVAE(epochs=1).fit(crops), frames, sites, int(crops.site_id[0]))
    >>> len(site_figure(found).axes)
    7
    """
    look = theme_of(theme)
    figure = new_figure(size, look)
    figure.set_layout_engine("constrained")
    if size[0] > 1.4 * size[1]:
        shares = [1.3, 1.1, 0.8, 1.2]
        columns: Any = figure.subfigures(1, 4, wspace=0.02, width_ratios=shares)
        pictures, angle, latents, track = columns
    else:
        parts: Any = figure.subfigures(3, 1, height_ratios=[2, 1.2, 1.2])
        pictures, track = parts[0], parts[2]
        angle, latents = parts[1].subfigures(1, 2)
    for part in (pictures, angle, latents, track):
        part.set_facecolor(look.paper)
    _draw_pictures(pictures, inspection, look)
    _draw_angle(angle, inspection, look)
    _draw_latents(latents, inspection, look)
    _draw_track(track, inspection, look)
    return figure


def _draw_pictures(part: SubFigure, found: SiteInspection, look: Theme) -> None:
    """Draw crop, aligned, reconstruction on one scale of grey, the residual on its own."""
    views = found.views
    shown = [views.crop, views.aligned, views.reconstruction, views.residual]
    grey = percentile_limits(views.crop[0, 0], 0.5)
    most = float(np.nanmax(np.abs(views.residual[0, 0]))) or 1.0
    grid: Any = part.subplots(2, 2)
    for axes, picture, title in zip(grid.ravel(), shown, _TITLES, strict=True):
        residual = title == "residual"
        low, high = (-most, most) if residual else grey
        colours = "RdBu_r" if residual else "gray"
        axes.imshow(picture[0, 0], cmap=colours, vmin=low, vmax=high)
        axes.set(xticks=[], yticks=[], facecolor=look.paper)
        axes.set_title(title, fontsize=7.5, color=look.ink, pad=2)


def _draw_angle(part: SubFigure, found: SiteInspection, look: Theme) -> None:
    axes: Any = part.subplots(subplot_kw={"projection": "polar"})
    angle = np.r_[found.angle, found.angle[0] + 2 * math.pi]
    share = np.r_[found.angle_share, found.angle_share[:1]]
    axes.fill(angle, share, color=look.accent, alpha=0.35)
    axes.plot(angle, share, color=look.accent, linewidth=1.2)
    axes.set_facecolor(look.paper)
    axes.set_yticks([])
    axes.set_xticks(np.radians([0, 90, 180, 270]))
    axes.tick_params(colors=look.ink, labelsize=6.5, pad=-1)
    axes.grid(color=look.faint, linewidth=0.4)
    axes.spines["polar"].set(color=look.faint, linewidth=0.6)
    row = found.views.latents.iloc[0]
    text = f"{math.degrees(row['angle']):.1f}° ± {math.degrees(row['angle_sd']):.1f}°"
    symmetry = found.symmetry["verdict"].replace("cannot tell", "symmetry unsure")
    axes.set_title(f"{text}\n{symmetry}", fontsize=7.5, color=look.ink, pad=3)


def _draw_latents(part: SubFigure, found: SiteInspection, look: Theme) -> None:
    axes: Any = part.subplots()
    axes.set_facecolor(look.paper)
    plain_axes(axes, look)
    latents = found.latents
    place = np.arange(len(latents))
    axes.hlines(place, latents["low"], latents["high"], color=look.faint, alpha=0.4, linewidth=6)
    for number in place:
        row, colour = latents.iloc[number], _COLOURS[number % len(_COLOURS)]
        axes.errorbar(row["value"], number, xerr=row["sd"], fmt="o", color=colour, markersize=4)
    axes.set_yticks(place, latents["latent"])
    axes.set_ylim(len(latents) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=2, min_n_ticks=2)  # it is narrow: -2.5 and 0.0 collide
    axes.set_title("latents ± sd", fontsize=8, color=look.ink, pad=4)


def _draw_track(part: SubFigure, found: SiteInspection, look: Theme) -> None:
    axes: Axes = part.subplots()
    axes.set_facecolor(look.paper)
    plain_axes(axes, look)
    track = found.track
    names = [name for name in latent_names(track) if track[name].notna().any()]
    for number, name in enumerate(names):
        colour = _COLOURS[number % len(_COLOURS)]
        error = track.get(f"{name}_sd")
        options: dict[str, Any] = {"color": colour, "linewidth": 1, "markersize": 2.5}
        axes.errorbar(track["frame"], track[name], yerr=error, fmt="o-", label=name, **options)
    axes.axvline(float(found.site["frame"]), color="#ff5a36", linewidth=1)
    first, last = int(track["frame"].min()), int(track["frame"].max())
    if first == last:  # or there would be parts of frames beside it
        axes.set_xlim(first - 1, last + 1)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("frame", fontsize=8, color=look.ink, labelpad=1)
    column = track.attrs.get("column", "")
    title = f"{column} {int(found.site[column])}" if column else "not linked yet"
    if not names:
        title = "the sites have no latents"
    axes.set_title(title, fontsize=8, color=look.ink, pad=4)
