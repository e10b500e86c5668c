"""Sites with an angle -> arms over the frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.errors import InputError
from napari_rvae.frames import as_frames
from napari_rvae.layers.colours import degrees_name, on_circle
from napari_rvae.layers.place import LayerTuple, placement, provenance
from napari_rvae.layers.sites import coordinates, drawable, spacing_to_draw
from napari_rvae.layers.styles import MISSING_COLOUR, VectorStyle

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["vectors_layer"]


def vectors_layer(
    sites: pd.DataFrame,
    frames: Any = None,
    *,
    column: str = "angle",
    symmetry: int = 1,
    source: str | None = None,
    name: str | None = None,
    style: VectorStyle | None = None,
) -> LayerTuple:
    """Make a Vectors layer of directions: an arm for each equivalent direction of each site.

    Parameters
    ----------
    sites
        Sites table with `column`; sites without a value are left out.
    frames
        Frames that the sites lie on.
    column
        Column of angles a in radians: what points to the right, (0, 1), in the canonical picture
        points to (-sin a, cos a) in the frame, as (y, x), y down, in physical lengths.
    symmetry
        Number of arms n, at a + 2 pi k / n.
    source
        Draw the sites of this source; needed where the table holds several.
    name
        Name of the layer.
    style
        Colours and sizes; hue is the angle folded by `symmetry`, and an arm is the fainter the
        less is known of it (column ``angle_sd``): at the spread of a random angle it is faintest.

    Returns
    -------
    tuple
        Data (n N, 2, 3), or (n N, 2, 2) for one image: start and direction; options; "vectors".

    Raises
    ------
    InputError
        If the column is missing, or the table holds several sources and none is named.

    Examples
    --------
    >>> from napari_rvae import vectors_layer
    >>> from napari_rvae.tables import make_sites
    >>> sites = make_sites(frame=0, y=[5.0], x=[6.0], angle=[0.3])
    >>> vectors_layer(sites, symmetry=3)[0].shape
    (3, 2, 2)
    """
    if symmetry < 1:
        raise InputError(f"symmetry = {symmetry}: the order of a symmetry is 1 or more.")
    style = style or VectorStyle()
    sites, distance = drawable(sites, source, [column])
    distance = spacing_to_draw(distance)
    sites = sites[np.isfinite(sites[column].to_numpy(float))]
    frames = None if frames is None else as_frames(frames)
    start = np.repeat(coordinates(sites, frames), symmetry, axis=0)
    angle = sites[column].to_numpy(float)
    arms = (angle[:, None] + 2 * math.pi / symmetry * np.arange(symmetry)).ravel()
    height, width = (1.0, 1.0) if frames is None else frames.pixel_size
    # the length in pixels is that of square pixels of the same area
    length = style.length * distance * math.sqrt(height * width)
    direction = np.zeros(start.shape)
    direction[:, -2] = -np.sin(arms) * length / height
    direction[:, -1] = np.cos(arms) * length / width
    colours = _arm_colours(sites, column, symmetry, style)
    options = {
        "name": name or f"{column} (directions)",
        "features": pd.DataFrame(
            {
                "site_id": np.repeat(sites["site_id"].to_numpy(), symmetry),
                degrees_name(column): np.degrees(tables.fold_angle(arms, 1)),
            }
        ),
        # napari takes no empty list of colours
        "edge_color": colours if len(colours) else MISSING_COLOUR,
        "edge_width": style.width * distance,
        "vector_style": "line",
        "opacity": 1.0,
        "metadata": provenance(
            "directions", frames, column=column, symmetry=symmetry, source=source
        ),
        **placement(frames, start.shape[1]),
    }
    return np.stack([start, direction], axis=1), options, "vectors"


def _arm_colours(
    sites: pd.DataFrame, column: str, symmetry: int, style: VectorStyle
) -> NDArray[np.float64]:
    """Colours (n N, 4) of the arms."""
    colours = on_circle(sites[column].to_numpy(float), symmetry, style.colormap)
    deviation = "angle_sd" if column in ("angle", "lattice_angle") else f"{column}_sd"
    if deviation in sites:
        random = math.pi / symmetry / math.sqrt(3)
        known = 1 - sites[deviation].to_numpy(float) / random
        colours[:, 3] = np.clip(np.nan_to_num(known), style.faintest, 1.0)
    return np.repeat(colours.reshape(-1, 4), symmetry, axis=0)
