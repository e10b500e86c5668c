"""Where the dock widgets lie: the steps as tabs on the right, what to look at along the bottom."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.utils.key_bindings import KeyCode, KeyMod, coerce_keybinding
from npe2 import plugin_manager
from qtpy.QtCore import QTimer

from napari_rvae._napari.settings import PLUGIN
from napari_rvae._napari.window import (
    dock_below,
    is_closed,
    keep_on_screen,
    make_narrow,
    resize_window,
    roomy_size,
    share_width,
    show_scale_bar,
)
from napari_rvae._napari.workspace import Step

__all__ = ["STEP_NAMES", "bind_steps", "open_docks", "show_step"]

#: Display name of the widget of each step, in the order of the way.
STEP_NAMES: dict[Step, str] = {
    "detect": "Detect",
    "train": "Train",
    "latents": "Latents",
    "units": "Units",
    "pathways": "Pathways",
}

#: Time after which the docks have taken their room, in milliseconds.
_SETTLED = 100

#: Width of the steps, in pixels of the screen; the canvas takes what is left.
_WIDTH = 340

#: Share of the width below the canvas that the plot gets.
_PLOT = 0.62

#: With Ctrl and Alt (on a Mac: Command and Option) they bring the tab of a step to the front.
_DIGITS = (KeyCode.Digit1, KeyCode.Digit2, KeyCode.Digit3, KeyCode.Digit4, KeyCode.Digit5)


def open_docks(viewer: Any, *, front: int = 0) -> None:
    """Lay out all widgets of the plugin; those that are open already stay what they are.

    Parameters
    ----------
    viewer
        The viewer.
    front
        Number of the step to show.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    steps, before = list(STEP_NAMES.values()), set(viewer.window.dock_widgets)
    size = roomy_size(viewer)  # docks would make the window larger than a small screen
    contributed = plugin_manager.get_manifest(PLUGIN).contributions.widgets or ()
    names = [widget.display_name for widget in contributed]
    docks = [_open(viewer, name, tabify=name != steps[0]) for name in steps]
    below = [_open(viewer, name, tabify=False) for name in names if name not in steps]
    dock_below(viewer, below)
    make_narrow(viewer, docks, _WIDTH)
    docks[front].raise_()
    bind_steps(viewer)
    show_scale_bar(viewer)
    if set(viewer.window.dock_widgets) != before:  # they have taken room from the canvas
        resize_window(viewer, size)
        QTimer.singleShot(_SETTLED, partial(_fit, viewer, docks, below, size))


def _fit(viewer: Any, docks: list[Any], below: list[Any], size: Any) -> None:
    if is_closed(viewer):
        return
    resize_window(viewer, size)
    make_narrow(viewer, docks, _WIDTH)
    share_width(viewer, below, _PLOT)
    grown = keep_on_screen(viewer)
    QTimer.singleShot(_SETTLED if grown else 0, partial(_show_all, viewer))


def _show_all(viewer: Any) -> None:
    if not is_closed(viewer) and viewer.layers:
        viewer.reset_view()


def _open(viewer: Any, name: str, *, tabify: bool) -> Any:
    dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=tabify)
    dock.setWindowTitle(name)  # the plugin's name would not fit on a tab
    dock.show()
    return dock


def show_step(viewer: Any, step: Step) -> Any:
    """Bring the widget of a step to the front, opened if it was not.

    Parameters
    ----------
    viewer
        The viewer.
    step
        Which one.

    Returns
    -------
    QWidget
        The widget.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    dock = _open(viewer, STEP_NAMES[step], tabify=True)
    dock.raise_()
    widget = dock.inner_widget()
    widget.setFocus()
    return widget


def bind_steps(viewer: Any) -> None:
    """Let Ctrl+Alt+1 to 5 show the steps, where nobody has bound these keys otherwise."""
    for digit, step in zip(_DIGITS, STEP_NAMES, strict=True):
        keys = KeyMod.CtrlCmd | KeyMod.Alt | digit
        if coerce_keybinding(keys) not in viewer.keymap:
            viewer.bind_key(keys, _shower(step))


def _shower(step: Step) -> Callable[[Any], None]:
    def show(viewer: Any) -> None:
        if not is_closed(viewer):
            show_step(viewer, step)

    show.__name__ = f"show_{step}"  # napari asks for it
    show.__doc__ = f"Show the {STEP_NAMES[step]} widget of napari-rvae."
    return show
