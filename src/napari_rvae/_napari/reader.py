"""Reader of runs: napari opens a run by its ``run.json``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error

from napari_rvae._napari.jobs import explain
from napari_rvae.layers import run_layers
from napari_rvae.runs import load_run

__all__ = ["NO_LAYERS", "get_run_reader", "read_run", "tell"]

_LOG = logging.getLogger(__name__)

#: What napari takes for "read, and there is nothing to show".
NO_LAYERS: list[Any] = [(None,)]

#: What the first lines of our run.json say.
_MARK = b'"napari-rvae run"'


def get_run_reader(path: str | list[str]) -> Callable[[str], list[Any]] | None:
    """Return the reader of a run, None for any other file: napari asks another plugin then.

    Parameters
    ----------
    path
        File, or files to stack.
    """
    if isinstance(path, list) or Path(path).name != "run.json":
        return None
    try:
        with Path(path).open("rb") as file:
            ours = _MARK in file.read(4096)
    except OSError:
        return None
    return read_run if ours else None


def read_run(path: str) -> list[Any]:
    """Read the layers of a run; what is wrong with it becomes one line in a notification.

    Parameters
    ----------
    path
        The run's ``run.json``.

    Returns
    -------
    list
        Layer-data tuples, or :data:`NO_LAYERS`. An error that is raised here would be shown with
        napari's own words about plugins and a traceback.
    """
    try:
        return run_layers(load_run(path))
    except Exception as error:  # noqa: BLE001 - nothing may reach the user as a traceback
        tell(error)
        return NO_LAYERS


def tell(error: Exception) -> None:
    """Show in a notification what went wrong, in one line."""
    show_error(explain(error, "A run could not be shown"))
