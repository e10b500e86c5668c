"""Gwyddion files (.gwy) of scanning probe microscopes, a channel a data field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from napari_rvae.errors import ReadError
from napari_rvae.frames import Frames
from napari_rvae.io.lazy import Channel, distinct, make_frames, not_installed
from napari_rvae.io.scales import pixel_scale

__all__ = ["read_gwyddion"]

#: Where a container keeps its data fields.
_FIELD = re.compile(r"/(\d+)/data")


def read_gwyddion(path: Path, channel: Channel) -> Frames:
    """Read the channels of a scan, (1, C, Y, X); the file is small, and is read whole.

    Fields of another size than the first, such as crops of it, are left out.
    """
    try:
        import gwyfile
    except ImportError:
        raise not_installed(path, "gwyfile", "spm") from None
    container = gwyfile.load(str(path))
    numbers = sorted(int(match[1]) for key in container if (match := _FIELD.fullmatch(key)))
    if not numbers:
        raise ReadError(f"{path.name} holds no image: save the scan's channels in it.")
    fields = {number: container[f"/{number}/data"] for number in numbers}
    first = fields[numbers[0]]
    alike = [number for number in numbers if _geometry(fields[number]) == _geometry(first)]
    names = _names(container, alike)
    return make_frames(
        path,
        np.stack([np.asarray(fields[number].data) for number in alike])[np.newaxis],
        form="gwyddion",
        axis_labels=("t", "c", "y", "x"),
        pixel=_pixel(first),
        channels=names,
        channel=channel,
        metadata={
            "channel_units": {
                name: _unit(fields[number], "si_unit_z")
                for name, number in zip(names, alike, strict=True)
            }
        },
    )


def _geometry(field: Any) -> tuple[Any, ...]:
    return field.data.shape, field.xreal, field.yreal


def _names(container: Any, numbers: list[int]) -> tuple[str, ...]:
    """Titles of the fields, all different."""
    names = [str(container.get(f"/{n}/data/title", "")).strip() or f"channel {n}" for n in numbers]
    return distinct(names, numbers)


def _unit(field: Any, which: str) -> str:
    unit = field.get(which)
    return "" if unit is None else str(unit.get("unitstr", ""))


def _pixel(field: Any) -> tuple[float, float, str] | None:
    rows, columns = field.data.shape
    unit = _unit(field, "si_unit_xy")
    return pixel_scale(field.yreal / rows, field.xreal / columns, unit, unit)
