"""Load what the first buttons need before anybody clicks them, a piece at a time, in a thread."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

__all__ = ["LIBRARY", "Loader", "collection_paused", "load_all"]

_LOG = logging.getLogger(__name__)

#: What every widget asks layers with: pandas and SciPy.
LIBRARY = "napari_rvae.layers"

#: All that the buttons use and that takes long to load, in the order in which it is needed: torch,
#: scikit-learn and Matplotlib among it.
_MODULES = (
    LIBRARY,
    "napari_rvae.detect.atoms",
    "napari_rvae.vae",
    "napari_rvae.runs",
    "napari_rvae.analysis",
    "matplotlib.backends.backend_agg",
    "napari_rvae.figures.raster",
    "napari_rvae.analysis.units",
    "napari_rvae.analysis.kinetics",
)

#: Rest between two pieces, in seconds, in which the viewer's thread has all of Python to itself.
_REST = 0.02


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause Python's garbage collector while many things are made that stay.

    Loading libraries makes hundreds of thousands of objects; the collector would go through all
    of them, and through the viewer's, several times over, and each time everything stands still for
    a quarter of a second. What was made meanwhile counts as old afterwards, without a look at it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # what somebody else has frozen is to stay so
                gc.freeze()
                gc.unfreeze()
            gc.enable()


class Loader:
    """Loads modules one after the other in a thread, which ends early when Python ends.

    No signal tells of it: the thread may outlive every widget, and Qt itself; whoever wants to know
    asks :meth:`has`.

    Parameters
    ----------
    modules
        Names of the modules, the most urgent first.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = tuple(modules)
        self._done: set[str] = set()
        self._thread: threading.Thread | None = None

    def has(self, module: str) -> bool:
        """Whether a module is loaded to its end, by this loader or by anybody else."""
        return module in self._done or (module in sys.modules and not self.busy)

    @property
    def busy(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Load in a thread what is not there yet."""
        if self.busy or all(self.has(module) for module in self._modules):
            return
        self._thread = threading.Thread(target=self._load, name="napari-rvae loading")
        self._thread.start()

    def _load(self) -> None:
        with collection_paused():
            for module in self._modules:
                if not threading.main_thread().is_alive():  # Python ends
                    return
                try:
                    import_module(module)
                except Exception as error:  # noqa: BLE001 - the button that needs it says so
                    _LOG.warning("%s cannot be loaded", module, exc_info=error)
                self._done.add(module)
                time.sleep(_REST)


_LOADER = Loader(_MODULES)


def load_all() -> Loader:
    """Load all that the widgets use, unless it is there or under way; tell where it stands."""
    _LOADER.start()
    return _LOADER
