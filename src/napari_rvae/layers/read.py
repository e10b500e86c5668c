"""Layers -> frames, regions and sites: the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError
from napari_rvae.frames import FRAME_COLUMNS, Frames
from napari_rvae.layers.edits import settle_edits
from napari_rvae.layers.place import layer_kind, record_of, unit_on_screen
from napari_rvae.tables import SITE_COLUMNS, make_sites, validate_sites

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["frames_from_layer", "region_from_layer", "sites_from_layer"]

#: Names under which the frames carry units that pint abbreviates otherwise.
_UNIT_NAMES = {"px": "pixel", "": "pixel", "µm": "um", "µs": "us", "Å": "angstrom"}

#: Corners of the polygon that stands for an ellipse.
_ELLIPSE_CORNERS = 180


def frames_from_layer(layer: Any) -> Frames:
    """Take the frames from an Image layer, as lazily as it holds them.

    Parameters
    ----------
    layer
        Image layer of shape (Y, X) or (T, Y, X): any, or one of :func:`~napari_rvae.image_layer`,
        whose frames come back with their own name, units and frames table.

    Returns
    -------
    Frames
        The layer's data, at full resolution, with its scale and units. The sign of a negative
        scale, a shift or a rotation of the layer become the ``affine`` of the metadata, so that
        the layers made from these frames lie where the image does.

    Raises
    ------
    InputError
        If it is no Image layer, is in colours, or has other axes.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.layers import Image
    >>> from napari_rvae import frames_from_layer
    >>> image = Image(np.zeros((5, 32, 48)), scale=(1, 0.02, 0.02), units=("s", "nm", "nm"))
    >>> frames_from_layer(image).pixel_size, frames_from_layer(image).units[-1]
    ((0.02, 0.02), 'nm')
    """
    data = _image_data(layer)
    labels = ("t", "y", "x")[-len(data.shape) :]
    scale = np.asarray(layer.scale, float)
    usable = np.isfinite(scale) & (scale != 0)
    units = [_unit_name(unit) for unit in layer.units]
    units = [unit if good else "pixel" for unit, good in zip(units, usable, strict=True)]
    scale = np.where(usable, np.abs(scale), 1.0)
    record = _movie_record(layer)
    for i, unit in enumerate(record.get("units", ())):
        if unit_on_screen(unit) == units[i]:  # napari shows a unit that it does not know as pixels
            units[i] = unit
    affine = _rest_of_affine(layer, scale) if usable.all() else None
    return Frames(
        data,
        axis_labels=labels,
        scale=tuple(scale),
        units=tuple(units),
        channels=(record["channel"],) if record else (),
        table=_frames_table(record.get("table", {}), data.shape[0] if "t" in labels else 1),
        name=frames_name(layer),
        metadata={} if affine is None else {"affine": affine.tolist()},
    )


def _image_data(layer: Any) -> Any:
    """Data (T, Y, X) or (Y, X) of an Image layer, after the checks."""
    kind = layer_kind(layer)
    if kind != "Image":
        name = getattr(layer, "name", "")
        what = f"Layer {name!r} is a {kind} layer" if name else f"This is a {kind}"
        raise InputError(f"{what}: choose an Image layer.")
    if layer.rgb:
        raise InputError(f"Layer {layer.name!r} is in colours (RGB): convert it to grey values.")
    data = layer.data[0] if layer.multiscale else layer.data
    if len(data.shape) not in (2, 3):
        raise InputError(
            f"Layer {layer.name!r} has {len(data.shape)} axes, not (frame, y, x) or (y, x): split "
            "the channels (right-click the layer, Split Stack)."
        )
    return data


def _unit_name(unit: Any) -> str:
    name = unit if isinstance(unit, str) else f"{unit:~}"
    return _UNIT_NAMES.get(name, name)


def _movie_record(layer: Any) -> dict[str, Any]:
    """What image_layer noted; nothing where the layer holds something else by now."""
    record = record_of(layer)
    data = layer.data[0] if layer.multiscale else layer.data
    same = record.get("kind") == "image" and record.get("shape") == list(data.shape)
    return record if same else {}


def frames_name(layer: Any) -> str:
    """Name of the frames that an Image layer shows: their own, or the layer's."""
    record = _movie_record(layer)
    return str(record.get("frames") or layer.name)


