"""Crops: windows around sites, resampled to one canonical grid and made comparable."""

from napari_rvae.crops.crops import Crops, concat_crops
from napari_rvae.crops.extract import extract_crops

__all__ = ["Crops", "concat_crops", "extract_crops"]
