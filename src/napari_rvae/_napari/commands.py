"""What the menus do beside opening one widget: lay out the workspace, open a run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_rvae._napari import exporting, training
from napari_rvae._napari.jobs import Outcome
from napari_rvae._napari.layout import open_docks
from napari_rvae._napari.reader import tell
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.config import CropConfig
from napari_rvae.errors import InputError
from napari_rvae.layers import LayerTuple, add_layers
from napari_rvae.runs import Run

if TYPE_CHECKING:
    from napari_rvae.vae import RVAE

__all__ = ["open_run", "open_workspace", "show_layers", "use_model", "use_run_model"]


def open_workspace(viewer: Viewer, *, front: int = 0) -> None:
    """Lay out all widgets of the plugin: the steps as tabs on the right, the rest below.

    Parameters
    ----------
    viewer
        The viewer; napari fills it in by its type.
    front
        Number of the step to show.
    """
    open_docks(viewer, front=front)


def open_run(viewer: Viewer) -> None:
    """Ask for a run and show it; its model is the one in use then.

    Parameters
    ----------
    viewer
        The viewer; napari fills it in by its type.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    path, _ = QFileDialog.getOpenFileName(
        QApplication.activeWindow(), "Open a run", filter="Runs (run.json)"
    )
    if not path:
        return
    workspace = Workspace.of(viewer)
    job = exporting.start_open(workspace, path)
    if job is None:
        tell(InputError("The Latents widget is at work: wait until it has finished."))
        return
    job.finished.connect(_tell_error)  # the widget that would show it may not be open


def _tell_error(outcome: Outcome) -> None:
    if outcome.error:
        show_error(outcome.error)


def show_layers(viewer: Any, layers: Iterable[LayerTuple]) -> None:
    """Add layers and select the uppermost that is visible."""
    shown = [layer for layer in add_layers(viewer, *layers) if layer.visible]
    if shown:
        viewer.layers.selection.active = shown[-1]


def use_model(viewer: Any, run: Run, model: RVAE) -> None:
    """Make a model that belongs to a run the one in use in a viewer."""
    crops = run.configs.get("CropConfig")
    plan = crops if isinstance(crops, CropConfig) else model.crop_config
    folder = run.folder.resolve()
    workspace, picture = Workspace.of(viewer), training.decoded_picture(model)
    workspace.use_model(Model(model, plan, folder.name, picture, folder=str(folder)))
    workspace.say("train", f"The model of {folder.name!r} is in use.", "done")


def use_run_model(viewer: Any, run: Run) -> bool:
    """Load the model of a run, if it has one, in a thread; it is the one in use then.

    A model that is there already stays: nobody knows whether it has been saved.

    Returns
    -------
    bool
        Whether there was nothing to load, or it is being loaded.
    """
    workspace, preferences = Workspace.of(viewer), read_preferences()
    if not run.has_model:
        return True
    if workspace.model is not None:
        return False
    work = training.load(run.folder, device=preferences.device, threads=preferences.n_threads)
    then = partial(training.show_loaded, workspace)
    return workspace.start("train", "Loading", work, then) is not None
