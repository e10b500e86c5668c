"""The signed response of a ferroelectric from the amplitude and phase of a force microscope."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

from napari_rvae.errors import InputError, PhaseJumpWarning
from napari_rvae.frames import Frames, as_frames
from napari_rvae.preprocess.centres import Centres, smoothed, two_centres
from napari_rvae.preprocess.channels import (
    MODALITIES,
    ScanChannels,
    channel_units,
    has_vertical,
    is_degrees,
    scan_channels,
    vector_channels,
)
from napari_rvae.preprocess.levelling import lost_rows, mend_rows
from napari_rvae.preprocess.noise import is_constant
from napari_rvae.preprocess.phase_jumps import PhaseJump, find_phase_jumps, without_phase_jumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Complex = NDArray[np.complex128]

__all__ = ["complex_response", "signed_response"]

#: Centres are read from the scan smoothed by so many px: single pixels are noise.
_SMOOTH = 1.0

#: A component in the plane has two domains where this share of the pixels at most is between them,
#: and this in the smaller one at least.
_FEW_BETWEEN, _LEAST_SHARE = 0.3, 0.1

#: An amplitude is nowhere below zero, but for an offset of the microscope and noise.
_MOST_BELOW = 0.25


def signed_response(
    frames: Any,
    *,
    channels: Sequence[str | int] | None = None,
    modality: str = "vertical",
    phase_unit: str = "auto",
) -> Frames:
    """Turn amplitude and phase into a response with a sign: positive and negative domains.

    The zero of the phase is arbitrary, differs from scan to scan, and a background adds to the
    response of the domains. So in each scan the centres of the two domains in the complex plane
    are found, the background between them is subtracted, and the line between them is turned onto
    the real axis. Which domain is called positive is free; it is carried from scan to scan by their
    correlation; in the first scan it is the smaller one. Lost rows are mended first, and what
    follows a jump of the phase in the middle of a scan is turned back.

    Parameters
    ----------
    frames
        Frames or array-like (T, C, Y, X), or (C, Y, X) as Frames.
    channels
        Names or numbers of amplitude and phase; None: by the channels' names, and of two channels
        without names amplitude, then phase. With ``modality="vector"``, amplitude and phase of the
        vertical, then of the lateral response.
    modality
        "vertical", "lateral", or "vector": both, with the background and sign of each.
    phase_unit
        "deg", "rad", or "auto": as the frames say (``metadata["channel_units"]``), else radians
        where the phase spans no more than a turn of 2 pi.

    Returns
    -------
    Frames
        (T, C, Y, X) with the channels "response" and "quadrature", in the unit of the amplitude,
        as float32; of "lateral" they are "lateral response" and "lateral quadrature", of
        "vector" these are the third and fourth; where the frames have both lateral components
        ("lateral y amplitude", "lateral y phase", "lateral x amplitude", ...), the third to sixth
        are "lateral response y" (down), "lateral response x" and their quadratures: a vector, which
        models turn as such; without a vertical amplitude and phase they are the first to fourth.
        Both components are taken to be recorded with one phase and one sign, which is free as a
        whole; their axis is that of both together, and their background is the median: most
        of the scan has no polarization in the plane. Without a vertical response it lies midway
        between two opposite levels that fill a scan. The quadrature is
        what two domains on a background do not explain. ``table`` also has

        - ``domains``: 1 or 2, or 0 where a scan is constant or empty; with one, the background is
          that of the nearest scan with two, or none;
        - ``background``: distance of the background from zero, in half distances of the centres;
          0 where it is not known, or the domains respond too unequally to tell one;
        - ``phase_gap``: degrees between the phases of the two domains, NaN with one.

    Raises
    ------
    InputError
        If amplitude or phase is missing or constant, or an option is unknown.

    Warns
    -----
    PhaseJumpWarning
        If the phase jumps in the middle of a scan, and stays: by how much, and in which row.

    Examples
    --------
    >>> from napari_rvae import signed_response, simulate_walls
    >>> response = signed_response(simulate_walls(n_frames=2, size=96, seed=1).frames)
    >>> response.channels, response.table["domains"].tolist()
    (('response', 'quadrature'), [2, 2])
    """
    movie = as_frames(frames)
    if modality not in MODALITIES:
        raise InputError(f"modality = {modality!r} is unknown: choose {', '.join(MODALITIES)}.")
    if phase_unit not in ("auto", "deg", "rad"):
        raise InputError(f"phase_unit = {phase_unit!r} is unknown: choose auto, deg or rad.")
    components = vector_channels(movie) if modality == "vector" and channels is None else {}
    if components:
        return _vector_response(movie, components, phase_unit)
    scans = [
        complex_response(movie, pair, phase_unit=phase_unit)
        for pair in _pairs(movie, channels, modality)
    ]
    parts = [_turned(scan) for scan in scans]
    if len(parts) == 2 and not np.any(parts[1].facts["background"]):
        parts[1] = _beside_a_vertical(scans[1], parts[1])
    names: tuple[str, ...] = ("response", "quadrature", "lateral response", "lateral quadrature")
    names = names[2:] if modality == "lateral" else names
    data = np.concatenate([part.data for part in parts], axis=1)
    return _as_frames(movie, data, names[: data.shape[1]], parts[0].facts)


def _beside_a_vertical(scans: Complex, found: _Signed) -> _Signed:
    """A lateral response (T, Y, X) without opposite domains: most of it is background alone."""
    lateral = _turned_together(scans[:, None], alone=False)
    return found._replace(data=np.concatenate([lateral.real, lateral.imag], 1).astype(np.float32))


def _vector_response(movie: Frames, components: dict[str, ScanChannels], phase_unit: str) -> Frames:
    """Both lateral components and the vertical one, if there is one, with the quadratures."""
    vertical = None
    if has_vertical(movie):
        vertical = _turned(complex_response(movie, scan_channels(movie), phase_unit=phase_unit))
    scans = [complex_response(movie, components[axis], phase_unit=phase_unit) for axis in "yx"]
    lateral = _turned_together(np.stack(scans, axis=1), alone=vertical is None)
    data = np.concatenate([lateral.real, lateral.imag], axis=1).astype(np.float32)
    names = tuple(f"lateral {part} {axis}" for part in ("response", "quadrature") for axis in "yx")
    if vertical is None:
        return _as_frames(movie, data, names, {})
    data = np.concatenate([vertical.data, data], axis=1)
    return _as_frames(movie, data, ("response", "quadrature", *names), vertical.facts)


def _turned_together(scans: Complex, *, alone: bool) -> Complex:
    """Components (T, 2, Y, X) of a vector without background, their common axis made real.

    They are alone where there is no vertical response.
    """
    signed = np.full_like(scans, np.nan)
    before: Array | None = None
    for t, pair in enumerate(scans):
        if not np.isfinite(pair).all(axis=0).any():
            continue
        free = np.stack([scan - _lateral_background(scan, alone=alone) for scan in pair])
        known = np.nan_to_num(free)
        # the axis of a line through zero is half the angle of the squares
        turned = free * np.exp(-0.5j * np.angle((known**2).sum()))
        now = np.nan_to_num(turned.real)
        flip = -1.0 if before is not None and float((now * before).sum()) < 0 else 1.0
        signed[t], before = flip * turned, flip * now
    return signed


def _lateral_background(scan: Complex, *, alone: bool) -> complex:
    """Background of a component: what most of it shows, or midway between two opposite levels.

    Two levels may be a domain in the plane beside one out of it, or two in the plane. Where nobody
    has looked out of the plane, two that fill nearly all of a scan are taken for the latter.
    """
    finite = scan[np.isfinite(scan)]
    if alone:
        centres = _scan_centres(scan)
        half = abs(centres.first - centres.middle)
        two = centres.domains == 2 and centres.share > _LEAST_SHARE and centres.middle != 0
        if two and np.quantile(np.abs(finite - centres.middle), _FEW_BETWEEN) > half / 2:
            return centres.middle
    return complex(np.median(finite.real), np.median(finite.imag)) if finite.size else 0j


class _Signed(NamedTuple):
    """Response and quadrature, and what is known of every scan."""

    data: NDArray[np.float32]  # (T, 2, Y, X)
    facts: dict[str, NDArray[np.generic]]  # (T,)


def _pairs(
    movie: Frames, channels: Sequence[str | int] | None, modality: str
) -> list[ScanChannels]:
    """Channels of amplitude and phase of every response that is asked for."""
    if modality != "vector":
        return [scan_channels(movie, channels, lateral=modality == "lateral")]
    if channels is None:
        return [scan_channels(movie, lateral=lateral) for lateral in (False, True)]
    if len(channels) != 4:
        raise InputError(
            f"channels = {tuple(channels)!r}: a vector needs amplitude and phase, vertical and "
            "lateral."
        )
    return [scan_channels(movie, channels[:2]), scan_channels(movie, channels[2:])]


def complex_response(movie: Frames, channels: ScanChannels, *, phase_unit: str = "auto") -> Complex:
    """Amplitude times exp(i phase) of every scan (T, Y, X), lost rows and phase jumps mended.

    Parameters
    ----------
    movie
        The frames.
    channels
        Which channels are amplitude and phase.
    phase_unit
        "deg", "rad" or "auto".

    Returns
    -------
    ndarray of shape (T, Y, X)
        NaN where a value is missing, and everywhere in a scan of constant amplitude or phase.

    Raises
    ------
    InputError
        If no scan has an amplitude and a phase that vary, or the amplitude is below zero.

    Warns
    -----
    PhaseJumpWarning
        If the phase jumps in the middle of a scan.
    """
    known = channel_units(movie).get(movie.channels[channels.phase], "")
    pairs = [[movie.frame(t, number) for number in channels[:2]] for t in range(movie.n_frames)]
    _check_amplitude([amplitude for amplitude, _ in pairs], movie.channels[channels.amplitude])
    degrees = is_degrees(
        np.stack([phase for _, phase in pairs]), known if phase_unit == "auto" else phase_unit
    )
    scans = []
    for amplitude, phase in pairs:
        signal = amplitude * np.exp(1j * (np.radians(phase) if degrees else phase))
        if is_constant(amplitude) or is_constant(phase):
            scans.append(np.full_like(signal, np.nan))
            continue
        scans.append(mend_rows(signal, lost_rows(amplitude) | lost_rows(phase)))
    found = np.stack(scans)
    if not np.isfinite(found).any():
        names = [movie.channels[number] for number in channels[:2]]
        raise InputError(
            f"The channel {names[0]} or {names[1]} is constant or empty in every frame: choose "
            "amplitude and phase (channels)."
        )
    return _without_jumps(found, movie.channels[channels.phase])


def _without_jumps(scans: Complex, name: str) -> Complex:
    """Turn back what follows jumps of the phase in the scans (T, Y, X), and say so."""
    jumps = [find_phase_jumps(scan) for scan in scans]
    if any(jumps):
        warnings.warn(_jumps_in_words(jumps, name), PhaseJumpWarning, stacklevel=4)
    return np.stack(
        [without_phase_jumps(scan, own) for scan, own in zip(scans, jumps, strict=True)]
    )


def _jumps_in_words(jumps: list[list[PhaseJump]], name: str) -> str:
    """One line for all scans."""
    frame, first = next((t, own[0]) for t, own in enumerate(jumps) if own)
    more = sum(map(len, jumps)) - 1
    others = f", and {more} more times" if more else ""
    return (
        f"The phase {name!r} jumps by {np.degrees(first.angle):.0f} degrees in row {first.row} of "
        f"frame {frame}{others}: what follows was turned back by as much."
    )


def _check_amplitude(scans: list[Array], name: str) -> None:
    """Refuse an amplitude of which much is below zero."""
    values = np.concatenate([scan[np.isfinite(scan)] for scan in scans])
    below = float(np.mean(values < 0)) if values.size else 0.0
    if below > _MOST_BELOW:
        raise InputError(
            f"The amplitude {name!r} is below zero in {below:.0%} of the pixels: amplitude and "
            "phase may be exchanged; name them in this order (channels)."
        )


def _turned(scans: Complex) -> _Signed:
    """Subtract the background of every scan and turn it, the sign carried on."""
    centres = _with_backgrounds([_scan_centres(scan) for scan in scans])
    data = np.empty((len(scans), 2, *scans.shape[1:]), np.float32)
    before: Array | None = None
    for t, (scan, centre) in enumerate(zip(scans, centres, strict=True)):
        if not centre.domains:
            data[t] = np.nan
            continue
        axis = centre.first - centre.middle
        size = abs(axis)
        signed = (scan - centre.middle) * (np.conj(axis) / size if size else 1.0)
        now = np.clip(np.nan_to_num(signed.real) / (size or 1.0), -1.0, 1.0)
        # the first scan's larger domain is negative; the others agree with the scan before
        flip = -1.0 if before is None or float((now * before).sum()) < 0 else 1.0
        before = flip * now
        data[t] = flip * signed.real, flip * signed.imag
    facts: dict[str, NDArray[np.generic]] = {
        "domains": np.array([c.domains for c in centres], np.int64),
        "background": np.array([_size_of_background(c) for c in centres]),
        "phase_gap": np.array([_gap(c) for c in centres]),
    }
    return _Signed(data, facts)


def _scan_centres(scan: Complex) -> Centres:
    """Centres of one scan (Y, X), which may have gaps."""
    missing = ~np.isfinite(scan)
    if missing.all():
        return Centres(complex(np.nan), complex(np.nan), 0j, 0.0)
    filled = scan
    if missing.any():
        _, nearest = ndimage.distance_transform_edt(missing, return_indices=True)
        filled = scan[tuple(nearest)]
    smooth = smoothed(filled, _SMOOTH)
    smooth[missing] = np.nan
    return two_centres(smooth)


def _with_backgrounds(centres: list[Centres]) -> list[Centres]:
    """Give scans with one domain the background of the nearest scan with two."""
    whole = [t for t, centre in enumerate(centres) if centre.domains == 2]
    filled = list(centres)
    for t, centre in enumerate(centres):
        if centre.domains == 1 and whole:
            like = centres[min(whole, key=lambda other: abs(other - t))]
            filled[t] = centre._replace(middle=centre.first * like.middle / like.first)
    return filled


def _size_of_background(centre: Centres) -> float:
    half = abs(centre.first - centre.middle)
    return abs(centre.middle) / half if half else 0.0


def _gap(centre: Centres) -> float:
    """Degrees between the phases of both domains."""
    if centre.domains < 2:
        return float("nan")
    return float(np.degrees(abs(np.angle(centre.first * np.conj(centre.second)))))


def _as_frames(
    movie: Frames,
    data: NDArray[np.float32],
    names: tuple[str, ...],
    facts: dict[str, NDArray[np.generic]],
) -> Frames:
    """Wrap the response as the frames that it comes from."""
    units = channel_units(movie)
    unit = next((u for name, u in units.items() if "mpl" in name.lower()), "")
    time = movie.axis_labels.index("t") if "t" in movie.axis_labels else None
    step = (1.0, "pixel") if time is None else (movie.scale[time], movie.units[time])
    metadata = {key: value for key, value in movie.metadata.items() if key != "channel_units"}
    return Frames(
        data,
        axis_labels=("t", "c", "y", "x"),
        scale=(step[0], 1.0, *movie.pixel_size),
        units=(step[1], "pixel", *movie.units[-2:]),
        channels=names,
        table=movie.table.assign(**facts),
        name=movie.name,
        metadata={**metadata, "channel_units": dict.fromkeys(names, unit)},
    )
