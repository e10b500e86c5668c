"""The Train dock widget: image and sites -> a model, and its latents on the sites."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QSpinBox, QWidget

from napari_rvae._napari import training
from napari_rvae._napari.check_list import CheckList
from napari_rvae._napari.forms import (
    FIELD_WIDTH,
    LABEL_WIDTH,
    ConfigForm,
    folded,
    form_layout,
    leave_wheel,
    read_forms,
)
from napari_rvae._napari.jobs import Job, Progress, Work
from napari_rvae._napari.layer_kinds import is_frames, is_sites
from napari_rvae._napari.loss_plot import LossPlot
from napari_rvae._napari.panel import StepWidget, button
from napari_rvae._napari.picture import Picture
from napari_rvae._napari.settings import Preferences, read_preferences
from napari_rvae._napari.training import Inputs, Live
from napari_rvae._napari.words import count
from napari_rvae._napari.workspace import Model
from napari_rvae.config import CropConfig, RVAEConfig
from napari_rvae.errors import InputError

__all__ = ["TrainWidget"]

#: Where a model can be trained.
DEVICES = ("auto", "cpu", "cuda", "mps")

#: Settings that fill the forms of the model, and the name of any others.
PRESETS: dict[str, Callable[[], RVAEConfig]] = {
    "default": RVAEConfig,
    "published": RVAEConfig.published,
}
OWN = "your own"

PRESET_TIP = (
    "Fill the options of the model, these and those above.\nPublished: the engine and the training "
    "of the rVAE of Science Advances 7, eabd5084 (2021), to compare with; it is slower, and its "
    "angles are less exact."
)

NO_MODEL = "Train or load a model first."

SECOND_TIP = (
    "A further image of the movie, such as the topography: crops get a layer of it, too. It takes "
    "latents for itself."
)

EARLIER_TIP = (
    "Crops get a layer of each of so many frames before, at the same place: latents then tell how "
    "things move. Sites of the first frames have no crop."
)

#: Frames before that a crop may show.
_MOST_EARLIER = 8

PICTURE_TIP = (
    "Pictures that the model decodes from the latents z0 and z1, each from the 5 to the 95 % "
    "quantile of the sites; the other latents stay at their median. They are turned alike."
)


class TrainWidget(StepWidget):
    """Train a model on the sites of an image, go on, save, load, and apply it to other sites.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, "train")
        self._job: Job | None = None
        self._picked: Any = None  # image that the user chose in spite of what the sites say
        self.image = self.add_layer_choice(
            "Image", is_frames, tip="Image or movie that the sites were found in"
        )
        self.sites = self.add_layer_choice(
            "Sites", is_sites, tip="Points to cut a window around: found, or set by hand"
        )
        self.second = self.add_layer_choice(
            "Second channel", is_frames, empty="none", tip=SECOND_TIP
        )
        self.earlier = QSpinBox()
        self.earlier.setRange(0, _MOST_EARLIER)
        self.earlier.setSpecialValueText("none")
        leave_wheel(self.earlier)
        self.add_input("Earlier frames", self.earlier, EARLIER_TIP)
        preferences = read_preferences()
        self._add_options(preferences)
        self._add_buttons()
        self._add_pictures()
        self.body.addStretch(1)
        self.image.activated.connect(self._on_image_picked)
        self.image.chosen.connect(self._on_choice)
        self.sites.chosen.connect(self._on_sites)
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.connect(self._match_image, position="last")  # after the choices have followed
            self._undo.append(partial(event.disconnect, self._match_image))
        self._match_image()
        self._fix_window()
        self._show_layers()
        self.refresh()

    # ------------------------------------------------------------------ parts
    def _add_options(self, preferences: Preferences) -> None:
        self.device = QComboBox()
        self.device.addItems(list(dict.fromkeys((*DEVICES, preferences.device))))
        self.device.setCurrentText(preferences.device)
        leave_wheel(self.device)
        self.add_input(
            "Device", self.device, "Where to compute: auto takes the graphics card if there is one"
        )
        self._crop_forms = (ConfigForm(CropConfig), ConfigForm(CropConfig, advanced=True))
        self._model_forms = (ConfigForm(RVAEConfig), ConfigForm(RVAEConfig, advanced=True))
        self.body.addWidget(self._crop_forms[0])
        self.body.addWidget(self._model_forms[0])
        self._add_preset()
        advanced = (self._preset_row, self._crop_forms[1], self._model_forms[1])
        self.body.addWidget(folded("Advanced", *advanced))
        self.show_options(window_nd=preferences.window)
        self.keep_options(*self._crop_forms, *self._model_forms)

    def _add_preset(self) -> None:
        """Add the choice that fills the forms of the model."""
        self.preset = QComboBox()
        self.preset.addItems([OWN, *PRESETS])
        leave_wheel(self.preset)
        label = QLabel("Model settings")
        for widget in (label, self.preset):
            widget.setToolTip(PRESET_TIP)
        self._preset_row = QWidget()
        form_layout(self._preset_row).addRow(label, self.preset)
        label.setMinimumWidth(LABEL_WIDTH)
        self.preset.setMinimumWidth(FIELD_WIDTH)
        self.preset.activated.connect(self._fill_preset)
        for form in self._model_forms:
            form.changed.connect(self._name_preset)
        self._name_preset()

    def _fill_preset(self, _number: int) -> None:
        """Show the settings that were chosen; nothing follows from the user's own."""
        made = PRESETS.get(self.preset.currentText())
        if made is not None:
            for form in self._model_forms:
                form.show_config(made())
        self._name_preset()

    def _name_preset(self) -> None:
        """Say which settings the forms show."""
        try:
            shown = self.model_config()
        except InputError:  # in the middle of a change
            return
        names = (name for name, made in PRESETS.items() if made() == shown)
        self.preset.setCurrentText(next(names, OWN))

    def _add_buttons(self) -> None:
        self.train_button = button(
            "Train", "Train a new model on the crops of the sites", self.train, primary=True
        )
        self.resume_button = button(
            "Resume",
            "Go on with the stopped training, up to the number of epochs above",
            self.resume,
        )
        self.add_row(self.train_button, self.resume_button)
        self.apply_button = button("Apply to these sites", "", self.apply)
        self.run_button = button(
            "Use the run's model", "Load the model of the run that the sites are from", self.use_run
        )
        self.add_row(self.apply_button, self.run_button)
        self.load_button = button(
            "Load model…", "Load the model of a folder, or of a run", self._ask_and_load
        )
        self.save_button = button(
            "Save model…", "Save the present model into a folder", self._ask_and_save
        )
        self.add_row(self.load_button, self.save_button)
        self.add_job_panel(stop_text="Stop")

    def _add_pictures(self) -> None:
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.plot = LossPlot()
        self.checks = CheckList()
        self.picture = Picture()
        self.picture.setToolTip(PICTURE_TIP)
        self.caption = QLabel("Decoded pictures:\nz0 grows to the right, z1 upwards")
        self.caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.caption.setWordWrap(True)
        for part in (self.about, self.plot, self.checks, self.picture, self.caption):
            self.body.addWidget(part)

    # ------------------------------------------------------------------ options
    def show_options(self, **options: Any) -> None:
        """Put values into the forms, by the names that they have in the configurations.

        Raises
        ------
        InputError
            If there is no such option.
        """
        for name, value in options.items():
            forms = [f for f in (*self._crop_forms, *self._model_forms) if name in f.fields]
            if not forms:
                raise InputError(f"There is no option {name!r} of crops or models.")
            forms[0].fields[name].set(value)

    def crop_config(self) -> CropConfig:
        """Options of the crops, as the forms show them."""
        return read_forms(CropConfig, *self._crop_forms)

    def model_config(self) -> RVAEConfig:
        """Options of the model, as the forms show them."""
        return read_forms(RVAEConfig, *self._model_forms)

    # ------------------------------------------------------------------ actions
    def train(self) -> None:
        """Train a new model on the chosen sites."""

        def begin() -> None:
            inputs = self._inputs()
            work = training.train(
                inputs,
                self.crop_config(),
                self.model_config(),
                device=self.device.currentText(),
                threads=read_preferences().n_threads,
            )
            self._start("Training", work, partial(training.show_result, self.workspace, inputs))

        self.attempt(begin)

    def resume(self) -> None:
        """Go on with a training that was stopped."""

        def begin() -> None:
            model, inputs = self._model(), self._inputs()
            if not model.rvae.can_resume:
                raise InputError("There is no stopped training to go on with: train anew.")
            work = training.resume(
                inputs, model, self.model_config().epochs, threads=read_preferences().n_threads
            )
            self._start("Training", work, partial(training.show_result, self.workspace, inputs))

        self.attempt(begin)

    def apply(self) -> None:
        """Encode the chosen sites of the chosen image with the present model."""

        def begin() -> None:
            model, inputs = self._model(), self._inputs()
            work = training.apply(
                inputs,
                model,
                window=self.crop_config().window,
                threads=read_preferences().n_threads,
            )
            self._start("Encoding", work, partial(training.show_result, self.workspace, inputs))

        self.attempt(begin)

    def load_model(self, path: str | Path) -> None:
        """Load the model of a folder, or of a run's folder, in place of the present one."""

        def begin() -> None:
            work = training.load(
                path, device=self.device.currentText(), threads=read_preferences().n_threads
            )
            self._start("Loading", work, partial(training.show_loaded, self.workspace))

        self.attempt(begin)

    def use_run(self) -> None:
        """Load the model of the run that the chosen sites were opened from."""
        folder = training.run_folder(self.sites.layer())
        if folder:
            self.load_model(folder)
        else:
            self.say("These sites are not from a run: load a model instead.", "error")

    def save_model(self, path: str | Path) -> None:
        """Save the present model into a folder."""

        def save() -> None:
            self._check_idle()
            self.workspace.save_model(path)
            self.say(f"Saved the model in {path}.", "done")

        self.attempt(save)

    def _ask_and_load(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model or of a run")
        if folder:
            self.load_model(folder)

    def _ask_and_save(self) -> None:
        # a name for a new folder: into one that is there, files of others might be in the way
        folder, _ = QFileDialog.getSaveFileName(self, "New folder for the model", "rvae-model")
        if folder:
            self.save_model(folder)

    def _inputs(self) -> Inputs:
        shown = training.fixed_window(self.sites.layer()) is not None
        return training.take_inputs(
            self.image.layer(),
            self.sites.layer(),
            second=self.second.layer() if shown else None,
            earlier=self.earlier.value() if shown else 0,
        )

    def _show_layers(self) -> None:
        """Offer further layers of a crop for sites on walls and grids."""
        shown = training.fixed_window(self.sites.layer()) is not None
        for widget in (self.second, self.earlier):
            widget.setVisible(shown)
            self.inputs.labelForField(widget).setVisible(shown)

    def _model(self) -> Model:
        model = self.workspace.model
        if model is None:
            raise InputError(NO_MODEL)
        return model

    def _check_idle(self) -> None:
        job = self.workspace.job("train")
        if job is not None:
            raise InputError(f"{job.title} is under way: wait for its end, or stop it.")
        if self.workspace.job("latents") is not None:
            raise InputError("The Latents widget is at work: wait until it has finished.")

    def _start(self, title: str, work: Work, then: Any) -> None:
        self._check_idle()
        self.workspace.start("train", title, work, then)

    # ------------------------------------------------------------------ what is shown
    def refresh(self) -> None:
        """Enable what is possible now, say what is missing, show the model."""
        job, model = self.workspace.job("train"), self.workspace.model
        missing, idle = self._missing(), job is None
        self.train_button.setEnabled(idle and not missing)
        self.resume_button.setVisible(idle and model is not None and model.rvae.can_resume)
        self.resume_button.setEnabled(not missing)
        self.apply_button.setEnabled(idle and not missing and model is not None)
        self.apply_button.setToolTip(
            missing or (NO_MODEL if model is None else f"Encode the sites with {model.name!r}")
        )
        self.run_button.setVisible(bool(training.run_folder(self.sites.layer())))
        self.run_button.setEnabled(idle)
        self.load_button.setEnabled(idle)
        self.save_button.setEnabled(idle and model is not None)
        if job is not self._job:
            self._job = job
            if job is not None:
                job.progressed.connect(self._on_progress)
        self._show_status()
        self._show_model()

    def _missing(self) -> str:
        """What is missing for a training, "" for nothing."""
        if self.image.layer() is None:
            return "Open an image or a movie first (File > Open, or File > Open Sample)."
        if self.sites.layer() is None:
            return "Detect sites first, or set points by hand."
        return ""

    def _live(self) -> Live | None:
        """What can be seen of the training that runs."""
        last = None if self._job is None else self._job.last
        return last.payload if last is not None and isinstance(last.payload, Live) else None

    def _show_status(self) -> None:
        now, live = self.workspace.status("train"), self._live()
        if self._job is not None and live is not None and live.device:
            self.status.show_text(f"{self._job.title} on {live.device}")
        elif now.text:
            self.status.show_text(now.text, now.level)
        elif missing := self._missing():
            self.status.show_text(missing)
        else:
            self._show_ready(self.image.layer(), self.sites.layer())

    def _show_ready(self, image: Any, points: Any) -> None:
        """Say how many sites there are, and whether they may be of another image."""
        text = f"{count(len(points.data), 'site')} to train on."
        other = training.where_from(points, image)
        if other:
            text += f" They are from {other!r}: see that {image.name!r} shows the same."
        no_frame = points.ndim < image.ndim
        if no_frame:
            text += " They have no frame: they are taken for those of frame 0."
        self.status.show_text(text, "warning" if other or no_frame else "info")

    def _on_progress(self, _progress: Progress) -> None:
        self._show_status()
        self._show_model()

    def _show_model(self) -> None:
        """Show the training that runs, else the model that is there."""
        live, model = self._live(), self.workspace.model
        about, picture, checks = "", None, None
        losses: tuple[float, ...] = ()
        held_out: tuple[float, ...] = ()
        if live is not None:
            losses, held_out, picture = live.losses, live.held_out, live.picture
        elif model is not None:
            rvae = model.rvae
            (losses, held_out), picture = training.curves(rvae), model.picture
            checks = model.checks
            latents = count(rvae.n_latents_, "latent")
            about = f"Model {model.name!r}: {latents}, on {rvae.device_}"
        self.about.setText(about)
        self.plot.show_losses(losses, held_out)
        self.checks.show_checks(checks)
        self.picture.show_values(picture)
        self.about.setVisible(bool(about))
        self.plot.setVisible(bool(losses))
        for part in (self.picture, self.caption):
            part.setVisible(picture is not None)

    # ------------------------------------------------------------------ layers
    def _match_image(self, _event: Any = None) -> None:
        """Choose the image that the sites were made from, unless the user wants another."""
        layers = self.viewer.layers
        wanted = next((layer for layer in layers if layer is self._picked), None)
        wanted = wanted or training.image_of(self.sites.layer(), layers)
        if wanted is not None and wanted is not self.image.layer():
            self.image.choose(wanted)

    def _on_image_picked(self, _number: int) -> None:
        self._picked = self.image.layer()

    def _on_sites(self) -> None:
        self._picked = None
        self._match_image()
        self._on_choice()
        self._fix_window()
        self._show_layers()

    def _fix_window(self) -> None:
        """Give sites that have no neighbour distance a window in pixels."""
        layer = self.sites.layer()
        window = training.fixed_window(layer)
        if window is None or self.crop_config().window is not None:
            return
        self.show_options(window=window)
        if self.workspace.job("train") is None:
            self.say(
                "Sites along walls or on a grid have no neighbour distance: the window is set to "
                f"{window:.0f} px (Advanced > Fixed window)."
            )

    def _on_choice(self) -> None:
        if self.workspace.job("train") is None:
            self.workspace.say("train", "")  # what was said was about other layers
        self.refresh()
