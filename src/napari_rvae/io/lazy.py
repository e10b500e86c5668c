"""Planes that are read one at a time -> lazy frames."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_rvae.errors import InputError, NapariRvaeError, ReadError
from napari_rvae.frames import Frames

__all__ = [
    "AxisOrder",
    "Channel",
    "distinct",
    "lazy_planes",
    "make_frames",
    "not_installed",
    "one_line",
    "order_axes",
]

Channel: TypeAlias = int | str | None


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def not_installed(path: Path, library: str, extra: str) -> ReadError:
    """What to say of a file whose library is missing, and of the extra that brings it."""
    return ReadError(f'{path.name} needs {library} to be read: pip install "napari-rvae[{extra}]".')


def distinct(names: Sequence[str], numbers: Sequence[int] | None = None) -> tuple[str, ...]:
    """Names that are all different: followed by their numbers, from 0 on, where some are the same.

    Examples
    --------
    >>> from napari_rvae.io.lazy import distinct
    >>> distinct(["amplitude", "phase"]), distinct(["phase", "phase"])
    (('amplitude', 'phase'), ('phase 0', 'phase 1'))
    """
    if len(set(names)) == len(names):
        return tuple(names)
    numbers = range(len(names)) if numbers is None else numbers
    return tuple(f"{name} {number}" for name, number in zip(names, numbers, strict=True))


def _load_block(
    *,
    block_id: tuple[int, ...],
    read: Callable[..., NDArray[Any]],
    lead: int,
    plane: tuple[int, ...],
    kind: np.dtype[Any],
    label: str,
) -> NDArray[Any]:
    """Read the plane of one block; any failure becomes one line that names the file."""
    index = block_id[:lead]
    try:
        array = np.asarray(read(*index))
    except NapariRvaeError:
        raise
    except Exception as error:
        where = f", frame {index[0]}," if index else ""
        raise ReadError(
            f"{label}{where} cannot be read ({one_line(error)}): the file is damaged or has "
            "changed; copy or export it again."
        ) from error
    if array.shape != plane or array.dtype != kind:
        raise ReadError(
            f"{label} has changed since it was opened ({array.dtype} {array.shape} instead of "
            f"{kind} {plane}): open it again."
        )
    return array.reshape((1,) * lead + plane)


def lazy_planes(
    read: Callable[..., NDArray[Any]],
    *,
    lead: tuple[int, ...],
    plane: tuple[int, ...],
    dtype: Any,
    path: Path,
) -> da.Array:
    """Make a dask array of planes that are read when they are needed.

    Parameters
    ----------
    read
        Function of the leading indices that returns one plane; it opens and closes its file.
    lead
        Shape of the leading axes; each entry of theirs is a chunk.
    plane
        Shape of what one call of `read` returns.
    dtype
        Type of the values.
    path
        The file or folder, for messages.
    """
    kind = np.dtype(dtype)
    data: da.Array = da.map_blocks(
        _load_block,
        # never twice the same: viewers keep chunks by this name, and files change
        name=f"frames-{secrets.token_hex(8)}",
        chunks=(*((1,) * n for n in lead), *((n,) for n in plane)),
        dtype=kind,
        meta=np.empty((0,) * (len(lead) + len(plane)), kind),
        read=read,
        lead=len(lead),
        plane=plane,
        kind=kind,  # map_blocks keeps "dtype" for itself
        label=path.name,
    )
    return data


@dataclass(frozen=True)
class AxisOrder:
    """Where the time, channel, row and column axes of a stored array are; None = none."""

    t: int | None
    c: int | None
    y: int
    x: int
    ndim: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Axes of the frames; channels always come with a time axis."""
        if self.c is not None:
            return ("t", "c", "y", "x")
        return ("y", "x") if self.t is None else ("t", "y", "x")

    def lead(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Lengths of the time and channel axes of the frames."""
        n_frames = 1 if self.t is None else int(shape[self.t])
        if self.c is not None:
            return n_frames, int(shape[self.c])
        return () if self.t is None else (n_frames,)

    def key(self, *index: int) -> tuple[Any, ...]:
        """Index into the stored array that takes one plane, given frame and channel numbers."""
        key: list[Any] = [0] * self.ndim
        key[self.y] = key[self.x] = slice(None)
        if self.t is not None:
            key[self.t] = index[0]
        if self.c is not None:
            key[self.c] = index[1]
        return tuple(key)

    def upright(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Turn a plane as it is stored into (Y, X)."""
        return plane if self.y < self.x else plane.T

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """View a whole stored array with the axes of the frames."""
        used = [axis for axis in (self.t, self.c, self.y, self.x) if axis is not None]
        rest = [axis for axis in range(self.ndim) if axis not in used]
        view = array.transpose(*used, *rest)
        view = view.reshape(view.shape[: len(used)])  # the rest have length 1
        return view[None] if self.c is not None and self.t is None else view


def order_axes(labels: Sequence[str], shape: Sequence[int], name: str) -> AxisOrder:
    """Find the time, channel, row and column axes.

    Parameters
    ----------
    labels
        One lower-case letter for each stored axis.
    shape
        Lengths of the axes.
    name
        The file, for messages.

    Raises
    ------
    ReadError
        If there is no row or column axis, or more axes than frames can have.
    """
    place = {label: axis for axis, label in enumerate(labels)}
    if len(place) != len(labels) or "y" not in place or "x" not in place:
        raise ReadError(
            f"{name} has the axes {''.join(labels).upper()}: save it as frames (T, C, Y, X)."
        )
    moving = [label for label in labels if label not in ("c", "y", "x") and shape[place[label]] > 1]
    if len(moving) > 1:
        named = " and ".join(label.upper() for label in moving)
        raise ReadError(
            f"{name} has the axes {named} beside C, Y and X: "
            "save one movie of single planes, (T, C, Y, X)."
        )
    time = moving[0] if moving else ("t" if "t" in place else None)
    return AxisOrder(
        t=None if time is None else place[time],
        c=place["c"] if "c" in place and shape[place["c"]] > 1 else None,
        y=place["y"],
        x=place["x"],
        ndim=len(labels),
    )


def make_frames(
    path: Path,
    data: Any,
    *,
    form: str,
    axis_labels: tuple[str, ...] = (),
    pixel: tuple[float, float, str] | None = None,
    time_step: float | None = None,
    channels: tuple[str, ...] = (),
    channel: Channel = None,
    metadata: Mapping[str, Any] | None = None,
) -> Frames:
    """Make the frames of one file, and take one channel where one is asked for.

    Parameters
    ----------
    path
        The file; its base name goes into the frames, its folder does not.
    data
        The values.
    form
        Name of the format.
    axis_labels
        Axes; guessed from their number when left out.
    pixel
        Height, width and unit of a pixel; None = unknown.
    time_step
        Seconds from frame to frame; None = unknown.
    channels
        Names of the channels.
    channel
        The one to take; None = all.
    metadata
        What else is worth keeping.
    """
    labels = axis_labels or {2: ("y", "x"), 3: ("t", "y", "x")}.get(
        len(data.shape), ("t", "c", "y", "x")
    )
    step, unit = dict.fromkeys(labels, 1.0), dict.fromkeys(labels, "pixel")
    if pixel is not None:
        step["y"], step["x"], unit["y"] = pixel
        unit["x"] = unit["y"]
    if time_step is not None and "t" in step:
        step["t"], unit["t"] = time_step, "s"
    try:
        frames = Frames(
            data,
            axis_labels=axis_labels,
            scale=tuple(step.values()) if len(labels) == len(data.shape) else (),
            units=tuple(unit.values()) if len(labels) == len(data.shape) else (),
            channels=channels,
            name=path.name,
            metadata={"path_name": path.name, "format": form, **(metadata or {})},
        )
        if channel is not None:
            frames = frames.select_channel(channel)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    if time_step is not None and "t" in frames.axis_labels:
        table = frames.table.assign(time=np.arange(frames.n_frames) * time_step)
        frames = dataclasses.replace(frames, table=table)
    return frames
