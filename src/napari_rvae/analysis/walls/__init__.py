"""Domain walls in motion: how far they move, what switches, and what holds them."""

from napari_rvae.analysis.walls.motion import wall_motion
from napari_rvae.analysis.walls.pinning import pinning_centres, residence_map
from napari_rvae.analysis.walls.prediction import DisplacementPrediction, predict_displacement
from napari_rvae.analysis.walls.switching import nucleation_sites, switched_area

__all__ = [
    "DisplacementPrediction",
    "nucleation_sites",
    "pinning_centres",
    "predict_displacement",
    "residence_map",
    "switched_area",
    "wall_motion",
]
