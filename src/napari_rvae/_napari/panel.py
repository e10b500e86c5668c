"""The parts that every dock widget is made of: layer choices, buttons, progress, status."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QStyle,
    QVBoxLayout,
    QWidget,
)

from napari_rvae._napari.forms import (
    FIELD_WIDTH,
    LABEL_WIDTH,
    ConfigForm,
    form_layout,
    leave_wheel,
)
from napari_rvae._napari.jobs import Job, Progress
from napari_rvae._napari.loading import LIBRARY, load_all
from napari_rvae._napari.way import NextButton
from napari_rvae._napari.workspace import Step, Workspace
from napari_rvae.errors import InputError

__all__ = ["JobPanel", "LayerChoice", "StatusLine", "StepWidget", "button"]

#: Time between two looks at whether the library is loaded, in milliseconds.
_LOOK = 50

#: Width that a dock widget asks for, in pixels.
WIDTH = 320

#: A dock can be so low, in pixels: it scrolls, and a laptop has 700 rows for all docks together.
_LEAST_HEIGHT = 110

#: Sign of each level of a status line, and its colour; the text itself keeps the theme's colour.
_SIGNS = {
    "info": ("", ""),
    "done": ("✓", "#2e9e5b"),
    "warning": ("⚠", "#d08700"),
    "error": ("✕", "#e05252"),
}


def button(
    text: str, tip: str, on_click: Callable[[], Any], *, primary: bool = False
) -> QPushButton:
    """Make a button; the one that a widget is for is primary."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda _checked: on_click())
    if primary:
        made.setStyleSheet("font-weight: bold;")
    return made


class StatusLine(QLabel):
    """One line, wrapped, that says what is missing or what was found."""

    def __init__(self) -> None:
        super().__init__()
        self.plain_text = ""
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.MinimumExpanding)
        # as tall as its lines are at its width; Qt would keep room for those of a narrow one
        self.setMinimumHeight(1)

    def show_text(self, text: str, level: str = "info") -> None:
        """Show a line; `level` is info, done, warning or error."""
        sign, colour = _SIGNS[level]
        mark = f'<span style="color: {colour}; font-weight: bold;">{sign}</span> ' if sign else ""
        self.plain_text = text
        self.setText(mark + html.escape(text))


class LayerChoice(QComboBox):
    """A choice among the viewer's layers of some kind, which follows the viewer.

    Parameters
    ----------
    layers
        The viewer's list of layers.
    accepts
        Whether a layer is of the kind.
    empty
        Text of the choice of none; left out, a layer is chosen as soon as there is one.
    nothing
        Text shown while there is no layer of the kind.
    """

    chosen = Signal()

    def __init__(
        self,
        layers: Any,
        accepts: Callable[[Any], bool],
        *,
        empty: str = "",
        nothing: str = "none yet",
    ) -> None:
        super().__init__()
        self._layers, self._accepts, self._empty = layers, accepts, empty
        self._shown: list[Any] = []
        self.setPlaceholderText(nothing)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setMinimumWidth(FIELD_WIDTH)
        leave_wheel(self)
        events = layers.events
        self._sources = (events.inserted, events.removed, events.reordered, events.renamed)
        for source in self._sources:
            source.connect(self._follow)
        self.currentIndexChanged.connect(self._tell)
        self._follow()

    def disconnect_layers(self) -> None:
        """Stop following the viewer."""
        for source in self._sources:
            source.disconnect(self._follow)

    def _tell(self) -> None:
        self.chosen.emit()

    def _follow(self, event: Any = None) -> None:
        """List the layers anew, newest first choice kept."""
        before = self.layer()
        found = [layer for layer in self._layers if self._accepts(layer)]
        new = [layer for layer in found if all(layer is not old for old in self._shown)]
        self.blockSignals(True)  # noqa: FBT003 - Qt's own
        self.clear()
        if self._empty:
            self.addItem(self._empty)
        for layer in found:
            self.addItem(layer.name)
        self._shown = found
        keep = before if any(layer is before for layer in found) else None
        # a layer that has just come is what the user wants to see, unless none is a choice, or it
        # has come hidden, as the further channels of a scan do
        if new and not self._empty:
            seen = [layer for layer in new if layer.visible]
            keep = seen[-1] if seen else keep or new[-1]
        self._select(keep)
        self.blockSignals(False)  # noqa: FBT003
        if self.layer() is not before or event is None:
            self.chosen.emit()

    def _select(self, layer: Any) -> None:
        offset = 1 if self._empty else 0
        for number, shown in enumerate(self._shown):
            if shown is layer:
                self.setCurrentIndex(number + offset)
                return
        self.setCurrentIndex(0 if self._empty or self._shown else -1)

    def layer(self) -> Any:
        """Return the chosen layer, or None."""
        number = self.currentIndex() - (1 if self._empty else 0)
        return self._shown[number] if 0 <= number < len(self._shown) else None

    def choose(self, layer: Any) -> None:
        """Choose a layer that is in the list."""
        if not any(shown is layer for shown in self._shown):
            raise InputError(f"{layer} is not among the layers to choose from.")
        self._select(layer)


