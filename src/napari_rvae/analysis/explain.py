"""What a model has learned, in pictures and numbers that a person can check.

Traversals and line profiles of decoded pictures, crops beside what the model sees in them, and how
unusual a crop is. Everything goes through the model's public methods, so it works for both engines
and for the baselines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
from scipy import ndimage

from napari_rvae.analysis.poses import align_crops, as_pictures
from napari_rvae.errors import InputError
from napari_rvae.tables import latent_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.crops import Crops

    Array = NDArray[np.float64]
    Pictures = NDArray[np.float32]

__all__ = [
    "Model",
    "SiteViews",
    "Traversal",
    "line_profiles",
    "neighbour_direction",
    "outlier_scores",
    "traverse",
    "view_sites",
]

#: A neighbour is looked for at this many neighbour distances from the middle.
_NEIGHBOUR = (0.6, 1.45)


class Model(Protocol):
    """What is asked of a model: :class:`~napari_rvae.RVAE` and the baselines have it."""

    def transform(self, crops: Crops) -> pd.DataFrame:
        """Latents table of crops."""

    def inverse_transform(
        self, z: ArrayLike, *, angle: ArrayLike = 0.0, shift: ArrayLike = (0.0, 0.0)
    ) -> Pictures:
        """Pictures (M, C, S, S) of latents (M, L), at angles and shifts (grid pixels)."""


# ----------------------------------------------------------------------------- traversals
@dataclass(frozen=True, eq=False)
class Traversal:
    """Decoded pictures along one latent.

    Returned by :func:`~napari_rvae.traverse`.

    Attributes
    ----------
    latent
        Its name.
    quantile
        Share of the data below each picture's value (n,), 0 to 1.
    z
        Latents of each picture (n, L).
    pictures
        Decoded (n, C, S, S), in the units of the crops.
    """

    latent: str
    quantile: Array
    z: Array
    pictures: Pictures

    @property
    def value(self) -> Array:
        """The latent itself (n,)."""
        return np.asarray(self.z[:, int(self.latent[1:])])


def traverse(
    model: Model,
    latents: pd.DataFrame,
    latent: str = "z0",
    *,
    n: int = 9,
    quantiles: tuple[float, float] = (0.05, 0.95),
    site_id: int | None = None,
) -> Traversal:
    """Decode pictures along one latent.

    Parameters
    ----------
    model
        A trained model.
    latents
        Latents table of the data; rows with NaN are left out.
    latent
        Which one moves, such as "z0": over quantiles of the data at equal steps, so that every
        picture stands for as many sites.
    n
        Number of pictures.
    quantiles
        The first and the last, 0 to 1.
    site_id
        The other latents are those of this site; their medians, if left out.

    Raises
    ------
    InputError
        If there is no such latent or site, or nothing to take quantiles of.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops
    >>> from napari_rvae.analysis.explain import traverse
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> traverse(model, model.transform(crops), "z1", n=5).pictures.shape
    (5, 1, 32, 32)
    """
    names = latent_names(latents)
    if latent not in names:
        raise InputError(
            f"There is no latent {latent!r}: choose from {', '.join(names) or 'none'}."
        )
    if n < 1 or not 0 <= quantiles[0] <= quantiles[1] <= 1:
        raise InputError(
            f"n = {n}, quantiles = {quantiles}: give one picture or more, and two shares in order."
        )
    known = latents.dropna(subset=names)
    middle = known[names].median()
    if site_id is not None:
        rows = known.loc[known["site_id"] == site_id, names]
        if rows.empty:
            raise InputError(f"The table has no latents of site {site_id}: choose another.")
        middle = rows.iloc[0]
    if known.empty:
        raise InputError("The table has no latents that are not NaN: nothing can be decoded.")
    share = np.linspace(*quantiles, n)
    z = np.tile(middle.to_numpy(float), (n, 1))
    z[:, names.index(latent)] = np.quantile(known[latent].to_numpy(float), share)
    return Traversal(latent, share, z, model.inverse_transform(z))


# ----------------------------------------------------------------------------- line profiles
def line_profiles(
    pictures: ArrayLike,
    direction: float | None = None,
    *,
    width: float = 1.0,
    neighbour_px: float = math.nan,
    pixel_pm: float = math.nan,
    channel: int = 0,
) -> pd.DataFrame:
    """Intensity of pictures along a line through their middle, such as those of a traversal.

    Parameters
    ----------
    pictures
        Decoded pictures (M, C, S, S).
    direction
        Of the line, radians counter-clockwise on the screen from the x axis; towards the
        brightest neighbour in the mean of the pictures, if left out.
    width
        Width of the stripe that is averaged across the line, in pixels.
    neighbour_px
        Neighbour distance in pixels of the grid: ``S / crops.window_nd``.
    pixel_pm
        Size of a pixel of the grid in pm.
    channel
        Which one.

    Returns
    -------
    DataFrame
        ``picture`` (number), ``position_px`` along the line, 0 in the middle and within half the
        grid, ``position_nd`` (neighbour distances) and ``position_pm``, NaN where unknown, and
        ``intensity``.

    Raises
    ------
    InputError
        If the pictures have another shape, or a direction is needed and cannot be found.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.explain import line_profiles
    >>> line = np.arange(33) - 16.0
    >>> atoms = sum(np.exp(-(line[:, None] ** 2 + (line - x) ** 2) / 8) for x in (0, 9))
    >>> profile = line_profiles(atoms[None, None], 0.0, neighbour_px=9.0)
    >>> round(float(profile["intensity"][(profile["position_nd"] - 1).abs().argmin()]), 2)
    1.0
    """
    values = as_pictures(pictures)
    if not 0 <= channel < values.shape[1]:
        raise InputError(f"channel = {channel}: the pictures have {values.shape[1]}.")
    if direction is None:
        direction = neighbour_direction(values[:, channel].mean(0), neighbour_px)
    side = values.shape[-1]
    position = np.arange(side) - (side - 1) / 2
    across = np.arange(max(1, round(width))) - (max(1, round(width)) - 1) / 2
    middle, along = (side - 1) / 2, np.array([-math.sin(direction), math.cos(direction)])
    aside = np.array([along[1], -along[0]])
    at = middle + position[:, None, None] * along + across[None, :, None] * aside
    lines = np.stack(
        [
            ndimage.map_coordinates(one[channel], at.transpose(2, 0, 1), order=3, mode="nearest")
            for one in values
        ]
    ).mean(2)
    return pd.DataFrame(
        {
            "picture": np.repeat(np.arange(len(values)), side),
            "position_px": np.tile(position, len(values)),
            "position_nd": np.tile(position / neighbour_px, len(values)),
            "position_pm": np.tile(position * pixel_pm, len(values)),
            "intensity": lines.ravel(),
        }
    )


def neighbour_direction(picture: ArrayLike, neighbour_px: float) -> float:
    """Direction from the middle of a picture (S, S) to its brightest neighbour.

    Parameters
    ----------
    picture
        One channel of a decoded picture.
    neighbour_px
        Neighbour distance in pixels of the grid.

    Returns
    -------
    float
        Radians, counter-clockwise on the screen from the x axis.

    Raises
    ------
    InputError
        If the neighbour distance is unknown, or lies outside the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.explain import neighbour_direction
    >>> line = np.arange(32) - 15.5
    >>> above = np.exp(-((line[:, None] + 9) ** 2 + line**2) / 8)
    >>> round(np.degrees(neighbour_direction(above, 9.0)))
    90
    """
    values = np.asarray(picture, float)
    line = np.arange(values.shape[0]) - (values.shape[0] - 1) / 2
    distance = np.hypot(line[:, None], line)
    ring = (distance > _NEIGHBOUR[0] * neighbour_px) & (distance < _NEIGHBOUR[1] * neighbour_px)
    ring &= distance < values.shape[0] / 2
    if not ring.any():
        raise InputError(
            f"No neighbour can be looked for at {neighbour_px} px in a picture of "
            f"{values.shape[0]} px: give the direction."
        )
    row, column = np.unravel_index(np.where(ring, values, -np.inf).argmax(), values.shape)
    # the centre of mass of the spot is finer than its brightest pixel
    near = np.hypot(line[:, None] - line[row], line - line[column]) < 0.35 * neighbour_px
    weight = np.where(near, np.clip(values - np.median(values[near]), 0, None), 0.0)
    if not weight.sum() > 0:
        return math.atan2(-line[row], line[column])
    y, x = (weight * line[:, None]).sum(), (weight * line).sum()
    return math.atan2(-y, x)


# ----------------------------------------------------------------------------- single sites
@dataclass(frozen=True, eq=False)
class SiteViews:
    """Crops beside what a model sees in them.

    Returned by :func:`~napari_rvae.view_sites`.

    Attributes
    ----------
    latents
        Latents table (N rows).
    crop
        The crops (N, C, S, S).
    aligned
        The same turned back by their angle and shift, as the canonical pictures lie; NaN beyond
        the crop's edge.
    canonical
        The decoded canonical pictures.
    reconstruction
        The decoded pictures at the crops' angles and shifts.
    residual
        Crop less reconstruction; NaN outside the disc, of which the model knows nothing.
    """

    latents: pd.DataFrame
    crop: Pictures
    aligned: Pictures
    canonical: Pictures
    reconstruction: Pictures
    residual: Pictures

    def __len__(self) -> int:
        """Return the number of sites."""
        return len(self.crop)


def view_sites(model: Model, crops: Crops) -> SiteViews:
    """Put crops beside what a model sees in them.

    Parameters
    ----------
    model
        A trained model.
    crops
        A few crops: ``crops.select(rows)``.

    Returns
    -------
    SiteViews
        Pictures in the units of the crops; NaN for crops with NaN.

    Raises
    ------
    NotFittedError
        Before the training.
    InputError
        If the crops do not fit the model.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops
    >>> from napari_rvae.analysis.explain import view_sites
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> view_sites(RVAE(epochs=1).fit(crops), crops.select([3, 7])).residual.shape
    (2, 1, 32, 32)
    """
    table = model.transform(crops)
    images, names = crops.read(), latent_names(table)
    good = table[names].notna().all(axis=1).to_numpy()
    known = table[good]
    z, angle = known[names].to_numpy(float), known["angle"].to_numpy(float)
    shift = known[["shift_y", "shift_x"]].to_numpy(float) * crops.pixels / crops.window_px
    aligned, canonical, reconstruction = np.full((3, *images.shape), np.nan, np.float32)
    aligned[good] = align_crops(images[good], angle, shift, vectors=crops.vectors)
    canonical[good] = model.inverse_transform(z)
    reconstruction[good] = model.inverse_transform(z, angle=angle, shift=shift)
    line = np.arange(crops.pixels) - (crops.pixels - 1) / 2
    inside = np.hypot(line[:, None], line) <= (crops.pixels - 1) / 2
    residual = np.where(inside, images - reconstruction, np.nan).astype(np.float32)
    return SiteViews(table, images, aligned, canonical, reconstruction, residual)


# ----------------------------------------------------------------------------- outliers
def outlier_scores(latents: pd.DataFrame, *, reference: pd.DataFrame | None = None) -> pd.DataFrame:
    """How unusual the residuals of sites are: what a model has not learned to describe.

    Parameters
    ----------
    latents
        Latents table with ``site_id`` and ``residual``.
    reference
        Latents table of crops that count as usual, those of the training; `latents` itself, if
        left out.

    Returns
    -------
    DataFrame
        One row per site, in order: ``site_id``; ``residual``; ``outlier_score``, by how many
        standard deviations log(residual) lies above the reference's median (the standard
        deviation from the median absolute deviation); ``tail_probability``, (1 + number in the
        reference with as large a residual) / (1 + number in the reference). NaN where there is no
        residual.

    Raises
    ------
    InputError
        If a column is missing, or the reference has fewer than three residuals.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae.analysis.explain import outlier_scores
    >>> table = pd.DataFrame({"site_id": range(5), "residual": [1.0, 0.9, 1.1, 1.0, 3.0]})
    >>> scores = outlier_scores(table)
    >>> int(scores["outlier_score"].argmax())
    4
    >>> scores["tail_probability"].round(2).tolist()
    [0.83, 1.0, 0.5, 0.83, 0.33]
    """
    for table in (latents, latents if reference is None else reference):
        missing = [name for name in ("site_id", "residual") if name not in table]
        if missing:
            raise InputError(f"The latents lack the column {', '.join(missing)}: transform crops.")
    residual = latents["residual"].to_numpy(float)
    usual = (latents if reference is None else reference)["residual"].to_numpy(float)
    usual = np.sort(usual[np.isfinite(usual)])
    if len(usual) < 3:
        raise InputError(f"{len(usual)} residuals do not tell what is usual: give three or more.")
    tiny = np.finfo(float).tiny
    logs = np.log(np.maximum(usual, tiny))
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    spread = spread or float(logs.std()) or 1.0
    known = np.isfinite(residual)
    above = len(usual) - np.searchsorted(usual, residual, side="left")
    return pd.DataFrame(
        {
            "site_id": latents["site_id"].to_numpy(),
            "residual": residual,
            "outlier_score": (np.log(np.maximum(residual, tiny)) - middle) / spread,
            "tail_probability": np.where(known, (above + 1) / (len(usual) + 1), np.nan),
        }
    )
