"""Open a file, a folder or a list of files as frames."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_rvae.errors import NapariRvaeError, ReadError
from napari_rvae.frames import Frames
from napari_rvae.io.arrays import read_npy, read_npz, read_zarr
from napari_rvae.io.gwyddion import read_gwyddion
from napari_rvae.io.hdf5 import read_hdf5
from napari_rvae.io.igor import read_igor
from napari_rvae.io.images import read_image
from napari_rvae.io.lazy import Channel, lazy_planes, make_frames, one_line
from napari_rvae.io.micrographs import MICROGRAPHS, read_micrograph
from napari_rvae.io.tif import read_tif

__all__ = ["SUFFIXES", "read_frames"]

PathLike: TypeAlias = str | os.PathLike[str]

_READERS: dict[str, Callable[[Path, Channel], Frames]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".tif": read_tif,
    ".tiff": read_tif,
    ".png": read_image,
    ".jpg": read_image,
    ".jpeg": read_image,
    ".bmp": read_image,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".hspy": read_hdf5,
    ".ibw": read_igor,
    ".gwy": read_gwyddion,
    **dict.fromkeys(MICROGRAPHS, read_micrograph),
    ".zarr": read_zarr,
}

#: File name endings that can be read.
SUFFIXES = tuple(_READERS)

#: What a zarr folder has in it, whatever its name.
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")

#: Pixel sizes of the files of one movie agree within this share.
_SCALE_TOLERANCE = 0.01


def read_frames(path: PathLike | Sequence[PathLike], *, channel: int | str | None = None) -> Frames:
    """Open frames from a file, a folder or a list of files, lazily.

    Parameters
    ----------
    path
        A file (npy, npz, tif, png, jpg, bmp, h5, hdf5, hspy; dm3, dm4, emd, mrc, ser and emi of
        electron microscopes; ibw and gwy of scanning probe microscopes) or zarr folder; a folder
        of images of one frame each, taken in natural order (frame 2 before frame 10); or a list
        of files of one frame each, taken as given.
    channel
        Number or name of the one channel to take. In files that hold several arrays (npz, HDF5,
        zarr groups, files of electron microscopes) it can also name the array.

    Returns
    -------
    Frames
        The frames, with the pixel size, the time step and the channel names that the file states.
        Images (Y, X), movies (T, Y, X), several channels (T, C, Y, X). Nothing but the header is
        read: data that lie uncompressed in one piece are mapped into memory, others are a dask
        array of one frame a chunk. Only compressed npz files, single images (png, jpg, bmp),
        Igor waves (ibw) and Gwyddion files (gwy) are read whole. An ImageJ file of more than four
        grey "channels" and no other axis is a movie, whose writer did not name the axis. Of a file
        of an electron microscope that holds several images, the largest and those of the same
        shape are taken, as channels.

    Raises
    ------
    ReadError
        If the file is missing, damaged, cut, of an unknown kind, in colours, or points at other
        files; one line that names it.
    InputError
        If its values cannot be frames (complex, text, too small), or there is no such channel.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from napari_rvae.io import read_frames
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "movie.npy", np.zeros((5, 64, 48)))
    ...     read_frames(Path(folder) / "movie.npy").shape
    (5, 64, 48)
    """
    if not isinstance(path, (str, os.PathLike)):
        paths = [Path(item) for item in path]
        if not paths:
            raise ReadError("The list of files is empty: give one file or more.")
        return _read_stack(paths, channel, paths[0])
    place = Path(path)
    if _is_image_folder(place):
        return _read_stack(_images_in(place), channel, place)
    frames = _read_file(place, channel)
    if _READERS.get(place.suffix.lower()) is read_image:
        frames = dataclasses.replace(frames, data=frames.data.compute())  # one image is small
    return frames


def _is_image_folder(path: Path) -> bool:
    try:
        if not path.is_dir() or path.suffix.lower() == ".zarr":
            return False
        return not any((path / name).is_file() for name in _ZARR_FILES)
    except OSError as error:
        raise ReadError(f"{path} cannot be opened ({error.strerror}): check the rights.") from None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorting key that puts frame 2 before frame 10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _images_in(folder: Path) -> list[Path]:
    """Files of a folder that are images of one kind, in natural order."""
    try:
        files = [item for item in folder.iterdir() if not item.name.startswith(".")]
    except OSError as error:
        raise ReadError(
            f"{folder} cannot be opened ({error.strerror}): check the rights."
        ) from None
    files = [item for item in files if item.suffix.lower() in _READERS]
    if not files:
        raise ReadError(f"{folder} holds no images: it needs files {', '.join(SUFFIXES)}.")
    readers = {_READERS[item.suffix.lower()] for item in files}
    if len(readers) > 1:
        kinds = sorted({item.suffix.lower() for item in files})
        raise ReadError(f"{folder} holds {', '.join(kinds)} files: give a list of those you want.")
    return sorted(files, key=_natural)


def _reader_of(path: Path) -> Callable[[Path, Channel], Frames]:
    """Choose what reads a file, by its ending."""
    if not path.exists():
        raise ReadError(f"{path} is not there: check the name.")
    if path.is_dir():
        return read_zarr
    reader = _READERS.get(path.suffix.lower())
    if reader is None or reader is read_zarr:
        raise ReadError(
            f"{path.name} is of no known kind: files that can be read end in {', '.join(SUFFIXES)}."
        )
    if path.stat().st_size == 0:
        raise ReadError(f"{path.name} is empty: copy or export it again.")
    return reader


def _read_file(path: Path, channel: Channel) -> Frames:
    """Open one file; whatever goes wrong is one line."""
    try:
        return _reader_of(path)(path, channel)
    except NapariRvaeError:
        raise
    except PermissionError:
        raise ReadError(f"{path} may not be read by you: check the rights.") from None
    except Exception as error:
        raise ReadError(
            f"{path.name} cannot be read ({one_line(error)}): it is damaged or of another kind; "
            "copy or export it again."
        ) from error


def _read_single(path: Path, channel: Channel) -> Frames:
    frames = _read_file(path, channel)
    if frames.n_frames > 1:
        raise ReadError(
            f"{path.name} holds {frames.n_frames} frames: a folder or list needs files of one "
            "frame each; open this one by itself."
        )
    return frames


def _check_alike(frames: Frames, first: Frames) -> None:
    """Refuse a file that does not fit to the first one of its movie."""
    if frames.shape != first.shape or frames.dtype != first.dtype:
        raise ReadError(
            f"{frames.name} is {frames.dtype} {frames.shape}, but {first.name} is {first.dtype} "
            f"{first.shape}: frames of a movie need one shape and type."
        )
    same_size = np.allclose(frames.scale, first.scale, rtol=_SCALE_TOLERANCE, atol=0)
    if frames.units != first.units or not same_size or frames.channels != first.channels:
        raise ReadError(
            f"{frames.name} has another pixel size or other channels than {first.name}: "
            "open them as separate movies."
        )


def _frame_of(paths: tuple[Path, ...], channel: Channel, index: int) -> NDArray[Any]:
    """Read one file of a movie, ([C,] Y, X)."""
    frames = _read_file(paths[index], channel)
    data = np.asarray(frames.data)
    return data[0] if "t" in frames.axis_labels else data


def _read_stack(paths: list[Path], channel: Channel, place: Path) -> Frames:
    """Put files of one frame each together; only their headers are read."""
    first = _read_single(paths[0], channel)
    for path in paths[1:]:
        _check_alike(_read_single(path, channel), first)
    has_channels = "c" in first.axis_labels
    data = lazy_planes(
        partial(_frame_of, tuple(paths), channel),
        lead=(len(paths),),
        plane=first.shape[-3:] if has_channels else first.frame_shape,
        dtype=first.dtype,
        path=place,
    )
    height, width = first.pixel_size
    kept = {k: v for k, v in first.metadata.items() if k not in ("path_name", "format")}
    return make_frames(
        place if place.name else place.resolve(),
        data,
        form=str(first.metadata["format"]),
        axis_labels=("t", "c", "y", "x") if has_channels else ("t", "y", "x"),
        pixel=(height, width, first.units[-1]),
        channels=first.channels,
        metadata={**kept, "n_files": len(paths), "first_file": paths[0].name},
    )
