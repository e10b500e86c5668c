"""Threads of the linear algebra (BLAS) below NumPy and SciPy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

__all__ = ["one_blas_thread"]


class _Limit:
    """A limit that holds while any block wants it.

    It is set and taken back by a thread of its own: threadpoolctl 3.8 lets the thread that set
    the number for OpenBLAS alone change it, and blocks of several threads end in any order.
    """

    def __init__(self) -> None:
        self.change, self.blocks = threading.Lock(), 0
        self.set, self.over = threading.Event(), threading.Event()
        self.keeper: threading.Thread | None = None

    def begin(self) -> None:
        """Count one more block; the first sets the limit."""
        with self.change:
            self.blocks += 1
            if self.keeper is None:
                self.set.clear()
                self.over.clear()
                self.keeper = threading.Thread(target=self._keep, daemon=True)
                self.keeper.start()
                self.set.wait()

    def end(self) -> None:
        """Count one block less; the last takes the limit back."""
        with self.change:
            self.blocks -= 1
            if self.blocks == 0 and self.keeper is not None:
                self.over.set()
                self.keeper.join()
                self.keeper = None

    def _keep(self) -> None:
        try:
            with threadpool_limits(1, user_api="blas"):
                self.set.set()
                self.over.wait()
        finally:
            self.set.set()


_LIMIT = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let linear algebra compute with one thread inside the block, or in the decorated function.

    Threads wait for each other at every call, which for the small matrices of single sites or
    units takes longer than the work itself, and on a busy machine many times as long. The number
    of threads is one of the whole process; it returns once no thread is in such a block any more.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.blas import one_blas_thread
    >>> with one_blas_thread():
    ...     inverse = np.linalg.inv(np.full((100, 2, 2), ((2.0, 0.0), (0.0, 4.0))))
    >>> inverse[0].tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    _LIMIT.begin()
    try:
        yield
    finally:
        _LIMIT.end()
