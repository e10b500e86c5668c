"""The options of every step, as frozen dataclasses that are checked when they are made.

One object drives the call, the form, the command line and the saved run. A field carries its
help text, unit and range in its metadata (see :func:`option`), so that none of them needs a
second list of the options.
"""

from napari_rvae.config.base import Config, option
from napari_rvae.config.crops import CropConfig
from napari_rvae.config.pathways import PathwayConfig, TrackConfig
from napari_rvae.config.rvae import RVAEConfig
from napari_rvae.config.sites import DetectConfig, SpeciesConfig
from napari_rvae.config.units import UnitConfig
from napari_rvae.config.walls import WallConfig

__all__ = [
    "Config",
    "CropConfig",
    "DetectConfig",
    "PathwayConfig",
    "RVAEConfig",
    "SpeciesConfig",
    "TrackConfig",
    "UnitConfig",
    "WallConfig",
    "option",
]
