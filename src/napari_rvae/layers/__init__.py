"""Tables and arrays -> napari layers, as (data, options, type) tuples; napari is not imported.

Every colour, size and name that a user sees in the viewer is decided here, and
``metadata["napari_rvae"]`` of each layer says where it comes from.
"""

from napari_rvae.layers.images import add_layers, image_layer, manifold_layer
from napari_rvae.layers.place import METADATA_KEY, LayerTuple
from napari_rvae.layers.sites import points_layer, tracks_layer, vectors_layer
from napari_rvae.layers.styles import ImageStyle, PointStyle, TrackStyle, VectorStyle

__all__ = [
    "METADATA_KEY",
    "ImageStyle",
    "LayerTuple",
    "PointStyle",
    "TrackStyle",
    "VectorStyle",
    "add_layers",
    "image_layer",
    "manifold_layer",
    "points_layer",
    "tracks_layer",
    "vectors_layer",
]
