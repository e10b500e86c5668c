"""Domain walls: sites along them in every frame."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_rvae.config import WallConfig
from napari_rvae.detect.ferroelastic import Steps, lacks, seek_steps, trace_kinks, trace_steps
from napari_rvae.detect.polar_walls import Scan, Wall, measured_scan, trace_polar_walls
from napari_rvae.detect.vector_walls import trace_vector_walls
from napari_rvae.errors import Cancelled, InputError, NoWallsWarning
from napari_rvae.frames import Frames, as_frames, as_region
from napari_rvae.preprocess import level_height, signed_response
from napari_rvae.preprocess.channels import scan_channels
from napari_rvae.preprocess.levelling import lost_rows, mend_rows
from napari_rvae.tables import make_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["detect_walls"]

_FERROELASTIC = "ferroelastic"
#: Polarizations that differ by more than this on the two sides of a wall are opposite.
_OPPOSITE = math.radians(135)
_NOWHERE_TURNS = "No walls here: nowhere two domains with different polarization were found."


class _Found(NamedTuple):
    """A wall, and between what it lies."""

    kind: str
    wall: Wall
    turn: float = math.nan  # between the polarizations of its two sides, radians


class _InFrame(NamedTuple):
    """What was found in one frame."""

    walls: list[_Found]  # but for those of the next two
    steps: Steps | None  # of the level
    kinks: list[Wall]  # of the height

    def all(self) -> list[_Found]:
        """All walls; a kink that is a step, or a turn of the vector, counts once."""
        lines = self.steps.lines if self.steps else []
        found = self.walls + [_Found(_FERROELASTIC, line.wall) for line in lines]
        return found + [_Found(_FERROELASTIC, wall) for wall in _new_walls(self.kinks, found)]


def detect_walls(
    frames: Any,
    config: WallConfig | None = None,
    *,
    channels: Sequence[str | int] | None = None,
    region: Any = None,
    progress: Callable[[int, int], bool | None] | None = None,
    source: str = "",
    **overrides: Any,
) -> pd.DataFrame:
    """Find the domain walls in every scan of a force microscope, and put sites along them.

    180-degree walls are where the signed response (:func:`signed_response`) is zero between
    pixels, smoothed as the noise asks for, with enough response of either sign on its two sides.
    Ferroelastic walls are where the level of the response steps, or the height has a kink, without
    a change of sign; beside a 180-degree wall the level is what is left when its known profile is
    divided out. They stay in their place while 180-degree walls move and hide them: a line that
    stands out in one frame is looked for, with half of its least step, in those before and after.

    With ``modality="vector"`` walls are where the polarization turns: between two domains of which
    each has a vector of its own, 180 degrees apart or less, whatever the component in which they
    differ. All components count, in the unit in which they were recorded.

    Parameters
    ----------
    frames
        Frames or array-like (T, C, Y, X) with amplitude and phase, or with the channel "response"
        that :func:`signed_response` gives. A bare array of two channels is amplitude, then phase.
    config
        Options; the defaults when left out.
    channels
        Names or numbers of amplitude, phase and, for kinks, topography; None: by their names. Of a
        vector amplitude and phase, vertical, then lateral, and the topography.
    region
        Bool (Y, X) or (T, Y, X), True where sites may lie.
    progress
        Called with (frames done, frames in all); returning False cancels.
    source
        Name of the movie in the table; the frames' own name when empty.
    **overrides
        Single options, such as ``spacing=2``.

    Returns
    -------
    DataFrame
        Sites table of kind "wall" with

        - ``normal_angle``: direction of the normal in radians, (dy, dx) = (-sin a, cos a): from -
          to + across a 180-degree wall, else an axis in (-pi/2, pi/2];
        - ``normal_period``: 2 pi for such a polar normal, pi for an axis;
        - ``strength``: of a 180-degree wall the response on its weaker side, of a ferroelastic one
          the step, in the unit of the amplitude, or the change of the slope at a kink;
        - ``confidence``: 0 to 1, by the noise;
        - ``wall_type``: "180" or "ferroelastic"; of a vector "180" (above 135 degrees) or "90";
        - ``curvature``: 1/px, positive where the centre of the bend lies where the normal points;
        - ``wall_id``: number of the connected wall in its frame;
        - ``wall_position``: pixels along that wall;
        - ``polarization_turn``, of a vector only: angle between the polarizations on the two sides,
          in radians, 0 to pi. Normals of its walls are polar: they point to the larger value of the
          component in which the two sides differ most.

        ``attrs["domains"]`` has the number of domains of each frame.

    Raises
    ------
    InputError
        If amplitude or phase is missing or constant, or options are not usable.
    Cancelled
        If `progress` returned False.

    Warns
    -----
    NoWallsWarning
        If no frame has a 180-degree wall, or, of a vector, any; ferroelastic ones are returned all
        the same.

    Examples
    --------
    >>> from napari_rvae import detect_walls, simulate_walls
    >>> walls = detect_walls(simulate_walls(n_frames=1, size=96, seed=1).frames)
    >>> sorted(walls["wall_type"].unique())
    ['180', 'ferroelastic']
    """
    movie = as_frames(frames)
    config = dataclasses.replace(config or WallConfig(), **overrides)
    allowed = as_region(region, movie)
    response, heights = _inputs(movie, channels, config)
    domains = response.table["domains"].to_numpy() if "domains" in response.table else None
    components = _components(response, config)
    frames_of: list[_InFrame] = []
    for t in range(response.n_frames):
        two = domains is None or domains[t] != 1
        vector = np.stack([response.frame(t, number) for number in components])
        frames_of.append(_walls_of(vector, heights, t, config, polar=two))
        if progress is not None and progress(t + 1, response.n_frames) is False:
            raise Cancelled(f"Detection was stopped after {t + 1} of {response.n_frames} frames.")
    frames_of = _with_standing_lines(
        frames_of, lambda t: measured_scan(response.frame(t, components[0]), config), config
    )
    parts: list[dict[str, NDArray[Any]]] = []
    for t, walls in enumerate(frames_of):
        here = allowed[t] if allowed is not None and allowed.ndim == 3 else allowed
        parts.append(_columns(walls.all(), t, response.frame_shape, here))
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    sites = make_sites(kind="wall", source=source or movie.name, **columns)
    sites = sites.astype({"wall_type": "str"})
    if config.modality != "vector":
        sites = sites.drop(columns="polarization_turn")
    if domains is not None:
        sites.attrs["domains"] = domains.tolist()
    if config.modality == "vector":
        if not len(sites):
            warnings.warn(_NOWHERE_TURNS, NoWallsWarning, stacklevel=2)
    elif not (sites["wall_type"] == "180").any():
        _warn(domains)
    return sites


def _inputs(
    movie: Frames, channels: Sequence[str | int] | None, config: WallConfig
) -> tuple[Frames, Callable[[int], Array | None]]:
    """The signed response, and what reads the levelled height of a frame, if it is needed."""
    vector = config.modality == "vector"
    name = {"lateral": "lateral response", "vector": "lateral response y"}
    if channels is None and name.get(config.modality, "response") in movie.channels:
        response = movie
    else:
        pair = channels
        if channels is not None:
            pair = tuple(channels)[: 4 if vector else 2]
            channels = (*pair[:2], *tuple(channels)[len(pair) :])
        response = signed_response(
            movie, channels=pair, modality=config.modality, phase_unit=config.phase_unit
        )
    if config.ferroelastic not in ("kink", "both"):
        return response, lambda _frame: None
    number = _height_channel(movie, channels, config)

    def height(frame: int) -> Array | None:
        image = movie.frame(frame, number)
        image = mend_rows(image, lost_rows(image))
        missing = ~np.isfinite(image)
        if missing.all():
            return None
        levelled = level_height(image)
        if missing.any():
            _, nearest = ndimage.distance_transform_edt(missing, return_indices=True)
            levelled = levelled[tuple(np.asarray(nearest))]
        return levelled

    return response, height


def _components(response: Frames, config: WallConfig) -> list[int]:
    """Numbers of the channels that are looked at together."""
    if config.modality == "vector":
        return [n for n, name in enumerate(response.channels) if "response" in name]
    return [response.channel_index("response") if "response" in response.channels else 0]


def _height_channel(movie: Frames, channels: Sequence[str | int] | None, config: WallConfig) -> int:
    """Number of the topography."""
    if channels is None and "topography" in movie.channels:
        return movie.channel_index("topography")
    found = scan_channels(movie, channels, lateral=config.modality == "lateral").topography
    if found < 0:
        raise InputError(
            f"There is no topography among the channels {', '.join(movie.channels)}, and "
            f"ferroelastic = {config.ferroelastic!r} needs it: name it third (channels)."
        )
    return found


def _walls_of(
    vector: Array,
    heights: Callable[[int], Array | None],
    frame: int,
    config: WallConfig,
    *,
    polar: bool,
) -> _InFrame:
    """Walls of the components (C, Y, X) of one frame, each with its type."""
    response = vector[0]
    if not np.isfinite(vector).any() or float(np.nanmax(np.abs(vector))) == 0:
        return _InFrame([], None, [])
    scan = measured_scan(response, config)
    found: list[_Found] = []
    steps = None
    if config.modality == "vector":
        for walls, turn in trace_vector_walls(vector, config):
            found += [_Found("180" if turn > _OPPOSITE else "90", w, turn) for w in walls]
    else:
        walls, curves = trace_polar_walls(scan, config) if polar else ([], [])
        found += [_Found("180", wall) for wall in walls]
        if config.ferroelastic in ("level", "both"):
            steps = trace_steps(scan, curves, walls, config)
    height = heights(frame)
    return _InFrame(found, steps, [] if height is None else trace_kinks(scan, height, config))


def _with_standing_lines(
    frames: list[_InFrame], scan_of: Callable[[int], Scan], config: WallConfig
) -> list[_InFrame]:
    """Ferroelastic walls looked for in the frames before and after those where they were found."""
    frames, last = list(frames), len(frames) - 1
    for numbers, step in ((range(1, last + 1), -1), (range(last - 1, -1, -1), 1)):
        for t in numbers:
            own, other = frames[t].steps, frames[t + step].steps
            if own is None or other is None:
                continue
            lines = [line for line in other.lines if lacks(own, line)]
            if lines:
                steps = seek_steps(scan_of(t), own, lines, config)
                frames[t] = frames[t]._replace(steps=steps)
    return frames


def _new_walls(kinks: list[Wall], found: list[_Found]) -> list[Wall]:
    """Kinks that are not seen as steps of the level, or turns of the vector, already."""
    known = [one.wall.points for one in found if one.kind != "180"]
    if not known:
        return kinks
    tree = cKDTree(np.concatenate(known))
    return [k for k in kinks if np.median(np.asarray(tree.query(k.points)[0])) > 6.0]


def _columns(
    found: list[_Found],
    frame: int,
    shape: tuple[int, int],
    region: NDArray[np.bool_] | None,
) -> dict[str, NDArray[Any]]:
    """Columns of the walls of one frame (Y, X), inside a region."""
    walls = [one.wall for one in found]
    counts = [len(wall.points) for wall in walls]
    types = np.repeat(np.array([one.kind for one in found], dtype="<U12"), counts)
    points = np.concatenate([np.empty((0, 2)), *(wall.points for wall in walls)])

    def all_of(name: str) -> Array:
        return np.concatenate([np.empty(0), *(getattr(wall, name) for wall in walls)])

    columns: dict[str, NDArray[Any]] = {
        "frame": np.full(len(points), frame, dtype=np.int64),
        "y": points[:, 0],
        "x": points[:, 1],
        "normal_angle": all_of("angle"),
        "normal_period": np.where(types == _FERROELASTIC, math.pi, 2 * math.pi),
        "strength": all_of("strength"),
        "confidence": all_of("confidence"),
        "wall_type": types,
        "curvature": all_of("curvature"),
        "wall_id": np.repeat(np.arange(len(walls), dtype=np.int64), counts),
        "wall_position": np.concatenate(
            [np.empty(0), *(_positions(wall.points) for wall in walls)]
        ),
        "polarization_turn": np.repeat([one.turn for one in found], counts),
    }
    keep = np.atleast_1d(((points >= 0) & (points <= np.array(shape) - 1)).all(axis=1))
    if region is not None:
        keep[keep] = region[tuple(np.rint(points[keep]).astype(int).T)]
    return {name: values[keep] for name, values in columns.items()}


def _positions(points: Array) -> Array:
    """Length (N,) along a wall up to each of its sites."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])


def _warn(domains: Any) -> None:
    """Say that there are no 180-degree walls, and why, as far as it is known."""
    why = "no place with response of either sign on its two sides was found"
    if domains is not None and (domains < 2).all():
        why = "every scan has one domain only"
    warnings.warn(
        f"No 180-degree walls here: {why}. Ferroelastic walls, if any, are in the table.",
        NoWallsWarning,
        stacklevel=3,
    )
