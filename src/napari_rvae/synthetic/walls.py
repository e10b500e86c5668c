"""Piezoresponse force microscopy of growing domains, with every wall known."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.curves import curve_points, normals_and_bends, zero_curves
from napari_rvae.frames import Frames
from napari_rvae.synthetic.domains import DomainConfig, Growth, grow_domains
from napari_rvae.synthetic.piezoresponse import Scans, scan_domains
from napari_rvae.synthetic.scan import checked_shape, inside_frame, random_streams
from napari_rvae.synthetic.simulation import Simulation
from napari_rvae.tables import fold_angle, make_sites

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["DomainConfig", "simulate_walls"]

#: Pixels of specimen that are simulated beyond the frame and its drift.
_MARGIN = 12
#: Bends of a wall are those of its field smoothed by so many pixels.
_SMOOTH = 1.5
#: A pixel so near to a wall belongs to it, in px.
_ON_WALL = 1.0


def simulate_walls(
    config: DomainConfig | None = None,
    *,
    n_frames: int = 20,
    size: int | tuple[int, int] = 192,
    seed: int = 0,
    **overrides: Any,
) -> Simulation:
    """Simulate a movie of piezoresponse force microscopy of ferroelectric domains that grow.

    Positive domains grow on negative ground under a bias, are born during the movie, merge, and
    are held by pinning centres. A wall moves along its normal at the speed by which the force,
    drive + tension x curvature, exceeds the pinning there in size, and not at all where it does
    not. Ferroelastic stripes cross the frame: the response is weaker in them and the surface
    slopes, but the sign does not change. The microscope adds a complex background, turns the phase
    of every scan by an offset of its own, and adds noise, offsets of rows, lost rows and drift.

    Parameters
    ----------
    config
        Options of domains and scan; None takes the defaults.
    n_frames
        Number of frames, T.
    size
        Side of a frame in pixels, or (Y, X).
    seed
        Start of the random numbers; specimen, drift and scan draw from streams of their own.
    **overrides
        Options that replace those of `config`, such as ``noise=0.3``.

    Returns
    -------
    Simulation
        ``frames`` (T, C, Y, X) has the channels "amplitude" (pm), "phase" (degrees) and
        "topography" (nm), with ``lateral=True`` also "lateral amplitude" and "lateral phase", with
        ``in_plane="bloch"`` or ``"neel"`` "lateral y amplitude", "lateral y phase" and those of x;
        ``frames.table`` has time and bias. ``sites`` are the true walls at equal steps, of kind
        "wall", with

        - ``wall_type``: "180" or "ferroelastic";
        - ``normal_angle``: direction of the normal in radians, (dy, dx) = (-sin a, cos a): from -
          to + across a 180-degree wall, else in (-pi/2, pi/2];
        - ``normal_period``: 2 pi for such a polar normal, pi for the axis of a ferroelastic wall;
        - ``curvature``: 1/px, positive where the centre of the bend lies where the normal points
          to;
        - ``wall_id``: number of the connected wall in its frame, ``wall_position`` the pixels along
          it.

        ``fields``: "polarization" (T, Y, X) from -1 to 1; "response", its vertical response in
        amplitudes of a domain; "walls" (T, Y, X), 1 within a pixel of a 180-degree wall, 2 of a
        ferroelastic one, else 0; "offset" (T,), the phase of a positive domain in radians; "lost"
        (T,), the row that was lost or -1; "drift" (T, 2); with `in_plane`, "in_plane" (T, 2, Y, X),
        the components (y, x) of the polarization in the plane, y down. ``tables``: "pinning" (y, x,
        strength in px per frame, radius, and first_frame, in which a wall came near enough to be
        held, or -1), at the places of frame 0; "junctions" (frame, y, x) where walls cross.
        ``events``: the
        domains that were born (frame, y, x, radius).

    Raises
    ------
    InputError
        If an option is out of range.
    TypeError
        If an option's name is unknown.

    Examples
    --------
    >>> from napari_rvae import simulate_walls
    >>> simulation = simulate_walls(n_frames=2, size=96, seed=1)
    >>> simulation.frames.channels
    ('amplitude', 'phase', 'topography')
    >>> sorted(simulation.sites["wall_type"].unique())
    ['180', 'ferroelastic']
    """
    config = dataclasses.replace(config or DomainConfig(), **overrides)
    shape = checked_shape(size, n_frames)
    specimen_rng, motion_rng, scan_rng = random_streams(seed)
    drift = _drift_path(config, n_frames, motion_rng)
    margin = _MARGIN + math.ceil(float(np.abs(drift).max()))
    domain_rng, stripe_rng = specimen_rng.spawn(2)
    growth = grow_domains(config, shape, margin, n_frames, domain_rng)
    lines = _stripe_lines(config, shape, stripe_rng)
    views = [
        _view(distance, lines, shift, shape=shape, margin=margin, config=config)
        for distance, shift in zip(growth.distance, drift, strict=True)
    ]
    level = np.stack([view.level for view in views])
    polarization = np.stack([view.polarization for view in views])
    lateral: dict[str, Array] = {}
    if config.lateral:  # what the stripes turn into the plane, along their normal
        share = math.sin(config.stripe_angle)
        lateral["lateral"] = -share * polarization * np.sqrt(np.maximum(1 - level**2, 0.0))
    fields = {}
    if config.in_plane != "off":
        fields["in_plane"] = _in_plane(polarization, level, lines, config)
        lateral |= {f"lateral {axis}": fields["in_plane"][:, k] for k, axis in enumerate("yx")}
    scans = scan_domains(
        polarization * level, lateral, np.stack([v.height for v in views]), config, scan_rng
    )
    return Simulation(
        frames=_frames(scans, growth, config, seed),
        sites=_site_table(views),
        fields={
            "polarization": polarization,
            "response": polarization * level,
            "walls": np.stack([view.walls for view in views]),
            "offset": scans.offset,
            "lost": scans.lost,
            "drift": drift,
            **fields,
        },
        events=_moved(growth.nucleations, margin, drift),
        tables={
            "pinning": _moved(growth.pinning, margin, drift),
            "junctions": _junction_table(views),
        },
    )


class _Lines(NamedTuple):
    """Ferroelastic walls: straight, and parallel."""

    normal: Array  # (2,): dy, dx
    angle: float  # of the normal, in (-pi/2, pi/2]
    place: Array  # (K, 2): both walls of each stripe, along the normal from the frame's centre


class _View(NamedTuple):
    """What is true in one frame."""

    polarization: Array  # (Y, X)
    level: Array  # (Y, X)
    height: Array  # (Y, X)
    walls: NDArray[np.uint8]  # (Y, X)
    sites: dict[str, NDArray[Any]]
    junctions: Array  # (J, 2)


def _drift_path(config: DomainConfig, n_frames: int, rng: np.random.Generator) -> Array:
    """Shift (T, 2) of the specimen in each frame: a steady drift and a random walk."""
    direction = rng.uniform(-math.pi, math.pi)
    steady = config.drift * np.array([math.sin(direction), math.cos(direction)])
    steps = steady + rng.normal(0.0, 0.3 * config.drift, (n_frames, 2))
    steps[0] = 0.0
    return np.asarray(np.cumsum(steps, axis=0))


def _stripe_lines(config: DomainConfig, shape: tuple[int, int], rng: np.random.Generator) -> _Lines:
    """Stripes spread over the frame; fewer than asked where there is no room."""
    angle = float(fold_angle(config.stripe_angle + math.pi / 2, 2))
    normal = np.array([-math.sin(angle), math.cos(angle)])
    extent = float(np.abs(normal) @ np.array(shape))
    count = min(config.stripes, int(extent // (config.stripe_width + 8 * config.half_width)))
    if not count:
        return _Lines(normal, angle, np.empty((0, 2)))
    slot = extent / count
    middle = (np.arange(count) + 0.5) * slot - extent / 2
    middle = middle + rng.uniform(-0.25, 0.25, count) * (slot - config.stripe_width)
    half = config.stripe_width / 2
    return _Lines(normal, angle, np.stack([middle - half, middle + half], axis=1))


def _view(
    distance: Array,
    lines: _Lines,
    shift: Array,
    *,
    shape: tuple[int, int],
    margin: int,
    config: DomainConfig,
) -> _View:
    """Picture and walls of one frame, the specimen shifted."""
    rows, columns = np.indices(shape)
    here = np.stack([rows, columns]) - shift[:, None, None] + margin
    signed = ndimage.map_coordinates(distance, here, order=1, mode="nearest")
    centre = (np.array(shape) - 1) / 2 + shift
    across = (rows - centre[0]) * lines.normal[0] + (columns - centre[1]) * lines.normal[1]
    level, height = np.ones(shape), np.zeros(shape)
    width = config.half_width
    for low, high in lines.place:
        inside = (np.tanh((across - low) / width) - np.tanh((across - high) / width)) / 2
        level -= (1 - config.stripe_level) * inside
        height += config.stripe_slope * (_ramp(across - low, width) - _ramp(across - high, width))
    walls = np.zeros(shape, np.uint8)
    for place in lines.place.ravel():
        walls[np.abs(across - place) <= _ON_WALL] = 2
    walls[np.abs(signed) <= _ON_WALL] = 1
    curves = [curve - margin + shift for curve in zero_curves(distance)]
    return _View(
        polarization=np.tanh(signed / width),
        level=level,
        height=height,
        walls=walls,
        sites=_wall_sites(
            distance, curves, lines, shift, shape=shape, margin=margin, config=config
        ),
        junctions=_crossings(curves, lines, centre, shape),
    )


def _in_plane(polarization: Array, level: Array, lines: _Lines, config: DomainConfig) -> Array:
    """Polarization in the plane (T, 2, Y, X) as (y, x), its length kept where it turns.

    In a 180-degree wall it lies along the normal, from - to + (Neel), or along the wall, a quarter
    counter-clockwise from there (Bloch); in a stripe along the stripe's normal.
    """
    dy, dx = np.gradient(polarization, axis=(1, 2))
    steep = np.maximum(np.hypot(dy, dx), 1e-9)
    normal = np.stack([dy, dx], axis=1) / steep[:, None]
    if config.in_plane == "bloch":  # on the screen, where y points down
        normal = np.stack([-normal[:, 1], normal[:, 0]], axis=1)
    in_walls = level * np.sqrt(np.maximum(1 - polarization**2, 0.0))
    in_stripes = polarization * np.sqrt(np.maximum(1 - level**2, 0.0))
    return np.asarray(
        in_walls[:, None] * normal + in_stripes[:, None] * lines.normal[:, None, None]
    )


def _ramp(distance: Array, width: float) -> Array:
    """Integral of (1 + tanh(u / width)) / 2: a height that begins to rise at 0."""
    return np.asarray(width / 2 * np.logaddexp(0.0, 2 * distance / width))


def _wall_sites(
    distance: Array,
    curves: list[Array],
    lines: _Lines,
    shift: Array,
    *,
    shape: tuple[int, int],
    margin: int,
    config: DomainConfig,
) -> dict[str, NDArray[Any]]:
    """Columns of the true walls inside the frame."""
    parts: list[dict[str, NDArray[Any]]] = []
    for number, curve in enumerate(curves):
        points = curve_points(curve, config.spacing)
        angle, bend = normals_and_bends(distance, points + margin - shift, sigma=_SMOOTH)
        parts.append(_columns(points, angle, bend, "180", number))
    centre = (np.array(shape) - 1) / 2 + shift
    reach = np.hypot(*shape) / 2 + np.abs(shift).max()
    along = np.array([-lines.normal[1], lines.normal[0]])
    steps = np.arange(-reach, reach, config.spacing)
    for number, place in enumerate(lines.place.ravel()):
        points = centre + place * lines.normal + steps[:, None] * along
        angle = np.full(len(points), lines.angle)
        zero = np.zeros(len(points))
        parts.append(_columns(points, angle, zero, "ferroelastic", len(curves) + number))
    parts.append(_columns(np.empty((0, 2)), np.empty(0), np.empty(0), "180", 0))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    inside = inside_frame(np.stack([columns["y"], columns["x"]], axis=1), shape)
    return {name: values[inside] for name, values in columns.items()}


def _columns(
    points: Array, angle: Array, bend: Array, wall_type: str, number: int
) -> dict[str, NDArray[Any]]:
    """Columns of the sites of one wall."""
    period = 2 * math.pi if wall_type == "180" else math.pi
    return {
        "y": points[:, 0],
        "x": points[:, 1],
        "normal_angle": angle,
        "normal_period": np.full(len(points), period),
        "wall_type": np.full(len(points), wall_type, dtype="<U12"),
        "curvature": bend,
        "wall_id": np.full(len(points), number, dtype=np.int64),
        "wall_position": np.concatenate(
            [np.zeros(min(len(points), 1)), np.cumsum(np.hypot(*np.diff(points, axis=0).T))]
        ),
    }


def _crossings(curves: list[Array], lines: _Lines, centre: Array, shape: tuple[int, int]) -> Array:
    """Places (J, 2) in the frame where 180-degree walls cross ferroelastic ones."""
    found = [np.empty((0, 2))]
    for curve in curves:
        across = (curve - centre) @ lines.normal
        for place in lines.place.ravel():
            side = across - place
            at = np.flatnonzero((side[:-1] < 0) != (side[1:] < 0))
            share = side[at] / (side[at] - side[at + 1])
            found.append(curve[at] + share[:, None] * (curve[at + 1] - curve[at]))
    points = np.concatenate(found)
    return np.asarray(points[inside_frame(points, shape)])


def _site_table(views: list[_View]) -> pd.DataFrame:
    """Sites of all frames."""
    numbers = np.repeat(np.arange(len(views)), [view.sites["y"].size for view in views])
    columns: dict[str, Any] = {
        name: np.concatenate([view.sites[name] for view in views]) for name in views[0].sites
    }
    return make_sites(frame=numbers, kind="wall", **columns).astype({"wall_type": "str"})


def _junction_table(views: list[_View]) -> pd.DataFrame:
    """Junctions of all frames."""
    numbers = np.repeat(np.arange(len(views)), [len(view.junctions) for view in views])
    y, x = np.concatenate([view.junctions for view in views]).T
    return pd.DataFrame({"frame": numbers.astype(np.int64), "y": y, "x": x})


def _moved(table: pd.DataFrame, margin: int, drift: Array) -> pd.DataFrame:
    """Places of the field as places of the frame: of their own, or of the first one."""
    frame = table["frame"].to_numpy() if "frame" in table else np.zeros(len(table), np.int64)
    shift = drift[frame] - margin
    return table.assign(y=table["y"] + shift[:, 0], x=table["x"] + shift[:, 1])


def _frames(scans: Scans, growth: Growth, config: DomainConfig, seed: int) -> Frames:
    """Wrap the channels with their scale, times and biases."""
    n_frames = len(scans.channels)
    table = pd.DataFrame(
        {
            "frame": np.arange(n_frames, dtype=np.int64),
            "time": config.frame_time * np.arange(n_frames),
            "dose": np.nan,
            "bias": growth.bias,
            "keep": True,
        }
    )
    return Frames(
        scans.channels,
        axis_labels=("t", "c", "y", "x"),
        scale=(config.frame_time, 1.0, config.pixel_size, config.pixel_size),
        units=("s", "pixel", "nm", "nm"),
        channels=scans.names,
        table=table,
        name="walls",
        metadata={
            **config.to_dict(),
            "specimen": "walls",
            "seed": seed,
            "channel_units": dict(zip(scans.names, scans.units, strict=True)),
        },
    )
