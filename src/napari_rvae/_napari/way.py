"""What comes next: the one button that leads from each step to the one that is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QPushButton

from napari_rvae._napari.layer_kinds import is_sites
from napari_rvae._napari.workspace import Step, Workspace

__all__ = ["NextButton", "next_step"]

#: Many events come in a row; the button looks once, so many milliseconds later.
_SOON = 60

#: What each step is for, as the tooltip of the button says it.
_WHAT_FOR: dict[Step, str] = {
    "detect": "find the atoms",
    "train": "learn what surrounds them",
    "latents": "colour them by what was learnt",
    "units": "group them by their surroundings",
    "pathways": "follow the groups through the movie",
}

#: Step that is due by what there is (no sites, sites, latents, units) and by the step shown.
_DUE: tuple[dict[Step, Step], ...] = (
    {"train": "detect", "latents": "detect", "units": "detect", "pathways": "detect"},
    {"detect": "train", "latents": "train", "units": "train", "pathways": "train"},
    {"detect": "train", "train": "latents", "latents": "units", "pathways": "units"},
    {"detect": "train", "train": "latents", "latents": "units", "units": "pathways"},
)


def next_step(step: Step, sites: Any) -> Step | None:
    """Which step is due after, or before, one that is shown; None where it is this one.

    Parameters
    ----------
    step
        The step that is shown.
    sites
        Its layer of sites, None where there is none.
    """
    due = _DUE[_reached(sites)].get(step)
    return None if due == "pathways" and sites.ndim < 3 else due


def _reached(sites: Any) -> int:
    """How far sites have come: none, found, with latents, with units."""
    if sites is None or not len(sites.data):
        return 0
    features = sites.features
    if "z0" not in features or not features["z0"].notna().any():
        return 1
    return 3 if "unit" in features and bool((features["unit"] >= 0).any()) else 2


class NextButton(QPushButton):
    """Leads to the step that is due; hidden while that is the step itself, or it is at work.

    Parameters
    ----------
    workspace
        Of the viewer.
    step
        Step of the widget that the button stands in.
    sites
        Returns the layer of sites of that widget, or None.
    """

    def __init__(self, workspace: Workspace, step: Step, sites: Callable[[], Any]) -> None:
        super().__init__()
        self._workspace, self._step, self._sites = workspace, step, sites
        self.leads_to: Step | None = None
        self.setFlat(True)
        self.setStyleSheet("text-align: right; padding: 2px;")
        self.clicked.connect(self._go)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON)
        self._soon.timeout.connect(self.look)
        for signal in (workspace.job_changed, workspace.status_changed, workspace.model_changed):
            signal.connect(self.look_soon)
        self.hide()
        self.look_soon()

    def look_soon(self, *_event: Any) -> None:
        """Look in a moment at what is due."""
        self._soon.start()

    def look(self) -> None:
        """Show what is due now."""
        from napari_rvae._napari.layout import STEP_NAMES

        viewer = self._workspace.viewer
        if viewer is None or not hasattr(viewer, "window"):
            return
        sites = self._sites()
        if sites is None and self._step == "detect":
            sites = next((layer for layer in reversed(viewer.layers) if is_sites(layer)), None)
        due = None if self._workspace.job(self._step) else next_step(self._step, sites)
        self.leads_to = due
        self.setVisible(due is not None)
        if due is None:
            return
        order = list(STEP_NAMES)
        word = "Next" if order.index(due) > order.index(self._step) else "First"
        self.setText(f"{word}: {STEP_NAMES[due]} ▸")
        self.setToolTip(f"{word}, {_WHAT_FOR[due]} (Ctrl+Alt+{order.index(due) + 1})")

    def _go(self) -> None:
        from napari_rvae._napari.layout import show_step

        if self.leads_to is not None and self._workspace.viewer is not None:
            show_step(self._workspace.viewer, self.leads_to)
