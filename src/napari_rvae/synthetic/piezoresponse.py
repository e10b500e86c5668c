"""The force microscope: polarization and height -> amplitude, phase and topography."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_rvae.synthetic.domains import DomainConfig

    Array = NDArray[np.float64]

__all__ = ["Scans", "scan_domains"]

#: Correlation length of the roughness in px; slope of a scan plane that was not levelled, nm/px.
_GRAIN, _TILT = 6.0, 0.05
#: Noise of the height and offset of its rows, in nm.
_HEIGHT_NOISE, _HEIGHT_ROWS = 0.03, 0.05
#: The background's phase wanders so much from scan to scan, in radians.
_WANDER = 0.1


class Scans(NamedTuple):
    """What the microscope records."""

    channels: NDArray[np.float32]  # (T, C, Y, X)
    names: tuple[str, ...]
    units: tuple[str, ...]
    offset: Array  # (T,): phase of a + domain in radians, without the background
    lost: NDArray[np.int64]  # (T,): row that was lost, -1: none


def scan_domains(
    response: Array,
    lateral: Mapping[str, Array],
    height: Array,
    config: DomainConfig,
    rng: np.random.Generator,
) -> Scans:
    """Record amplitude and phase of the response, and the height.

    Parameters
    ----------
    response
        Signed vertical response (T, Y, X), 1 in a domain.
    lateral
        The same of lateral ones, by the names that their channels begin with.
    height
        Height (T, Y, X) of the walls in nm.
    config
        The options.
    rng
        Source of offsets and noise.
    """
    n_frames, rows = response.shape[:2]
    flaws, noise = rng.spawn(2)
    spread = config.phase_spread
    offset: Array = np.asarray(flaws.uniform(-spread, spread, n_frames))
    lost = np.where(
        flaws.random(n_frames) < config.lost_lines, flaws.integers(0, rows, n_frames), -1
    )
    parts = []
    for signal in (response, *lateral.values()):
        parts += _lock_in(signal, offset, config, flaws, noise)
    parts.append(_surface(height, config, flaws, noise))
    channels = np.stack(parts, axis=1)
    for frame in np.flatnonzero(lost >= 0):
        channels[frame, :, lost[frame]] = 0.0
    pairs = ["amplitude", "phase"]
    pairs += [f"{name} {part}" for name in lateral for part in ("amplitude", "phase")]
    return Scans(
        channels.astype(np.float32),
        (*pairs, "topography"),
        (*(("pm", "deg") * (len(pairs) // 2)), "nm"),
        offset,
        lost,
    )


def _lock_in(
    signal: Array,
    offset: Array,
    config: DomainConfig,
    flaws: np.random.Generator,
    noise: np.random.Generator,
) -> list[Array]:
    """Amplitude and phase (degrees) of a signal on its background, turned by the scan's offset."""
    wander = np.cumsum(flaws.normal(0.0, _WANDER, len(signal)))
    direction = flaws.uniform(-math.pi, math.pi) + wander
    total = signal + (config.background * np.exp(1j * direction))[:, None, None]
    total = total + config.row_noise * _normal(flaws, (*signal.shape[:2], 1))
    total = total + config.noise * _normal(noise, signal.shape)
    total = total * np.exp(1j * offset)[:, None, None]
    return [config.amplitude * np.abs(total), np.degrees(np.angle(total))]


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Complex numbers whose either part is standard normal."""
    parts: NDArray[Any] = rng.standard_normal((2, *shape))
    return np.asarray(parts[0] + 1j * parts[1])


def _surface(
    height: Array, config: DomainConfig, flaws: np.random.Generator, noise: np.random.Generator
) -> Array:
    """Height in nm on a rough and tilted surface, with an offset of each row."""
    shape = height.shape
    rough = ndimage.gaussian_filter(flaws.standard_normal(shape[1:]), _GRAIN, mode="wrap")
    rough *= config.roughness / max(float(rough.std()), 1e-12)
    y, x = np.indices(shape[1:])
    direction = flaws.uniform(-math.pi, math.pi)
    plane = _TILT * (y * math.sin(direction) + x * math.cos(direction))
    total = height + rough + plane
    total = total + flaws.normal(0.0, _HEIGHT_ROWS, (*shape[:2], 1))
    return np.asarray(total + noise.normal(0.0, _HEIGHT_NOISE, shape))
