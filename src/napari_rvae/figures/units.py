"""Structural units as figures: a card, a sheet of cards, shares over time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_rvae.errors import InputError
from napari_rvae.figures.motifs import draw_motif
from napari_rvae.figures.page import (
    Theme,
    new_figure,
    percentile_limits,
    plain_axes,
    shorten,
    theme_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_rvae.analysis.cards import UnitCard

__all__ = ["card_figure", "cards_figure", "shares_figure"]

ThemeName = Literal["light", "dark"]

#: Size of a card and of the margins of a sheet, in inches.
_CARD, _MARGIN, _HEAD = (7.9, 1.5), 0.28, 0.6
#: Side of a picture and the width of the words, in inches.
_SIDE, _WORDS = 1.28, 2.4
#: Characters in a line of a caption, and how many lines fit.
_CHARACTERS, _LINES = 44, 7
#: What the pictures of a card are, in their order.
_TITLES = ("decoded", "mean crop", "atoms", "share")


def card_figure(card: UnitCard, *, theme: ThemeName = "light") -> Figure:
    """Draw one unit's card.

    Parameters
    ----------
    card
        One of :func:`~napari_rvae.unit_cards`.
    theme
        "light" for print, "dark" for the screen.

    Returns
    -------
    matplotlib.figure.Figure
        See :func:`~napari_rvae.figures.save_figure`. What the card lacks is left out.

    Raises
    ------
    InputError
        If the theme is unknown.

    Examples
    --------
    >>> from napari_rvae.analysis.cards import UnitCard
    >>> from napari_rvae.figures.units import card_figure
    >>> figure = card_figure(UnitCard(0, "host", "#9db8d2", count=9, share=1.0))
    >>> figure.texts[0].get_text()
    'host'
    """
    look = theme_of(theme)
    figure = new_figure((_CARD[0] + 2 * _MARGIN, _CARD[1] + 2 * _MARGIN), look)
    _draw_card(figure, card, look, (_MARGIN, _MARGIN), titled=True)
    return figure


def cards_figure(
    cards: Sequence[UnitCard], *, theme: ThemeName = "light", title: str = "Structural units"
) -> Figure:
    """Draw all cards on one sheet, in two columns.

    Parameters
    ----------
    cards
        What :func:`~napari_rvae.unit_cards` returned.
    theme
        "light" for print, "dark" for the screen.
    title
        Headline.

    Returns
    -------
    matplotlib.figure.Figure
        As tall as it needs to be.

    Raises
    ------
    InputError
        If there are no cards, or the theme is unknown.

    Examples
    --------
    >>> from napari_rvae.analysis.cards import UnitCard
    >>> from napari_rvae.figures.units import cards_figure
    >>> cards_figure([]).axes
    Traceback (most recent call last):
    ...
    napari_rvae.errors.InputError: There are no units to draw: find them first.
    """
    look = theme_of(theme)
    _need(cards)
    columns = 1 if len(cards) == 1 else 2
    rows = math.ceil(len(cards) / columns)
    width = columns * (_CARD[0] + _MARGIN) + _MARGIN
    height = rows * (_CARD[1] + _MARGIN) + _MARGIN + _HEAD
    figure = new_figure((width, height), look)
    head = 1 - 0.6 * _HEAD / height
    figure.text(_MARGIN / width, head, title, color=look.ink, fontsize=17, weight="bold")
    sites = sum(card.count for card in cards)
    plural = "unit" if len(cards) == 1 else "units"
    facts = f"{len(cards)} {plural} in {sites:,} sites; the grey of each picture by itself"
    style = _style(color=look.faint, fontsize=10, ha="right")
    figure.text(1 - _MARGIN / width, head, facts, **style)
    for number, card in enumerate(cards):
        column, row = divmod(number, rows)
        left = _MARGIN + column * (_CARD[0] + _MARGIN)
        bottom = height - _HEAD - (row + 1) * (_CARD[1] + _MARGIN)
        _draw_card(figure, card, look, (left, bottom), titled=row == 0)
    return figure


def shares_figure(
    cards: Sequence[UnitCard],
    *,
    against: Literal["frame", "time", "dose"] = "frame",
    with_host: bool = False,
    theme: ThemeName = "light",
) -> Figure:
    """Draw the share of each unit over the movie; bars where there is one frame.

    Parameters
    ----------
    cards
        What :func:`~napari_rvae.unit_cards` returned.
    against
        What the horizontal axis shows; the time in the unit of the frames, and the dose summed
        over the frames in electrons per square angstrom.
    with_host
        Draw the largest unit, too, which would flatten the others.
    theme
        "light" for print, "dark" for the screen.

    Returns
    -------
    matplotlib.figure.Figure
        With a band of one standard error about each line.

    Raises
    ------
    InputError
        If there are no cards, or the frames know no time or dose.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.analysis.cards import UnitCard
    >>> from napari_rvae.figures.units import shares_figure
    >>> shares = pd.DataFrame({"source": "", "frame": [0, 1], "share": [1.0, 0.9]})
    >>> card = UnitCard(0, "host", "#9db8d2", 19, 0.95, shares=shares.assign(share_sd=0.1))
    >>> len(shares_figure([card], with_host=True).axes[0].lines)
    1
    """
    look = theme_of(theme)
    _need(cards)
    largest = max(cards, key=lambda card: card.count)
    shown = [card for card in cards if with_host or card is not largest] or list(cards)
    figure = new_figure((9.0, 4.6), look)
    axes = figure.add_axes((0.08, 0.13, 0.62, 0.78), facecolor=look.paper)
    plain_axes(axes, look)
    for card in shown:
        x, share, sd = _series(card, against)
        axes.plot(x, 100 * share, color=card.color, linewidth=1.6, label=_labelled(card, 34))
        low, high = 100 * (share - sd), 100 * (share + sd)
        axes.fill_between(x, low, high, color=card.color, alpha=0.12, linewidth=0)
        if len(x) == 1:
            axes.plot(x, 100 * share, color=card.color, marker="o")
    axes.set_ylim(bottom=0)
    names = {"frame": "frame", "time": "time", "dose": "dose (e/Å²)"}
    axes.set_xlabel(names[against], color=look.ink)
    axes.set_ylabel("share of the sites (%)", color=look.ink)
    if against == "frame":
        axes.locator_params(axis="x", integer=True)
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, labelcolor=look.ink, fontsize=8
    )
    return figure


def _need(cards: Sequence[UnitCard]) -> None:
    if not cards:
        raise InputError("There are no units to draw: find them first.")


def _style(**options: Any) -> dict[str, Any]:
    return options


def _labelled(card: UnitCard, length: int) -> str:
    return shorten(f"{card.unit}  {card.name}", length)


# ---------------------------------------------------------------------- a card
def _draw_card(
    figure: Figure, card: UnitCard, look: Theme, corner: tuple[float, float], *, titled: bool
) -> None:
    """Draw a card whose lower left corner is somewhere on the figure, in inches."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    left, bottom = corner
    top = bottom + _CARD[1]
    stripe = Rectangle((left / width, bottom / height), 0.06 / width, _CARD[1] / height)
    stripe.set(color=card.color, transform=figure.transFigure, linewidth=0)
    figure.add_artist(stripe)
    x, style = (left + 0.16) / width, _style(color=look.ink, va="top")
    name = shorten(card.name, 32)
    figure.text(x, (top - 0.02) / height, name, fontsize=11, weight="bold", **style)
    text = textwrap.fill(card.caption, _CHARACTERS, max_lines=_LINES, placeholder=" …")
    figure.text(x, (top - 0.27) / height, text, fontsize=7.3, linespacing=1.35, **style)
    drawn: list[tuple[str, Any]] = [
        ("decoded", card.decoded),
        ("mean crop", card.mean_crop),
        ("atoms", card.motif),
        ("share", card.shares if len(card.shares) else None),
    ]
    at = left + _WORDS + 0.3
    for title, what in drawn:
        wide = _SIDE if title != "share" else _CARD[0] - _WORDS - 0.3 - 3 * (_SIDE + 0.08)
        if what is not None:
            inset = 0.0 if title != "share" else 0.3
            box = (at + inset) / width, (top - 0.16 - _SIDE) / height, (wide - inset) / width
            axes = figure.add_axes((*box, _SIDE / height), facecolor=look.paper)
            _draw_part(axes, title, card, look)
            if titled:
                over = " per frame" * (title == "share" and len(card.shares) > 1)
                axes.set_title(title + over, color=look.faint, fontsize=8, pad=3)
        at += wide + 0.08


