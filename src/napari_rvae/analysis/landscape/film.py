"""Film strips: decoded pictures along a way, beside the mean of the crops nearest to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_rvae.analysis.landscape.metric import (
    PictureSpace,
    best_turns,
    crop_noise,
    picture_distance,
)
from napari_rvae.analysis.landscape.paths import LatentPath, along_pictures
from napari_rvae.analysis.poses import align_crops
from napari_rvae.errors import InputError
from napari_rvae.tables import latent_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.analysis.explain import Model
    from napari_rvae.crops import Crops

    Array = NDArray[np.float64]
    Pictures = NDArray[np.float32]

__all__ = ["FilmStrip", "film_strip"]

#: Crops are looked for among at most so many, a random sample of them.
_MOST_CROPS = 20_000


@dataclass(frozen=True, eq=False)
class FilmStrip:
    """Pictures along a way.

    Returned by :func:`~napari_rvae.film_strip`.

    Attributes
    ----------
    z
        Latents of the pictures (n, L).
    distance
        Along the way (n,), in standard deviations of the noise of a crop's pixel.
    angle
        Angle (n,) that each canonical picture is turned by.
    pictures
        Decoded pictures (n, C, S, S), in the units of the crops.
    crops
        Mean of the nearest sites' crops (n, C, S, S), turned as the pictures are; NaN where there
        are none.
    nearest
        One row for each of those crops: ``picture``, ``site_id`` and the ``distance`` of its
        decoded picture to that of the strip.
    """

    z: Array
    distance: Array
    angle: Array
    pictures: Pictures
    crops: Pictures
    nearest: pd.DataFrame

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.z)


def film_strip(
    model: Model,
    way: LatentPath | ArrayLike,
    *,
    n: int | None = 9,
    crops: Crops | None = None,
    latents: pd.DataFrame | None = None,
    n_nearest: int = 10,
    site_id: ArrayLike | None = None,
    angle: ArrayLike | None = None,
    noise: ArrayLike | None = None,
) -> FilmStrip:
    """Decode pictures along a way, each beside the mean of the crops nearest to it.

    Parameters
    ----------
    model
        A trained model.
    way
        A path of :func:`~napari_rvae.latent_path`, or the latents (K, L) of a site from frame to
        frame, such as one event of :func:`~napari_rvae.observed_passages`.
    n
        Number of pictures, at equal distances of the pictures along the way; None: one for each
        point of it.
    crops, latents
        Crops to average, and the latents that the model gave them (``transform``); none are
        averaged without.
    n_nearest
        So many crops are averaged for a picture.
    site_id
        Of the points of a way with `n` None: then each crop is that of this very site, where there
        is one, and nothing is averaged.
    angle
        How far each picture is turned, one or (n,); so that it fits the one before it, if left out.
        With the angles of the sites, pictures and crops stand as they do in the frames, and a hop
        that only turns a site can be seen.
    noise
        Standard deviation of the noise of a crop's pixel; the model's own, if left out.

    Returns
    -------
    FilmStrip
        Pictures and mean crops. A decoded picture is what the model makes of the crops; where
        ``nearest["distance"]`` is far above 1, no crop looks like it.

    Raises
    ------
    InputError
        If the way has fewer than two points, the latents are those of other crops, or `site_id` is
        given for another number of points.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, film_strip
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> latents = model.transform(crops)
    >>> strip = film_strip(model, [[0.0] * 4, [1.0] * 4], n=5, crops=crops, latents=latents)
    >>> strip.pictures.shape, strip.crops.shape, len(strip.nearest)
    ((5, 1, 32, 32), (5, 1, 32, 32), 50)
    """
    points = np.atleast_2d(np.asarray(way.z if isinstance(way, LatentPath) else way, float))
    sigma = crop_noise(model, noise)
    z, distance = _spaced(model, points, n, sigma)
    if angle is None:
        turn = _continued(model, z, sigma)
    else:
        turn = np.broadcast_to(np.asarray(angle, float), (len(z),))
    pictures = np.asarray(model.inverse_transform(z, angle=turn), np.float32)
    averaged = np.full(pictures.shape, np.nan, np.float32)
    nearest = pd.DataFrame({"picture": [], "site_id": []}, dtype="int64").assign(distance=0.0)
    if crops is not None and latents is not None and site_id is not None:
        averaged, nearest = _own_crops(turn, crops, latents, np.asarray(site_id))
    elif crops is not None and latents is not None:
        averaged, nearest = _mean_crops(model, z, turn, sigma, (crops, latents), n_nearest)
    return FilmStrip(z, distance, turn, pictures, averaged, nearest)


def _spaced(model: Model, points: Array, n: int | None, noise: Array) -> tuple[Array, Array]:
    if n is not None:
        return along_pictures(model, points, n, noise=noise)
    if len(points) < 2:
        raise InputError("The way has one point: give two or more.")
    steps = picture_distance(model, points[:-1], points[1:], noise=noise)
    return points, np.concatenate([[0.0], np.cumsum(steps)])


def _continued(model: Model, z: Array, noise: Array) -> Array:
    """Angle (n,) of each picture at which it fits the one before it best."""
    steps = best_turns(model, z[:-1], z[1:], noise)
    turn = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray((turn + np.pi) % (2 * np.pi) - np.pi)


def _own_crops(
    turn: Array, crops: Crops, latents: pd.DataFrame, site_id: NDArray[np.int64]
) -> tuple[Pictures, pd.DataFrame]:
    """Crops (n, C, S, S) of the sites themselves, turned as their pictures are."""
    if site_id.shape != turn.shape:
        raise InputError(
            f"There are {site_id.size} sites for {turn.size} pictures: give one for each point of "
            "the way, and n=None."
        )
    images = np.full((len(turn), *crops.images.shape[1:]), np.nan, np.float32)
    pose = latents.drop_duplicates("site_id").set_index("site_id").reindex(site_id)
    place = pd.Index(crops.site_id).get_indexer(pd.Index(site_id))
    there = np.flatnonzero((place >= 0) & pose["angle"].notna().to_numpy())
    if there.size:
        shift = pose[["shift_y", "shift_x"]].to_numpy(float)[there]
        images[there] = align_crops(
            crops.select(place[there]).read(),
            pose["angle"].to_numpy(float)[there] - turn[there],
            shift * crops.pixels / crops.window_px,
            vectors=crops.vectors,
        )
    kept = pd.DataFrame({"picture": there, "site_id": site_id[there], "distance": 0.0})
    return images, kept


def _mean_crops(
    model: Model,
    z: Array,
    turn: Array,
    noise: Array,
    data: tuple[Crops, pd.DataFrame],
    count: int,
) -> tuple[Pictures, pd.DataFrame]:
    """Mean aligned crops (n, C, S, S), and which they are."""
    crops, latents = data
    names = latent_names(latents)
    place = pd.Index(crops.site_id).get_indexer(pd.Index(latents["site_id"]))
    known = np.flatnonzero((place >= 0) & latents[[*names, "angle"]].notna().all(axis=1))
    if not known.size:
        raise InputError("None of the crops has latents: give those that transform(crops) gave.")
    if known.size > _MOST_CROPS:
        known = np.sort(np.random.default_rng(0).choice(known, _MOST_CROPS, replace=False))
    of_sites = latents[names].to_numpy(float)[known]
    space = PictureSpace.of(model, np.concatenate([z, of_sites]), noise)
    angle = latents["angle"].to_numpy(float)[known]
    shift = latents[["shift_y", "shift_x"]].to_numpy(float)[known] * crops.pixels / crops.window_px
    averaged, parts = [], []
    for number in range(len(z)):
        apart, fit = (values[len(z) :] for values in space.to_all(number))
        best = np.argsort(apart, kind="stable")[:count]
        images = crops.select(place[known[best]]).read()
        turns = angle[best] + fit[best] - turn[number]
        aligned = align_crops(images, turns, shift[best], vectors=crops.vectors)
        averaged.append(_mean(aligned))
        ids = latents["site_id"].to_numpy(np.int64)[known[best]]
        parts.append(pd.DataFrame({"picture": number, "site_id": ids, "distance": apart[best]}))
    return np.stack(averaged), pd.concat(parts, ignore_index=True)


def _mean(images: Pictures) -> Pictures:
    """Mean (C, S, S) of what is known at each pixel; NaN where nothing is."""
    known = np.isfinite(images)
    count = known.sum(0)
    total = np.where(known, images, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
