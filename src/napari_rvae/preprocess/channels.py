"""Which channels of a force microscope's scan are amplitude, phase and height."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from napari_rvae.frames import Frames

__all__ = [
    "MODALITIES",
    "ScanChannels",
    "channel_units",
    "has_vertical",
    "scan_channels",
    "vector_channels",
]

#: What a scan measures: the response out of the plane, in it, or both.
MODALITIES = ("vertical", "lateral", "vector")

#: How names of channels begin, without "lateral" and numbers; the nap pass is lifted off.
_NAMES = {"amplitude": ("amp", "magnitude"), "phase": ("pha",), "topography": ("topo", "height")}
#: Name of a component's channel: which component, and what of it.
_COMPONENT = re.compile(r"(?:lateral|lat|lpfm)[ _-]*([yx])[ _-]+(.+)", re.IGNORECASE)
_HEIGHTS = ("z sensor", "zsensor", "z")


class ScanChannels(NamedTuple):
    """Numbers of the channels; -1 where there is none."""

    amplitude: int
    phase: int
    topography: int = -1


def channel_units(frames: Frames) -> dict[str, str]:
    """Units of the values of the channels, by their names, as far as the metadata say them.

    Raises
    ------
    InputError
        If ``channel_units`` of the metadata is no dictionary.
    """
    units = frames.metadata.get("channel_units", {})
    if not isinstance(units, Mapping):
        raise InputError(
            f"channel_units = {units!r} in the metadata: give a dictionary of names and units."
        )
    return {str(name): str(unit) for name, unit in units.items()}


def _role(name: str) -> tuple[str, bool, int]:
    """What a channel's name says: its role, whether it is lateral, and its number."""
    plain = name.lower().strip()
    lateral = re.match(r"lateral|lat\b|lat_|lpfm", plain) is not None
    plain = re.sub(r"^(lateral|vertical|lat|ver|lpfm|vpfm)[ _-]*", "", plain)
    number = re.search(r"\d+", plain)
    role = next((role for role, starts in _NAMES.items() if plain.startswith(starts)), "")
    if plain in _HEIGHTS:
        role = "topography"
    return role, lateral, int(number.group()) if number else 0


def scan_channels(
    frames: Frames,
    channels: Sequence[str | int] | None = None,
    *,
    lateral: bool = False,
) -> ScanChannels:
    """Find amplitude, phase and topography among the channels.

    Parameters
    ----------
    frames
        Frames (T, C, Y, X) or (C, Y, X).
    channels
        Names or numbers of amplitude, phase and, if there is one, topography; None: by their
        names, and of a numbered pair (Amplitude1, Phase1) the first. Two channels without names
        are amplitude and phase.
    lateral
        True takes the channels whose names begin with "lateral".

    Raises
    ------
    InputError
        If amplitude or phase is not there.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.frames import Frames
    >>> from napari_rvae.preprocess.channels import scan_channels
    >>> names = ("HeightRetrace", "AmplitudeRetrace", "PhaseRetrace")
    >>> scan_channels(Frames(np.zeros((1, 3, 16, 16)), channels=names))
    ScanChannels(amplitude=1, phase=2, topography=0)
    """
    if channels is not None:
        if not 2 <= len(channels) <= 3:
            raise InputError(
                f"channels = {tuple(channels)!r}: name amplitude and phase, and topography if any."
            )
        return ScanChannels(*(frames.channel_index(channel) for channel in channels))
    if frames.n_channels == 2 and frames.channels == ("channel 0", "channel 1") and not lateral:
        return ScanChannels(0, 1)
    found: dict[tuple[str, bool], list[tuple[int, int]]] = {}
    for index, name in enumerate(frames.channels):
        role, sideways, number = _role(name)
        found.setdefault((role, sideways), []).append((number, index))
    chosen = {role: min(found.get((role, lateral), [(0, -1)]))[1] for role in _NAMES}
    missing = [role for role in ("amplitude", "phase") if chosen[role] < 0]
    if missing:
        kind, other = "", ""
        if lateral:
            kind, other = "lateral ", "; without a lateral response take modality = 'vertical'"
        raise InputError(
            f"There is no {kind}{' or '.join(missing)} among the channels "
            f"{', '.join(frames.channels)}: name amplitude and phase (channels){other}."
        )
    height = min(found.get(("topography", False), [(0, -1)]))[1]
    return ScanChannels(chosen["amplitude"], chosen["phase"], height)


def vector_channels(frames: Frames) -> dict[str, ScanChannels]:
    """Amplitude and phase of the lateral components, by "y" (down) and "x"; empty where not both.

    Parameters
    ----------
    frames
        Frames whose channels are named "lateral y amplitude", "lateral y phase" and so on.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.frames import Frames
    >>> from napari_rvae.preprocess.channels import vector_channels
    >>> names = [f"lateral {axis} {part}" for axis in "yx" for part in ("amplitude", "phase")]
    >>> vector_channels(Frames(np.zeros((1, 4, 16, 16)), channels=tuple(names)))["x"]
    ScanChannels(amplitude=2, phase=3, topography=-1)
    """
    found: dict[tuple[str, str], int] = {}
    for index, name in enumerate(frames.channels):
        if match := _COMPONENT.fullmatch(name.strip()):
            role = _role(match[2])[0]
            found.setdefault((match[1].lower(), role), index)
    pairs = {
        axis: ScanChannels(found[axis, "amplitude"], found[axis, "phase"])
        for axis in "yx"
        if {(axis, "amplitude"), (axis, "phase")} <= set(found)
    }
    return pairs if len(pairs) == 2 else {}


def has_vertical(frames: Frames) -> bool:
    """Whether amplitude and phase of the vertical response are among the channels.

    Parameters
    ----------
    frames
        Frames with named channels.
    """
    roles = {_role(name)[:2] for name in frames.channels}
    return {("amplitude", False), ("phase", False)} <= roles


def is_degrees(phase: np.ndarray, unit: str) -> bool:
    """Whether a phase is in degrees: as its unit says, else by its range.

    Parameters
    ----------
    phase
        Values, of any shape.
    unit
        "deg", "rad", or anything else: values that span no more than a turn of 2 pi are radians.
    """
    plain = unit.lower().strip()
    if plain.startswith(("deg", "°")):
        return True
    if plain.startswith("rad"):
        return False
    finite = phase[np.isfinite(phase)]
    return bool(finite.size) and float(np.ptp(finite)) > 2 * np.pi * 1.01
