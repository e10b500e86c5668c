"""Runs: a folder that holds the tables, the model and the options of an analysis.

``run.json`` names every other file with its SHA-256 and is replaced last; the other files carry
a part of their hash in their names and are never overwritten. So, whatever happens in the middle
of a save, the folder holds the earlier run or the new one, whole.
"""

from napari_rvae.runs.describe import describe_frames
from napari_rvae.runs.layout import check_run_folder
from napari_rvae.runs.load import load_run
from napari_rvae.runs.run import Run
from napari_rvae.runs.save import save_run

__all__ = ["Run", "check_run_folder", "describe_frames", "load_run", "save_run"]
