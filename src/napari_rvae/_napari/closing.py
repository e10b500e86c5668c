"""What is asked before a viewer closes with a model that was trained and never saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_rvae._napari import exporting
from napari_rvae._napari.jobs import Outcome
from napari_rvae._napari.layer_kinds import is_sites, record_of
from napari_rvae._napari.training import image_of
from napari_rvae._napari.window import close_window, main_window
from napari_rvae._napari.workspace import Workspace

__all__ = ["Answer", "ask_to_close", "may_close", "sites_of_model"]

Answer = Literal["save", "discard", "cancel"]


def may_close(workspace: Workspace) -> bool:
    """Ask what becomes of a model that was never saved; whether the window may close now.

    Parameters
    ----------
    workspace
        Of the viewer that is to be closed.

    Returns
    -------
    bool
        False where the user wants to stay, or where the model is being saved: the window closes
        when that has succeeded.
    """
    model = workspace.model
    if model is None or not model.unsaved:
        return True
    answer = ask_to_close(workspace)
    if answer == "save":
        _save_and_close(workspace)
    return answer == "discard"


def ask_to_close(workspace: Workspace) -> Answer:
    """Ask whether to save, to throw away, or to stay."""
    model = workspace.model
    name = "" if model is None else model.name
    box = QMessageBox(main_window(workspace.viewer))
    box.setIcon(QMessageBox.Icon.Warning)
    box.setWindowTitle("Save the model?")
    box.setText(f"The model trained on {name!r} has not been saved.")
    box.setInformativeText(
        "Save it in a run, with its sites and options, to go on with it another day. "
        "Without it, it is lost when this window closes."
    )
    save = box.addButton("Save run…", QMessageBox.ButtonRole.AcceptRole)
    discard = box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
    cancel = box.addButton("Cancel", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(save)
    box.setEscapeButton(cancel)
    box.exec()
    if box.clickedButton() is save:
        return "save"
    return "discard" if box.clickedButton() is discard else "cancel"


def sites_of_model(workspace: Workspace) -> Any:
    """Layer whose latents the model in use has made, the newest one; None where there is none."""
    model = workspace.model
    made = [
        layer
        for layer in workspace.viewer.layers
        if is_sites(layer) and model is not None and record_of(layer).get("model") == model.key
    ]
    return made[-1] if made else None


def _save_and_close(workspace: Workspace) -> None:
    """Save the run, or the bare model where its sites are gone; close when that has succeeded."""
    window, sites = main_window(workspace.viewer), sites_of_model(workspace)
    if sites is None:
        # a name for a new folder: into one that is there, files of others might be in the way
        folder, _ = QFileDialog.getSaveFileName(window, "New folder for the model", "rvae-model")
        if folder and workspace.attempt("train", lambda: workspace.save_model(Path(folder))):
            close_window(workspace.viewer)
        return
    asked = exporting.ask_save(window)
    if asked is None:
        return
    image = image_of(sites, workspace.viewer.layers)
    job = workspace.attempt(
        "latents",
        lambda: exporting.start_save(workspace, sites, image, asked[0], overwrite=asked[1]),
    )

    def close(outcome: Outcome) -> None:
        if not outcome.error and not outcome.cancelled:
            close_window(workspace.viewer)

    if job is not None:
        job.finished.connect(close)
