"""The page of a report that tells of pathways."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_rvae.analysis.appearance import UNIT_COLOURS, unit_colour
from napari_rvae.analysis.network import pathway_network
from napari_rvae.figures.landscapes import draw_landscape
from napari_rvae.figures.networks import draw_network
from napari_rvae.figures.page import (
    Theme,
    new_figure,
    percentile_limits,
    plain_axes,
    shorten,
    theme_of,
)
from napari_rvae.figures.pathway_files import default_quantities

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.landscape import FilmStrip, Landscape

__all__ = ["pathways_figure"]

#: Width of the page, and heights of its parts, in inches.
_WIDTH, _HEAD, _TOP, _MIDDLE, _NOTE = 16.0, 0.75, 5.2, 3.3, 0.24
#: Margins and gaps in inches.
_MARGIN, _GAP = 0.35, 0.45
#: Characters of a note in a line, most rates in the table, most film strips and events drawn.
_CHARACTERS, _MOST_RATES, _MOST_STRIPS = 190, 11, 4


def pathways_figure(
    pathways: Pathways,
    cards: Sequence[UnitCard] = (),
    *,
    order: pd.DataFrame | None = None,
    landscape: Landscape | None = None,
    passages: pd.DataFrame | None = None,
    strips: Mapping[str, FilmStrip] | None = None,
    title: str = "Transformation pathways",
    theme: Literal["light", "dark"] = "light",
) -> Figure:
    """Draw everything that there is to say of pathways on one page.

    Parameters
    ----------
    pathways
        What :func:`~napari_rvae.find_pathways` returned.
    cards
        What :func:`~napari_rvae.unit_cards` returned: pictures, names and colours of the units.
    order
        What :func:`~napari_rvae.order_parameters` returned: adds the shares over the movie.
    landscape, passages
        What :func:`~napari_rvae.latent_landscape` and :func:`~napari_rvae.observed_passages`
        returned.
    strips
        Film strips by their names; four are drawn.
    title
        Headline.
    theme
        "light" for print, "dark" for the screen.

    Returns
    -------
    matplotlib.figure.Figure
        Networks of atoms and places, landscape, shares, events over time, the rates with most
        transitions, film strips, and the notes at the bottom; what is not there is left out.

    Raises
    ------
    InputError
        If the theme is unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Pathways
    >>> from napari_rvae.figures import pathways_figure
    >>> page = pathways_figure(Pathways(notes=pd.DataFrame({"note": ["No event was found."]})))
    >>> page.texts[-1].get_text()
    '• No event was found.'
    """
    look = theme_of(theme)
    notes = [
        textwrap.fill(f"• {note}", _CHARACTERS, subsequent_indent="  ")
        for note in pathways.notes["note"].astype(str)
    ]
    lines = sum(note.count("\n") + 1 for note in notes)
    kinds = list(dict.fromkeys(pathways.states["tracked"].astype(str)))
    n_top = len(kinds) + (landscape is not None)
    films = list((strips or {}).items())[:_MOST_STRIPS]
    film = (_WIDTH - 2 * _MARGIN) / 14 if films else 0.0
    rows = -(-len(films) // 2)
    has_middle = order is not None or len(pathways.events) > 0 or len(pathways.rates) > 0
    heights = [
        _HEAD,
        _TOP if n_top else 0.0,
        _MIDDLE if has_middle else 0.0,
        rows * (2 * film + 0.35) + (0.25 if films else 0.0),
        lines * _NOTE + 0.2,
    ]
    figure = new_figure((_WIDTH, sum(heights)), look)
    ends = sum(heights) - np.cumsum(heights)  # bottoms, in inches
    _headline(figure, pathways, title, look)
    if n_top:
        _draw_top(figure, pathways, cards, (landscape, passages), look, float(ends[1]))
    if has_middle:
        _draw_middle(figure, pathways, cards, order, look, float(ends[2]))
    for number, (name, strip) in enumerate(films):
        row, column = divmod(number, 2)
        left = _MARGIN + column * (_WIDTH / 2 - _MARGIN / 2)
        bottom = float(ends[3]) + (rows - 1 - row) * (2 * film + 0.35)
        _draw_strip(figure, strip, name, (left, bottom, film), look)
    figure.text(
        _MARGIN / _WIDTH,
        (float(ends[4]) + heights[4] - 0.1) / sum(heights),
        "\n".join(notes),
        color=look.ink,
        fontsize=8.5,
        va="top",
        linespacing=1.35,
    )
    return figure


def _headline(figure: Figure, pathways: Pathways, title: str, look: Theme) -> None:
    height = figure.get_size_inches()[1]
    events = len(pathways.events)
    facts = [f"{events:,} event{'s' * (events != 1)}"]
    tracks = pathways.summary[pathways.summary["quantity"] == "tracks"]
    facts += [
        f"{int(number):,} tracks of {kind}s"
        for kind, number in zip(tracks["tracked"], tracks["value"], strict=True)
    ]
    top = 1 - 0.3 / height
    style: dict[str, Any] = {"va": "center"}
    figure.text(_MARGIN / _WIDTH, top, title, color=look.ink, fontsize=17, weight="bold", **style)
    place = 1 - _MARGIN / _WIDTH
    text = " · ".join(facts)
    figure.text(place, top, text, color=look.faint, fontsize=10.5, ha="right", **style)


def _panel(figure: Figure, box: tuple[float, float, float, float], title: str, look: Theme) -> Axes:
    """Axes in a box in inches, with a title above."""
    width, height = figure.get_size_inches()
    left, bottom, wide, tall = box
    axes = figure.add_axes(
        (left / width, bottom / height, wide / width, tall / height), facecolor=look.paper
    )
    plain_axes(axes, look)
    style: dict[str, Any] = {"color": look.ink, "fontsize": 10.5, "va": "bottom"}
    figure.text(left / width, (bottom + tall + 0.06) / height, title, **style)
    return axes


def _draw_top(
    figure: Figure,
    pathways: Pathways,
    cards: Sequence[UnitCard],
    terrain: tuple[Landscape | None, pd.DataFrame | None],
    look: Theme,
    bottom: float,
) -> None:
    """Draw the networks and the landscape side by side."""
    landscape, passages = terrain
    titles = {"atom": "States of dopant atoms", "place": "States of places of the lattice"}
    kinds = [kind for kind in titles if (pathways.states["tracked"] == kind).any()]
    count = len(kinds) + (landscape is not None)
    wide = (_WIDTH - 2 * _MARGIN - (count - 1) * _GAP) / max(count, 2)
    for number, kind in enumerate(kinds):
        box = (_MARGIN + number * (wide + _GAP), bottom + 0.75, wide, _TOP - 1.05)
        axes = _panel(figure, box, titles[kind], look)
        network = pathway_network(pathways, tracked="atom" if kind == "atom" else "place")
        draw_network(axes, network, cards, look)
    if landscape is not None:
        left = _MARGIN + len(kinds) * (wide + _GAP) + 0.2
        box = (left, bottom + 0.75, wide - 0.2, _TOP - 1.05)
        axes = _panel(figure, box, "Landscape of decoded pictures", look)
        draw_landscape(axes, landscape, cards, look, passages=passages)
        text = f"noise = 1; the plane shows {100 * landscape.view_share:.0f} % of the squared"
        words = f"{text} distances\nbright: frequent; red: events"
        axes.set_xlabel(words, color=look.ink, fontsize=8)


def _draw_middle(
    figure: Figure,
    pathways: Pathways,
    cards: Sequence[UnitCard],
    order: pd.DataFrame | None,
    look: Theme,
    bottom: float,
) -> None:
    """Draw shares over the movie, events over the movie, and the table of rates."""
    wide = (_WIDTH - 2 * _MARGIN) / 3 - _GAP
    tall, low = _MIDDLE - 0.85, bottom + 0.5
    if order is not None and len(order):
        axes = _panel(figure, (_MARGIN + 0.3, low, wide - 0.3, tall), "Shares of the units", look)
        _draw_shares(axes, order, cards, look)
    if len(pathways.events):
        left = _MARGIN + wide + _GAP + 0.3
        axes = _panel(figure, (left, low, wide - 0.3, tall), "Events so far", look)
        _draw_events(axes, pathways.events, look)
    if len(pathways.rates):
        left = _MARGIN + 2 * (wide + _GAP)
        axes = _panel(figure, (left, low, wide, tall), "Rates per frame (95 %)", look)
        _draw_rates(axes, pathways, look)


def _draw_shares(axes: Axes, order: pd.DataFrame, cards: Sequence[UnitCard], look: Theme) -> None:
    order = order[order["source"] == order["source"].iloc[0]]
    colors = {f"unit {card.unit}": card.color for card in cards}
    names = {f"unit {card.unit}": card.name for card in cards}
    shown = [name for name in default_quantities(order, cards) if name.startswith("unit ")]
    for name in shown:
        rows = order[order["name"] == name]
        color = colors.get(name) or unit_colour(int(name.split()[1]))
        frame = rows["frame"].to_numpy(float)
        value, low, high = (
            100 * rows[column].to_numpy(float) for column in ("value", "low", "high")
        )
        label = shorten(names.get(name, name), 28)
        axes.plot(frame, value, color=color, linewidth=1.3, label=label)
        axes.fill_between(frame, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frame", color=look.ink, fontsize=8.5)
    axes.set_ylabel("share of the sites (%)", color=look.ink, fontsize=8.5)
    axes.locator_params(axis="x", integer=True)
    if shown:
        axes.legend(fontsize=6.5, frameon=False, labelcolor=look.ink, ncols=2, loc="upper left")


def _draw_events(axes: Axes, events: pd.DataFrame, look: Theme) -> None:
    """Draw how many events of each kind there were up to each frame."""
    change = events["from_name"].astype(str) + " → " + events["to_name"].astype(str)
    counts = change.value_counts()
    colors = UNIT_COLOURS[1:]
    for number, name in enumerate(counts.index[: len(colors) // 3]):
        frames = np.sort(events.loc[change == name, "frame"].to_numpy(float))
        axes.step(
            [float(events["frame"].min()), *frames, float(events["frame"].max())],
            [0, *range(1, len(frames) + 1), len(frames)],
            where="post",
            color=colors[number],
            linewidth=1.4,
            label=f"{len(frames)}  {shorten(str(name), 46)}",
        )
    axes.set_xlabel("frame", color=look.ink, fontsize=8.5)
    axes.set_ylabel("events", color=look.ink, fontsize=8.5)
    axes.locator_params(axis="both", integer=True)
    axes.legend(fontsize=6.5, frameon=False, labelcolor=look.ink, loc="upper left")


def _draw_rates(axes: Axes, pathways: Pathways, look: Theme) -> None:
    """Write the rates with most transitions as a table."""
    axes.set_axis_off()
    names = pathways.states.set_index(["tracked", "state"])["name"].to_dict()
    rows: list[tuple[float, str, str, str]] = []
    for kind in dict.fromkeys(pathways.states["tracked"].astype(str)):
        network = pathway_network(pathways, tracked="atom" if kind == "atom" else "place")
        for edge in network.edges.to_dict("records"):
            ends = (str(names[kind, edge[end]]) for end in ("from_state", "to_state"))
            change = " → ".join(shorten(end, 24) for end in ends)
            rows.append((edge["n_transitions"], change, edge["text"], f"{edge['n_events']}"))
    rows.sort(key=lambda row: -row[0])
    shown = [("change", "rate", "events"), *(row[1:] for row in rows[:_MOST_RATES])]
    for number, (change, rate, n_events) in enumerate(shown):
        y = 1 - (number + 0.5) / (_MOST_RATES + 1)
        style: dict[str, Any] = {"color": look.ink if number else look.faint, "fontsize": 7.2}
        style |= {"va": "center", "transform": axes.transAxes}
        axes.text(0.0, y, change, **style)
        axes.text(0.66, y, rate, **style)
        axes.text(1.0, y, n_events, ha="right", **style)


def _draw_strip(
    figure: Figure,
    strip: FilmStrip,
    name: str,
    place: tuple[float, float, float],
    look: Theme,
) -> None:
    """Draw decoded pictures and, below, crops; `place` is left, bottom and side in inches."""
    left, bottom, side = place
    count = min(len(strip), 7)
    chosen = np.unique(np.linspace(0, len(strip) - 1, count).round().astype(int))
    both = np.stack([strip.pictures[chosen, 0], strip.crops[chosen, 0]]).astype(float)
    kept = both if np.isfinite(both[1]).any() else both[:1]
    box = (left, bottom + (2 - len(kept)) * side, len(chosen) * side, len(kept) * side)
    axes = _panel(figure, box, shorten(name, 90), look)
    axes.imshow(_mosaic(kept), cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="bilinear")
    axes.set_axis_off()


def _mosaic(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey values (R S, n S) of pictures (R, n, S, S), each row in its own scale, NaN between."""
    middle = (pictures.shape[-1] - 1) / 2
    line = np.arange(pictures.shape[-1]) - middle
    inside = np.hypot(line[:, None], line) <= middle
    rows = []
    for row in pictures:
        low, high = percentile_limits(row[:, inside], 0.5)
        grey = np.clip((np.nan_to_num(row, nan=low) - low) / (high - low), 0, 1)
        rows.append(np.concatenate(list(np.where(inside, grey, np.nan)), axis=1))
    return np.concatenate(rows, axis=0)
