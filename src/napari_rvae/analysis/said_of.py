"""Lines of the log that come from within a larger piece of work, told whose they are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["said_of"]

#: Packages whose lines are told.
_SPEAKERS = ("napari_rvae.vae", "napari_rvae.analysis.units")


class _Told(logging.Filter):
    """Lets a line of one thread pass with a name before it, or not at all."""

    def __init__(self, whose: str) -> None:
        super().__init__()
        self._whose, self._thread = whose, threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        record.msg = f"{self._whose}: {record.msg}"
        return bool(self._whose)


@contextmanager
def said_of(whose: str) -> Iterator[None]:
    """Put a name before what training and units write into the log meanwhile.

    Parameters
    ----------
    whose
        Such as "First half of the data"; "" keeps these lines out of the log. Lines of other
        threads stay as they are.

    Examples
    --------
    >>> import logging
    >>> from napari_rvae.analysis.said_of import said_of
    >>> with said_of("First half of the data"):
    ...     logging.getLogger("napari_rvae.vae.splits").debug("9 of 90 crops are held out.")
    """
    told = _Told(whose)
    # a filter does not hear what comes from the loggers below its own
    speakers = [
        logging.getLogger(name)
        for name, logger in list(logging.root.manager.loggerDict.items())
        if name.startswith(_SPEAKERS) and isinstance(logger, logging.Logger)
    ]
    for speaker in speakers:
        speaker.addFilter(told)
    try:
        yield
    finally:
        for speaker in speakers:
            speaker.removeFilter(told)
