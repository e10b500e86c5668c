"""The colours of the sites: by which column, from where to where, folded by which symmetry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QLocale, QObject, Signal
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QLineEdit, QSpinBox, QWidget

from napari_rvae._napari.columns import ColumnChoice, angle_columns, list_columns, usual_symmetry
from napari_rvae._napari.forms import leave_wheel
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.panel import button
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from napari_rvae.layers import LegendEntry

__all__ = ["Colours", "Seen"]

#: Highest symmetry that anybody asks for.
_MOST_ARMS = 12

_NUMBER_WIDTH = 58


@dataclass(frozen=True, eq=False)
class Seen:
    """What was counted in a table of sites, coloured by a column.

    Attributes
    ----------
    features, column
        The table and the column; None for none.
    entries
        Legend of all frames, empty for numbers.
    text
        How many sites have a value.
    """

    features: Any = None
    column: str | None = None
    entries: Sequence[LegendEntry] = ()
    text: str = ""


class Colours(QObject):
    """Rows of a form that show and decide how a layer of sites is coloured.

    Parameters
    ----------
    rows
        The form.
    attempt
        Does an action and turns its errors into a line for the user.
    """

    #: The user has changed the colours (True), or tried to.
    changed = Signal(bool)
    #: The user has chosen another symmetry.
    turned = Signal()

    def __init__(self, rows: QFormLayout, attempt: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__(rows.parentWidget())
        self._rows, self._attempt = rows, attempt
        self._layer: Any = None
        self._orders: dict[str, int] = {}
        self._seen = Seen()
        self.column = ColumnChoice()
        self.column.chosen.connect(self._on_column)
        self._add("Colour by", self.column, "What the colour of a site shows")
        self.low, self.high = _number_box(), _number_box()
        for box in (self.low, self.high):
            box.editingFinished.connect(self._on_range)
        self.auto = button(
            "Auto", "From the 1st to the 99th percentile of all frames", self.auto_range
        )
        self.range = QWidget()
        row = QHBoxLayout(self.range)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.low, QLabel("to"), self.high, self.auto):
            row.addWidget(widget)
        self._add("Range", self.range, "Values at the ends of the colours, in all frames")
        self.symmetry = QSpinBox()
        self.symmetry.setRange(1, _MOST_ARMS)
        self.symmetry.setSuffix("-fold")
        self.symmetry.setKeyboardTracking(False)
        leave_wheel(self.symmetry)
        self.symmetry.valueChanged.connect(self._on_symmetry)
        self._add(
            "Symmetry",
            self.symmetry,
            "n-fold: angles that differ by 1/n turn have one colour, and n arms",
        )

    def _add(self, label: str, widget: QWidget, tip: str) -> None:
        text = QLabel(label)
        text.setToolTip(tip)
        widget.setToolTip(tip)
        self._rows.addRow(text, widget)

    # ------------------------------------------------------------------ what is chosen
    def angle(self) -> str | None:
        """Column of angles that is shown, or the one to show as arms; None where there is none."""
        angles = [] if self._layer is None else angle_columns(self._layer.features)
        column = self.column.column()
        return column if column in angles else next(iter(angles), None)

    def order(self, column: str) -> int:
        """Symmetry of a column of angles: as chosen, as shown, or as it seems to be."""
        if column not in self._orders:
            record = record_of(self._layer)
            shown = record.get("symmetry") if record.get("column") == column else None
            self._orders[column] = shown or usual_symmetry(self._layer.features, column)
        return self._orders[column]

    def look(self) -> dict[str, Any]:
        """Options of a map that has the colours of the sites."""
        column = self.column.column()
        if column is not None and column == self.angle():
            return {"symmetry": self.order(column)}
        limits = record_of(self._layer).get("contrast_limits")
        return {} if limits is None else {"contrast_limits": limits}

    # ------------------------------------------------------------------ what is done
    def color_by(
        self,
        column: str | None,
        *,
        symmetry: int | None = None,
        contrast_limits: tuple[float, float] | None = None,
    ) -> None:
        """Colour the sites, as :func:`napari_rvae.color_points` says.

        Parameters
        ----------
        column
            Column of their features, None for none.
        symmetry
            Order of an angle; the one that was used for this column before when left out.
        contrast_limits
            Ends of the colours, in degrees for angles; found from all frames when left out.
        """

        def colour() -> bool:
            from napari_rvae.layers import color_points

            if contrast_limits is not None and not contrast_limits[0] < contrast_limits[1]:
                low, high = contrast_limits
                raise InputError(f"Range {low:g} to {high:g}: the first must be the smaller one.")
            order = 1
            if column is not None and column in angle_columns(self._layer.features):
                order = self._orders[column] = symmetry or self.order(column)
            color_points(self._layer, column, symmetry=order, contrast_limits=contrast_limits)
            return True

        if self._layer is not None:
            self.changed.emit(bool(self._attempt(colour)))

    def set_range(self, low: float, high: float) -> None:
        """Set the values at the ends of the colours, in all frames."""
        self.color_by(self.column.column(), contrast_limits=(low, high))

    def auto_range(self) -> None:
        """Let the ends of the colours follow from the values of all frames again."""
        self.color_by(self.column.column())

    def _on_column(self) -> None:
        self.color_by(self.column.column())

    def _on_range(self) -> None:
        """Take what was typed, if anything was."""
        texts = self.low.text(), self.high.text()
        if texts != self._range_texts() and all(texts):
            self.set_range(float(texts[0]), float(texts[1]))

    def _on_symmetry(self) -> None:
        """Take another symmetry for whatever shows the angle."""
        column = self.angle()
        if column is None:
            return
        self._orders[column] = self.symmetry.value()
        if self.column.column() == column:
            self.color_by(column)
        self.turned.emit()

    # ------------------------------------------------------------------ what is shown
    def follow(self, layer: Any) -> None:
        """Take another layer of sites, None for none."""
        if layer is not self._layer:
            self._layer, self._orders, self._seen = layer, {}, Seen()

    def show_colours(self) -> None:
        """Show the columns there are, and how the layer is coloured."""
        layer = self._layer
        record = {} if layer is None else record_of(layer)
        groups = [] if layer is None else list_columns(layer.features)
        self.column.show_columns(groups, record.get("column"))
        # not hidden: the buttons below would move under the mouse
        self.range.setEnabled(record.get("colours") == "continuous")
        for box, text in zip((self.low, self.high), self._range_texts(), strict=True):
            if not (box.isModified() and box.hasFocus()):  # somebody is typing
                box.setText(text)
                box.setCursorPosition(0)
        angle = self.angle()
        self._rows.setRowVisible(self.symmetry, angle is not None)
        if angle is not None:
            self.symmetry.blockSignals(True)  # noqa: FBT003 - Qt's own
            self.symmetry.setValue(self.order(angle))
            self.symmetry.blockSignals(False)  # noqa: FBT003
        self.column.setEnabled(layer is not None)

    def _range_texts(self) -> tuple[str, str]:
        """Ends of the colours as they are now, in words; empty where there are none."""
        limits = None if self._layer is None else record_of(self._layer).get("contrast_limits")
        return ("", "") if limits is None else (f"{limits[0]:.4g}", f"{limits[1]:.4g}")

    def seen(self) -> Seen:
        """What there is to say of the layer's colours; counted once for each table."""
        layer = self._layer
        if layer is None:
            return Seen()
        column = record_of(layer).get("column")
        if self._seen.features is not layer.features or self._seen.column != column:
            from napari_rvae.layers import legend

            text = "" if column is None else _describe(layer, column)
            self._seen = Seen(layer.features, column, legend(layer), text)
        return self._seen

    def here(self, frame: int) -> Sequence[LegendEntry]:
        """Legend of one frame."""
        from napari_rvae.layers import legend_of

        features, column = self._layer.features, record_of(self._layer)["column"]
        return legend_of(features.loc[features["frame"] == frame, [column]], column)

    def mend(self) -> str:
        """Colour anew what napari cannot show any more; what has happened, or nothing."""
        layer = self._layer
        record = {} if layer is None else record_of(layer)
        column = record.get("column")
        if column is None:
            return ""
        from napari_rvae.layers import color_points

        if column not in layer.features:
            color_points(layer, None)
            return f"The column {column} is gone."
        kept = {item["value"]: item["colour"] for item in record.get("legend") or ()}
        entries = self.seen().entries if kept else ()
        now = {entry.value: entry.colour for entry in entries if entry.value is not None}
        gone = record.get("feature", column) not in layer.features
        if gone or not now.items() <= kept.items():
            color_points(layer, column, symmetry=record.get("symmetry", 1))
        return ""


def _describe(layer: Any, column: str) -> str:
    """Say how many sites have a value, and how many have none."""
    values, total = layer.features[column], len(layer.data)
    known = values[values.notna() & (values != (-1 if values.dtype.kind == "i" else ""))]
    missing, count = total - len(known), len(known)
    if not count:
        return f"No site has a value of {column}."
    same = ", all the same" if count > 1 and known.nunique() == 1 else ""
    text = f"{column} of {count:,} site{'s' if count > 1 else ''}{same}"
    if not missing:
        return f"{text}."
    border = "border " if missing == record_of(layer).get("n_border") else ""
    sites = "sites have" if missing > 1 else "site has"
    return f"{text}; {missing:,} {border}{sites} none (grey)."


def _number_box() -> QLineEdit:
    """Box for a number of any size, with a point before the decimals everywhere."""
    box = QLineEdit()
    check = QDoubleValidator(box)
    check.setLocale(QLocale.c())
    box.setValidator(check)
    box.setMinimumWidth(_NUMBER_WIDTH)
    return box
