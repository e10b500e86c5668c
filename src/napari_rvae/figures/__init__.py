"""The report: one page of pictures and numbers for one movie, and its export.

Matplotlib is imported inside the functions, and used through its objects alone: no pyplot, no
window, no setting of the process is touched.
"""

from napari_rvae.figures.report import report_figure, save_figure

__all__ = ["report_figure", "save_figure"]
