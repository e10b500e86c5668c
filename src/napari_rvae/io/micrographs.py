"""Files of electron microscopes (dm3, dm4, emd, mrc, ser, emi), by RosettaSciIO."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from napari_rvae.errors import ReadError
from napari_rvae.frames import MIN_FRAME_SIDE, Frames
from napari_rvae.io.hdf5 import refuse_outside
from napari_rvae.io.lazy import (
    AxisOrder,
    Channel,
    distinct,
    lazy_planes,
    make_frames,
    not_installed,
    order_axes,
)
from napari_rvae.io.scales import pixel_scale, seconds

__all__ = ["MICROGRAPHS", "read_micrograph"]

#: Part of RosettaSciIO that reads a kind of file. RosettaSciIO is GPL-3 and optional, and is
#: imported here alone.
_PLUGINS = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".emd": "emd",
    ".mrc": "mrc",
    ".ser": "tia",
    ".emi": "tia",
}

#: File name endings that can be read.
MICROGRAPHS = tuple(_PLUGINS)


@dataclass(frozen=True, eq=False)
class _Picture:
    """An image or a movie of a file, with its calibration."""

    name: str
    data: Any
    order: AxisOrder
    pixel: tuple[float, float, str] | None
    time_step: float | None

    @property
    def lead(self) -> tuple[int, ...]:
        return self.order.lead(self.data.shape)

    @property
    def plane(self) -> tuple[int, int]:
        return int(self.data.shape[self.order.y]), int(self.data.shape[self.order.x])

    def fits(self, other: _Picture) -> bool:
        """Whether both show the same places at the same times."""
        return (self.lead, self.plane, self.pixel) == (other.lead, other.plane, other.pixel)

    def read(self, *frame: int) -> NDArray[Any]:
        """Read one frame."""
        plane = self.data[self.order.key(*frame)]
        return self.order.upright(np.asarray(plane.compute(scheduler="synchronous")))


def read_micrograph(path: Path, channel: Channel) -> Frames:
    """Read the image or movie of a file; frames are read when they are needed.

    Detectors that were read out together, such as those of Velox, are channels; the largest are
    taken where a file holds others, too.
    """
    form = _PLUGINS[path.suffix.lower()]
    pictures = _pictures(_signals(path, form), path)
    chosen, rest = _choose(pictures, channel, path)
    first = chosen[0]
    kind = np.result_type(*(picture.data.dtype for picture in chosen))
    if len(chosen) == 1:
        lead, labels = first.lead, first.order.labels
    else:
        lead, labels = (*(first.lead or (1,)), len(chosen)), ("t", "c", "y", "x")
    return make_frames(
        path,
        lazy_planes(
            partial(_plane, tuple(chosen), kind),
            lead=lead,
            plane=first.plane,
            dtype=kind,
            path=path,
        ),
        form=form,
        axis_labels=labels,
        pixel=first.pixel,
        time_step=first.time_step,
        channels=tuple(p.name for p in chosen) if len(chosen) > 1 else (),
        channel=rest,
        metadata={"title": first.name} if len(chosen) == 1 else {},
    )


def _plane(pictures: tuple[_Picture, ...], kind: np.dtype[Any], *index: int) -> NDArray[Any]:
    """Read one frame, of the channel that the last number says where there are several."""
    *frame, channel = index if len(pictures) > 1 else (*index, 0)
    picture = pictures[channel]
    return picture.read(*frame[: len(picture.lead)]).astype(kind, copy=False)


def _signals(path: Path, form: str) -> list[dict[str, Any]]:
    """What a file holds, as RosettaSciIO's dictionaries."""
    try:
        reader = importlib.import_module(f"rsciio.{form}").file_reader
    except ImportError:
        raise not_installed(path, "RosettaSciIO", "em") from None
    if form != "emd":
        return list(reader(str(path), lazy=True))
    import h5py

    if not h5py.is_hdf5(path):
        raise ReadError(f"{path.name} is no EMD file: it is damaged, cut or wrongly named.")
    with h5py.File(path, "r") as file:
        refuse_outside(file, path)
    return list(reader(str(path), lazy=True, select_type="images"))


