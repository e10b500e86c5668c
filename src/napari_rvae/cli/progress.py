"""Progress: one bar a step on a terminal, one line a step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
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


class Progress:
    """Show how far the work has come.

    The standard error is for bars, if it is a terminal, and for complaints; the plain lines of a
    batch job belong to its results.
    """

    def __init__(self) -> None:
        self._bars = sys.stderr.isatty()

    @contextmanager
    def step(self, title: str) -> Iterator[Tick]:
        """Show one step; the result is called with (done, total) as it goes on."""
        if self._bars:
            yield from self._bar(title)
            return
        start = perf_counter()
        yield lambda _done, _total: None
        say(f"{title:<18}{perf_counter() - start:7.1f} s")

    @staticmethod
    def _bar(title: str) -> Iterator[Tick]:
        from tqdm import tqdm

        shape = "{desc}{percentage:3.0f}% |{bar:30}| {elapsed}<{remaining}"
        with tqdm(desc=f"{title:<18}", total=1, file=sys.stderr, bar_format=shape) as bar:

            def tick(done: int, total: int) -> None:
                bar.total = max(total, 1)
                bar.update(done - bar.n)

            yield tick
            tick(bar.total, bar.total)
