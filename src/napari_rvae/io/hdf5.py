"""HDF5: one dataset of frames, or the channels of a pyNSID scan."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_rvae.errors import ReadError
from napari_rvae.frames import MIN_FRAME_SIDE, Frames
from napari_rvae.io.lazy import (
    AxisOrder,
    Channel,
    lazy_planes,
    make_frames,
    not_installed,
    order_axes,
)
from napari_rvae.io.scales import pixel_scale

__all__ = ["read_hdf5", "refuse_outside"]

_DEFAULT_LABELS = {2: ["y", "x"], 3: ["t", "y", "x"], 4: ["t", "c", "y", "x"]}


def refuse_outside(file: Any, path: Path) -> None:
    """Refuse a file that points at other files: it could read anything on this machine."""
    import h5py

    outside: list[str] = []

    def look_at_link(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            outside.append(name)

    def look_at_object(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        sources = item.virtual_sources() if item.is_virtual else []
        if item.external or any(source.file_name != "." for source in sources):
            outside.append(name)

    file.visititems_links(look_at_link)
    file.visititems(look_at_object)
    if outside:
        raise ReadError(
            f"{path.name} takes {outside[0]!r} from another file: copy the data into one file."
        )


def _image_datasets(file: Any) -> dict[str, Any]:
    """Datasets that can hold frames, by their full names."""
    import h5py

    found: dict[str, Any] = {}

    def look_at(name: str, item: Any) -> None:
        with contextlib.suppress(TypeError):  # types that NumPy does not have
            if (
                isinstance(item, h5py.Dataset)
                and item.dtype.kind in "biufc"
                and 2 <= item.ndim <= 4
                and min(item.shape[-2:]) >= MIN_FRAME_SIDE
                and "REFERENCE_LIST" not in item.attrs  # an axis of other datasets
            ):
                found[name] = item

    file.visititems(look_at)
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _labels(dataset: Any) -> list[str]:
    """Letters of the axes: as the file names them, else by their number."""
    named = [_text(dim.label).lower() for dim in dataset.dims]
    named = [{"time": "t", "channel": "c"}.get(label, label) for label in named]
    complete = {"y", "x"} <= set(named) and len(set(named)) == len(named) and "" not in named
    return named if complete else _DEFAULT_LABELS[dataset.ndim]


def _pixel(dataset: Any, order: AxisOrder) -> tuple[float, float, str] | None:
    """Pixel size from the axis datasets, or from the axes as HyperSpy writes them."""
    steps, units = [], []
    for axis in (order.y, order.x):
        scales = dataset.dims[axis].values()
        if not scales or scales[0].shape != (dataset.shape[axis],):
            return _hyperspy_pixel(dataset, order)
        positions = np.asarray(scales[0][()], dtype=float)
        steps.append(abs(float(positions[-1] - positions[0])) / (positions.size - 1))
        units.append(_text(scales[0].attrs.get("units", "")))
    return pixel_scale(steps[0], steps[1], units[0], units[1])


def _hyperspy_pixel(dataset: Any, order: AxisOrder) -> tuple[float, float, str] | None:
    axes = [dataset.parent.get(f"axis-{axis}") for axis in (order.y, order.x)]
    if not all(axis is not None and "scale" in axis.attrs for axis in axes):
        return None
    steps = [abs(float(axis.attrs["scale"])) for axis in axes]
    units = [_text(axis.attrs.get("units", "")) for axis in axes]
    return pixel_scale(steps[0], steps[1], units[0], units[1])


def _plane(path: Path, name: str, order: AxisOrder, *index: int) -> NDArray[Any]:
    """Read one plane of a dataset."""
    import h5py

    with h5py.File(path, "r") as file:
        return order.upright(np.asarray(file[name][order.key(*index)]))


def _scan_plane(
    path: Path, names: tuple[str, ...], order: AxisOrder, _frame: int, channel: int
) -> NDArray[Any]:
    """Read the plane of one channel of a scan, which has one frame."""
    return _plane(path, names[channel], order)


def _scan_names(datasets: dict[str, Any]) -> dict[str, str]:
    """Names of the channels of a pyNSID scan with the datasets that hold them, else nothing."""
    scan = {
        name: _text(item.attrs["quantity"])
        for name, item in datasets.items()
        if "quantity" in item.attrs and item.ndim == 2 and set(_labels(item)) == {"x", "y"}
    }
    shapes = {datasets[name].shape for name in scan}
    kinds = {datasets[name].dtype for name in scan}
    if len(scan) < 2 or len(shapes) > 1 or len(kinds) > 1 or len(set(scan.values())) < len(scan):
        return {}
    return {quantity: name for name, quantity in scan.items()}


def _choose(datasets: dict[str, Any], wanted: Channel, path: Path) -> tuple[str, Channel]:
    """Choose the dataset asked for, by its full name or the end of it, or the largest.

    Returns its name, and the channel that is still to be taken from it.
    """
    if isinstance(wanted, str):
        fits = [name for name in datasets if name == wanted.strip("/")]
        fits = fits or [name for name in datasets if name.rsplit("/", 1)[-1] == wanted]
        if len(fits) == 1:
            return fits[0], None
    if not datasets:
        raise ReadError(f"{path.name} holds no image: it needs a dataset (Y, X) or (T, Y, X).")
    largest = max(item.size for item in datasets.values())
    best = [name for name, item in datasets.items() if item.size == largest]
    if len(best) > 1 or isinstance(wanted, str):
        listed = ", ".join(sorted(datasets)[:20])
        raise ReadError(f"{path.name} holds the images {listed}: name one with channel=.")
    return best[0], wanted


def read_hdf5(path: Path, channel: Channel) -> Frames:
    """Read the frames of an HDF5 file; planes are read when they are needed."""
    try:
        import h5py
    except ImportError:
        raise not_installed(path, "h5py", "io") from None
    if not h5py.is_hdf5(path):
        raise ReadError(f"{path.name} is no HDF5 file: it is damaged, cut or wrongly named.")
    with h5py.File(path, "r") as file:
        refuse_outside(file, path)
        datasets = _image_datasets(file)
        scan = _scan_names(datasets)
        if scan and (channel is None or isinstance(channel, int) or channel in scan):
            return _scan_frames(path, {q: datasets[name] for q, name in scan.items()}, channel)
        if scan and isinstance(channel, str) and not any(n.endswith(channel) for n in datasets):
            raise ReadError(
                f"{path.name} has no channel {channel!r}: choose from {', '.join(scan)}."
            )
        chosen, rest = _choose(datasets, channel, path)
        dataset = datasets[chosen]
        order = order_axes(_labels(dataset), dataset.shape, path.name)
        data = lazy_planes(
            partial(_plane, path, chosen, order),
            lead=order.lead(dataset.shape),
            plane=(int(dataset.shape[order.y]), int(dataset.shape[order.x])),
            dtype=dataset.dtype,
            path=path,
        )
        return make_frames(
            path,
            data,
            form="hdf5",
            axis_labels=order.labels,
            pixel=_pixel(dataset, order),
            channel=rest,
            metadata={"dataset": chosen},
        )


def _scan_frames(path: Path, channels: dict[str, Any], channel: Channel) -> Frames:
    """Put the channels of a scan together, (1, C, Y, X)."""
    first = next(iter(channels.values()))
    order = order_axes(_labels(first), first.shape, path.name)
    names = tuple(item.name for item in channels.values())
    data = lazy_planes(
        partial(_scan_plane, path, names, order),
        lead=(1, len(names)),
        plane=(int(first.shape[order.y]), int(first.shape[order.x])),
        dtype=first.dtype,
        path=path,
    )
    # some channels state the unit of their values for the axes, so the first length counts
    pixels = (_pixel(item, order) for item in channels.values())
    return make_frames(
        path,
        data,
        form="hdf5",
        axis_labels=("t", "c", "y", "x"),
        pixel=next((pixel for pixel in pixels if pixel is not None), None),
        channels=tuple(channels),
        channel=channel,
        metadata={
            "channel_units": {
                name: _text(item.attrs.get("units", "")) for name, item in channels.items()
            }
        },
    )