def _draw_part(axes: Axes, title: str, card: UnitCard, look: Theme) -> None:
    from matplotlib.patches import Circle

    if title == "atoms":
        assert card.motif is not None  # noqa: S101 - what is drawn is there
        reach = len(card.decoded if card.decoded is not None else card.mean_crop or ())
        draw_motif(axes, card.motif, look, color=card.color, reach=reach / 2 / card.spacing)
    elif title == "share":
        _draw_share(axes, card, look)
    else:
        picture = card.decoded if title == "decoded" else card.mean_crop
        assert picture is not None  # noqa: S101 - what is drawn is there
        low, high = percentile_limits(picture, 0.5)
        filled = np.nan_to_num(picture, nan=float(np.nanmedian(picture)))
        image = axes.imshow(filled, cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
        middle = (len(picture) - 1) / 2  # only the disc is known
        image.set_clip_path(Circle((middle, middle), middle + 0.5, transform=axes.transData))
        axes.set_axis_off()


def _draw_share(axes: Axes, card: UnitCard, look: Theme) -> None:
    x, share, sd = _series(card, "frame")
    if len(x) > 1:
        axes.plot(x, 100 * share, color=card.color, linewidth=1.4)
        band = 100 * (share - sd), 100 * (share + sd)
        axes.fill_between(x, *band, color=card.color, alpha=0.2, linewidth=0)
        axes.set_xlim(x[0], x[-1])
    else:
        axes.bar([0], 100 * share, color=card.color, width=0.6)
        axes.set(xlim=(-1, 1), xticks=[])
    axes.set_ylim(bottom=0)
    plain_axes(axes, look)
    axes.locator_params(axis="y", nbins=3)
    if len(x) > 1:
        axes.locator_params(axis="x", nbins=3, integer=True)
    axes.tick_params(labelsize=6.5, length=2, pad=1.5)
    axes.yaxis.set_major_formatter("{x:g} %")


def _series(
    card: UnitCard, against: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Abscissa, share and its error, of the first source."""
    shares = card.shares
    shares = shares[shares["source"] == shares["source"].iloc[0]]
    if against not in shares or not shares[against].notna().all():
        raise InputError(f"The frames know no {against}: draw the shares against the frame.")
    x = shares[against].to_numpy(float)
    x = np.cumsum(x) if against == "dose" else x
    return x, shares["share"].to_numpy(float), shares["share_sd"].to_numpy(float)
