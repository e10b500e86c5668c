"""Pathways as figures: the network of states, and order parameters over time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from napari_rvae.analysis.appearance import unit_colour
from napari_rvae.analysis.network import Network
from napari_rvae.analysis.poses import place_pictures
from napari_rvae.errors import InputError
from napari_rvae.figures.page import (
    Theme,
    new_figure,
    percentile_limits,
    plain_axes,
    shorten,
    theme_of,
)
from napari_rvae.figures.placing import Board

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    from napari_rvae.analysis.cards import UnitCard

__all__ = [
    "draw_network",
    "network_figure",
    "network_targets",
    "node_radius",
    "order_figure",
    "order_targets",
]

ThemeName = Literal["light", "dark"]

_Place = np.ndarray[Any, Any]

#: Both ends of an arrow, its middle, and the side that it bends to.
_Way = tuple[_Place, _Place, _Place, _Place]


class _Style(NamedTuple):
    """What all parts of one network share."""

    look: Theme
    radius: float  # of a node
    font: float  # inches of the drawing: sizes of words and lines follow
    fastest: float  # rate

    def points(self, share: float, most: float) -> float:
        """Size of words."""
        return min(max(share * self.font, _SMALLEST), most)


#: Lines of each verdict of a rate.
_LINES = {"rate": "-", "order of magnitude": "-", "upper limit": (0, (4, 2.5))}

#: Height of the notes below the network in inches.
_BELOW = 0.66

#: Room above and below the nodes for three lines, and beside them, in inches.
_NAME_INCHES, _ASIDE_INCHES = 0.42, 0.3

#: The circle of nodes becomes at most so many times as tall as wide.
_STRETCH = 1.7

#: Smallest words, in points.
_SMALLEST = 6.2

#: In figures narrower than this, in inches, there is no room for intervals and names of lines.
_NARROW = 4.5

#: Bend of the arrows, so that there and back are two.
_BEND = 0.16

#: Most letters of a name, and what remains of it where there is less room.
_NAME_LENGTHS = (34, 22, 14)

#: Colour of states that no unit has.
_NO_UNIT = "#868d98"


def network_figure(
    network: Network,
    cards: Sequence[UnitCard] = (),
    *,
    theme: ThemeName = "light",
    size: tuple[float, float] = (8.0, 7.0),
) -> Figure:
    """Draw states as pictures and rates as arrows between them.

    Parameters
    ----------
    network
        What :func:`~napari_rvae.analysis.network.pathway_network` returned.
    cards
        What :func:`~napari_rvae.unit_cards` returned: gives the states pictures and colours. States
        of one unit that differ in the lattice angle are turned by it.
    theme
        "light" for print, "dark" for the screen.
    size
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        An arrow is the wider the faster; dashed is an upper limit. In a figure narrower or lower
        than 4.5 inches there is no room for the intervals.

    Raises
    ------
    InputError
        If the theme is unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Pathways
    >>> from napari_rvae.analysis.network import pathway_network
    >>> from napari_rvae.figures.networks import network_figure
    >>> states = pd.DataFrame({"tracked": "atom", "state": [0, 1], "name": ["three-fold", "gone"]})
    >>> pathways = Pathways(states=states.assign(unit=[0, -1], angle=float("nan"), expected=9.0))
    >>> len(network_figure(pathway_network(pathways)).axes)
    1
    """
    look = theme_of(theme)
    figure = new_figure(size, look)
    below = min(_BELOW / size[1], 0.4)
    axes = figure.add_axes((0.0, below, 1.0, 1 - below), facecolor=look.paper)
    draw_network(axes, network, cards, look)
    return figure


def node_radius(count: int) -> float:
    """Radius of a node on a circle of radius 1 with so many."""
    return min(0.36, 0.62 * math.sin(math.pi / max(count, 3)))


def draw_network(axes: Axes, network: Network, cards: Sequence[UnitCard], look: Theme) -> None:
    """Draw a network on axes, the circle in their middle and notes below them."""
    by_unit = {card.unit: card for card in cards}
    nodes = network.nodes
    radius = node_radius(len(nodes))
    inches, per_unit, stretch = _layout(axes, radius)
    wide, tall = inches / 2 / per_unit
    axes.set(xlim=(-wide, wide), ylim=(-tall, tall), aspect="equal")
    axes.set_axis_off()
    font = float(inches.min())
    places = {
        int(state): np.array([x, stretch * y])
        for state, x, y in zip(nodes["state"], nodes["x"], nodes["y"], strict=True)
    }
    fastest = float(network.edges["rate"].max()) if len(network.edges) else 1.0
    style = _Style(look, radius, font, fastest)
    rates = []
    for edge in network.edges.to_dict("records"):
        ends = places[int(edge["from_state"])], places[int(edge["to_state"])]
        way = _way(*ends, radius)
        if way is not None:  # a hop that keeps the state has none
            rates.append((edge, way, _draw_arrow(axes, way, edge, style)))
    first: dict[int, float] = {}  # angle of the first state of each unit
    names = []
    for node in nodes.to_dict("records"):
        turn = 0.0
        if math.isfinite(node["angle"]):
            turn = node["angle"] - first.setdefault(int(node["unit"]), node["angle"])
        node["y"] *= stretch
        names.append((node, _draw_node(axes, node, by_unit.get(int(node["unit"])), turn, style)))
    board = Board(axes, np.array(list(places.values())).reshape(-1, 2), radius)
    for number, (node, text) in enumerate(names):
        board.put_name(text, number, _wordings(node), below=node["y"] < 0.3)
    # the most seen first: there may not be room for all
    rates.sort(key=lambda rate: -float(rate[0]["n_transitions"]))
    homeless = sum(not board.put_beside(text, _along(way), way[3]) for _, way, text in rates)
    _draw_notes(axes, network, style, homeless)


def _layout(axes: Axes, radius: float) -> tuple[_Place, float, float]:
    """Size of axes in inches, inches for a unit, and how far the circle is stretched upwards."""
    width, height = axes.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    box = axes.get_position()
    inches = np.array([width * box.width, height * box.height])
    # the names above and below need room in inches, whatever the size
    aside = _ASIDE_INCHES if width >= _NARROW else 0.0
    room = np.maximum(inches / 2 - np.array([aside, _NAME_INCHES]), 0.2)
    reach = 1 + 1.12 * radius
    per_unit = float(room.min()) / reach
    stretch = float(np.clip(room[1] / per_unit - 1.12 * radius, 1.0, _STRETCH))
    return inches, per_unit, stretch


def _draw_node(
    axes: Axes,
    node: Mapping[Any, Any],
    card: UnitCard | None,
    turn: float,
    style: _Style,
) -> Text:
    """Draw a picture in a ring of its unit's colour; the name outside is still to be placed."""
    from matplotlib.patches import Circle

    look, radius = style.look, style.radius
    x, y, unit = float(node["x"]), float(node["y"]), int(node["unit"])
    color = _NO_UNIT if unit < 0 else unit_colour(unit)
    color = card.color if card is not None else color
    disc = Circle(
        (x, y), radius, facecolor=look.paper, edgecolor=color, linewidth=0.35 * style.font
    )
    disc.set(zorder=4, linestyle="-" if unit >= 0 else (0, (2, 2)))
    axes.add_patch(disc)
    picture = None if card is None else card.decoded if card.decoded is not None else card.mean_crop
    if picture is not None:
        values = np.asarray(picture, float)
        values = np.nan_to_num(values, nan=float(np.nanmedian(values)))
        if turn:
            values = place_pictures(values[None, None], turn)[0, 0].astype(float)
        low, high = percentile_limits(values, 0.5)
        extent = (x - radius, x + radius, y - radius, y + radius)
        image = axes.imshow(
            values, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bicubic"
        )
        image.set_clip_path(Circle((x, y), 0.96 * radius, transform=axes.transData))
        image.set_zorder(5)
    elif unit < 0:
        axes.text(
            x, y, "∅", color=look.faint, fontsize=3 * style.font, ha="center", va="center", zorder=5
        )
    return axes.text(
        x,
        y,
        "",
        color=look.ink,
        fontsize=style.points(1.15, 8.5),
        linespacing=1.05,
        multialignment="center",
        zorder=7,
    )


