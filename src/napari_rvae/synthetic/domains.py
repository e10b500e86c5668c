"""Ferroelectric domains that nucleate, grow, and are held by pinning centres.

The sign of the polarization is that of a function whose zero is the wall (a level set). A piece of
wall moves along its normal by the local drive minus the pinning there, as against dry friction:

    speed = sign(F) max(|F| - pinning, 0),    F = drive + tension * curvature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.config import Config, option
from napari_rvae.curves import distance_to_curves, zero_curves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["DomainConfig", "Growth", "grow_domains"]

#: Distances from a wall are exact up to so many pixels, and no more than that beyond.
_BAND = 24.0
#: The wall goes so far in a step of time at most, in px.
_STEP = 0.3
#: Domains begin so far from other walls, in px.
_CLEAR = 6.0
#: Pinning centres keep so far from each other, in their radii, and from the border, in px.
_APART, _RIM = 8.0, 8.0


@dataclass(frozen=True, kw_only=True)
class DomainConfig(Config):
    """Options of :func:`simulate_walls`: domains, their walls, and the scan."""

    domains: int = option(3, "Domains of positive sign at the start.", low=0, high=100)
    nucleations: int = option(4, "Domains that appear during the movie.", low=0, high=1000)
    nucleus: float = option(7.0, "Radius of a new domain.", low=3.0, high=100.0, unit="px")
    speed: float = option(
        0.8, "Speed of a free straight wall at full bias.", low=0.0, high=10.0, unit="px per frame"
    )
    bias: float = option(5.0, "Full bias.", low=0.0, unit="V")
    waveform: str = option(
        "constant",
        "Bias: full all the time, rising to full from half, or up to full, down and reversed.",
        choices=("constant", "ramp", "triangle"),
    )
    tension: float = option(
        2.0,
        "Speed that a curvature of 1/px adds, towards the inside of the bend.",
        low=0.2,
        high=20.0,
        unit="px^2 per frame",
    )
    pinning: int = option(10, "Number of pinning centres.", low=0, high=1000)
    pinning_strength: float = option(
        4.0,
        "Greatest strength of a centre, in speeds of a free wall; the least is half of it.",
        low=0.0,
        high=100.0,
    )
    pinning_radius: float = option(
        2.5, "Width of a pinning centre (standard deviation).", low=1.0, high=50.0, unit="px"
    )
    stripes: int = option(2, "Number of ferroelastic stripes.", low=0, high=50)
    stripe_width: float = option(20.0, "Width of a stripe.", low=8.0, high=500.0, unit="px")
    stripe_angle: float = option(
        0.6, "Direction of the stripes.", low=-math.pi, high=math.pi, unit="rad"
    )
    stripe_level: float = option(
        0.6, "Vertical response in a stripe, as a share of that outside.", low=0.0, high=1.0
    )
    stripe_slope: float = option(
        0.08, "Slope of the surface in a stripe.", low=0.0, high=10.0, unit="nm per px"
    )
    half_width: float = option(
        3.0, "Half the width of a wall, w in tanh(distance / w).", low=0.3, high=50.0, unit="px"
    )
    amplitude: float = option(20.0, "Amplitude in a domain.", low=1e-6, unit="pm")
    background: float = option(
        0.3,
        "Background that is the same everywhere, as a share of a domain's amplitude.",
        low=0.0,
        high=10.0,
    )
    phase_spread: float = option(
        math.pi,
        "The phase offset of a scan is drawn within plus or minus this.",
        low=0.0,
        high=math.pi,
        unit="rad",
    )
    noise: float = option(
        0.15,
        "Noise of either part of the response, as a share of a domain's amplitude.",
        low=0.0,
        high=10.0,
    )
    row_noise: float = option(
        0.03, "Offset of a scan row, as a share of a domain's amplitude.", low=0.0, high=10.0
    )
    lost_lines: float = option(
        0.1, "Chance that a frame has lost one of its rows.", low=0.0, high=1.0
    )
    roughness: float = option(0.1, "Roughness of the surface.", low=0.0, unit="nm")
    drift: float = option(0.0, "Mean drift of the specimen.", low=0.0, unit="px per frame")
    lateral: bool = option(
        False,  # noqa: FBT003 - gives a default
        "Add the lateral response: channels of its own.",
    )
    in_plane: str = option(
        "off",
        "Add both components of the polarization in the plane: it turns through the plane in "
        "180-degree walls, along the wall (bloch) or across it (neel), and lies in it in stripes.",
        choices=("off", "bloch", "neel"),
    )
    spacing: float = option(
        2.0, "Distance of the true sites along a wall.", low=0.2, high=50.0, unit="px"
    )
    pixel_size: float = option(10.0, "Size of a pixel.", low=1e-6, unit="nm")
    frame_time: float = option(60.0, "Time between two frames.", low=1e-9, unit="s")


class Growth(NamedTuple):
    """How the domains went, on a field wider than the frame by a margin."""

    distance: Array  # (T, Y, X): px from the nearest 180-degree wall, positive in + domains
    bias: Array  # (T,): V
    pinning: pd.DataFrame  # y, x, strength, radius, first_frame; in px of the field
    nucleations: pd.DataFrame  # frame, y, x, radius; in px of the field


def bias_of_frames(config: DomainConfig, n_frames: int) -> Array:
    """Bias (T,) in V of every frame."""
    share = np.linspace(0.0, 1.0, n_frames)
    shape = {
        "constant": np.ones(n_frames),
        "ramp": 0.5 + 0.5 * share,
        "triangle": np.interp(share, [0.0, 0.3, 0.6, 1.0], [0.3, 1.0, 0.0, -1.0]),
    }
    return config.bias * shape[config.waveform]


def grow_domains(
    config: DomainConfig,
    shape: tuple[int, int],
    margin: int,
    n_frames: int,
    rng: np.random.Generator,
) -> Growth:
    """Let domains grow over a frame and a margin around it.

    Parameters
    ----------
    config
        The options.
    shape
        Rows and columns (Y, X) of the frame.
    margin
        Pixels beyond it on every side.
    n_frames
        Number of frames, T.
    rng
        Source of everything random about the specimen.
    """
    wide = (shape[0] + 2 * margin, shape[1] + 2 * margin)
    places, timing = rng.spawn(2)
    field = _first_domains(config, wide, places)
    centres = _pinning_centres(config, field, margin, places)
    friction = _friction(centres, wide)
    births = np.sort(timing.integers(1, max(n_frames, 2), config.nucleations))
    bias = bias_of_frames(config, n_frames)
    drive = config.speed * bias / config.bias if config.bias else np.zeros(n_frames)
    movie, born = [], []
    for frame in range(n_frames):
        if frame:
            field = _advanced(field, drive[frame], friction, config)
            for _ in range(int((births == frame).sum())):
                place = _free_place(field, margin + _RIM, config.nucleus + _CLEAR, timing)
                if place is not None:
                    field = np.maximum(field, _disc(wide, place, config.nucleus))
                    born.append((frame, *place, config.nucleus))
        field = signed_distance(field)
        movie.append(field)
    distance = np.stack(movie)
    centres["first_frame"] = _first_frames(distance, centres, config.speed)
    nucleations = pd.DataFrame(born, columns=["frame", "y", "x", "radius"])
    return Growth(distance, bias, centres, nucleations.astype({"frame": "int64"}))


def signed_distance(field: Array) -> Array:
    """Distance (Y, X) in px from the zero of a field, with the field's sign, up to 24 px."""
    curves = zero_curves(field)
    sign = np.where(field >= 0, 1.0, -1.0)
    if not curves:
        return _BAND * sign
    change = np.zeros(field.shape, bool)
    change[:, 1:] |= sign[:, 1:] != sign[:, :-1]
    change[1:] |= sign[1:] != sign[:-1]
    near = ndimage.distance_transform_edt(~change) < _BAND
    distance = np.full(field.shape, _BAND)
    distance[near] = np.minimum(distance_to_curves(curves, np.argwhere(near).astype(float)), _BAND)
    return distance * sign


