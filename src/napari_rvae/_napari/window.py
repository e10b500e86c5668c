"""What napari's window offers under private names only; every use of them is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from napari.utils.task_status import Status
from qtpy.QtCore import QEvent, QObject, QRect, QSize, Qt, QTimer
from qtpy.QtWidgets import QWidget

__all__ = [
    "announce_task",
    "ask_before_closing",
    "clear_bars",
    "close_window",
    "dock_below",
    "is_closed",
    "keep_on_screen",
    "main_window",
    "make_narrow",
    "on_destroyed",
    "resize_window",
    "roomy_size",
    "share_width",
    "show_scale_bar",
]

#: Size that all docks are at ease in, in pixels of the screen.
_ROOMY = QSize(1600, 950)


def is_closed(viewer: Any) -> bool:
    """Whether a viewer had a window and has it no more; a viewer's model never had one."""
    window: Any = getattr(viewer, "window", None)
    return window is not None and not hasattr(window, "_qt_window")


def on_destroyed(viewer: Any, slot: Callable[[], Any]) -> None:
    """Call something when the viewer's window is gone."""
    window: Any = getattr(viewer, "window", None)
    if window is not None:
        window._qt_window.destroyed.connect(slot)  # noqa: SLF001


def main_window(viewer: Any) -> QWidget | None:
    """Window of a viewer, None where it has none."""
    found: QWidget | None = getattr(getattr(viewer, "window", None), "_qt_window", None)
    return found


def close_window(viewer: Any) -> None:
    """Close a viewer's window, in the next turn of the event loop, without asking again."""
    QTimer.singleShot(0, lambda: None if viewer is None or is_closed(viewer) else viewer.close())


class _CloseGuard(QObject):
    """Asks before a user closes a window; a program that closes its viewer is not asked."""

    def __init__(self, window: QWidget, may_close: Callable[[], bool]) -> None:
        super().__init__(window)
        self._may_close, self._asking = may_close, False
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Hold an event that closes the window until the answer is there."""
        if event.type() != QEvent.Type.Close or not self._concerns(watched):
            return False
        may = False
        if not self._asking:
            self._asking = True
            try:
                may = self._may_close()
            finally:
                self._asking = False
        if not may:
            event.ignore()
        return not may

    @staticmethod
    def _concerns(window: Any) -> bool:
        """Whether a user closes a window that can be seen.

        ``viewer.close()`` hides what is in the window before it closes the window itself.
        """
        return window.isVisible() and not window._qt_viewer.isHidden()  # noqa: SLF001


def ask_before_closing(viewer: Any, may_close: Callable[[], bool]) -> None:
    """Ask whether a viewer's window may close, when its user wants to close it.

    Parameters
    ----------
    viewer
        The viewer; a bare model of one has no window.
    may_close
        Asks, and says whether it may.
    """
    window = main_window(viewer)
    if window is not None:
        _CloseGuard(window, may_close)


def clear_bars(viewer: Any) -> None:
    """Take the colour bar of a layer off the canvas before the layer itself goes.

    With napari 0.9 and drawing in software (Mesa), the frame after a layer with a visible colour
    bar was removed ends the program: what is drawn next reads what the bar has left behind. One
    frame without the bar in between, and it does not.

    Parameters
    ----------
    viewer
        The viewer, whose layers are watched from now on; a bare model of one draws nothing.
    """
    if main_window(viewer) is None:
        return
    cleared: list[Any] = []

    def clear(event: Any) -> None:
        layer = viewer.layers[event.index]
        bars = [getattr(layer, name, None) for name in ("colorbar", "face_colorbar")]
        shown = [bar for bar in bars if bar is not None and bar.visible]
        if not shown or is_closed(viewer):
            return
        for bar in shown:
            bar.visible = False
        cleared.extend(shown)
        viewer.window._qt_viewer.canvas._scene_canvas.render()  # noqa: SLF001

    def show_again(_event: Any) -> None:
        while cleared:  # the layer may come back
            cleared.pop().visible = True

    viewer.layers.events.removing.connect(clear)
    viewer.layers.events.removed.connect(show_again)


def announce_task(viewer: Any, title: str, abandon: Callable[[], Any]) -> Callable[[], None]:
    """Let the window ask before it is closed in the middle of a task.

    napari's own workers do so too, but in the window that is in front, whichever they belong to.

    Parameters
    ----------
    viewer
        The viewer that the task belongs to.
    title
        What it is, in a few words.
    abandon
        Ends the task when the window is closed all the same.

    Returns
    -------
    callable
        To be called when the task has ended.
    """
    window: Any = getattr(viewer, "window", None)
    if not hasattr(window, "_register_task_status"):
        return lambda: None

    def cancel() -> bool:
        abandon()
        return True

    task = window._register_task_status(  # noqa: SLF001
        "napari-rvae", Status.BUSY, title, cancel_callback=cancel
    )

    def done() -> None:
        window._update_task_status(task, Status.COMPLETED, title)  # noqa: SLF001

    return done


def dock_below(viewer: Any, docks: Iterable[Any]) -> None:
    """Put docks below the canvas, the first on the left and all others as tabs beside it.

    Where the screen is too narrow for that, all of them are tabs. The docks on the right keep their
    whole height.

    Parameters
    ----------
    viewer
        The viewer.
    docks
        Its dock widgets; one that the user has put elsewhere than on the right stays there.
    """
    window: Any = viewer.window._qt_window  # noqa: SLF001
    right, below = Qt.DockWidgetArea.RightDockWidgetArea, Qt.DockWidgetArea.BottomDockWidgetArea
    window.setCorner(Qt.Corner.BottomRightCorner, right)
    placed: list[Any] = []
    for dock in docks:
        if window.dockWidgetArea(dock) == right and not dock.isFloating():
            window.addDockWidget(below, dock)
            dock.show()
        if window.dockWidgetArea(dock) == below and not dock.isFloating():
            placed.append(dock)
    for dock in placed[2:]:
        window.tabifyDockWidget(placed[1], dock)
    if len(placed) > 1 and window.layout().minimumSize().width() > _room(window).width():
        for dock in placed[1:]:
            window.tabifyDockWidget(placed[0], dock)
        placed[0].raise_()
    elif len(placed) > 2:
        placed[1].raise_()


def _room(window: Any) -> QRect:
    """Where the window's screen has room for windows."""
    return window.screen().availableGeometry()  # type: ignore[no-any-return]


