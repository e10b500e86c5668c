"""Many points and densities -> pixels, fast enough to follow a mouse.

Matplotlib takes a second for 100,000 markers of as many colours; here they are a few assignments to
an array, whose pixels the caller shows smaller than they are (twice as many as on the screen).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Pixels = NDArray[np.uint8]

__all__ = ["paint_density", "paint_points"]


def paint_points(
    x: ArrayLike,
    y: ArrayLike,
    colours: Pixels,
    *,
    x_ends: tuple[float, float],
    y_ends: tuple[float, float],
    shape: tuple[int, int],
    radius: float = 4.0,
) -> Pixels:
    """Paint discs on a transparent ground; later ones lie over earlier ones.

    Parameters
    ----------
    x, y
        Places (N,), y upwards.
    colours
        Red, green, blue, alpha (N, 4), or (4,) for all, 0 to 255.
    x_ends, y_ends
        Ends of the axes: the outer edges of the picture.
    shape
        Rows and columns of the picture.
    radius
        Of a disc, in pixels.

    Returns
    -------
    ndarray of shape (rows, columns, 4)
        Red, green, blue, alpha, 0 to 255, not premultiplied.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.figures.raster import paint_points
    >>> red = np.array([255, 0, 0, 255], np.uint8)
    >>> ends = {"x_ends": (0, 1), "y_ends": (0, 1)}
    >>> picture = paint_points([0.1], [0.9], red, **ends, shape=(8, 8), radius=1)
    >>> picture[0, 0].tolist(), picture[7, 7].tolist()
    ([255, 0, 0, 255], [0, 0, 0, 0])
    """
    rows, columns = shape
    reach = int(np.ceil(radius))
    along = _pixel(x, x_ends, columns)
    down = _pixel(y, y_ends[::-1], rows)
    # with a rim as wide as a disc, so that none need be cut
    seen = (along > -reach) & (along < columns + reach) & (down > -reach) & (down < rows + reach)
    width = columns + 4 * reach
    picture = np.zeros(((rows + 4 * reach) * width,), np.uint32)
    place = (down[seen] + 2 * reach) * width + along[seen] + 2 * reach
    values = _packed(colours, seen)
    line = np.arange(-reach, reach + 1)
    for dy, dx in np.argwhere(np.hypot(line[:, None], line) <= radius) - reach:
        picture[place + dy * width + dx] = values
    inner = picture.reshape(-1, width)[
        2 * reach : 2 * reach + rows, 2 * reach : 2 * reach + columns
    ]
    return np.ascontiguousarray(inner).view(np.uint8).reshape(rows, columns, 4)


def _pixel(values: ArrayLike, ends: tuple[float, float], count: int) -> NDArray[np.int64]:
    """Number of the pixel that each value lies in; far beyond the picture for what is not seen."""
    share = (np.asarray(values, float) - ends[0]) / (ends[1] - ends[0])
    far = -10.0 * (count + 100)
    share = np.where(np.isfinite(share), np.floor(share * count), far)
    return np.asarray(np.clip(share, far, -far), np.int64)


def _packed(colours: Pixels, seen: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Colours (M,) of the points that are seen, or of all, as one number each."""
    plain = np.ascontiguousarray(np.atleast_2d(colours), np.uint8)
    packed = plain.view(np.uint32)[:, 0]
    return packed[seen] if len(packed) == len(seen) else packed


def paint_density(counts: NDArray[np.int64], colours: Pixels) -> Pixels:
    """Paint how many points each cell of a grid holds, on a logarithmic scale.

    Parameters
    ----------
    counts
        Numbers (rows, columns).
    colours
        Colours (256, 4) from few to many, 0 to 255.

    Returns
    -------
    ndarray of shape (rows, columns, 4)
        Transparent where there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.figures.raster import paint_density
    >>> grey = np.arange(256, dtype=np.uint8)[:, None].repeat(4, axis=1)
    >>> paint_density(np.array([[0, 1, 100]]), grey)[0, :, 0].tolist()
    [0, 38, 255]
    """
    most = np.log1p(max(int(counts.max(initial=0)), 1))
    level = np.rint(255 * np.log1p(counts) / most).astype(np.uint8)
    picture: Pixels = colours[level]
    picture[counts == 0] = 0
    return picture