def _disc(shape: tuple[int, int], centre: Array, radius: float | Array) -> Array:
    """Field (Y, X) that is positive inside a disc."""
    y, x = np.indices(shape)
    return np.asarray(radius - np.hypot(y - centre[0], x - centre[1]))


def _first_domains(config: DomainConfig, shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Round domains with a wavy wall, on negative ground."""
    field = np.full(shape, -_BAND)
    y, x = np.indices(shape)
    size = min(shape)
    for _ in range(config.domains):
        centre = rng.uniform(0.1, 0.9, 2) * np.array(shape)
        radius = rng.uniform(0.08, 0.14) * size
        theta = np.arctan2(y - centre[0], x - centre[1])
        phase = rng.uniform(-math.pi, math.pi, 3)
        waves = sum(np.sin((k + 2) * theta + phase[k]) / (k + 2) for k in range(3))
        field = np.maximum(field, _disc(shape, centre, radius * (1 + 0.25 * waves)))
    return signed_distance(field)


def _free_place(field: Array, rim: float, clear: float, rng: np.random.Generator) -> Array | None:
    """A place in a negative domain, away from walls and the border; None where there is none."""
    inside = np.zeros(field.shape, bool)
    edge = math.ceil(rim)
    inside[edge:-edge, edge:-edge] = True
    free = np.argwhere(inside & (field < -clear))
    return free[rng.integers(len(free))].astype(float) if len(free) else None


def _pinning_centres(
    config: DomainConfig, field: Array, margin: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Centres well apart in what is negative at first; fewer than asked where there is no room."""
    ground, places = field.copy(), []
    for _ in range(config.pinning):
        place = _free_place(ground, margin + _RIM, 3 * config.pinning_radius, rng)
        if place is None:
            break
        places.append(place)
        ground = np.maximum(ground, _disc(field.shape, place, _APART * config.pinning_radius))
    y, x = np.array(places).reshape(-1, 2).T
    strength = config.pinning_strength * config.speed * rng.uniform(0.5, 1.0, len(places))
    return pd.DataFrame({"y": y, "x": x, "strength": strength, "radius": config.pinning_radius})


def _friction(centres: pd.DataFrame, shape: tuple[int, int]) -> Array:
    """Force (Y, X) in px per frame that holds a wall in its place."""
    total = np.zeros(shape)
    for y, x, strength, radius in centres.to_numpy(float):
        squared = _disc(shape, np.array([y, x]), 0.0) ** 2
        total += strength * np.exp(-squared / (2 * radius**2))
    return total


def _first_frames(distance: Array, centres: pd.DataFrame, speed: float) -> NDArray[np.int64]:
    """First frame in which a wall comes where each centre acts on it; -1: in none."""
    y, x = (centres[name].to_numpy(int) for name in ("y", "x"))
    # a free straight wall stops where the Gaussian has risen to the drive
    excess = np.maximum(centres["strength"].to_numpy() / max(speed, 1e-9), 1.0)
    reach = centres["radius"].to_numpy() * np.maximum(np.sqrt(2 * np.log(excess)), 1.0)
    reached = np.abs(distance[:, y, x]) <= reach + 1.0
    return np.where(reached.any(axis=0), reached.argmax(axis=0), -1).astype(np.int64)


def _advanced(field: Array, drive: float, friction: Array, config: DomainConfig) -> Array:
    """Field after the time of one frame, by explicit upwind steps."""
    # stability: diffusion by the tension, and the fastest wall that there can be
    most = max(4 * config.tension, (abs(drive) + config.tension) / _STEP, 1.0)
    steps = math.ceil(most)
    for _ in range(steps):
        force = drive + config.tension * _bend(field)
        speed = np.sign(force) * np.maximum(np.abs(force) - friction, 0.0)
        field = field + speed * _upwind_slope(field, speed) / steps
    return field


def _bend(field: Array) -> Array:
    """Divergence (Y, X) of the field's unit gradient: 1/px, below 0 where + is convex."""
    gy, gx = np.gradient(field)
    length = np.hypot(gy, gx) + 1e-6
    # a wall of a few pixels cannot bend more than this
    bend = np.gradient(gy / length, axis=0) + np.gradient(gx / length, axis=1)
    return np.asarray(np.clip(bend, -1.0, 1.0))


def _upwind_slope(field: Array, speed: Array) -> Array:
    """Length (Y, X) of the gradient, from the side that the wall comes from (Godunov's scheme)."""
    padded = np.pad(field, 1, mode="edge")
    squared = np.zeros(field.shape)
    growing = speed > 0
    for back, ahead in (
        (field - padded[:-2, 1:-1], padded[2:, 1:-1] - field),
        (field - padded[1:-1, :-2], padded[1:-1, 2:] - field),
    ):
        grow = np.maximum(np.maximum(ahead, 0.0), np.maximum(-back, 0.0))
        shrink = np.maximum(np.maximum(back, 0.0), np.maximum(-ahead, 0.0))
        squared = squared + np.where(growing, grow, shrink) ** 2
    return np.asarray(np.sqrt(squared))
