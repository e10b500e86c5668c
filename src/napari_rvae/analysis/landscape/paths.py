"""Ways over the landscape: the shortest between two units, and whether other models agree."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse.csgraph import dijkstra

from napari_rvae.analysis.landscape.density import Landscape
from napari_rvae.analysis.landscape.metric import crop_noise, picture_distance
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.analysis.explain import Model

    Array = NDArray[np.float64]

__all__ = ["LatentPath", "along_pictures", "latent_path", "path_agreement"]

#: Agreements of ways from which on two trainings agree, and agree in part.
_AGREES, _IN_PART = 0.8, 0.5
#: Pieces that every step of a path is cut into, to measure its length.
_PIECES = 4

#: Pictures along each path that are compared.
_COMPARED = 15


@dataclass(frozen=True, eq=False)
class LatentPath:
    """A way over the landscape, from node to node.

    Returned by :func:`~napari_rvae.latent_path`.

    Attributes
    ----------
    start, end
        Units at its ends.
    table
        One row for each node on it: ``node``, ``site_id``, ``unit``, ``density`` and ``distance``
        along the way, in standard deviations of the noise of a crop's pixel.
    z
        Latents of the nodes (n, L).
    largest_step
        Longest edge of the way. Where it is much longer than the others, no site lies there.
    bridged
        Whether the way leads over a gap between sites that no near neighbours span.
    """

    start: int
    end: int
    table: pd.DataFrame
    z: Array
    largest_step: float
    bridged: bool

    @property
    def length(self) -> float:
        """Length of the way, in standard deviations of the noise of a crop's pixel."""
        return float(self.table["distance"].iloc[-1])


def latent_path(landscape: Landscape, start: int, end: int) -> LatentPath:
    """Shortest way between two units that stays where sites are (a geodesic).

    Parameters
    ----------
    landscape
        What :func:`~napari_rvae.latent_landscape` returned for sites with units.
    start, end
        Units. The way leads from the middle of the one, its node nearest to all its others, to that
        of the other.

    Returns
    -------
    LatentPath
        The shortest path in the graph of near nodes, with the distance of the decoded pictures as
        the length of an edge. It says which pictures lie between, not that anything goes this way:
        see :func:`~napari_rvae.observed_passages` for that.

    Raises
    ------
    InputError
        If a unit has no node, or both are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, latent_landscape, latent_path
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> table = model.transform(crops).assign(unit=np.arange(64) % 2)
    >>> path = latent_path(latent_landscape(model, table, n_nodes=10), 0, 1)
    >>> path.start, path.end
    (0, 1)
    """
    if start == end:
        raise InputError(f"Both ends are unit {start}: choose two different units.")
    ends = [_middle(landscape, unit) for unit in (start, end)]
    edges, count = landscape.edges, len(landscape.nodes)
    one, other = edges["node"].to_numpy(), edges["other"].to_numpy()
    # equal pictures are apart by nothing, but an edge of length zero would not be one
    length = np.maximum(edges["length"].to_numpy(float), 1e-9)
    graph = np.zeros((count, count))
    graph[one, other] = length
    found = dijkstra(graph, directed=False, indices=[ends[0]], return_predecessors=True)
    distance, before = found[0][0], found[1][0]
    way = [ends[1]]
    while way[-1] != ends[0]:
        way.append(int(before[way[-1]]))
    way.reverse()
    rows = landscape.nodes.iloc[way].reset_index(drop=True)
    table = rows[["node", "site_id", "unit", "density"]].assign(distance=distance[way])
    pairs = {tuple(sorted(pair)) for pair in itertools.pairwise(way)}
    taken = np.array([pair in pairs for pair in zip(one.tolist(), other.tolist(), strict=True)])
    return LatentPath(
        start,
        end,
        table,
        landscape.node_latents[way],
        float(length[taken].max()),
        bool(edges["bridge"].to_numpy(bool)[taken].any()),
    )


def _middle(landscape: Landscape, unit: int) -> int:
    own = landscape.nodes[landscape.nodes["unit"] == unit]
    if own.empty:
        have = sorted(set(landscape.nodes["unit"]) - {-1})
        raise InputError(
            f"The landscape has no node of unit {unit}: choose from "
            f"{', '.join(map(str, have)) or 'none; join the units to the table first'}."
        )
    nodes = own["node"].to_numpy(np.intp)
    apart = landscape.distance[np.ix_(nodes, nodes)] @ own["n_sites"].to_numpy(float)
    return int(nodes[apart.argmin()])


