"""Figures of results: the report, cards of units, pathways, landscape, one site, time; export.

Matplotlib is imported inside the functions, and used through its objects alone: no pyplot, no
window, no setting of the process is touched.
"""

from napari_rvae.figures.export import export_units
from napari_rvae.figures.landscapes import film_figure, landscape_figure
from napari_rvae.figures.networks import network_figure, order_figure
from napari_rvae.figures.pathway_files import export_pathways
from napari_rvae.figures.pathway_page import pathways_figure
from napari_rvae.figures.report import report_figure, save_figure
from napari_rvae.figures.sites import site_figure
from napari_rvae.figures.time import time_figure
from napari_rvae.figures.trees import tree_figure
from napari_rvae.figures.units import card_figure, cards_figure, shares_figure
from napari_rvae.figures.windows import windows_figure

__all__ = [
    "card_figure",
    "cards_figure",
    "export_pathways",
    "export_units",
    "film_figure",
    "landscape_figure",
    "network_figure",
    "order_figure",
    "pathways_figure",
    "report_figure",
    "save_figure",
    "shares_figure",
    "site_figure",
    "time_figure",
    "tree_figure",
    "windows_figure",
]
