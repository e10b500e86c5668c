"""The part of Detect for force microscopy: amplitude and phase -> sites along domain walls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_rvae._napari import motion_work, wall_work
from napari_rvae._napari.forms import ConfigForm, folded, form_layout, read_forms
from napari_rvae._napari.layer_kinds import is_frames
from napari_rvae._napari.panel import LayerChoice, button
from napari_rvae.config import WallConfig
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from napari_rvae._napari.panel import StepWidget

__all__ = ["NO_SCAN", "WallsPage"]

NO_SCAN = "Open amplitude and phase of a scan first (File > Open, or File > Open Sample)."

#: Words in the name of a channel that say what it is.
_AMPLITUDE, _PHASE = ("amplitude", "magnitude"), ("phase",)
_HEIGHT = ("topograph", "height")

ADVICE = {
    "spacing": "Smaller: more crops that show nearly the same; larger: fewer.",
    "ferroelastic": (
        "Kinks need the height chosen above. Off: 180-degree walls alone, which change the sign."
    ),
    "min_strength": "Lower it if weak domains are missed, raise it if noise is taken for walls.",
    "min_step": "Lower it if faint stripes are missed.",
    "min_length": "Raise it if specks are taken for domains.",
    "modality": (
        "A lateral response is one component of a vector, and changes when it is turned. A vector "
        "takes the layers whose names begin with lateral as well."
    ),
}


class WallsPage(QWidget):
    """Channels, options, and the button that looks for walls.

    Parameters
    ----------
    step
        The widget that the page is part of: it has the choice of the region.
    """

    def __init__(self, step: StepWidget) -> None:
        super().__init__()
        self._step = step
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        inputs = QWidget()
        rows = form_layout(inputs)
        column.addWidget(inputs)
        self._picked: set[LayerChoice] = set()
        add = step.add_layer_choice
        self.amplitude = add("Amplitude", is_frames, tip="Amplitude of the response", rows=rows)
        self.phase = add(
            "Phase", is_frames, tip="Phase of the response, in degrees or radians", rows=rows
        )
        self.topography = add(
            "Height",
            is_frames,
            empty="not used",
            tip="Topography, for walls that show as a kink of the surface",
            rows=rows,
        )
        for choice in (self.amplitude, self.phase, self.topography):
            choice.activated.connect(lambda _number, made=choice: self._picked.add(made))
        self.plain = ConfigForm(WallConfig, advice=ADVICE)
        self.advanced = ConfigForm(WallConfig, advanced=True, advice=ADVICE)
        column.addWidget(self.plain)
        column.addWidget(folded("Advanced", self.advanced))
        self.detect = button(
            "Detect walls",
            "Find the walls of all frames, and put sites along them",
            self._detect,
            primary=True,
        )
        column.addWidget(self.detect)
        self.motion = button(
            "Motion and pinning",
            "Follow the walls from frame to frame: displacements of the sites, where walls stay, "
            "and the places that hold them",
            self._follow,
        )
        column.addWidget(self.motion)
        step.listen(step.viewer.layers.events.inserted, self.pick)

    def refresh(self, *, busy: bool) -> None:
        """Enable the button where there is a scan."""
        ready = self.amplitude.layer() is not None and self.phase.layer() is not None
        self.detect.setEnabled(ready and not busy)
        self.motion.setEnabled(not busy and motion_work.moving_walls(self._step.viewer) is not None)

    def pick(self, _event: Any = None) -> None:
        """Choose the layers whose names say what they are, unless the user has chosen."""
        for choice, words in (
            (self.amplitude, _AMPLITUDE),
            (self.phase, _PHASE),
            (self.topography, _HEIGHT),
        ):
            found = self._named(words)
            if found is not None and choice not in self._picked:
                choice.choose(found)

    def is_scan(self) -> bool:
        """Whether the names of the layers say that amplitude and phase are among them."""
        amplitude, phase = self._named(_AMPLITUDE), self._named(_PHASE)
        return amplitude is not None and phase is not None and amplitude is not phase

    def _named(self, words: Sequence[str]) -> Any:
        """The first image whose name has one of some words, None where there is none."""
        images = [layer for layer in self._step.viewer.layers if is_frames(layer)]
        upright = [i for i in images if "lateral" not in wall_work.channel_of(i)]
        return wall_work.first_of(upright, *words) or wall_work.first_of(images, *words)

    def _detect(self) -> None:
        self._step.attempt(self._start)

    def _follow(self) -> None:
        step: Any = self._step
        step.attempt(lambda: motion_work.start_motion(step.workspace))

    def _start(self) -> None:
        step: Any = self._step
        amplitude, phase = self.amplitude.layer(), self.phase.layer()
        if amplitude is phase:
            raise InputError(
                f"Amplitude and phase are both {amplitude.name!r}: choose the layer of each."
            )
        config = read_forms(WallConfig, self.plain, self.advanced)
        target = wall_work.capture_scan(
            amplitude,
            phase,
            self.topography.layer(),
            step.region.layer(),
            config,
            images=[layer for layer in step.viewer.layers if is_frames(layer)],
        )
        wall_work.start_walls(step.workspace, target)