def show_scale_bar(viewer: Any) -> None:
    """Show napari's scale bar, where a layer knows the size of its pixels."""
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
    bar = getattr(overlays, "scale_bar", None)
    known = any(layer.ndim > 1 and f"{layer.units[-1]}" != "pixel" for layer in viewer.layers)
    if bar is not None and known:
        bar.visible = True


def roomy_size(viewer: Any) -> QSize | None:
    """Size of a window that has room for all docks, as far as the screen has; never a smaller one.

    None where the window fills the screen, which nothing is to change.
    """
    window = main_window(viewer)
    if window is None or window.isMaximized() or window.isFullScreen():
        return None
    return window.size().expandedTo(_ROOMY.boundedTo(_room(window).size()))


def resize_window(viewer: Any, size: QSize | None) -> None:
    """Give a window a size, as far as what is in it can be so small; None leaves it."""
    window = main_window(viewer)
    if window is not None and size is not None:
        window.resize(size)


def make_narrow(viewer: Any, docks: Iterable[Any], width: int) -> None:
    """Make docks that are tabs of one another so many pixels wide, as far as they can be."""
    window: Any = viewer.window._qt_window  # noqa: SLF001
    first = [dock for dock in docks if not dock.isFloating()][:1]
    window.resizeDocks(first, [width] * len(first), Qt.Orientation.Horizontal)


def share_width(viewer: Any, docks: Iterable[Any], first: float) -> None:
    """Give the first of the docks below the canvas a share of the width, and the rest to another.

    Parameters
    ----------
    viewer
        The viewer.
    docks
        Its docks, in the order of :func:`dock_below`; where all are tabs of one, nothing happens.
    first
        Share of the first, 0 to 1.
    """
    window: Any = viewer.window._qt_window  # noqa: SLF001
    below = Qt.DockWidgetArea.BottomDockWidgetArea
    placed = [d for d in docks if window.dockWidgetArea(d) == below and not d.isFloating()]
    if len(placed) > 1 and placed[1] not in window.tabifiedDockWidgets(placed[0]):
        whole = placed[0].width() + placed[1].width()
        sizes = [round(first * whole), round((1 - first) * whole)]
        window.resizeDocks(placed[:2], sizes, Qt.Orientation.Horizontal)


def keep_on_screen(viewer: Any) -> bool:
    """Let a window that has outgrown its screen fill it instead; whether that was needed."""
    window: Any = viewer.window._qt_window  # noqa: SLF001
    if not window.isVisible() or window.isMaximized() or window.isFullScreen():
        return False
    if _room(window).contains(window.frameGeometry()):
        return False
    window.showMaximized()
    return True
