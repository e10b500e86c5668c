"""Pictures -> layers, and layers -> a viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.errors import InputError
from napari_rvae.frames import FRAME_COLUMNS, Frames, as_frames
from napari_rvae.layers.colours import show_colour_bar
from napari_rvae.layers.place import LayerTuple, placement, provenance, robust_limits
from napari_rvae.layers.styles import ImageStyle

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["add_layers", "image_layer", "manifold_layer"]


def image_layer(
    image: Any,
    frames: Any = None,
    *,
    channel: int | str = 0,
    contrast_limits: tuple[float, float] | None = None,
    name: str | None = None,
    style: ImageStyle | None = None,
) -> LayerTuple:
    """Make an Image layer of one channel of a movie, or of a picture that lies over it.

    Parameters
    ----------
    image
        Frames, or an array (Y, X) or (T, Y, X), such as a latent map; it stays lazy.
    frames
        Frames that an array lies over: gives scale, units and axis labels.
        :func:`~napari_rvae.frames_from_layer` gives frames back from a layer made without.
    channel
        Number or name of the channel; points would land on a channel axis, so one layer each.
    contrast_limits
        Black and white; percentiles of up to five frames when left out.
    name
        Name of the layer.
    style
        Colours.

    Returns
    -------
    tuple
        Data (T, Y, X) or (Y, X); options; "image".

    Raises
    ------
    InputError
        If it is no picture, or there is no such channel.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import image_layer
    >>> image_layer(np.zeros((4, 16, 16)))[1]["contrast_limits"]
    (-0.5, 0.5)
    """
    style = style or ImageStyle()
    movie = as_frames(image)
    number = movie.channel_index(channel)
    label = movie.channels[number] if movie.n_channels > 1 else movie.name or "image"
    if frames is None:
        below, record = movie, {"kind": "image", **_movie_record(movie)}
    else:
        below, record = as_frames(frames), {"kind": "picture"}
    data = _channel(movie, number)
    if contrast_limits is None:
        picked = np.unique(np.linspace(0, movie.n_frames - 1, 5).astype(int))
        sample = np.concatenate([movie.frame(int(i), number).ravel() for i in picked])
        contrast_limits = robust_limits(sample, style.percentiles)
    options = {
        "name": name or label,
        "colormap": style.colormap,
        "contrast_limits": contrast_limits,
        "opacity": style.opacity,
        "blending": style.blending,
        "metadata": provenance(
            frames=below,
            channel=movie.channels[number],
            contrast_limits=contrast_limits,
            **record,
        ),
        **placement(below, len(data.shape)),
    }
    return data, options, "image"


def _movie_record(movie: Frames) -> dict[str, Any]:
    """What a layer does not hold of the frames: shape, units and what is known of each frame."""
    axes = [i for i, label in enumerate(movie.axis_labels) if label != "c"]
    table = {}
    for name in FRAME_COLUMNS[1:]:
        values = movie.table[name].astype(bool if name == "keep" else float)
        if not values.all() if name == "keep" else values.notna().any():
            # JSON has no NaN
            table[name] = values.astype(object).where(values.notna(), None).tolist()
    return {
        "shape": [movie.shape[i] for i in axes],
        "units": [movie.units[i] for i in axes],
        "table": table or None,
    }


def _channel(movie: Frames, number: int) -> Any:
    """Pictures (T, Y, X) or (Y, X) of one channel; only dask and NumPy slice without copying."""
    if "c" not in movie.axis_labels:
        return movie.data
    data = movie.data
    if not isinstance(data, np.ndarray) and not hasattr(data, "dask"):
        import dask.array as da

        data = da.from_array(data, chunks=(1,) * (len(movie.shape) - 2) + movie.frame_shape)
    return data[(slice(None),) * movie.axis_labels.index("c") + (number,)]


def manifold_layer(
    pictures: ArrayLike,
    frames: Any = None,
    *,
    channel: int = 0,
    contrast_limits: tuple[float, float] | None = None,
    name: str = "manifold",
    style: ImageStyle | None = None,
) -> LayerTuple:
    """Make an Image layer of the decoded pictures over a grid of latents.

    Parameters
    ----------
    pictures
        Pictures (n, m, C, S, S) of :meth:`~napari_rvae.RVAE.manifold`.
    frames
        Frames beside which it is placed, to the right and as high as they are.
    channel
        Number of the channel.
    contrast_limits
        Black and white; percentiles when left out.
    name
        Name of the layer.
    style
        Colours.

    Returns
    -------
    tuple
        Data (n S, m S): the first picture is at the top left; options; "image".

    Raises
    ------
    InputError
        If the pictures are of another shape, or there is no such channel.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import manifold_layer
    >>> manifold_layer(np.zeros((3, 4, 1, 8, 8)))[0].shape
    (24, 32)
    """
    style = style or ImageStyle()
    grid = np.asarray(pictures, float)
    if grid.ndim != 5 or not grid.size or not 0 <= channel < grid.shape[2]:
        raise InputError(
            f"Pictures of shape {grid.shape} have no channel {channel}: give (n, m, C, S, S)."
        )
    n, m, _, side, _ = grid.shape
    mosaic = grid[:, :, channel].transpose(0, 2, 1, 3).reshape(n * side, m * side)
    movie = None if frames is None else as_frames(frames)
    limits = contrast_limits or robust_limits(mosaic, style.percentiles)
    options = {
        "name": name,
        "colormap": style.colormap,
        "contrast_limits": limits,
        "metadata": provenance("manifold", movie, grid=[n, m], channel=channel),
        **placement(movie, 2),
    }
    if movie is not None:
        height, width = movie.pixel_size
        pixel = movie.frame_shape[0] * height / len(mosaic)
        options["scale"] = (pixel, pixel)
        options["translate"] = (0.0, 1.05 * movie.frame_shape[1] * width)
    return mosaic, options, "image"


def add_layers(viewer: Any, *layers: LayerTuple) -> list[Any]:
    """Add layers to a viewer, with the colour bars of those that show numbers.

    Parameters
    ----------
    viewer
        A napari viewer, or its model.
    *layers
        Tuples of the functions of this module.

    Returns
    -------
    list
        The layers that the viewer made.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, image_layer
    >>> [layer.name for layer in add_layers(ViewerModel(), image_layer(np.zeros((16, 16))))]
    ['image']
    """
    added = [getattr(viewer, f"add_{kind}")(data, **options) for data, options, kind in layers]
    for layer in added:
        show_colour_bar(layer)
    return added
