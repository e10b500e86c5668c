"""Steps and units as files state them -> the scale of frames."""

from __future__ import annotations

import math

__all__ = ["pixel_scale", "seconds"]

#: Length units in metres, under the names that the frames carry.
_METRES = {
    "pm": 1e-12,
    "angstrom": 1e-10,
    "nm": 1e-9,
    "um": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "inch": 2.54e-2,
    "m": 1.0,
}

#: Units that are kept as they are; others become nm or um.
_KEPT = ("pm", "angstrom", "nm", "um")

_ALIASES = {
    "a": "angstrom",
    "å": "angstrom",
    "ångström": "angstrom",
    "ångstrom": "angstrom",
    "angstroms": "angstrom",
    "picometer": "pm",
    "picometre": "pm",
    "nanometer": "nm",
    "nanometers": "nm",
    "nanometre": "nm",
    "µm": "um",  # micro sign
    "\u03bcm": "um",  # Greek mu
    "\\u00b5m": "um",  # the micro sign as ImageJ writes it
    "micron": "um",
    "microns": "um",
    "micrometer": "um",
    "micrometre": "um",
    "millimeter": "mm",
    "millimetre": "mm",
    "centimeter": "cm",
    "centimetre": "cm",
    "in": "inch",
    "meter": "m",
    "metre": "m",
}

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "microsecond": 1e-6,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
}

#: Larger pixels come from a printer's or a screen's resolution, not from a microscope (m).
_LARGEST_PIXEL = 1e-5


def pixel_scale(
    y_step: float, x_step: float, y_unit: str, x_unit: str
) -> tuple[float, float, str] | None:
    """Height, width and unit of a pixel, from two steps with their units.

    Returns
    -------
    tuple or None
        Both steps in one unit (pm, angstrom, nm or um); None where the file's numbers cannot be
        the size of a microscope's pixel.
    """
    names = [_ALIASES.get(unit.strip().lower(), unit.strip().lower()) for unit in (y_unit, x_unit)]
    if not all(name in _METRES for name in names):
        return None
    y_metres, x_metres = y_step * _METRES[names[0]], x_step * _METRES[names[1]]
    if not all(math.isfinite(step) and 0 < step < _LARGEST_PIXEL for step in (y_metres, x_metres)):
        return None
    if names[0] == names[1] and names[0] in _KEPT:
        return float(y_step), float(x_step), names[0]
    # 12 digits: 3.92e-09 m is 3.92 nm, not 3.9200000000000004 nm
    unit, factor = ("nm", 1e9) if y_metres < 1e-7 else ("um", 1e6)
    return float(f"{y_metres * factor:.12g}"), float(f"{x_metres * factor:.12g}"), unit


def seconds(step: float, unit: str) -> float | None:
    """Return a time step in seconds, or None where it is none."""
    factor = _SECONDS.get(unit.strip().lower())
    value = step * factor if factor is not None else math.nan
    return float(value) if math.isfinite(value) and value > 0 else None
