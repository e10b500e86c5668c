"""Structural units: kinds of surroundings that recur, found without labels.

Every crystal is mostly its host. What is not host is split finely, and what recurs is kept: the
environments. Environments whose central atoms look alike are one unit. All mergers are kept as a
tree, so that a hand can go on where the search has stopped.
"""

from napari_rvae.analysis.units.edit import cut_units, merge_units, rename_unit, split_unit
from napari_rvae.analysis.units.find import apply_units, find_units
from napari_rvae.analysis.units.model import UnitModel
from napari_rvae.analysis.units.result import Units

__all__ = [
    "UnitModel",
    "Units",
    "apply_units",
    "cut_units",
    "find_units",
    "merge_units",
    "rename_unit",
    "split_unit",
]
