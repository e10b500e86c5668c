"""Igor binary waves (.ibw): scans of Asylum microscopes, a channel a layer."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np

from napari_rvae.errors import ReadError
from napari_rvae.frames import Frames
from napari_rvae.io.lazy import Channel, distinct, make_frames, not_installed
from napari_rvae.io.scales import pixel_scale

__all__ = ["read_igor"]

#: Name of a channel; what may follow is left from a longer name that stood there before.
_NAME = re.compile(r"[A-Za-z]+[A-Za-z0-9]*?(?:Retrace|Trace)")

#: First bytes of a wave: its version, in either order of bytes.
_VERSIONS = {version.to_bytes(2, order) for version in (1, 2, 3, 5) for order in ("little", "big")}

#: Where a wave is cut off igor2 logs all its values as an error; Python prints what has no handler.
_UNPRINTED = logging.NullHandler()

#: Units of channels that differ from those of the wave, by the beginning of their names.
_UNITS = {"phase": "deg", "frequency": "Hz"}


def read_igor(path: Path, channel: Channel) -> Frames:
    """Read the channels of a scan, (1, C, Y, X); the file is small, and is read whole."""
    wave = _load(path)
    values = np.asarray(wave["wData"])
    if values.ndim == 2:
        values = values[..., np.newaxis]
    if values.ndim != 3 or values.dtype.kind not in "iuf":
        raise ReadError(
            f"{path.name} holds a wave of shape {values.shape}, no scan: save images as .ibw."
        )
    names = _channel_names(wave, values.shape[2])
    header = wave["wave_header"]
    unit = _text(np.asarray(header["dataUnits"]).ravel())
    return make_frames(
        path,
        # columns come first in a wave
        np.ascontiguousarray(values.transpose(2, 1, 0)[np.newaxis]),
        form="igor",
        axis_labels=("t", "c", "y", "x"),
        pixel=_pixel(header),
        channels=names,
        channel=channel,
        metadata={"channel_units": {name: _unit_of(name, unit) for name in names}},
    )


def _load(path: Path) -> Any:
    """The wave of a file, as igor2 reads it."""
    try:
        from igor2 import binarywave
    except ImportError:
        raise not_installed(path, "igor2", "spm") from None
    with path.open("rb") as file:
        version = file.read(2)
    if version not in _VERSIONS:
        raise ReadError(
            f"{path.name} cannot be read: it is no Igor binary wave; "
            "give it the ending of what it holds, or export it again."
        )
    logging.getLogger("igor2").addHandler(_UNPRINTED)
    try:
        return binarywave.load(str(path))["wave"]
    except Exception as error:  # of many types, in words about the bytes of a header
        raise ReadError(
            f"{path.name} cannot be read: its header asks for other data than the file holds, so "
            f"it is cut off ({path.stat().st_size} bytes) or damaged; copy or export it again."
        ) from error


def _text(parts: Any) -> str:
    return b"".join(bytes(part) for part in parts).decode("latin-1").strip("\0 ")


def _channel_names(wave: Any, n_channels: int) -> tuple[str, ...]:
    """Names of the layers of a wave, all different."""
    labels = wave["labels"]
    found = [_text([label]) for label in labels[2]] if len(labels) > 2 else []
    found = [name for name in found if name][:n_channels]
    if len(found) < n_channels:
        return () if n_channels == 1 else tuple(f"channel {i}" for i in range(n_channels))
    matches = [_NAME.match(name) for name in found]
    names = [match[0] if match else name for match, name in zip(matches, found, strict=True)]
    return distinct(names)


def _unit_of(name: str, unit: str) -> str:
    return next((own for start, own in _UNITS.items() if name.lower().startswith(start)), unit)


def _pixel(header: Any) -> tuple[float, float, str] | None:
    """Pixel size from the steps of the wave's axes."""
    steps, units = np.asarray(header["sfA"], float), np.asarray(header["dimUnits"])
    return pixel_scale(abs(steps[1]), abs(steps[0]), _text(units[1]), _text(units[0]))
