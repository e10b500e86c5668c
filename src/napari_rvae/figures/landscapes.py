"""The landscape of decoded pictures, and film strips over it, as figures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from napari_rvae.analysis.appearance import unit_colour
from napari_rvae.errors import InputError
from napari_rvae.figures.page import Theme, new_figure, percentile_limits, plain_axes, theme_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.landscape import FilmStrip, Landscape, LatentPath

__all__ = ["draw_landscape", "film_figure", "landscape_figure", "landscape_targets"]

ThemeName = Literal["light", "dark"]

#: Most sites that are drawn, and passages.
_MOST_SITES, _MOST_PASSAGES = 20_000, 60

#: Side of a unit's picture in inches: at least, as a share of the axes, and at most.
_SIDES = (0.28, 0.12, 0.62)

#: Left of a film strip, in inches.
_MARGIN = 0.2

#: Characters of a caption in an inch.
_CHARACTERS = 17

#: Colour of passages.
_PASSAGE = "#ff5a36"


def landscape_figure(
    landscape: Landscape,
    cards: Sequence[UnitCard] = (),
    *,
    paths: Sequence[LatentPath] = (),
    passages: pd.DataFrame | None = None,
    plane: tuple[str, str] | None = None,
    theme: ThemeName = "light",
    size: tuple[float, float] = (8.0, 6.5),
) -> Figure:
    """Draw where the sites lie among the decoded pictures.

    Parameters
    ----------
    landscape
        What :func:`~napari_rvae.latent_landscape` returned.
    cards
        What :func:`~napari_rvae.unit_cards` returned: puts the units' pictures at their places.
    paths
        Ways of :func:`~napari_rvae.latent_path`: lines.
    passages
        What :func:`~napari_rvae.observed_passages` returned: thin lines with an arrow.
    plane
        Two latents, such as ("z0", "z1"); the first two principal coordinates of the distances of
        pictures, if left out.
    theme
        "light" for print, "dark" for the screen.
    size
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        Sites in a plane, coloured by their density; what the plane shows is written below it.

    Raises
    ------
    InputError
        If the theme or a latent is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, latent_landscape
    >>> from napari_rvae.figures.landscapes import landscape_figure
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> landscape = latent_landscape(model, model.transform(crops), n_nodes=5)
    >>> len(landscape_figure(landscape).axes)
    2
    """
    look = theme_of(theme)
    figure = new_figure(size, look)
    width, height = size
    left, bottom, right = 0.42 / width, 0.75 / height, 0.6 / width
    tall = 1 - bottom - 0.12 / height
    axes = figure.add_axes((left, bottom, 1 - left - right, tall), facecolor=look.paper)
    dots = draw_landscape(axes, landscape, cards, look, paths=paths, passages=passages, plane=plane)
    _caption(figure, landscape, plane, look)
    beside = (1 - right + 0.1 / width, bottom, 0.1 / width, tall)
    bar = figure.colorbar(dots, cax=figure.add_axes(beside))
    bar.outline.set(edgecolor=look.faint, linewidth=0.5)
    bar.ax.tick_params(colors=look.ink, labelsize=7, length=2, width=0.5, which="both")
    return figure


def draw_landscape(
    axes: Axes,
    landscape: Landscape,
    cards: Sequence[UnitCard],
    look: Theme,
    *,
    paths: Sequence[LatentPath] = (),
    passages: pd.DataFrame | None = None,
    plane: tuple[str, str] | None = None,
) -> PathCollection:
    """Draw sites in a plane, units, ways and passages; the options are those of the figure."""
    from matplotlib.colors import LogNorm

    plain_axes(axes, look)
    axes.tick_params(labelsize=7)
    sites = landscape.sites
    if len(sites) > _MOST_SITES:
        sites = sites.sample(_MOST_SITES, random_state=0)
    sites = sites.sort_values("density")  # the dense ones are not hidden by lonely ones
    across, up = plane or ("p0", "p1" if "p1" in sites else "p0")
    missing = [name for name in (across, up) if name not in sites]
    if missing:
        raise InputError(f"The landscape has no coordinate {', '.join(missing)}: choose latents.")
    axis = (across, up)
    density = sites["density"].to_numpy(float)
    least = max(float(density.min()), 1e-3 * float(density.max()))
    dots = axes.scatter(
        sites[across],
        sites[up],
        c=np.maximum(density, least),
        norm=LogNorm(least, max(float(density.max()), 1.001 * least)),
        cmap="viridis",
        s=9,
        linewidths=0,
        rasterized=True,
    )
    for path in paths:
        _draw_path(axes, landscape, path, axis, look)
    if passages is not None and len(passages):
        _draw_passages(axes, passages, axis)
    _set_limits(axes, sites[list(axis)].to_numpy(float), equal=plane is None)
    _draw_units(axes, landscape, cards, axis, look)
    return dots


def landscape_targets(
    figure: Figure, sites: pd.DataFrame, plane: tuple[str, str] | None = None
) -> pd.DataFrame:
    """Where sites lie in a figure of the landscape, so that it can be clicked.

    Parameters
    ----------
    figure
        What :func:`landscape_figure` returned.
    sites
        ``landscape.sites``.
    plane
        The plane that was drawn.

    Returns
    -------
    DataFrame
        ``site_id``, and ``x``, ``y`` as shares of the figure's width and height from the upper
        left.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, latent_landscape
    >>> from napari_rvae.figures.landscapes import landscape_figure, landscape_targets
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> landscape = latent_landscape(model, model.transform(crops), n_nodes=5)
    >>> targets = landscape_targets(landscape_figure(landscape), landscape.sites)
    >>> bool((targets["x"] > 0).all())
    True
    """
    across, up = plane or ("p0", "p1" if "p1" in sites else "p0")
    seen = figure.axes[0].transData.transform(sites[[across, up]].to_numpy(float))
    shares = seen / np.array([figure.bbox.width, figure.bbox.height])
    return pd.DataFrame(
        {"site_id": sites["site_id"].to_numpy(), "x": shares[:, 0], "y": 1 - shares[:, 1]}
    )


def _caption(
    figure: Figure, landscape: Landscape, plane: tuple[str, str] | None, look: Theme
) -> None:
    """Say below the axes what they show."""
    if plane is None:
        text = (
            "Distances of decoded pictures (noise of a pixel = 1): the plane of the first two "
            f"principal axes shows {100 * landscape.view_share:.0f} % of their squares."
        )
    else:
        text = f"{plane[0]} to the right, {plane[1]} upwards; distances in latents mean nothing."
    text += " Colour: share of the sites with the same picture."
    width, height = figure.get_size_inches()
    lines = textwrap.fill(text, int(_CHARACTERS * width))
    style: dict[str, Any] = {"color": look.ink, "fontsize": 7, "va": "bottom", "linespacing": 1.1}
    figure.text(0.08 / width, 0.05 / height, lines, **style)


def _draw_path(
    axes: Axes, landscape: Landscape, path: LatentPath, axis: tuple[str, str], look: Theme
) -> None:
    rows = landscape.nodes.set_index("node").loc[path.table["node"]]
    axes.plot(
        rows[axis[0]],
        rows[axis[1]],
        color=look.ink,
        linewidth=1.8,
        linestyle=(0, (3, 2)) if path.bridged else "-",
        marker="o",
        markersize=3.5,
        markerfacecolor=look.paper,
        zorder=4,
    )


def _draw_passages(axes: Axes, passages: pd.DataFrame, axis: tuple[str, str]) -> None:
    for _, rows in list(passages.groupby("event", sort=False))[:_MOST_PASSAGES]:
        x, y = rows[list(axis)].to_numpy(float).T
        axes.plot(x, y, color=_PASSAGE, linewidth=0.8, alpha=0.75, zorder=3)
        if len(x) > 1:
            axes.annotate(
                "",
                xy=(x[-1], y[-1]),
                xytext=(x[-2], y[-2]),
                arrowprops={"arrowstyle": "-|>", "color": _PASSAGE, "linewidth": 0.8},
                zorder=3,
            )


def _inches(axes: Axes) -> tuple[float, float]:
    """Width and height of axes in inches."""
    width, height = axes.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    box = axes.get_position()
    return float(width * box.width), float(height * box.height)


def _side(axes: Axes) -> float:
    """Side of a unit's picture in inches."""
    least, share, most = _SIDES
    return float(np.clip(share * min(_inches(axes)), least, most))


