"""A viewer of its own, with everything laid out: what the command line opens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import napari
from qtpy.QtWidgets import QApplication

from napari_rvae._napari.commands import open_workspace, show_layers, use_model, use_run_model
from napari_rvae.errors import InputError
from napari_rvae.layers import LayerTuple

if TYPE_CHECKING:
    from napari_rvae.runs import Run
    from napari_rvae.vae import RVAE

__all__ = ["check_screen", "open_viewer", "wait_until_closed"]

#: Number of the widget that shows results.
_LATENTS = 2


def check_screen() -> None:
    """Check that a window can be opened; where it cannot, Qt ends the whole process.

    Raises
    ------
    InputError
        If there is no screen, or Qt lacks a library of the system.
    """
    if not sys.platform.startswith("linux"):
        return
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")):
        raise InputError(
            "There is no screen to open napari on (DISPLAY is not set): use a desktop, or ssh -X."
        )
    probe = "from qtpy.QtWidgets import QApplication; QApplication([])"
    tried = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        said = (tried.stderr.splitlines() or ["Qt does not say why"])[0]
        raise InputError(f"Qt cannot open a window here ({said.rpartition(': ')[2]}).")


def open_viewer(
    layers: Iterable[LayerTuple], run: Run, *, model: RVAE | None = None
) -> napari.Viewer:
    """Open napari with a run, all widgets beside it; the event loop is the caller's.

    Parameters
    ----------
    layers
        What to show of the run, see :func:`napari_rvae.run_layers`.
    run
        A run, loaded or just made.
    model
        The run's model; loaded from its folder, in a thread, when left out.
    """
    viewer = napari.Viewer()
    open_workspace(viewer, front=_LATENTS)
    show_layers(viewer, layers)
    QApplication.processEvents()  # the docks take their room; what is left is the canvas
    viewer.reset_view()
    if model is None:
        use_run_model(viewer, run)
    else:
        use_model(viewer, run, model)
    return viewer


def wait_until_closed() -> None:
    """Run napari's event loop until its last window is closed."""
    napari.run()