def _wordings(node: Mapping[Any, Any]) -> list[str]:
    """Name of a state with its share, longer and shorter."""
    share = f"\n{100 * node['share']:.2g} %" if node["share"] > 0 else ""
    name = str(node["name"])
    return [f"{_two_lines(shorten(name, most))}{share}" for most in _NAME_LENGTHS]


def _two_lines(text: str) -> str:
    """Break a long text at the space nearest to its middle."""
    if len(text) < 16 or " " not in text:
        return text
    spaces = [number for number, letter in enumerate(text) if letter == " "]
    cut = min(spaces, key=lambda number: abs(number - len(text) / 2))
    return f"{text[:cut]}\n{text[cut + 1 :]}"


def _draw_arrow(axes: Axes, way: _Way, edge: Mapping[Any, Any], style: _Style) -> Text:
    """Draw an arrow; its rate is still to be placed."""
    from matplotlib.patches import FancyArrowPatch

    look, font = style.look, style.font
    one, other, middle, _ = way
    speed = math.sqrt(max(float(edge["rate"]), 0.0) / style.fastest) if style.fastest > 0 else 0.0
    color = look.faint if edge["verdict"] == "upper limit" else look.accent
    arrow = FancyArrowPatch(
        (one[0], one[1]),
        (other[0], other[1]),
        connectionstyle=f"arc3,rad={_BEND}",
        arrowstyle="-|>",
        mutation_scale=1.6 * font,
        linewidth=max(0.8, 0.45 * font * speed),
        linestyle=_LINES.get(str(edge["verdict"]), "-"),
        color=color,
        shrinkA=0,
        shrinkB=0,
        zorder=2,
    )
    axes.add_patch(arrow)
    return axes.text(
        middle[0],
        middle[1],
        str(edge["text"]).partition(" (")[0] if font < _NARROW else str(edge["text"]),
        color=look.ink,
        fontsize=style.points(0.95, 7.5),
        bbox={"facecolor": look.paper, "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        zorder=6,
    )


def _along(way: _Way, n: int = 9) -> _Place:
    """Points (N, 2) along an arrow."""
    one, other, middle, _ = way
    control = 2 * middle - (one + other) / 2
    t = np.linspace(0.1, 0.9, n)[:, None]
    return np.asarray((1 - t) ** 2 * one + 2 * t * (1 - t) * control + t**2 * other)


def _way(start: _Place, end: _Place, radius: float) -> _Way | None:
    """Both ends of an arrow between nodes, its middle, and the side that it bends to."""
    along = end - start
    length = float(np.hypot(*along))
    if not length > 0:
        return None
    along = along / length
    side = np.array([along[1], -along[0]])  # to the right of the way, so that two arrows part
    shift, gap = 0.22 * radius * side, 1.06 * radius
    one, other = start + gap * along + shift, end - gap * along + shift
    bulge = 0.5 * _BEND * float(np.hypot(*(other - one)))
    return one, other, (one + other) / 2 + bulge * side, side


def network_targets(figure: Figure, network: Network) -> pd.DataFrame:
    """Where the parts of a network lie in its figure, so that they can be clicked.

    Parameters
    ----------
    figure
        What :func:`network_figure` returned.
    network
        What it shows.

    Returns
    -------
    DataFrame
        ``state`` (-1: an arrow), ``from_state``, ``to_state`` (-1: a node), ``x``, ``y`` as shares
        of the figure's width and height from the upper left, and ``radius`` as a share of the
        width. An arrow has several places along it.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Pathways
    >>> from napari_rvae.analysis.network import pathway_network
    >>> from napari_rvae.figures.networks import network_figure, network_targets
    >>> states = pd.DataFrame({"tracked": "atom", "state": [0, 1], "name": ["three-fold", "gone"]})
    >>> pathways = Pathways(states=states.assign(unit=[0, -1], angle=float("nan"), expected=9.0))
    >>> network = pathway_network(pathways)
    >>> network_targets(network_figure(network), network)["state"].tolist()
    [0, 1]
    """
    radius = node_radius(len(network.nodes))
    nodes = network.nodes
    stretch = _layout(figure.axes[0], radius)[2]
    rows = [
        (state, -1, -1, x, stretch * y)
        for state, x, y in zip(nodes["state"], nodes["x"], nodes["y"], strict=True)
    ]
    places = {row[0]: np.array(row[3:]) for row in rows}
    for one, two in zip(network.edges["from_state"], network.edges["to_state"], strict=True):
        way = _way(places[one], places[two], radius)
        if way is not None:
            rows.extend((-1, one, two, float(x), float(y)) for x, y in _along(way))
    table = pd.DataFrame(rows, columns=["state", "from_state", "to_state", "x", "y"])
    (axes,) = figure.axes
    axes.apply_aspect()
    wide, tall = figure.bbox.width, figure.bbox.height
    if len(table):
        seen = axes.transData.transform(table[["x", "y"]].to_numpy(float))
        table["x"], table["y"] = seen[:, 0] / wide, 1 - seen[:, 1] / tall
    ends = axes.transData.transform([[0.0, 0.0], [radius, 0.0]])
    return table.assign(radius=np.where(table["state"] >= 0, ends[1, 0] - ends[0, 0], 0) / wide)


def _draw_notes(axes: Axes, network: Network, style: _Style, homeless: int) -> None:
    interval = "" if style.font < _NARROW else ", 95 % intervals"
    lines = [f"rates {network.per}{interval}; dashed: an upper limit"]
    if homeless:
        words = "rate has" if homeless == 1 else "rates have"
        lines.append(f"{homeless} {words} no room here: see the table of rates")
    if network.left_out:
        lines.append(f"{network.left_out} more with transitions: see the table of rates")
    if network.alone:
        words = "state without an arrow is" if network.alone == 1 else "states without an arrow are"
        lines.append(f"{network.alone} {words} not drawn")
    if network.unseen:
        lines.append(f"{network.unseen} pairs without a transition are not drawn")
    axes.text(
        0.01,
        0.0,
        "\n".join(textwrap.fill(line, max(int(18 * style.font), 20)) for line in lines),
        color=style.look.faint,
        fontsize=style.points(0.9, 7.5),
        va="top",
        transform=axes.transAxes,
    )


def order_figure(
    order: pd.DataFrame,
    names: Sequence[str],
    *,
    against: Literal["frame", "time", "dose"] = "frame",
    colors: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    theme: ThemeName = "light",
    size: tuple[float, float] = (8.0, 4.0),
) -> Figure:
    """Draw order parameters over the movie, each with its band.

    Parameters
    ----------
    order
        What :func:`~napari_rvae.order_parameters` returned; of several sources the first.
    names
        Quantities to draw: shares ("unit 1") in one panel, in percent, and every other one in a
        panel of its own.
    against
        "frame", "time" or the "dose" received so far.
    colors, labels
        Colour and label of a quantity, by its name.
    theme
        "light" for print, "dark" for the screen.
    size
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
        Panels one below the other; the lines are named where it is wide enough (4.5 inches).

    Raises
    ------
    InputError
        If a quantity is not there, or the frames know no time or dose.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import order_parameters
    >>> from napari_rvae.figures.networks import order_figure
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((8, 8)).reshape(2, -1)
    >>> sites = make_sites(frame=0, y=y, x=x, z0=np.arange(64.0))
    >>> len(order_figure(order_parameters(sites), ["z0"]).axes)
    1
    """
    look = theme_of(theme)
    order = order[order["source"] == order["source"].iloc[0]] if len(order) else order
    missing = [name for name in names if name not in set(order["name"])]
    if missing or not names:
        raise InputError(f"There is no order parameter {', '.join(missing) or '(none chosen)'}.")
    if against not in order or not np.isfinite(order[against].to_numpy(float)).all():
        raise InputError(f"The frames know no {against}: draw against the frame.")
    shares = [name for name in names if name.startswith("unit ")]
    panels = [*([shares] if shares else []), *([name] for name in names if name not in shares)]
    figure = new_figure(size, look)
    heights = [1.7 if panel is shares else 1.0 for panel in panels]
    parts = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axes, panel in zip(parts, panels, strict=True):
        axes.set_facecolor(look.paper)
        plain_axes(axes, look)
        for name in panel:
            color = look.accent
            if name in shares:
                color = (colors or {}).get(name) or unit_colour(int(name.split()[1]))
            _draw_line(axes, order[order["name"] == name], against, color, share=name in shares)
        title = "share (%)" if panel is shares else (labels or {}).get(panel[0], panel[0])
        axes.set_title(title, color=look.ink, fontsize=8, loc="left", pad=3)
        axes.locator_params(axis="y", nbins=4)
    words = {"frame": "frame", "time": "time (s)", "dose": "dose so far (e/Å²)"}
    parts[-1].set_xlabel(words[against], color=look.ink, fontsize=8)
    if against == "frame":
        parts[-1].locator_params(axis="x", integer=True)
    if size[0] >= _NARROW:
        _legend(parts[0], shares, labels or {}, look)
    figure.subplots_adjust(
        left=0.6 / size[0],
        right=1 - 0.15 / size[0],
        bottom=0.42 / size[1],
        top=1 - 0.25 / size[1],
        hspace=0.35,
    )
    return figure


def order_targets(figure: Figure, frames: Sequence[float]) -> pd.DataFrame:
    """Where frames lie in a figure of order parameters, so that it can be clicked.

    Parameters
    ----------
    figure
        What :func:`order_figure` returned.
    frames
        Abscissa of each frame: its number, time or dose.

    Returns
    -------
    DataFrame
        ``x`` of each frame as a share of the figure's width; ``top`` and ``bottom`` of all panels
        as shares of its height from above.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import order_parameters
    >>> from napari_rvae.figures.networks import order_figure, order_targets
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=[0, 1], y=[1.0, 1.0], x=[1.0, 1.0], z0=[1.0, 2.0])
    >>> targets = order_targets(order_figure(order_parameters(sites), ["z0"]), [0, 1])
    >>> bool(targets["x"].is_monotonic_increasing)
    True
    """
    axes = figure.axes[0]
    places = np.stack([np.asarray(frames, float), np.zeros(len(frames))], 1)
    seen = axes.transData.transform(places)[:, 0] if len(frames) else np.empty(0)
    return pd.DataFrame(
        {
            "x": seen / figure.bbox.width,
            "top": 1 - axes.get_position().y1,
            "bottom": 1 - figure.axes[-1].get_position().y0,
        }
    )


def _draw_line(axes: Axes, rows: pd.DataFrame, against: str, color: str, *, share: bool) -> None:
    times = 100.0 if share else 1.0
    x = rows[against].to_numpy(float)
    value, low, high = (times * rows[name].to_numpy(float) for name in ("value", "low", "high"))
    axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(x, value, color=color, linewidth=1.4, marker="o" if len(x) == 1 else None)


def _legend(axes: Axes, shares: list[str], labels: Mapping[str, str], look: Theme) -> None:
    if len(shares) > 1:
        axes.legend(
            axes.get_lines(),
            [shorten(labels.get(name, name), 26) for name in shares],
            fontsize=6.5,
            frameon=False,
            labelcolor=look.ink,
            ncols=2,
            loc="upper left",
            handlelength=1.2,
            columnspacing=0.8,
            borderpad=0.1,
            labelspacing=0.2,
        )
