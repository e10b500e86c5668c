"""Where the sites are found: atoms, and plain grids."""

from napari_rvae.detect.atoms import (
    detect_atoms,
    estimate_detection_time,
    iter_detect_atoms,
    measured_config,
)
from napari_rvae.detect.classify import classify_atoms
from napari_rvae.detect.grid import sample_grid

__all__ = [
    "classify_atoms",
    "detect_atoms",
    "estimate_detection_time",
    "iter_detect_atoms",
    "measured_config",
    "sample_grid",
]
