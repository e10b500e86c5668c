"""What the dock widgets of one viewer share: the jobs, what they said, and the model."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from qtpy.QtCore import QObject, Signal

from napari_rvae._napari.bar_names import name_bars
from napari_rvae._napari.editing import watch_edits
from napari_rvae._napari.jobs import Job, Outcome, Work, explain
from napari_rvae._napari.window import (
    announce_task,
    ask_before_closing,
    clear_bars,
    is_closed,
    on_destroyed,
)
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_rvae.config import Config, CropConfig
    from napari_rvae.vae import RVAE
    from napari_rvae.vae.checks import ModelChecks

__all__ = ["Model", "Status", "Step", "Workspace"]

#: The steps that have a widget each.
Step = Literal["detect", "train", "latents", "units", "pathways", "plot", "inspect", "time"]


@dataclass(frozen=True)
class Status:
    """One line under a widget's buttons."""

    text: str = ""
    level: Literal["info", "done", "warning", "error"] = "info"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model, how its crops are cut, what to call it, and what it has learned.

    Attributes
    ----------
    rvae
        The model.
    crops
        How to cut crops for it.
    name
        What to call it.
    picture
        Grey values (Y, X) of its manifold over z0 and z1; None where nobody has drawn it.
    checks
        What the self-checks found after its training; None where nobody has made them.
    folder
        Where it was loaded from or saved to, by itself or in a run; "" where it never was.
    key
        Tells this model, as it is now, from all others: layers note which one made their latents.
    """

    rvae: RVAE
    crops: CropConfig
    name: str
    picture: NDArray[np.uint8] | None = None
    checks: ModelChecks | None = None
    folder: str = ""
    key: str = field(default_factory=lambda: uuid4().hex)

    @property
    def unsaved(self) -> bool:
        """Whether it was trained here and is nowhere but in memory."""
        return not self.folder


class Workspace(QObject):
    """What the dock widgets of one viewer share.

    It outlives the widgets: closing one in the middle of its work, or opening it again, loses
    nothing. Everything else that matters is in the viewer's layers.
    """

    job_changed = Signal(str)
    status_changed = Signal(str)
    model_changed = Signal()
    options_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.jobs: dict[str, Job] = {}
        self.statuses: dict[str, Status] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self._model: Model | None = None
        on_destroyed(viewer, self.close)
        ask_before_closing(viewer, partial(_may_close, weakref.ref(self)))
        watch_edits(viewer)
        clear_bars(viewer)
        name_bars(viewer)

    @staticmethod
    def of(viewer: Any) -> Workspace:
        """Return the one workspace of a viewer (or of napari's proxy of it)."""
        viewer = getattr(viewer, "__wrapped__", viewer)
        found = _WORKSPACES.get(viewer)
        if found is None:
            found = _WORKSPACES[viewer] = Workspace(viewer)
        return found

    @property
    def viewer(self) -> Any:
        """The viewer, None after it was closed."""
        viewer = self._viewer()
        return None if viewer is None or is_closed(viewer) else viewer

    # ------------------------------------------------------------------ model
    @property
    def model(self) -> Model | None:
        """The model in use."""
        return self._model

    def use_model(self, model: Model | None) -> None:
        """Take another model; what the earlier one held is given back."""
        earlier, self._model = self._model, model
        if earlier is not None and (model is None or earlier.rvae is not model.rvae):
            earlier.rvae.release()
        self.model_changed.emit()

    def save_model(self, path: str | Path) -> Path:
        """Save the present model into a folder, which is where it is then.

        Raises
        ------
        InputError
            If there is none.
        """
        model = self._model
        if model is None:
            raise InputError("There is no model to save: train or load one first.")
        model.rvae.save(path)
        self.use_model(replace(model, folder=str(Path(path).resolve())))
        return Path(path)

    def note_saved(self, key: str, folder: Path) -> None:
        """Note that the model of a key is in a folder now."""
        model = self._model
        if model is not None and model.key == key:
            self.use_model(replace(model, folder=str(folder.resolve())))

    # ------------------------------------------------------------------ options
    def show_options(self, *configs: Config) -> None:
        """Let the forms show options, such as those of a run; widgets to come as well."""
        for config in configs:
            self.options[type(config).__name__] = config.to_dict()
        self.options_changed.emit()

    # ------------------------------------------------------------------ status
    def status(self, step: Step) -> Status:
        """Newest line of a step."""
        return self.statuses.get(step, Status())

    def say(self, step: Step, text: str, level: Any = "info") -> None:
        """Show a line under the buttons of a step."""
        self.statuses[step] = Status(text, level)
        self.status_changed.emit(step)

    def attempt(self, step: Step, action: Callable[[], Any]) -> Any:
        """Do something for a step; an error becomes its line, and the value is None."""
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - nothing may reach the user as a traceback
            self.say(step, explain(error, "A button failed"), "error")
            return None

    # ------------------------------------------------------------------ jobs
    def job(self, step: Step) -> Job | None:
        """Job of a step that is running."""
        return self.jobs.get(step)

    def start(
        self, step: Step, title: str, work: Work, then: Callable[[Any, Outcome], None]
    ) -> Job | None:
        """Start the work of a step, unless it is busy.

        Parameters
        ----------
        step
            Whose work it is; a step does one thing at a time.
        title
            What it is, in a few words.
        work
            See :class:`napari_rvae._napari.jobs.Job`.
        then
            Called in the viewer's thread with the value and the whole outcome, when there is a
            value. Errors, warnings and cancelling are reported without it.
        """
        if step in self.jobs:
            return None
        job = Job(title, work)
        self.jobs[step] = job
        done = announce_task(self.viewer, title, job.abandon)
        job.finished.connect(lambda _outcome: done())
        job.finished.connect(lambda outcome: self._finish(step, outcome, then))
        self.say(step, f"{title} …")
        self.job_changed.emit(step)
        job.start()
        return job

    def _finish(self, step: Step, outcome: Outcome, then: Callable[[Any, Outcome], None]) -> None:
        job = self.jobs.pop(step, None)
        if self.viewer is None or job is None:
            return
        if outcome.error:
            self.say(step, outcome.error, "error")
        elif outcome.cancelled:
            self.say(step, f"{job.title}: cancelled, nothing was changed.")
        else:
            try:
                then(outcome.value, outcome)
            except Exception as error:  # noqa: BLE001 - nothing may reach the user as a traceback
                self.say(step, explain(error, "The result of a job could not be shown"), "error")
        self.job_changed.emit(step)

    def close(self) -> None:
        """End all work at its next step; the viewer is going."""
        for job in self.jobs.values():
            job.abandon()


def _may_close(of: weakref.ref[Workspace]) -> bool:
    """Ask what becomes of a model that was never saved."""
    from napari_rvae._napari.closing import may_close

    workspace = of()
    return workspace is None or workspace.viewer is None or may_close(workspace)


#: The values hold their viewer weakly, so a viewer that is closed takes its workspace with it.
_WORKSPACES: weakref.WeakKeyDictionary[Any, Workspace] = weakref.WeakKeyDictionary()