class JobPanel(QWidget):
    """Bar, time left, pause and cancel of the job of a step; hidden while there is none."""

    def __init__(self, workspace: Workspace, step: Step, *, stop_text: str = "Cancel") -> None:
        super().__init__()
        self._workspace, self._step = workspace, step
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.pause = button("Pause", "Hold the work, and let it go on", self._toggle_pause)
        self.stop = button(stop_text, "End the work", self._stop)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.message, 1)
        row.addWidget(self.pause)
        row.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.bar)
        column.addLayout(row)
        self._clock = QTimer(self)
        self._clock.setInterval(500)
        self._clock.timeout.connect(self._show)
        self._job: Job | None = None
        self.follow()

    def follow(self) -> None:
        """Show the job that is running now, or nothing."""
        self._job = self._workspace.job(self._step)
        self.setVisible(self._job is not None)
        if self._job is None:
            self._clock.stop()
            return
        self._job.progressed.connect(self._on_progress)
        self._clock.start()
        self.stop.setEnabled(True)
        self.pause.setText("Pause")
        self._show()

    def _on_progress(self, _progress: Progress) -> None:
        self._show()

    def _show(self) -> None:
        job = self._job
        if job is None:
            return
        last = job.last or Progress(0, 0, job.title)
        known = last.total > 0
        self.bar.setRange(0, 1000 if known else 0)
        if known:
            self.bar.setValue(round(1000 * last.done / last.total))
        parts = [last.message]
        if job.control.stopped:
            parts.append("ending")
        elif job.control.paused:
            parts.append("paused")
        elif math.isfinite(job.seconds_left):
            parts.append(f"{_duration(job.seconds_left)} left")
        self.message.setText(", ".join(parts))

    def _toggle_pause(self) -> None:
        if self._job is not None:
            self._job.pause(on=not self._job.control.paused)
            self.pause.setText("Go on" if self._job.control.paused else "Pause")
            self._show()

    def _stop(self) -> None:
        if self._job is not None:
            self._job.stop()
            self.stop.setEnabled(False)
            self._show()


def _duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))}\N{NO-BREAK SPACE}s"
    minutes = seconds / 60
    return (
        f"{round(minutes)}\N{NO-BREAK SPACE}min"
        if minutes < 90
        else f"{minutes / 60:.1f}\N{NO-BREAK SPACE}h"
    )


