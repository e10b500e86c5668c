"""TIFF: movies, ImageJ hyperstacks, OME-TIFF."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_rvae.errors import ReadError
from napari_rvae.frames import Frames
from napari_rvae.io.images import grey_plane
from napari_rvae.io.lazy import AxisOrder, Channel, lazy_planes, make_frames, order_axes
from napari_rvae.io.scales import pixel_scale, seconds

__all__ = ["read_tif"]

#: Units of the resolution tags by their number in the TIFF standard.
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep tifffile's warnings about a damaged file off the log; they are collected instead."""
    logger, thread = logging.getLogger("tifffile"), threading.get_ident()
    collected: list[str] = []

    def from_elsewhere(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            collected.append(record.getMessage())
        return record.thread != thread

    logger.addFilter(from_elsewhere)
    try:
        yield collected
    finally:
        logger.removeFilter(from_elsewhere)


def _cut(name: str, found: int, promised: int, what: str) -> ReadError:
    return ReadError(
        f"{name} is cut: it has {found} of {promised} {what}; copy or export it again."
    )


def _check_chain(tif: tifffile.TiffFile, name: str) -> None:
    """Refuse a file whose list of pages leads out of the file: the rest would just be missing."""
    handle, size = tif.filehandle, tif.tiff.offsetsize
    handle.seek(tif.pages.next_page_offset or 0)
    if handle.read(size) != bytes(size):  # zero says that no page follows
        raise ReadError(
            f"{name} is cut or damaged: its list of pages breaks off after {len(tif.pages)}; "
            "copy or export it again."
        )


#: A stack of grey images with more "channels" than this is a movie.
_MOST_CHANNELS = 4


def _promised_planes(tif: tifffile.TiffFile) -> int:
    """Number of planes that the file's description tells of; 0 where it does not."""
    if tif.is_imagej and tif.imagej_metadata:
        return int(tif.imagej_metadata.get("images", 0))
    if tif.is_shaped and tif.shaped_metadata:
        shape = tif.shaped_metadata[0].get("shape", ())
        samples = int(tif.pages.first.samplesperpixel)
        return int(np.prod(shape[: len(shape) - (2 if samples == 1 else 3)], dtype=np.int64))
    return 0


def _check_whole(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, name: str) -> None:
    """Compare the planes and bytes that the file promises with those it has."""
    shape = [n for n, axis in zip(series.shape, series.axes, strict=True) if axis not in "YXS"]
    planes = int(np.prod(shape, dtype=np.int64))
    promised = _promised_planes(tif)
    if planes < promised:
        raise _cut(name, planes, promised, "frames")
    if tif.is_ome and any(page is not None and page.parent is not tif for page in series.pages):
        raise ReadError(f"{name} is spread over several files: save the movie in one file.")
    size = tif.filehandle.size
    if series.dataoffset is not None:
        end = series.dataoffset + series.nbytes
    else:
        pages = [page for page in series.pages if page is not None]
        if len(pages) < planes:
            raise _cut(name, len(pages), planes, "frames")
        end = max(
            offset + count
            for page in pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
    if end > size:
        raise _cut(name, size, end, "bytes")


def _only_series(tif: tifffile.TiffFile, name: str) -> tifffile.TiffPageSeries:
    """Return the one series of full-size pages."""
    found = [series for series in tif.series if not series.keyframe.is_reduced]
    if not found:
        raise ReadError(f"{name} holds no image: export it again.")
    if len(found) > 1:
        shapes = ", ".join(str(series.shape) for series in found[:4])
        raise ReadError(
            f"{name} holds {len(found)} series of different kinds ({shapes}): save one alone."
        )
    return found[0]


def _ome_pixels(tif: tifffile.TiffFile) -> dict[str, Any]:
    """Return the Pixels element of the first image of OME metadata."""
    image = tifffile.xml2dict(tif.ome_metadata or "<OME/>").get("OME", {}).get("Image", {})
    image = image[0] if isinstance(image, list) else image
    pixels = image.get("Pixels", {})
    return pixels if isinstance(pixels, dict) else {}


def _resolution(page: Any, unit: str | None) -> tuple[float, float, str] | None:
    """Pixel size from the resolution tags, in `unit` or, without one, in the tags' own."""
    tags = page.tags
    if unit is None:
        unit = _RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", default=1)), "")
    y, x = (tags.valueof(f"{axis}Resolution", default=(0, 1)) for axis in "YX")
    if not (y[0] and x[0]):
        return None
    return pixel_scale(y[1] / y[0], x[1] / x[0], unit, unit)


def _calibration(
    tif: tifffile.TiffFile,
) -> tuple[tuple[float, float, str] | None, float | None, tuple[str, ...]]:
    """Pixel size, time step (s) and channel names, as far as the file tells."""
    if tif.is_ome:
        pixels = _ome_pixels(tif)
        y, x = (float(pixels.get(f"PhysicalSize{axis}", 0)) for axis in "YX")
        units = [str(pixels.get(f"PhysicalSize{axis}Unit", "um")) for axis in "YX"]
        step = seconds(
            float(pixels.get("TimeIncrement", 0)), str(pixels.get("TimeIncrementUnit", "s"))
        )
        named = pixels.get("Channel", [])
        named = named if isinstance(named, list) else [named]
        names = tuple(str(channel.get("Name", "")) for channel in named)
        return pixel_scale(y, x, *units), step, names if all(names) else ()
    meta = tif.imagej_metadata if tif.is_imagej else None
    if meta:
        step = seconds(float(meta.get("finterval", 0)), str(meta.get("tunit", "s")))
        return _resolution(tif.pages.first, str(meta.get("unit", ""))), step, ()
    return _resolution(tif.pages.first, None), None, ()


#: tifffile writes a movie of three or four frames as one colour image of as many planes.
_OF_PLANES = (
    "convert it to greyscale first (if its colours are frames of a movie, write them again with "
    "photometric='minisblack')"
)


def _page(path: Path, numbers: NDArray[np.int64], order: AxisOrder, *index: int) -> NDArray[Any]:
    """Read the plane of one frame and channel."""
    key = order.key(*index)
    number = numbers[tuple(entry for entry in key if entry != slice(None))]
    with _quiet():
        page = tifffile.imread(path, key=int(number))
    if page.ndim == 3:  # (Y, X, S) or (S, Y, X)
        if page.shape[-1] <= 4:
            page = grey_plane(page, path.name)
        else:
            page = grey_plane(np.moveaxis(page, 0, -1), path.name, advice=_OF_PLANES)
    return order.upright(page)


def _planes(path: Path, series: tifffile.TiffPageSeries, order: AxisOrder, labels: str) -> Any:
    """Return the values: mapped into memory where the file allows, else read page by page."""
    if series.dataoffset is not None and "S" not in series.axes:
        kind = np.dtype(series.dtype).newbyteorder(series.keyframe.parent.byteorder)
        mapped = np.memmap(path, kind, mode="r", offset=series.dataoffset, shape=series.shape)
        return order.view(mapped)
    shape = [n for n, axis in zip(series.shape, series.axes, strict=True) if axis != "S"]
    lead = tuple(n for n, axis in zip(shape, labels, strict=True) if axis not in "yx")
    if len(series.pages) != int(np.prod(lead, dtype=np.int64)):
        raise ReadError(f"{path.name} has several planes a page: save it as an ImageJ or OME TIFF.")
    numbers = np.array([page.index for page in series.pages if page is not None], np.int64)
    read = partial(_page, path, numbers.reshape(lead), order)
    try:
        read(0, 0)  # an unknown compression or colours show now, not in the middle of the work
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        method = getattr(series.keyframe.compression, "name", "an unknown method")
        raise ReadError(
            f"{path.name} is compressed with {method}, which needs one more "
            "package: pip install imagecodecs."
        ) from None
    return lazy_planes(
        read,
        lead=order.lead(shape),
        plane=(shape[order.y], shape[order.x]),
        dtype=series.dtype,
        path=path,
    )


def _is_plain_stack(tif: tifffile.TiffFile, labels: str, shape: list[int]) -> bool:
    """Whether "channels" are the frames of a movie whose writer did not say so.

    Programs that write a stack of grey images without naming its axes make an ImageJ file with
    channels only, in the mode for grey images; real channels are few, or composite, or in colour.
    """
    meta = (tif.imagej_metadata if tif.is_imagej else None) or {}
    alone = set(labels) == set("cyx") and meta.get("mode") == "grayscale"
    return alone and shape[labels.index("c")] > _MOST_CHANNELS


def read_tif(path: Path, channel: Channel) -> Frames:
    """Read the layout of a TIFF file; planes are read when they are needed."""
    with _quiet() as warned, tifffile.TiffFile(path) as tif:
        _check_chain(tif, path.name)
        if any("TiffTag 270 " in text and "offset" in text for text in warned):
            # without its description (tag 270) the axes would be guessed wrongly
            raise ReadError(
                f"{path.name} is cut: its description is gone; copy or export it again."
            )
        series = _only_series(tif, path.name)
        _check_whole(tif, series, path.name)
        labels = series.axes.replace("S", "").lower()
        shape = [n for n, axis in zip(series.shape, series.axes, strict=True) if axis != "S"]
        if _is_plain_stack(tif, labels, shape):
            labels = labels.replace("c", "t")
        order = order_axes(labels, shape, path.name)
        pixel, time_step, names = _calibration(tif)
        data = _planes(path, series, order, labels)
    return make_frames(
        path,
        data,
        form="tif",
        axis_labels=order.labels,
        pixel=pixel,
        time_step=time_step,
        channels=names if order.c is not None else (),
        channel=channel,
    )
