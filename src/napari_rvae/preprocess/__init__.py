"""From frames to pictures that can be compared: noise, stripes, blur, and the scan's distortion."""

from napari_rvae.preprocess.analyse import analyse_frames
from napari_rvae.preprocess.correlation import noise_correlation
from napari_rvae.preprocess.distortion import LatticeDistortion, lattice_distortion
from napari_rvae.preprocess.drift import measure_drift
from napari_rvae.preprocess.flyback import flyback_columns
from napari_rvae.preprocess.levelling import level_height
from napari_rvae.preprocess.registration import register_scans
from napari_rvae.preprocess.response import signed_response
from napari_rvae.preprocess.rows import destripe
from napari_rvae.preprocess.variance import stabilise_variance
from napari_rvae.preprocess.wall_mask import add_wall_channel, wall_mask

__all__ = [
    "LatticeDistortion",
    "add_wall_channel",
    "analyse_frames",
    "destripe",
    "flyback_columns",
    "lattice_distortion",
    "level_height",
    "measure_drift",
    "noise_correlation",
    "register_scans",
    "signed_response",
    "stabilise_variance",
    "wall_mask",
]
