"""Dense latent images -> layers over the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames
from napari_rvae.layers.colours import colour_table, is_angle
from napari_rvae.layers.place import LayerTuple, placement, provenance, robust_limits
from napari_rvae.layers.styles import MapStyle

if TYPE_CHECKING:
    from napari_rvae.vae import RVAE

__all__ = ["latent_image_layers"]


def latent_image_layers(
    model: RVAE,
    frames: Any,
    columns: Sequence[str] = ("z0", "z1", "angle"),
    *,
    stride: int = 4,
    symmetry: int | None = None,
    contrast_limits: tuple[float, float] | None = None,
    style: MapStyle | None = None,
    **options: Any,
) -> list[LayerTuple]:
    """Make layers of latents around every pixel, with the scan's scale.

    Parameters
    ----------
    model
        A trained model.
    frames
        Frames that the pictures lie over.
    columns
        Columns of :func:`~napari_rvae.latent_image`. Angles are drawn in degrees and cyclic
        colours that come round once in their period, 360 degrees over `symmetry`.
    stride, symmetry
        As of :func:`~napari_rvae.latent_image`.
    contrast_limits
        Ends of the colours of numbers; percentiles of the frame in the middle of the movie, which
        is encoded for them, when left out.
    style
        Colours and opacity.
    **options
        Further ones of :func:`~napari_rvae.latent_image`: ``channels``, ``region``, ``walls``.

    Returns
    -------
    list of tuple
        One for each column: lazy data (T, Y, X) or (Y, X); options; "image".

    Raises
    ------
    InputError
        As of :func:`~napari_rvae.latent_image`, and if no place of the middle frame has a value.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, extract_crops, latent_image_layers, sample_grid
    >>> scan = np.random.default_rng(0).normal(size=(64, 64))
    >>> model = RVAE(epochs=1).fit(extract_crops(scan, sample_grid(scan, step=4), window=16))
    >>> [layer[1]["name"] for layer in latent_image_layers(model, scan, ["z0", "angle"])]
    ['z0 image', 'angle image (deg)']
    """
    from napari_rvae.analysis.dense import latent_image  # loads much of SciPy

    style, movie = style or MapStyle(), as_frames(frames)
    pictures = latent_image(
        model, movie, list(columns), stride=stride, symmetry=symmetry, **options
    )
    layers: list[LayerTuple] = []
    for column, picture in pictures.items():
        angle, order = is_angle(column, None), symmetry or 1
        limits, data = contrast_limits, picture
        if angle:
            data = picture.map_blocks(np.degrees, dtype=np.float32)
            limits = (-180 / order, 180 / order)
        elif limits is None:
            middle = picture if picture.ndim == 2 else picture[len(picture) // 2]
            values = np.asarray(middle)
            if not np.isfinite(values).any():
                raise InputError(f"No place of the middle frame has a value of {column!r}.")
            limits = robust_limits(values, style.percentiles)
        colours = style.cyclic_colormap if angle else style.colormap
        name = colours if isinstance(colours, str) else "cyclic"
        look = {
            "name": f"{column} image" + (" (deg)" if angle else ""),
            "colormap": {"name": f"{name}, gaps transparent", "colors": colour_table(colours)},
            "contrast_limits": limits,
            "opacity": style.opacity,
            "blending": style.blending,
            "metadata": provenance(
                "map",
                movie,
                column=column,
                source=None,
                colours="cyclic" if angle else "continuous",
                contrast_limits=limits,
                symmetry=order if angle else None,
                stride=stride,
            ),
            **placement(movie, picture.ndim),
        }
        layers.append((data, look, "image"))
    return layers