class StepWidget(QWidget):
    """Base of the dock widgets: inputs, options, buttons, progress and a status line, scrolling.

    Parameters
    ----------
    napari_viewer
        The viewer; napari fills it in by the parameter's name.
    step
        Which step of the way the widget is for.
    """

    def __init__(self, napari_viewer: Any, step: Step) -> None:
        super().__init__()
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.workspace = Workspace.of(self.viewer)
        self.step = step
        self._undo: list[Callable[[], Any]] = []
        self._kept: tuple[ConfigForm[Any], ...] = ()
        self._inner = inner = QWidget()
        inner.installEventFilter(self)
        self.body = QVBoxLayout(inner)
        self.body.setContentsMargins(8, 8, 8, 8)
        self.body.setSpacing(8)
        self.inputs: QFormLayout = form_layout(_row_holder(self.body))
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(scroll)
        self.status = StatusLine()
        # Qt disconnects its own signals when this widget goes
        self.workspace.status_changed.connect(self._on_status)
        self.workspace.job_changed.connect(self._on_job)
        self.workspace.model_changed.connect(self.refresh)
        # a thread loads what takes longer than opening a widget, or a first click, may
        self._loader = load_all()
        self.library_loaded = self._loader.has(LIBRARY)
        if not self.library_loaded:
            self._look_again = QTimer(self)
            self._look_again.setInterval(_LOOK)
            self._look_again.timeout.connect(self._look_for_library)
            self._look_again.start()
        undo = self._undo
        self.destroyed.connect(lambda: [forget() for forget in undo])

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Width of the dock."""
        return QSize(WIDTH, 600)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """As wide as what is inside, so that nothing is cut off; it scrolls up and down only."""
        bar = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
        return QSize(self._inner.minimumSizeHint().width() + bar, _LEAST_HEIGHT)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Notice that what is inside has grown, and ask the dock for more."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)

    # ------------------------------------------------------------------ to build with
    def add_layer_choice(
        self,
        label: str,
        accepts: Callable[[Any], bool],
        *,
        empty: str = "",
        tip: str = "",
        rows: QFormLayout | None = None,
    ) -> LayerChoice:
        """Add a choice among the viewer's layers to the inputs, or to the rows of a page."""
        choice = LayerChoice(self.viewer.layers, accepts, empty=empty)
        choice.chosen.connect(self.refresh)
        self._undo.append(choice.disconnect_layers)
        self.add_input(label, choice, tip, rows=rows)
        return choice

    def add_input(
        self, label: str, widget: QWidget, tip: str = "", *, rows: QFormLayout | None = None
    ) -> None:
        """Add a labelled input, to the rows of a page if they are given."""
        text = QLabel(label)
        text.setMinimumWidth(LABEL_WIDTH)
        text.setToolTip(tip)
        widget.setToolTip(tip)
        (self.inputs if rows is None else rows).addRow(text, widget)

    def add_row(self, *widgets: QWidget, to: QVBoxLayout | None = None) -> None:
        """Add widgets beside one another, to the column of a page if it is given."""
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        for widget in widgets:
            row.addWidget(widget)
        (self.body if to is None else to).addLayout(row)

    def add_job_panel(self, *, stop_text: str = "Cancel") -> JobPanel:
        """Add the progress of this widget's step, and its status line below."""
        self.job_panel = JobPanel(self.workspace, self.step, stop_text=stop_text)
        self.next = NextButton(self.workspace, self.step, self.sites_layer)
        layers = self.viewer.layers
        for event in (layers.events.inserted, layers.events.removed):
            self.listen(event, self.next.look_soon)
        for part in (self.job_panel, self.status, self.next):
            self.body.addWidget(part)
        return self.job_panel

    def keep_options(self, *forms: ConfigForm[Any]) -> None:
        """Let forms show what they showed when such a widget was last open in this viewer."""
        self._kept = forms
        self._show_options()
        for form in forms:
            form.changed.connect(self._note_options)
        self.workspace.options_changed.connect(self._show_options)

    def _show_options(self) -> None:
        for form in self._kept:
            form.show_values(self.workspace.options.get(form.config_name, {}))

    def _note_options(self) -> None:
        for form in self._kept:
            self.workspace.options.setdefault(form.config_name, {}).update(form.values())

    def sites_layer(self) -> Any:
        """Layer of sites that this widget works on, None where there is none."""
        choice = getattr(self, "sites", None)
        return choice.layer() if isinstance(choice, LayerChoice) else None

    def listen(self, event: Any, slot: Callable[..., Any]) -> None:
        """Connect an event of napari's, which outlives this widget, until the widget goes."""
        event.connect(slot)
        self._undo.append(lambda: event.disconnect(slot))

    def _look_for_library(self) -> None:
        if self._loader.has(LIBRARY):
            self._look_again.stop()
            self.on_library()

    def on_library(self) -> None:
        """Notice that the library is loaded, which was not when the widget opened."""
        self.library_loaded = True

    # ------------------------------------------------------------------ to fill in
    def refresh(self) -> None:
        """Enable what is possible now, and say what is missing."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what happens
    def say(self, text: str, level: str = "info") -> None:
        """Show a line under the buttons."""
        self.workspace.say(self.step, text, level)

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Do what a button asks for; an error becomes a line under the buttons."""
        return self.workspace.attempt(self.step, action)

    def _on_status(self, step: str) -> None:
        if step == self.step:
            now = self.workspace.status(self.step)
            self.status.show_text(now.text, now.level)

    def _on_job(self, step: str) -> None:
        if step == self.step:
            self.job_panel.follow()
            self.refresh()


def _row_holder(body: QVBoxLayout) -> QWidget:
    holder = QWidget()
    body.addWidget(holder)
    return holder