def _frames_table(known: dict[str, list[Any]], n_frames: int) -> pd.DataFrame:
    """Frames table of what is known, empty where nothing is."""
    if not known:
        return pd.DataFrame()
    columns: dict[str, Any] = {"frame": np.arange(n_frames, dtype=np.int64)}
    for name in FRAME_COLUMNS[1:]:
        fill, kind = (True, bool) if name == "keep" else (None, float)
        columns[name] = np.array(known.get(name, [fill] * n_frames), kind)
    return pd.DataFrame(columns)


def _affine_of(layer: Any) -> NDArray[np.float64]:
    """Matrix (D + 1, D + 1) from the layer's pixels to the world."""
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
    matrix = np.eye(layer.ndim + 1)
    matrix[:-1, -1] = origin
    for axis, step in enumerate(np.eye(layer.ndim)):
        matrix[:-1, axis] = np.asarray(layer.data_to_world(step), float) - origin
    return matrix


def _rest_of_affine(layer: Any, scale: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """What follows after scaling; None for nothing."""
    rest = _affine_of(layer) @ np.diag([*(1 / scale), 1.0])
    return None if np.allclose(rest, np.eye(len(rest)), atol=1e-9) else rest


def _between(layer: Any, image: Any) -> NDArray[np.float64]:
    """Matrix from the layer's pixels to the image's, for the last axes that both have."""
    axes = min(layer.ndim, image.ndim)
    here, there = (_affine_of(item)[-axes - 1 :, -axes - 1 :] for item in (layer, image))
    matrix = np.asarray(np.linalg.solve(there, here), np.float64)
    # layers that lie alike must not differ by rounding
    return np.eye(axes + 1) if np.allclose(matrix, np.eye(axes + 1), atol=1e-9) else matrix


def _moved(points: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[Any]:
    """Last coordinates of points (N, D) after an affine matrix; untouched by the identity."""
    axes = len(matrix) - 1
    if np.array_equal(matrix, np.eye(axes + 1)):
        return points[:, -axes:]
    return np.asarray(points[:, -axes:] @ matrix[:-1, :-1].T + matrix[:-1, -1])


def region_from_layer(layer: Any, image: Any) -> NDArray[np.bool_]:
    """Take a region from a Shapes or Labels layer, in the pixels of an image.

    Parameters
    ----------
    layer
        Shapes: the inside of rectangles, ellipses, polygons and (closed) paths of all frames
        together; lines do not count. Labels: all that is not 0. It may differ from the image in
        scale and position.
    image
        Image layer (Y, X) or (T, Y, X) that the region is for.

    Returns
    -------
    ndarray of bool
        (Y, X), or (T, Y, X) for labels that were painted on more than one frame; True = use.

    Raises
    ------
    InputError
        If it is another kind of layer, or there is nothing of it on the image.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.layers import Image, Shapes
    >>> from napari_rvae import region_from_layer
    >>> box = Shapes([[[2, 3], [2, 5], [9, 5], [9, 3]]], shape_type="rectangle")
    >>> int(region_from_layer(box, Image(np.zeros((32, 32)))).sum())
    24
    """
    kind = layer_kind(layer)
    if kind not in ("Shapes", "Labels"):
        name = getattr(layer, "name", "")
        raise InputError(f"Layer {name!r} is a {kind} layer: choose a Shapes or Labels layer.")
    shape = tuple(_image_data(image).shape)
    region = _filled_shapes(layer, image, shape) if kind == "Shapes" else _labelled(layer, image)
    if not region.any():
        where = "is empty" if not len(layer.data) else f"covers nothing of {image.name!r}"
        how = "draw a shape first" if kind == "Shapes" else "paint a region first"
        raise InputError(f"Layer {layer.name!r} {where}: {how}.")
    return region


def _filled_shapes(layer: Any, image: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Union (Y, X) of the shapes of a layer."""
    from skimage.draw import polygon

    matrix = _between(layer, image)[-3:, -3:]
    region = np.zeros(shape[-2:], bool)
    for vertices, kind in zip(layer.data, layer.shape_type, strict=True):
        if kind == "line":
            continue
        corners = np.asarray(vertices, float)[:, -2:]
        if kind == "ellipse":  # given by the corners of the box about it
            centre = corners.mean(axis=0)
            turn = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
            across, along = (corners[1] - corners[0]) / 2, (corners[2] - corners[1]) / 2
            corners = centre + np.cos(turn) * across + np.sin(turn) * along
        rows, columns = _moved(corners, matrix).T
        region[polygon(rows, columns, region.shape)] = True
    return region


def _labelled(layer: Any, image: Any) -> NDArray[np.bool_]:
    """Where labels are, (Y, X) or (T, Y, X), in the pixels of an image."""
    labels = layer.data[0] if layer.multiscale else layer.data
    if len(labels.shape) > 3:
        raise InputError(f"Layer {layer.name!r} has {len(labels.shape)} axes: paint frames (y, x).")
    shape = tuple(_image_data(image).shape)
    back = _between(image, layer)
    pixels = np.moveaxis(np.indices(shape[-2:]), 0, -1).reshape(-1, 2)
    rows, columns = np.rint(_moved(pixels, back[-3:, -3:])).astype(int).T
    height, width = labels.shape[-2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)

    def one(plane: Any) -> NDArray[np.bool_]:
        found = (np.asarray(plane) != 0)[rows, columns] & inside
        return np.asarray(found.reshape(shape[-2:]))

    if len(labels.shape) == 2:
        return one(labels)
    planes = [one(labels[i]) for i in range(labels.shape[0])]
    painted = [plane for plane in planes if plane.any()]
    if len(shape) == 2 or len(painted) <= 1:  # painted once is meant for every frame
        return np.any(painted, axis=0) if painted else np.zeros(shape[-2:], bool)
    steps = np.pad(np.arange(shape[0])[:, None], ((0, 0), (0, 2)))
    frames = np.rint(_moved(steps, back)[:, 0]).astype(int)
    nothing = np.zeros(shape[-2:], bool)
    return np.stack([planes[f] if 0 <= f < len(planes) else nothing for f in frames])


def sites_from_layer(layer: Any, image: Any = None) -> pd.DataFrame:
    """Take the sites table from a Points layer, with what the user did by hand.

    Parameters
    ----------
    layer
        A layer of :func:`~napari_rvae.points_layer`; points that were added, deleted or moved are
        settled as :func:`~napari_rvae.layers.settle_edits` says. Or points of the user's own:
        they become atoms.
    image
        Image layer that the sites lie on: where the two differ in scale or position, the sites are
        given in its pixels, and sites without a source get its name.

    Returns
    -------
    DataFrame
        Sites table, one row for each point, in order. The layer is left as it is.

    Raises
    ------
    InputError
        If it is no Points layer, or has other axes than (frame, y, x) or (y, x).

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae import sites_from_layer
    >>> sites_from_layer(Points([[0, 5.5, 6.5], [1, 5, 7]], name="mine"))["source"].tolist()
    ['mine', 'mine']
    """
    kind = layer_kind(layer)
    if kind != "Points":
        name = getattr(layer, "name", "")
        raise InputError(f"Layer {name!r} is a {kind} layer: choose a Points layer.")
    points, features = np.asarray(layer.data), layer.features
    if points.shape[1] > 3:
        raise InputError(
            f"Layer {layer.name!r} has points of {points.shape[1]} coordinates: sites have "
            "(frame, y, x) or (y, x)."
        )
    record = record_of(layer)
    source = frames_name(image) if image is not None else record.get("frames") or layer.name
    if all(name in features for name in SITE_COLUMNS):
        sites = settle_edits(points, features, next_id=record.get("next_site_id", 0))
        shown = record.get("feature", record.get("column"))
        if shown != record.get("column"):  # only a copy in degrees
            sites = sites.drop(columns=shown, errors="ignore")
    else:
        sites = _own_points(points, features, source)
    if image is not None:
        sites = _on_image(sites, points, _between(layer, image))
    return validate_sites(sites.reset_index(drop=True))


def _own_points(points: NDArray[Any], features: pd.DataFrame, source: str) -> pd.DataFrame:
    """Sites table of points that are not ours, in their order, with their other features."""
    frame = np.rint(points[:, 0]).astype(np.int64) if points.shape[1] == 3 else 0
    order = np.arange(len(points))
    sites = make_sites(frame=frame, y=points[:, -2], x=points[:, -1], source=source, order=order)
    sites = sites.sort_values("order", ignore_index=True).drop(columns="order")
    sites["site_id"] = order.astype(np.int64)
    others = [name for name in features if name not in SITE_COLUMNS]
    return sites.join(features[others].reset_index(drop=True))


def _on_image(
    sites: pd.DataFrame, points: NDArray[Any], matrix: NDArray[np.float64]
) -> pd.DataFrame:
    """Sites in the pixels of an image that lies otherwise."""
    if np.array_equal(matrix, np.eye(len(matrix))):
        return sites
    place = _moved(points.astype(float), matrix)
    frame = np.rint(place[:, 0]).astype(np.int64) if place.shape[1] == 3 else sites["frame"]
    return sites.assign(frame=frame, y=place[:, -2], x=place[:, -1])
