"""Readers: runs by their ``run.json``, and files of microscopes that napari does not read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error

from napari_rvae._napari.jobs import explain
from napari_rvae.io import MICROGRAPHS, read_frames
from napari_rvae.layers import image_layer, run_layers
from napari_rvae.runs import load_run

__all__ = [
    "NO_LAYERS",
    "get_frames_reader",
    "get_run_reader",
    "read_channels",
    "read_run",
    "tell",
]

_LOG = logging.getLogger(__name__)

#: What napari takes for "read, and there is nothing to show".
NO_LAYERS: list[Any] = [(None,)]

#: Endings of the files of microscopes that are opened as a layer a channel.
_SCANS = (".ibw", ".gwy", ".h5", ".hdf5", ".hspy", *MICROGRAPHS)

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


def get_frames_reader(path: str | list[str]) -> Callable[[str], list[Any]] | None:
    """Return the reader of scans and movies of microscopes, None for any other file.

    Parameters
    ----------
    path
        File, or files to stack.
    """
    if isinstance(path, list) or Path(path).suffix.lower() not in _SCANS:
        return None
    return read_channels


def read_channels(path: str) -> list[Any]:
    """Read a file as an Image layer a channel, of which the first is shown.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    list
        Layer-data tuples, or :data:`NO_LAYERS` where it cannot be read, which is said.
    """
    try:
        frames = read_frames(path)
        made = [image_layer(frames, channel=number) for number in range(frames.n_channels)]
    except Exception as error:  # noqa: BLE001 - nothing may reach the user as a traceback
        tell(error)
        return NO_LAYERS
    return [
        (data, {**options, "visible": number == 0}, kind)
        for number, (data, options, kind) in enumerate(made)
    ]


def tell(error: Exception) -> None:
    """Show in a notification what went wrong, in one line."""
    show_error(explain(error, "A file could not be shown"))
