"""Tables and arrays -> napari layers, as (data, options, type) tuples, and back.

napari is not imported. Every colour, size and name that a user sees in the viewer is decided here,
and ``metadata["napari_rvae"]`` of each layer says where it comes from.
"""

from napari_rvae.layers.channels import frames_from_layers
from napari_rvae.layers.colours import LegendEntry, legend, legend_of
from napari_rvae.layers.dense import latent_image_layers
from napari_rvae.layers.directions import vectors_layer
from napari_rvae.layers.edits import settle_edits, settle_layer
from napari_rvae.layers.figures import frame_figure, save_frame_figure, save_movie
from napari_rvae.layers.hiding import hidden_categories, hide_categories
from napari_rvae.layers.images import add_layers, image_layer, manifold_layer
from napari_rvae.layers.maps import map_layer
from napari_rvae.layers.pathways import show_pathways
from napari_rvae.layers.place import METADATA_KEY, LayerTuple, rescale_layer
from napari_rvae.layers.plot_figures import PlotKey, plot_figure, plot_key, save_plot_figure
from napari_rvae.layers.plotted import colour_bar, density_colours, plotted_colours
from napari_rvae.layers.read import frames_from_layer, region_from_layer, sites_from_layer
from napari_rvae.layers.recolour import color_points
from napari_rvae.layers.renew import renew_sites
from napari_rvae.layers.runs import run_layers
from napari_rvae.layers.script import analysis_script
from napari_rvae.layers.selection import name_selection, select_points, selected_sites
from napari_rvae.layers.sites import points_layer
from napari_rvae.layers.styles import (
    ImageStyle,
    MapStyle,
    PointStyle,
    TrackStyle,
    VectorStyle,
    WallStyle,
)
from napari_rvae.layers.tracks import tracks_layer
from napari_rvae.layers.units import show_units, units_from_layer
from napari_rvae.layers.walls import pinning_layer, walls_layer

__all__ = [
    "METADATA_KEY",
    "ImageStyle",
    "LayerTuple",
    "LegendEntry",
    "MapStyle",
    "PlotKey",
    "PointStyle",
    "TrackStyle",
    "VectorStyle",
    "WallStyle",
    "add_layers",
    "analysis_script",
    "color_points",
    "colour_bar",
    "density_colours",
    "frame_figure",
    "frames_from_layer",
    "frames_from_layers",
    "hidden_categories",
    "hide_categories",
    "image_layer",
    "latent_image_layers",
    "legend",
    "legend_of",
    "manifold_layer",
    "map_layer",
    "name_selection",
    "pinning_layer",
    "plot_figure",
    "plot_key",
    "plotted_colours",
    "points_layer",
    "region_from_layer",
    "renew_sites",
    "rescale_layer",
    "run_layers",
    "save_frame_figure",
    "save_movie",
    "save_plot_figure",
    "select_points",
    "selected_sites",
    "settle_edits",
    "settle_layer",
    "show_pathways",
    "show_units",
    "sites_from_layer",
    "tracks_layer",
    "units_from_layer",
    "vectors_layer",
    "walls_layer",
]
