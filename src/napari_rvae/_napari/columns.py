"""A choice among the columns of the sites: what they are called, and in which order."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QComboBox

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PLAIN",
    "Column",
    "ColumnChoice",
    "angle_columns",
    "list_columns",
    "number_columns",
    "usual_symmetry",
]

#: Text of the choice of no column.
PLAIN = "plain"

#: Groups of columns in the order of the list, after the latents; the empty one is for all others.
_GROUPS: tuple[tuple[str, ...], ...] = (
    ("lattice_angle", "angle", "angle_sd", "normal_angle", "normal_period"),
    (
        *("unit", "unit_probability", "kind", "sublattice"),
        *("species", "species_probability", "wall_type"),
    ),
    ("track_id", "lattice_track_id"),
    (
        *("amplitude", "snr", "sigma", "background", "lattice_support", "y_sd", "x_sd"),
        *("residual", "shift_y", "shift_x"),
        *("curvature", "strength", "confidence", "polarization_turn"),
    ),
    (),
    ("frame", "y", "x", "source"),
)

_TIPS = {
    "angle": "Angle by which the site's picture is turned; compare it within one model only",
    "lattice_angle": "Angle against the pattern of the host: tells the sublattices apart",
    "residual": "Misfit between the crop and the model's picture of it; about 1 is usual",
    "unit": "Structural unit",
    "unit_probability": "How sure the unit is, 0 to 1",
    "sublattice": "Number of the sublattice, the brightest first",
    "species": "Host (A, B, ...), brighter (+) or dimmer (-) than its host, or off the lattice",
    "species_probability": "How sure the species or the vacancy is, 0 to 1",
    "snr": "How far an atom stands above the noise",
    "lattice_support": "Share of the lattice's neighbours that the site has",
    "sigma": "Width of the atom's image (standard deviation)",
    "normal_angle": "Direction across the wall: 0 to the right, counter-clockwise",
    "curvature": "Bend of the wall, above 0 where its centre lies where the normal points",
    "strength": "Response beside a 180-degree wall, step of the response at a ferroelastic one",
    "confidence": "How sure the wall is, 0 to 1",
    "wall_type": "180-degree or ferroelastic; of a vector 180 or 90 degrees",
    "polarization_turn": "Angle between the polarizations on the two sides of the wall",
    "track_id": "Number of the atom, followed through the frames",
    "lattice_track_id": "Number of the place in the lattice, followed through the frames",
}


@dataclass(frozen=True)
class Column:
    """A column to choose.

    Attributes
    ----------
    name
        Its name in the table.
    label
        Its name with the unit that it is shown in.
    tip
        What it is, "" where the name says it.
    """

    name: str
    label: str
    tip: str = ""


def list_columns(features: pd.DataFrame) -> list[list[Column]]:
    """List the columns that sites can be coloured by, in groups: latents first.

    Parameters
    ----------
    features
        Features of a layer of sites. The copies in degrees that colouring makes, and the numbers
        of the sites, are left out.
    """
    from napari_rvae.layers.colours import column_label

    names = [str(name) for name in features.columns]
    names = [name for name in names if name != "site_id" and not name.endswith("(deg)")]
    groups: dict[int, list[Column]] = {}
    for name in sorted(names, key=_place):
        column = Column(name, column_label(name), _tip(name))
        groups.setdefault(_place(name)[0], []).append(column)
    return list(groups.values())


def number_columns(features: pd.DataFrame) -> list[list[Column]]:
    """List the columns that can be an axis of a plot, in groups: latents first."""
    groups = (
        [column for column in group if features[column.name].dtype.kind in "fiub"]
        for group in list_columns(features)
    )
    return [group for group in groups if group]


def _place(name: str) -> tuple[int, int]:
    """Group of a column, and place in the group; z10 comes after z9."""
    latent = re.fullmatch(r"z(\d+)(_sd)?", name)
    if latent:
        return -1, 2 * int(latent[1]) + bool(latent[2])
    known = [(number, names.index(name)) for number, names in enumerate(_GROUPS) if name in names]
    return known[0] if known else (_GROUPS.index(()), 0)


def _tip(name: str) -> str:
    if re.fullmatch(r"z\d+", name):
        return "Latent variable: its sign and scale mean nothing by themselves"
    if name.endswith("_sd"):
        return f"Standard deviation of {name.removesuffix('_sd')}: how uncertain it is"
    return _TIPS.get(name, "")


def angle_columns(features: pd.DataFrame) -> list[str]:
    """Directions among the features, the most comparable first."""
    from napari_rvae.layers.colours import is_angle

    return sorted((name for name in map(str, features.columns) if is_angle(name)), key=_place)


def usual_symmetry(features: pd.DataFrame, column: str) -> int:
    """Order by which a column of angles seems to be folded already, 1 where by none.

    A ``lattice_angle`` is: by the symmetry of its host.
    """
    from napari_rvae.tables import fold_angle

    values = features[column].dropna().to_numpy(float)
    if not values.size:
        return 1
    # a rounding error beyond the end is still the end
    orders = (6, 4, 3, 2)
    folded = (n for n in orders if abs(fold_angle(values, n) - values).max() < math.pi / 1000)
    return next(folded, 1)


class ColumnChoice(QComboBox):
    """A choice among columns; the first one is none.

    Parameters
    ----------
    none
        Text of the choice of no column; None where there has to be one.
    """

    chosen = Signal()

    def __init__(self, none: str | None = PLAIN) -> None:
        super().__init__()
        self._none = none
        self._groups: list[list[Column]] | None = None
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setMaxVisibleItems(24)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.show_columns([], None)
        self.currentIndexChanged.connect(self._tell)

    def _tell(self) -> None:
        self.chosen.emit()

    def show_columns(self, groups: list[list[Column]], column: str | None) -> None:
        """List columns and choose one, or none, without telling."""
        self.blockSignals(True)  # noqa: FBT003 - Qt's own
        if groups != self._groups:
            self._groups = groups
            self.clear()
            if self._none is not None:
                self.addItem(self._none)
            for group in groups:
                if self.count():
                    self.insertSeparator(self.count())
                for item in group:
                    self.addItem(item.label, item.name)
                    self.setItemData(self.count() - 1, item.tip, Qt.ItemDataRole.ToolTipRole)
        self._set(column)
        self.blockSignals(False)  # noqa: FBT003

    def column(self) -> str | None:
        """Name of the chosen column, None for none."""
        name = self.currentData()
        return None if name is None else str(name)

    def columns(self) -> list[str]:
        """Names of the columns to choose from."""
        return [item.name for group in self._groups or [] for item in group]

    def choose(self, column: str | None) -> None:
        """Choose a column that is in the list, or none, as the user would."""
        self._set(column)

    def _set(self, column: str | None) -> None:
        none = -1 if self._none is None else 0
        self.setCurrentIndex(none if column is None else self.findData(column))

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Scroll the dock, not the choice: each step would colour the points anew."""
        event.ignore()