def _set_limits(axes: Axes, points: NDArray[np.float64], *, equal: bool) -> None:
    """Show points (N, 2) with a margin for pictures; one length as long either way, if asked."""
    inches, side = np.array(_inches(axes)), _side(axes)
    low, high = points.min(0), points.max(0)
    spans = np.maximum(high - low, 1e-9)
    per_inch = spans / np.maximum(inches - 2.2 * side, 0.5)
    if equal:
        per_inch[:] = per_inch.max()
    middle, reach = (low + high) / 2, per_inch * inches / 2
    (left, bottom), (right, top) = middle - reach, middle + reach
    axes.set(xlim=(left, right), ylim=(bottom, top), autoscale_on=False)


def _draw_units(
    axes: Axes,
    landscape: Landscape,
    cards: Sequence[UnitCard],
    axis: tuple[str, str],
    look: Theme,
) -> None:
    """Draw each unit's picture beside the middle of its sites, with a line to it."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    known = landscape.sites[landscape.sites["unit"] >= 0]
    if known.empty:
        return
    middles = known.groupby("unit")[list(axis)].median()
    by_unit = {card.unit: card for card in cards}
    inches, side = np.array(_inches(axes)), _side(axes)
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    per_inch = (high - low) / inches
    points = middles.to_numpy(float)
    places = _beside((points - low) / per_inch, inches, side) / inches
    for unit, point, place in zip(middles.index, points, places, strict=True):
        number = int(unit)
        card = by_unit.get(number)
        color = card.color if card is not None else unit_colour(number)
        picture = None if card is None else _picture_of(card)
        axes.plot(*point, "o", color=color, markersize=5, markeredgecolor=look.ink, zorder=8)
        if picture is None:
            continue
        dark, bright = percentile_limits(picture, 0.5)
        grey = np.clip((picture - dark) / (bright - dark), 0, 1)
        zoom = 72 * side / len(grey)
        image = OffsetImage(grey, zoom=zoom, cmap="gray", interpolation="bicubic")
        box = AnnotationBbox(
            image,
            (point[0], point[1]),
            xybox=(place[0], place[1]),
            xycoords="data",
            boxcoords="axes fraction",
            pad=0.1,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 1.0},
            bboxprops={"edgecolor": color, "facecolor": color, "linewidth": 1.2},
        )
        box.set_zorder(7)
        axes.add_artist(box)


def _beside(
    points: NDArray[np.float64], inches: NDArray[np.float64], side: float
) -> NDArray[np.float64]:
    """Places (n, 2) for pictures near points, in inches, that neither overlap nor stick out."""
    middle = points.mean(0)
    away = points - middle + 1e-3 * np.stack([np.arange(len(points)), -np.arange(len(points))], 1)
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
    place = points + 0.9 * side * away
    edge = 0.62 * side
    for _ in range(300):
        apart = place[:, None] - place[None]
        gap = np.abs(apart).max(2)
        near = (gap < 1.2 * side) & ~np.eye(len(place), dtype=bool)
        direction = apart / np.maximum(np.linalg.norm(apart, axis=2, keepdims=True), 1e-9)
        place = place + 0.1 * side * (near[..., None] * direction).sum(1)
        covered = np.abs(place - points).max(1) < 0.6 * side  # its own middle stays in sight
        place = place + 0.05 * side * covered[:, None] * away
        place = np.clip(place, edge, np.maximum(inches - edge, edge))
    return np.asarray(place)


def _picture_of(card: UnitCard) -> NDArray[np.float64] | None:
    picture = card.decoded if card.decoded is not None else card.mean_crop
    if picture is None:
        return None
    values: NDArray[np.float64] = np.asarray(picture, float)
    filled: NDArray[np.float64] = np.nan_to_num(values, nan=float(np.nanmedian(values)))
    return filled


def film_figure(
    strip: FilmStrip,
    *,
    title: str = "",
    labels: Sequence[str] | None = None,
    channel: int = 0,
    theme: ThemeName = "light",
    width: float = 9.0,
) -> Figure:
    """Draw a film strip: decoded pictures above, the mean of the nearest crops below.

    Parameters
    ----------
    strip
        What :func:`~napari_rvae.film_strip` returned.
    title
        Headline.
    labels
        What stands below each picture; the distance along the way and that of the crops, in
        standard deviations of the noise, if left out.
    channel
        Which one is shown.
    theme
        "light" for print, "dark" for the screen.
    width
        Width in inches; the height follows.

    Returns
    -------
    matplotlib.figure.Figure
        One grey scale for all decoded pictures, and one for all crops.

    Raises
    ------
    InputError
        If the theme is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, film_strip
    >>> from napari_rvae.figures.landscapes import film_figure
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
    >>> len(film_figure(film_strip(model, [[0.0] * 4, [1.0] * 4], n=5)).axes)
    5
    """
    look = theme_of(theme)
    has_crops = bool(np.isfinite(strip.crops).any())
    lines = textwrap.wrap(title, max(int(13 * width), 20))
    count, head = len(strip), 0.08 + 0.16 * len(lines)
    below = strip_labels(strip) if labels is None else list(labels)
    foot = 0.1 + 0.13 * max(text.count("\n") + 1 for text in below)
    side = (width - _MARGIN - 0.05) / count
    rows = 2 if has_crops else 1
    height = head + rows * side + foot
    figure = new_figure((width, height), look)
    style: dict[str, Any] = {"color": look.ink, "va": "top"}
    top = 1 - 0.07 / height
    figure.text(0.05 / width, top, "\n".join(lines), fontsize=8.5, linespacing=1.1, **style)
    pairs = (("decoded", strip.pictures), ("crops", strip.crops))[:rows]
    for row, (name, pictures) in enumerate(pairs):
        limits = percentile_limits(pictures[:, channel], 0.5)
        bottom = 1 - (head + (row + 1) * side) / height
        middle = bottom + side / 2 / height
        aside: dict[str, Any] = {"rotation": 90, "va": "center", "ha": "center", "fontsize": 6.5}
        figure.text(0.5 * _MARGIN / width, middle, name, color=look.faint, **aside)
        for number, picture in enumerate(pictures[:, channel]):
            box = ((_MARGIN + number * side) / width, bottom, 0.96 * side / width)
            axes = figure.add_axes((*box, 0.96 * side / height))
            _draw_picture(axes, np.asarray(picture, float), limits)
    for number, text in enumerate(below):
        x = (_MARGIN + (number + 0.48) * side) / width
        y = (foot - 0.04) / height
        figure.text(x, y, text, fontsize=7, ha="center", linespacing=1.1, **style)
    return figure


def strip_labels(strip: FilmStrip) -> list[str]:
    """Distance of each picture along the way, and how far its crops are from it."""
    apart = strip.nearest.groupby("picture")["distance"].mean()
    return [
        f"{along:.0f}" + (f"\n±{apart[number]:.1f}" if number in apart.index else "")
        for number, along in enumerate(strip.distance)
    ]


def _draw_picture(axes: Axes, picture: NDArray[np.float64], limits: tuple[float, float]) -> None:
    from matplotlib.patches import Circle

    filled = np.nan_to_num(picture, nan=limits[0])
    image = axes.imshow(
        filled, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="bicubic"
    )
    middle = (len(picture) - 1) / 2
    image.set_clip_path(Circle((middle, middle), middle + 0.5, transform=axes.transData))
    axes.set_axis_off()
