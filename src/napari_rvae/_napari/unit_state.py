"""Units of the layers of a viewer: what is shown, and the way back through the edits.

It outlives the widgets. What must outlive napari is in the features of the layer, in its metadata
and, once saved, in the run.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.units import Units
    from napari_rvae.config import UnitConfig
    from napari_rvae.crops import Crops
    from napari_rvae.vae import RVAE

__all__ = ["Material", "Step", "UnitState", "keep_units", "state_of"]

#: Edits that can be undone; each holds its tables and the pictures of its cards.
_LIMIT = 100


@dataclass(frozen=True, eq=False)
class Material:
    """What cards are made of.

    Attributes
    ----------
    table
        Sites table with latents and tracks.
    model
        The model of the latents, None where there is none.
    crops
        Crops of some of the sites, None where there is no image.
    frames_table
        Times and doses, None where there is no image.
    config
        Options that the units were found with, None where they came otherwise.
    """

    table: pd.DataFrame
    model: RVAE | None = None
    crops: Crops | None = None
    frames_table: pd.DataFrame | None = None
    config: UnitConfig | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """Units and their cards, and what has led to them.

    Attributes
    ----------
    text
        It in words.
    units, cards
        The units and their cards.
    done
        It as a step of :mod:`napari_rvae.layers.steps`; empty for units that were opened.
    """

    text: str
    units: Units
    cards: tuple[UnitCard, ...]
    done: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class UnitState:
    """The units of one layer, as they are now and as they were.

    Attributes
    ----------
    material
        What cards and edits are made from.
    now, past, future
        The units as they are, as they were, and as they were before something was undone.
    led
        What was noted of how units came about that were opened, and not found here.
    """

    material: Material
    now: Step
    past: list[Step] = field(default_factory=list)
    future: list[Step] = field(default_factory=list)
    led: list[dict[str, Any]] = field(default_factory=list)

    def advance(self, step: Step) -> None:
        """Take the units after an edit."""
        self.past = [*self.past, self.now][-_LIMIT:]
        self.future, self.now = [], step

    def undo(self) -> str:
        """Take the newest edit back, and say what it was.

        Raises
        ------
        InputError
            If there is none.
        """
        if not self.past:
            raise InputError("There is no edit of the units to undo.")
        text = self.now.text
        self.future.append(self.now)
        self.now = self.past.pop()
        return text

    def redo(self) -> str:
        """Do again what was undone last, and say what it is; see :meth:`undo`."""
        if not self.future:
            raise InputError("There is no edit of the units to do again.")
        self.past.append(self.now)
        self.now = self.future.pop()
        return self.now.text

    @property
    def undo_text(self) -> str:
        """What :meth:`undo` would take back, "" for nothing."""
        return self.now.text if self.past else ""

    @property
    def redo_text(self) -> str:
        """What :meth:`redo` would do again, "" for nothing."""
        return self.future[-1].text if self.future else ""


_STATES: weakref.WeakKeyDictionary[Any, UnitState] = weakref.WeakKeyDictionary()


def state_of(layer: Any) -> UnitState | None:
    """Units of a layer that are known with their cards, None where there are none yet."""
    return None if layer is None else _STATES.get(layer)


def keep_units(layer: Any, state: UnitState) -> None:
    """Remember the units of a layer as long as the layer lives, and note how they came about."""
    from napari_rvae.layers.steps import note_units, steps_of, unit_steps

    if not state.past and not state.now.done and not state.led:
        state.led = unit_steps(steps_of(layer))
    _STATES[layer] = state
    made = [step.done for step in (*state.past, state.now) if step.done]
    note_units(layer, [*state.led, *made])
