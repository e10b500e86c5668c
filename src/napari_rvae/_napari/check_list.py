"""The verdicts on a model, and those of two halves of the data: the serious ones in view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_rvae._napari.forms import folded
from napari_rvae._napari.panel import StatusLine

if TYPE_CHECKING:
    from napari_rvae.vae.checks import Check, ModelChecks

__all__ = ["CheckList", "HalvesList"]

#: Levels of the status line that the levels of verdicts are shown as.
_SHOWN_AS = {"bad": "error", "warn": "warning", "info": "info", "good": "done"}


class HalvesList(QWidget):
    """What two halves of the data say of units, angles and latents; open unless all agree."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[StatusLine] = []
        self._shown: list[list[str]] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self.setVisible(False)

    def show_lines(self, verdicts: Sequence[Sequence[str]]) -> None:
        """Show verdicts as (level, text, advice); nothing for none."""
        wanted = [list(verdict) for verdict in verdicts]
        if wanted == self._shown:
            return
        self._shown, self.lines = wanted, []
        while (item := self._column.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()  # it goes only when the viewer is idle
                widget.deleteLater()
        for level, text, advice in wanted:
            line = StatusLine()
            line.show_text(text.removeprefix("Halves of the data, "), _SHOWN_AS[level])
            line.setToolTip(advice)
            self.lines.append(line)
        if wanted:
            box = folded("Is it real? What two halves of the data say", *self.lines)
            if any(level != "good" for level, _, _ in wanted):
                box.expand(animate=False)
            self._column.addWidget(box)
        self.setVisible(bool(wanted))


class CheckList(QWidget):
    """A line for each verdict, the most serious first; the figure and advice are its tooltip."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[StatusLine] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(4)
        self._shown: ModelChecks | None = None
        self.setVisible(False)

    def show_checks(self, checks: ModelChecks | None) -> None:
        """Show what checks found; nothing for None."""
        if checks is self._shown:
            return
        self._shown = checks
        while (item := self._column.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()  # it goes only when the viewer is idle
                widget.deleteLater()
        self.lines = []
        verdicts = checks.verdicts if checks is not None else []
        open_ones = [v for v in verdicts if v.level in ("bad", "warn") or v.name == "angle"]
        for verdict in open_ones:
            self._column.addWidget(self._line(verdict))
        rest = [self._line(verdict) for verdict in verdicts if verdict not in open_ones]
        if rest:
            noun = "check" if len(rest) == 1 else "checks"
            title = f"{len(rest)} more {noun}" if open_ones else f"{len(rest)} {noun}"
            self._column.addWidget(folded(title, *rest))
        self.setVisible(bool(verdicts))

    def _line(self, verdict: Check) -> StatusLine:
        line = StatusLine()
        line.show_text(verdict.text, _SHOWN_AS[verdict.level])
        name = verdict.name.replace("_", " ")
        line.setToolTip("\n".join(filter(None, [f"{name}: {verdict.figure}", verdict.advice])))
        self.lines.append(line)
        return line