def along_pictures(
    model: Model,
    z: ArrayLike,
    n: int,
    *,
    noise: ArrayLike | None = None,
    pose_free: bool = True,
) -> tuple[Array, Array]:
    """Latents at equal distances of their pictures along a way from latents to latents.

    Parameters
    ----------
    model
        The decoder.
    z
        Latents (K, L) that the way leads over, in order; between them it is straight.
    n
        Number of places, both ends included.
    noise
        Standard deviation of the noise of a crop's pixel; the model's own, if left out.
    pose_free
        Whether turned pictures count as the same.

    Returns
    -------
    z : ndarray (n, L)
        Latents.
    distance : ndarray (n,)
        Along the way, in standard deviations of the noise; equal steps.

    Raises
    ------
    InputError
        If the way has fewer than two points, or `n` is less than two.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops
    >>> from napari_rvae.analysis.landscape.paths import along_pictures
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
    >>> along_pictures(model, [[0.0] * 4, [1.0] * 4], 3)[0].shape
    (3, 4)
    """
    points = np.atleast_2d(np.asarray(z, float))
    if len(points) < 2 or n < 2:
        raise InputError(
            f"A way of {len(points)} points in {n} pictures: give two of either or more."
        )
    share = np.arange(_PIECES * (len(points) - 1) + 1) / _PIECES
    fine = np.stack(
        [np.interp(share, np.arange(len(points)), column) for column in points.T], axis=1
    )
    steps = picture_distance(model, fine[:-1], fine[1:], noise=noise, pose_free=pose_free)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    if not along[-1] > 0:
        along = share / share[-1]  # all pictures are the same: any spacing is as good
    places = np.linspace(0, along[-1], n)
    return np.stack([np.interp(places, along, column) for column in fine.T], 1), places


def path_agreement(
    model: Model,
    path: LatentPath,
    other_model: Model,
    other_path: LatentPath,
    *,
    noise: ArrayLike | None = None,
) -> pd.DataFrame:
    """Whether another model, trained from another seed, sees the same pictures on the way.

    Parameters
    ----------
    model, path
        A model and a way of it.
    other_model, other_path
        Another model, trained on crops of the same grid, and its way between the same units.
    noise
        Standard deviation of the noise of a crop's pixel; that of `model`, if left out.

    Returns
    -------
    DataFrame
        One row for each of 15 places at equal distances along `path`: ``distance`` from its start;
        ``nearest``, distance of its picture to the nearest one on the other way, all turns tried;
        ``to_ends``, that to the nearer end of the other way. ``attrs["agreement"]`` is ``1 -
        sum(nearest) / sum(to_ends)``: 1 if the other model goes the same way, 0 if its way is no
        nearer than its ends, which any way shares. ``attrs["verdict"]`` says in words what that
        means: "agrees" from 0.8 on, "agrees in part" from 0.5 on, else "does not agree". Ways
        between rare units, of which a training sees few crops, mostly do not.

    Raises
    ------
    InputError
        If the ways do not join the same units, or the pictures differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, latent_landscape, latent_path, path_agreement
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> table = model.transform(crops).assign(unit=np.arange(64) % 2)
    >>> path = latent_path(latent_landscape(model, table, n_nodes=10), 0, 1)
    >>> len(path_agreement(model, path, model, path))
    15
    """
    if {path.start, path.end} != {other_path.start, other_path.end}:
        raise InputError(
            f"The ways join units {path.start} and {path.end}, and {other_path.start} and "
            f"{other_path.end}: compare ways between the same units."
        )
    sigma = crop_noise(model, noise)
    z, distance = along_pictures(model, path.z, _COMPARED, noise=sigma)
    other_z, _ = along_pictures(other_model, other_path.z, 2 * _COMPARED, noise=sigma)
    nearest = _to_nearest(model, z, other_model, other_z, sigma)
    to_ends = _to_nearest(model, z, other_model, other_z[[0, -1]], sigma)
    table = pd.DataFrame({"distance": distance, "nearest": nearest, "to_ends": to_ends})
    reach = float(to_ends.sum())
    agreement = 1 - float(nearest.sum()) / reach if reach > 0 else float("nan")
    return _with_verdict(table, agreement)


def _with_verdict(table: pd.DataFrame, agreement: float) -> pd.DataFrame:
    """Say in plain words what an agreement of two ways means."""
    if not np.isfinite(agreement):
        verdict = "cannot tell: the pictures on the way are all the same"
    elif agreement >= _AGREES:
        verdict = "agrees: another training goes by the same pictures"
    elif agreement >= _IN_PART:
        verdict = "agrees in part: another training goes by similar pictures"
    else:
        verdict = (
            "does not agree: another training goes by other pictures, so this way says nothing of "
            "the sites; look at observed passages"
        )
    table.attrs.update(agreement=agreement, verdict=verdict)
    return table


def _to_nearest(model: Model, z: Array, other: Model, other_z: Array, noise: Array) -> Array:
    """Distance of each picture of z (n, L) to the nearest one of the other latents, pose-free."""
    shapes = [np.shape(m.inverse_transform(v[:1]))[1:] for m, v in ((model, z), (other, other_z))]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"The models draw pictures of shapes {shapes[0]} and {shapes[1]}: train both on crops "
            "of the same grid."
        )
    count, against = len(z), len(other_z)
    pairs = picture_distance(
        model,
        np.repeat(z, against, 0),
        np.tile(other_z, (count, 1)),
        noise=noise,
        other_model=other,
    )
    return np.asarray(pairs.reshape(count, against).min(1))
