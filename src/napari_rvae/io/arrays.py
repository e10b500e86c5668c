"""NumPy files (npy, npz) and zarr."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from napari_rvae.errors import ReadError
from napari_rvae.frames import Frames
from napari_rvae.io.lazy import (
    AxisOrder,
    Channel,
    lazy_planes,
    make_frames,
    not_installed,
    order_axes,
)
from napari_rvae.io.scales import pixel_scale, seconds

__all__ = ["read_npy", "read_npz", "read_zarr"]

_HEADERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def _header(file: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an npy file: shape, whether in Fortran order, type."""
    try:
        version = npy_format.read_magic(file)
        shape, fortran, dtype = _HEADERS[version](file)
    except (ValueError, KeyError, EOFError):
        raise ReadError(
            f"{name} is no NumPy array file: it is damaged or wrongly named; save it again."
        ) from None
    if dtype.hasobject:
        raise ReadError(
            f"{name} holds pickled Python objects, which could run code: save plain numbers."
        )
    return shape, fortran, dtype


def _mapped(
    path: Path, file: BinaryIO, offset: int, header: tuple[tuple[int, ...], bool, np.dtype[Any]]
) -> NDArray[Any]:
    """Map the values that begin at `offset` into memory."""
    shape, fortran, dtype = header
    needed = offset + dtype.itemsize * int(np.prod(shape, dtype=object))
    there = file.seek(0, 2)
    if there < needed:
        raise ReadError(
            f"{path.name} is cut: it has {there} of {needed} bytes; copy or save it again."
        )
    if 0 in shape or not dtype.itemsize:
        return np.empty(shape, dtype)  # nothing that could be mapped; refused as frames
    mapped: NDArray[Any] = np.memmap(
        path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"
    )
    return mapped


def read_npy(path: Path, channel: Channel) -> Frames:
    """Map an npy file into memory."""
    with path.open("rb") as file:
        header = _header(file, path.name)
        data = _mapped(path, file, file.tell(), header)
    return make_frames(path, data, form="npy", channel=channel)


def _choose(names: list[str], wanted: Channel, path: Path) -> str:
    """Choose one of several arrays: the one asked for, "frames", or the only one."""
    if isinstance(wanted, str) and wanted in names:
        return wanted
    if "frames" in names:
        return "frames"
    if len(names) == 1:
        return names[0]
    if not names:
        raise ReadError(f"{path.name} holds no array: save the frames in it.")
    raise ReadError(
        f"{path.name} holds the arrays {', '.join(sorted(names)[:20])}: "
        "name one with channel=, or call the frames 'frames'."
    )


def read_npz(path: Path, channel: Channel) -> Frames:
    """Read one array of an npz file; uncompressed ones are mapped into memory."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        chosen = _choose(list(members), channel, path)
        info, name = members[chosen], f"{path.name}[{chosen}]"
        with archive.open(info) as member:
            header = _header(member, name)
            if info.compress_type == zipfile.ZIP_STORED:
                # local header: 30 bytes, two of its fields are the lengths of name and extra
                file.seek(info.header_offset + 26)
                lengths = struct.unpack("<HH", file.read(4))
                offset = info.header_offset + 30 + sum(lengths) + member.tell()
                data = _mapped(path, file, offset, header)
            else:
                member.seek(0)
                data = npy_format.read_array(member, allow_pickle=False)
    rest = None if chosen == channel else channel
    return make_frames(path, data, form="npz", channel=rest, metadata={"array": chosen})


def _refuse_pickle(array: Any, path: Path) -> None:
    """Refuse the one codec of zarr that runs code on reading."""
    stored = {k: v for k, v in array.metadata.to_dict().items() if k != "attributes"}
    if "pickle" in json.dumps(stored, default=str).lower():
        raise ReadError(
            f"{path.name} holds pickled Python objects, which could run code: save plain numbers."
        )


def _multiscale(attributes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the first image of OME-Zarr metadata (0.4: at the top; 0.5: under "ome")."""
    images = (attributes.get("ome") or attributes).get("multiscales")
    return images[0] if images else None


def _ome_scale(
    image: Mapping[str, Any], labels: list[str]
) -> tuple[tuple[float, float, str] | None, float | None]:
    """Return pixel size and time step of an OME-Zarr image at full resolution."""
    transforms = image["datasets"][0].get("coordinateTransformations", [])
    steps = next((item["scale"] for item in transforms if item.get("type") == "scale"), None)
    if steps is None:
        return None, None
    units = [str(axis.get("unit", "")) for axis in image["axes"]]
    y, x = labels.index("y"), labels.index("x")
    pixel = pixel_scale(steps[y], steps[x], units[y], units[x])
    time = labels.index("t") if "t" in labels else None
    return pixel, None if time is None else seconds(steps[time], units[time])


def _zarr_plane(array: Any, order: AxisOrder, *index: int) -> NDArray[Any]:
    return order.upright(np.asarray(array[order.key(*index)]))


def _zarr_labels(array: Any) -> list[str]:
    """Names of the axes of a zarr array; by their number where the file does not tell."""
    named = getattr(array.metadata, "dimension_names", None)
    named = named or array.attrs.get("_ARRAY_DIMENSIONS")
    labels = [str(name).lower() for name in named or ()]
    labels = [{"time": "t", "channel": "c"}.get(label, label) for label in labels]
    if len(labels) == array.ndim and {"y", "x"} <= set(labels):
        return labels
    return {2: ["y", "x"], 3: ["t", "y", "x"]}.get(array.ndim, ["t", "c", "y", "x"])


def read_zarr(path: Path, channel: Channel) -> Frames:
    """Read a zarr array, or a group with one array or an OME multiscale image."""
    try:
        import zarr
    except ImportError:
        raise not_installed(path, "zarr", "io") from None
    node: Any = zarr.open(path, mode="r")
    pixel, time_step, used, labels = None, None, False, None
    if isinstance(node, zarr.Group):
        image = _multiscale(node.attrs)
        if image is not None:
            labels = [str(axis["name"]).lower() for axis in image["axes"]]
            pixel, time_step = _ome_scale(image, labels)
            chosen = str(image["datasets"][0]["path"])
        else:
            chosen = _choose([name for name, _ in node.arrays()], channel, path)
            used = chosen == channel
        node = node[chosen]
    _refuse_pickle(node, path)
    labels = labels or _zarr_labels(node)
    if len(labels) != node.ndim:  # too few or too many axes: the frames say so
        return make_frames(path, node, form="zarr")
    order = order_axes(labels, node.shape, path.name)
    data = lazy_planes(
        partial(_zarr_plane, node, order),
        lead=order.lead(node.shape),
        plane=(int(node.shape[order.y]), int(node.shape[order.x])),
        dtype=node.dtype,
        path=path,
    )
    return make_frames(
        path,
        data,
        form="zarr",
        axis_labels=order.labels,
        pixel=pixel,
        time_step=time_step,
        channel=None if used else channel,
    )
