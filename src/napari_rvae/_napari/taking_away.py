"""Pictures, movies and the script of an analysis: what leaves the viewer besides tables and runs.

Everything here works without the widget, which may be closed while the work goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QApplication, QFileDialog, QHBoxLayout, QWidget

from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.panel import button
from napari_rvae._napari.workspace import Workspace
from napari_rvae.errors import InputError

__all__ = ["TakeAway", "ask_figure", "copy_script", "start_figure", "start_movie"]

NO_IMAGE = "There is no image: open the movie that the sites lie on."

_FIGURES = "Picture (*.png);;Drawing (*.svg);;PDF (*.pdf)"
_MOVIES = "Animated GIF (*.gif);;TIFF stack (*.tif);;Series of PNG (*.png)"


def copy_script(sites: Any, image: Any) -> str:
    """Put the script of an analysis, see :func:`napari_rvae.analysis_script`, on the clipboard.

    Returns
    -------
    str
        The script.
    """
    from napari_rvae.layers import analysis_script

    script = analysis_script(sites, image)
    QApplication.clipboard().setText(script)
    return script


def start_figure(
    workspace: Workspace,
    sites: Any,
    image: Any,
    path: str | os.PathLike[str],
    *,
    frame: int,
    overwrite: bool = False,
) -> None:
    """Write one frame with its sites, as :func:`napari_rvae.save_frame_figure` says."""
    from napari_rvae.layers import save_frame_figure

    if image is None:
        raise InputError(NO_IMAGE)
    file = save_frame_figure(sites, image, path, frame=frame, overwrite=overwrite)
    workspace.say("latents", f"Figure of frame {frame}, 85 mm wide, in {file}", "done")


def start_movie(
    workspace: Workspace,
    sites: Any,
    image: Any,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Job | None:
    """Write all frames with their sites, as :func:`napari_rvae.save_movie` says, in a thread."""
    if image is None:
        raise InputError(NO_IMAGE)
    from napari_rvae.layers.figures import save_movie

    def work(control: Control) -> Generator[Progress, None, Path]:
        yield Progress(0, 0, "drawing the frames")
        return save_movie(
            sites,
            image,
            path,
            progress=control.ticker("drawing the frames"),
            overwrite=overwrite,
        )

    def then(file: Path, _outcome: Outcome) -> None:
        workspace.say("latents", f"Movie of the coloured frames in {file}", "done")

    return workspace.start("latents", "Writing the movie", work, then)


class TakeAway(QWidget):
    """The row of buttons: figure, movie, script.

    Parameters
    ----------
    figure, movie, script
        What the buttons do; the first two with a path, and whether it may be replaced.
    """

    def __init__(
        self,
        figure: Callable[..., Any],
        movie: Callable[..., Any],
        script: Callable[[], Any],
    ) -> None:
        super().__init__()
        self._write_figure, self._write_movie = figure, movie
        self.figure = button(
            "Figure…",
            "Write the frame that is shown, with its coloured sites, scale bar and legend, at the "
            "width of a column (85 mm): PNG, SVG or PDF",
            self._ask_figure,
        )
        self.movie = button(
            "Movie…",
            "Write all frames with their coloured sites: GIF, TIFF or a series of PNG",
            self._ask_movie,
        )
        self.script = button(
            "Copy script",
            "Copy a Python script that does this analysis again, without napari",
            script,
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for made in (self.figure, self.movie, self.script):
            row.addWidget(made)

    def enable(self, *, sites: bool, busy: bool) -> None:
        """Enable what is possible now."""
        self.figure.setEnabled(sites)
        self.script.setEnabled(sites)
        self.movie.setEnabled(sites and not busy)

    def _ask_figure(self) -> None:
        ask_figure(self, "frame.png", self._write_figure)

    def _ask_movie(self) -> None:
        _ask(self, "Movie", "movie.gif", _MOVIES, self._write_movie)


def ask_figure(parent: QWidget, name: str, write: Callable[..., Any]) -> None:
    """Ask for the file of a figure, and write it there, with whether it may be replaced."""
    _ask(parent, "Figure", name, _FIGURES, write)


def _ask(parent: QWidget, title: str, name: str, kinds: str, write: Callable[..., Any]) -> None:
    typed, kind = QFileDialog.getSaveFileName(parent, title, name, kinds)
    if typed:
        suffix = kind.rpartition("*")[2].rstrip(")")
        path = typed if Path(typed).suffix else f"{typed}{suffix}"
        write(path, overwrite=path == typed)  # the dialog has asked about what was typed
