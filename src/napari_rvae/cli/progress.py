"""Progress: one bar a step on a terminal, one line a step elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from types import FrameType
from typing import TypeAlias

__all__ = ["Progress", "say", "warn"]

Tick: TypeAlias = Callable[[int, int], None]


def say(text: str) -> None:
    """Write a line of results to the standard output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """Write a line to the standard error."""
    sys.stderr.write(f"napari-rvae: {' '.join(text.split())}\n")
    sys.stderr.flush()


def _stop_if(pressed: list[int]) -> None:
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def _remembered_interrupt() -> Iterator[list[int]]:
    """Give a list that is empty until Ctrl-C is pressed, which interrupts as ever."""
    pressed: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()
    if not here or before is not signal.default_int_handler:  # someone else's business
        yield pressed
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """Show how far the work has come.

    The standard error is for bars, if it is a terminal, and for complaints; the plain lines of a
    batch job belong to its results.
    """

    def __init__(self) -> None:
        self._bars = sys.stderr.isatty()

    @contextmanager
    def step(self, title: str) -> Iterator[Tick]:
        """Show one step; the result is called with (done, total) as it goes on.

        Calling it raises KeyboardInterrupt if Ctrl-C was pressed in this step and what was
        running then made nothing of it, as some packages do while they are being imported.
        """
        with _remembered_interrupt() as pressed:
            if self._bars:
                yield from self._bar(title, pressed)
                return
            start = perf_counter()
            yield lambda _done, _total: _stop_if(pressed)
            say(f"{title:<18}{perf_counter() - start:7.1f} s")

    @staticmethod
    def _bar(title: str, pressed: list[int]) -> Iterator[Tick]:
        from tqdm import tqdm

        shape = "{desc}{percentage:3.0f}% |{bar:30}| {elapsed}<{remaining}"
        with tqdm(desc=f"{title:<18}", total=1, file=sys.stderr, bar_format=shape) as bar:

            def tick(done: int, total: int) -> None:
                _stop_if(pressed)
                bar.total = max(total, 1)
                bar.update(done - bar.n)

            yield tick
            tick(bar.total, bar.total)