def _pictures(signals: list[dict[str, Any]], path: Path) -> list[_Picture]:
    """The images and movies of a file, under names that are all different."""
    images = [signal for signal in signals if _image_axes(signal)]
    if not images:
        what = ", ".join(f"{s['data'].dtype} {s['data'].shape}" for s in signals) or "nothing"
        raise ReadError(
            f"{path.name} holds no image or movie ({what}): spectra, transforms and colour "
            "pictures cannot be read."
        )
    names = [str(s["metadata"].get("General", {}).get("title", "")) or path.stem for s in images]
    named = zip(images, distinct(names), strict=True)
    return [_picture(signal, name, path) for signal, name in named]


def _image_axes(signal: dict[str, Any]) -> list[int]:
    """Row and column axis of an image or a movie; none of a spectrum or a transform."""
    axes = signal["axes"]
    if signal["data"].dtype.kind not in "biuf" or any(map(_is_spectral, axes)):
        return []
    # of the files that do not tell which axes make the image, the last two do
    shown = [i for i, axis in enumerate(axes) if not axis.get("navigate", False)][-2:]
    large = [i for i in shown if axes[i]["size"] >= MIN_FRAME_SIDE]
    return large if len(large) == 2 else []


def _is_spectral(axis: dict[str, Any]) -> bool:
    named = str(axis.get("name", "")).lower().startswith(("energy", "wavelength"))
    return named or _unit(axis) in ("eV", "keV")


def _picture(signal: dict[str, Any], name: str, path: Path) -> _Picture:
    axes, shape = signal["axes"], signal["data"].shape
    rows, columns = _image_axes(signal)
    moving = [i for i in range(len(axes)) if i not in (rows, columns)]
    if sum(shape[i] > 1 for i in moving) > 1:
        raise ReadError(
            f"{path.name} holds a picture for every place of a scan (4D-STEM): "
            "make images of them first."
        )
    letters = dict(zip(moving, "tzwvu", strict=False)) | {rows: "y", columns: "x"}
    order = order_axes([letters[i] for i in range(len(axes))], shape, path.name)
    time = None if order.t is None else axes[order.t]
    return _Picture(
        name=name,
        data=da.asarray(signal["data"]),
        order=order,
        pixel=_pixel(axes[rows], axes[columns]),
        time_step=None if time is None else seconds(float(time["scale"]), _unit(time)),
    )


def _pixel(y: dict[str, Any], x: dict[str, Any]) -> tuple[float, float, str] | None:
    return pixel_scale(abs(float(y["scale"])), abs(float(x["scale"])), _unit(y), _unit(x))


def _unit(axis: dict[str, Any]) -> str:
    """Unit of an axis, "" where it has none: readers leave it out or use types of their own."""
    unit = axis.get("units")
    return unit if isinstance(unit, str) else ""


def _choose(
    pictures: list[_Picture], wanted: Channel, path: Path
) -> tuple[list[_Picture], Channel]:
    """Choose the picture of a name, or the largest and those that belong to it.

    Returns them, and the channel that is still to be taken.
    """
    if isinstance(wanted, str):
        named = [picture for picture in pictures if picture.name == wanted]
        if not named:
            raise ReadError(
                f"{path.name} has no image {wanted!r}: choose from {_listed(pictures)}."
            )
        return named, None
    largest = max(pictures, key=lambda picture: picture.data.size)
    together = [picture for picture in pictures if picture.fits(largest)]
    others = [picture for picture in pictures if picture not in together]
    if any(picture.data.size == largest.data.size for picture in others):
        raise ReadError(
            f"{path.name} holds the images {_listed(pictures)}: name one with channel=."
        )
    return together, wanted


def _listed(pictures: list[_Picture]) -> str:
    return ", ".join(picture.name for picture in pictures[:20])
