"""Long work in a thread: progress, pause, stop, and an outcome that is never a traceback."""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from qtpy.QtCore import QObject, QThreadPool, Signal
from superqt.utils import create_worker

from napari_rvae.errors import Cancelled, NapariRvaeError, NapariRvaeWarning

__all__ = ["Control", "Job", "Outcome", "Progress", "Work", "explain", "one_line", "time_left"]

_LOG = logging.getLogger(__name__)

#: Progress is shown at most so often, in seconds: each message costs the viewer's thread time.
_SHORTEST = 0.1

#: Time between two looks at whether a pause has ended, in seconds.
_PAUSE_POLL = 0.05


@dataclass(frozen=True)
class Progress:
    """Where a job stands.

    Attributes
    ----------
    done, total
        Share that is done; total 0 means that nobody knows.
    message
        What is being done.
    payload
        Something to show meanwhile, None for nothing.
    """

    done: float
    total: float
    message: str
    payload: Any = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended: with a value, with an error, or stopped by the user.

    Attributes
    ----------
    value
        What the work returned.
    error
        One line, empty when there was none.
    cancelled
        Whether it was stopped before there was anything to return.
    warnings
        One line each.
    """

    value: Any = None
    error: str = ""
    cancelled: bool = False
    warnings: tuple[str, ...] = ()


class Control:
    """What the work sees of the user: whether to pause or stop. Safe to use from the thread."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._stop = threading.Event()
        self._paused = threading.Event()
        self._last = 0.0
        self.abandoned: Callable[[], bool] = lambda: False

    @property
    def stopped(self) -> bool:
        """Whether the user wants an end."""
        return self._stop.is_set() or self.abandoned()

    def stop(self) -> None:
        """Ask for an end."""
        self._stop.set()
        self._paused.clear()

    def pause(self, *, on: bool) -> None:
        """Hold the work, or let it go on."""
        if on and not self.stopped:
            self._paused.set()
        else:
            self._paused.clear()

    @property
    def paused(self) -> bool:
        """Whether the work is held."""
        return self._paused.is_set()

    def wait(self) -> None:
        """Return at once, or when a pause has ended."""
        while self._paused.is_set() and not self.stopped:
            time.sleep(_PAUSE_POLL)

    def ticker(self, message: str) -> Callable[[int, int], bool]:
        """Make a progress callback for the library's functions; it says False to stop."""

        def tick(done: int, total: int) -> bool:
            self.wait()
            now = time.monotonic()
            if now - self._last > _SHORTEST or done == total:
                self._last = now
                self._tell(Progress(done, total, message))
            return not self.stopped

        return tick


Work: TypeAlias = Callable[[Control], Generator[Progress, None, Any]]


def one_line(error: BaseException) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, NapariRvaeError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'A file'}: {error.strerror}."
    # by its name, because torch must not be loaded to say so
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "The memory is full: close other programs, or work on a smaller region."
    text = " ".join(str(error).split())[:200]
    return f"Unexpected {type(error).__name__}: {text} (napari's log has more; please report it)"


def explain(error: Exception, what: str, *, level: int = logging.ERROR) -> str:
    """Say in one line what went wrong; the log gets the rest of what nobody has foreseen."""
    if not isinstance(error, NapariRvaeError):
        _LOG.log(level, what, exc_info=error)
    return one_line(error)


def _run(work: Work, control: Control) -> Generator[Progress, None, Outcome]:
    """Run the work, pausing and stopping between its steps, and catch what it raises."""
    try:
        steps = work(control)
        while True:
            control.wait()
            try:
                progress = next(steps)
            except StopIteration as end:
                return Outcome(value=end.value)
            yield progress
    except Cancelled:
        return Outcome(cancelled=True)
    except Exception as error:  # noqa: BLE001 - nothing may reach the user as a traceback
        # what fails while Python ends, with nobody there to see it, is no news
        level = logging.DEBUG if control.abandoned() else logging.ERROR
        return Outcome(error=explain(error, "A job failed", level=level))


