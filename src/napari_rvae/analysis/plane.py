"""The plane of two latents: what the model decodes at a place, which sites are near, grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from napari_rvae.analysis.explain import Model
from napari_rvae.analysis.scatter import plot_range
from napari_rvae.errors import InputError
from napari_rvae.tables import latent_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Pictures = NDArray[np.float32]

__all__ = ["DecodedPlace", "LatentPlane", "PlaneGrid", "latent_plane"]

#: The prior grid covers so many standard deviations of the prior on either side.
_PRIOR = 2.0


@dataclass(frozen=True, eq=False)
class DecodedPlace:
    """What a model shows at one place of a plane.

    Attributes
    ----------
    z
        The latents (L,): the two of the place, the others at the median of the data.
    site_id
        The site nearest to the place, in standard deviations of the two latents.
    angle
        How that site is turned, radians; NaN where it has no angle.
    canonical
        The decoded picture (C, S, S), upright.
    turned
        The same at that angle, as it would lie in the frame.
    """

    z: Array
    site_id: int
    angle: float
    canonical: Pictures
    turned: Pictures


@dataclass(frozen=True, eq=False)
class PlaneGrid:
    """Decoded pictures side by side over a plane; the first row is the uppermost.

    Attributes
    ----------
    z
        Latents (n, n, L) of each picture, in the middle of its cell; NaN where there is none.
    pictures
        Decoded (n, n, C, S, S), NaN where there is none.
    x_ends, y_ends
        What the grid covers of the two latents.
    """

    z: Array
    pictures: Pictures
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]

    def pixels(self) -> NDArray[np.uint8]:
        """Pictures of the first channel side by side: red, green, blue, alpha (n S, n S, 4).

        Grey values 0 to 255; transparent where there is no picture.
        """
        tiles = self.pictures[:, :, 0]
        n, side = tiles.shape[0], tiles.shape[-1]
        mosaic = tiles.transpose(0, 2, 1, 3).reshape(n * side, n * side).astype(float)
        known = mosaic[np.isfinite(mosaic)]
        low, high = np.percentile(known, (0.5, 99.5)) if known.size else (0.0, 1.0)
        share = np.nan_to_num(np.clip((mosaic - low) / max(high - low, 1e-12), 0, 1))
        pixels = np.empty((*mosaic.shape, 4), np.uint8)
        pixels[..., :3] = np.rint(255 * share)[..., None]
        pixels[..., 3] = np.where(np.isfinite(mosaic), 255, 0)
        return pixels


class LatentPlane:
    """A plane of two latents of a model, and the sites in it; see :func:`latent_plane`.

    Attributes
    ----------
    dims
        Numbers of the two latents.
    site_id
        Sites (M,) that have latents.
    """

    def __init__(self, model: Model, table: pd.DataFrame, dims: tuple[int, int]) -> None:
        names = latent_names(table)
        if not names or not all(0 <= number < len(names) for number in dims):
            found = ", ".join(names) or "none"
            raise InputError(
                f"The plane z{dims[0]}, z{dims[1]}: the sites have the latents {found}."
            )
        known = table[np.isfinite(table[names].to_numpy(float)).all(axis=1)]
        if known.empty:
            raise InputError("No site has latents: train or apply a model first.")
        self.dims = dims
        self.site_id = known["site_id"].to_numpy(np.int64)
        self._model = model
        self._z = known[names].to_numpy(float)
        self._angle = known["angle"].to_numpy(float) if "angle" in known else None
        self._middle = np.median(self._z, axis=0)
        spread = self._z[:, list(dims)].std(axis=0)
        self._step = np.where(spread > 0, spread, 1.0)
        self._tree = cKDTree(self._z[:, list(dims)] / self._step)

    def nearest(self, x: float, y: float, *, n: int = 1) -> NDArray[np.int64]:
        """Numbers of the sites nearest to a place, the nearest first.

        Parameters
        ----------
        x, y
            The two latents.
        n
            How many.
        """
        count = min(n, len(self.site_id))
        _, rows = self._tree.query(np.array([x, y]) / self._step, k=[*range(1, count + 1)])
        return np.asarray(self.site_id[rows])

    def decode(self, x: float, y: float) -> DecodedPlace:
        """Decode the picture at a place.

        Parameters
        ----------
        x, y
            The two latents.
        """
        z = self._middle.copy()
        z[list(self.dims)] = x, y
        _, row = self._tree.query(np.array([x, y]) / self._step)
        angle = float("nan") if self._angle is None else float(self._angle[row])
        both = self._model.inverse_transform(
            np.stack([z, z]), angle=np.array([0.0, np.nan_to_num(angle)])
        )
        return DecodedPlace(z, int(self.site_id[row]), angle, both[0], both[1])

    def grid(self, n: int = 9, *, of: Literal["prior", "data"] = "prior") -> PlaneGrid:
        """Decode pictures at equal steps over the plane.

        Parameters
        ----------
        n
            Pictures along each side.
        of
            "prior": over two standard deviations of the prior on either side, the other latents
            at 0. "data": over the data, each picture that of the mean latents of the sites in its
            cell, none where there are no sites.

        Raises
        ------
        InputError
            If `n` is not positive, or `of` is something else.
        """
        if n < 1:
            raise InputError(f"n = {n}: ask for one picture or more along each side.")
        if of == "prior":
            x_ends = y_ends = (-_PRIOR, _PRIOR)
            line = _PRIOR * (2 * np.arange(n) + 1 - n) / n
            z = np.zeros((n, n, self._z.shape[1]))
            z[:, :, self.dims[1]] = line[::-1, None]
            z[:, :, self.dims[0]] = line
        elif of == "data":
            x_ends, y_ends = (plot_range(self._z[:, number]) for number in self.dims)
            z = self._cell_means(n, x_ends, y_ends)
        else:
            raise InputError(f"of = {of!r}: choose prior or data.")
        known = np.isfinite(z).all(axis=2)
        decoded = self._model.inverse_transform(z[known])
        pictures = np.full((n, n, *decoded.shape[1:]), np.nan, np.float32)
        pictures[known] = decoded
        return PlaneGrid(z, pictures, x_ends, y_ends)

    def _cell_means(
        self, n: int, x_ends: tuple[float, float], y_ends: tuple[float, float]
    ) -> Array:
        """Mean latents (n, n, L) of the sites in each cell, NaN where there are none."""
        ends = np.array([x_ends, y_ends])
        share = (self._z[:, list(self.dims)] - ends[:, 0]) / np.ptp(ends, axis=1)
        cell = np.floor(share * n).astype(int)
        inside = ((cell >= 0) & (cell < n)).all(axis=1)
        number = (n - 1 - cell[inside, 1]) * n + cell[inside, 0]
        means = pd.DataFrame(self._z[inside]).groupby(number).mean().reindex(range(n * n))
        return means.to_numpy(float).reshape(n, n, -1)


def latent_plane(model: Model, table: pd.DataFrame, dims: tuple[int, int] = (0, 1)) -> LatentPlane:
    """Look at the plane of two latents.

    Parameters
    ----------
    model
        A trained model.
    table
        Sites table with the latents of this model; sites without are left out.
    dims
        Numbers of the two latents: the first grows to the right, the second upwards.

    Returns
    -------
    LatentPlane
        ``decode(x, y)`` tells what the model shows at a place, ``nearest(x, y, n=...)`` which
        sites are there, ``grid(n, of="prior")`` and ``grid(n, of="data")`` give pictures all over
        the plane. Latents are defined only up to a smooth map: distances in the plane mean little
        by themselves.

    Raises
    ------
    InputError
        If there are no such latents, or no site has any.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, latent_plane
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> plane = latent_plane(model, model.transform(crops))
    >>> plane.decode(0.0, 0.0).turned.shape, plane.grid(3, of="data").pictures.shape
    ((1, 32, 32), (3, 3, 1, 32, 32))
    """
    return LatentPlane(model, table, dims)
