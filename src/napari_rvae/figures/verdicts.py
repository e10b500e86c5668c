"""The strip at the bottom of the report: what the self-checks found."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_rvae.figures.page import PAGE_INCHES, Page

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

    from napari_rvae.vae.checks import Check

__all__ = ["draw_verdicts", "verdicts_height"]

#: Sign and colour of each level; colours read on white and on black paper.
_SIGNS = {
    "bad": ("\N{MULTIPLICATION X}", "#d9453d"),
    "warn": ("\N{WARNING SIGN}", "#d08700"),
    "info": ("\N{BULLET}", "#868d98"),
    "good": ("\N{CHECK MARK}", "#2e9e5b"),
}

#: Columns, and characters in a line of one.
_COLUMNS, _CHARACTERS = 2, 96

#: Inches: the title, one verdict of up to two lines, the lower margin.
_TITLE, _ROW, _MARGIN = 0.3, 0.34, 0.15

#: Ends of the strip and the gap between columns, as shares of the width.
_LEFT, _RIGHT, _GAP = 0.035, 0.975, 0.03


def verdicts_height(count: int) -> float:
    """Height in inches that so many verdicts take."""
    return _TITLE + math.ceil(count / _COLUMNS) * _ROW + _MARGIN if count else 0.0


def draw_verdicts(strip: FigureBase, page: Page, verdicts: Sequence[Check]) -> None:
    """Write the verdicts, the first at the top left, each with its sign and figure."""
    tall = verdicts_height(len(verdicts))
    ink, faint = page.theme.ink, page.theme.faint
    strip.text(_LEFT, 1, "Self-checks of the model", color=ink, fontsize=10.5, va="top")
    rows = math.ceil(len(verdicts) / _COLUMNS)
    step = (_RIGHT - _LEFT + _GAP) / _COLUMNS
    for number, verdict in enumerate(verdicts):
        column, row = divmod(number, rows)
        left = _LEFT + column * step
        top = 1 - (_TITLE + row * _ROW) / tall
        sign, colour = _SIGNS[verdict.level]
        strip.text(left, top, sign, color=colour, fontsize=9, va="top", weight="bold")
        text = textwrap.fill(verdict.text, _CHARACTERS, max_lines=2, placeholder=" …")
        inset = 0.2 / PAGE_INCHES[0]
        strip.text(left + inset, top, text, color=ink, fontsize=8, va="top")
        end = left + step - _GAP
        figure = verdict.figure if verdict.value is not None else ""
        strip.text(end, top, figure, color=faint, fontsize=8, va="top", ha="right")