class Job(QObject):
    """A piece of work in a thread of its own.

    Parameters
    ----------
    title
        What it is, in a few words.
    work
        Generator function of a :class:`Control`; yields :class:`Progress`, returns a value. It
        must leave everything usable at every yield, because closing the viewer ends it there.
    """

    progressed = Signal(object)
    finished = Signal(object)

    def __init__(self, title: str, work: Work) -> None:
        super().__init__()
        self.title = title
        self.control = Control(self.progressed.emit)
        self.last: Progress | None = None
        self.outcome: Outcome | None = None
        self._started = 0.0
        self._held, self._held_since = 0.0, 0.0
        self._part_began, self._part_done = 0.0, 0.0
        self.progressed.connect(self._remember)
        self._worker = create_worker(
            _run,
            work,
            self.control,
            _start_thread=False,
            _ignore_errors=True,  # they come with the outcome
        )
        self.control.abandoned = lambda: bool(self._worker.abort_requested)
        self._heard: list[str] = []
        self._worker.yielded.connect(self.progressed)
        self._worker.warned.connect(self._hear)
        self._worker.returned.connect(self._finish)
        self._worker.finished.connect(self._ended)

    def start(self) -> None:
        """Begin."""
        self._started = time.monotonic()
        _RUNNING.add(self)
        self._worker.start()

    def stop(self) -> None:
        """Ask the work to end in its own way: with what it has, or with nothing."""
        self.control.stop()

    def abandon(self) -> None:
        """End at the next step; nobody is there any more to see an outcome."""
        self.control.stop()
        self._worker.quit()

    def pause(self, *, on: bool) -> None:
        """Hold the work, or let it go on."""
        if on != self.control.paused:
            now = time.monotonic()
            if on:
                self._held_since = now
            else:
                self._held += now - self._held_since
        self.control.pause(on=on)

    @property
    def running(self) -> bool:
        """Whether there is no outcome yet."""
        return self.outcome is None

    @property
    def seconds(self) -> float:
        """Time worked so far; pauses do not count."""
        now = self._held_since if self.control.paused else time.monotonic()
        return now - self._started - self._held

    @property
    def seconds_left(self) -> float:
        """Seconds that the rest of the present part will take at its pace; NaN if unknown."""
        if self.last is None:
            return math.nan
        done, total = self.last.done - self._part_done, self.last.total - self._part_done
        return time_left(self.seconds - self._part_began, done, total)

    def _remember(self, progress: Progress) -> None:
        last = self.last
        if last is None or progress.total != last.total or progress.done < last.done:
            self._part_began, self._part_done = self.seconds, progress.done  # another part
        self.last = progress

    def _hear(self, warning: tuple[Any, ...]) -> None:
        message, category = warning[:2]
        text = " ".join(str(message).split())
        # of other packages there may be warnings that are none of the user's, and from any thread
        if issubclass(category, NapariRvaeWarning) and text not in self._heard:
            self._heard.append(text)
        else:
            _LOG.debug("%s: %s", category.__name__, text)

    def _finish(self, outcome: Outcome | None) -> None:
        outcome = outcome or Outcome(cancelled=True)
        self.outcome = replace(outcome, warnings=tuple(self._heard))
        _RUNNING.discard(self)
        self.finished.emit(self.outcome)

    def _ended(self, _nothing: None = None) -> None:
        """Notice the end of abandoned work, which returns nothing."""
        if self.running:
            self._finish(None)


def time_left(seconds: float, done: float, total: float) -> float:
    """Seconds that the rest will take at the pace so far; NaN before there is any."""
    return seconds * (total - done) / done if done > 0 else math.nan


#: Jobs that have begun and not ended.
_RUNNING: weakref.WeakSet[Job] = weakref.WeakSet()

#: Time that work has to reach its next step when Python ends, in milliseconds.
_LAST_WAIT = 10_000


@atexit.register
def _end_all() -> None:
    """Let no thread outlive Qt, in a script that ends in the middle of the work."""
    jobs = list(_RUNNING)
    for job in jobs:
        job.abandon()
    if jobs:
        QThreadPool.globalInstance().waitForDone(_LAST_WAIT)
