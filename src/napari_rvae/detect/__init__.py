"""Where the sites are found: atoms, and plain grids."""

from napari_rvae.detect.atoms import detect_atoms, iter_detect_atoms, measured_config
from napari_rvae.detect.grid import sample_grid

__all__ = ["detect_atoms", "iter_detect_atoms", "measured_config", "sample_grid"]
