"""Where the sites are found: atoms, domain walls, and plain grids."""

from napari_rvae.detect.atoms import (
    detect_atoms,
    estimate_detection_time,
    iter_detect_atoms,
    measured_config,
)
from napari_rvae.detect.classify import classify_atoms
from napari_rvae.detect.grid import sample_grid
from napari_rvae.detect.junctions import find_junctions
from napari_rvae.detect.walls import detect_walls

__all__ = [
    "classify_atoms",
    "detect_atoms",
    "detect_walls",
    "estimate_detection_time",
    "find_junctions",
    "iter_detect_atoms",
    "measured_config",
    "sample_grid",
]
