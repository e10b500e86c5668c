"""Where the sites lie among the decoded pictures: nodes, density and a graph of near pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from napari_rvae.analysis.landscape.metric import PictureSpace, crop_noise, picture_metric
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.tables import latent_names

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_rvae.analysis.explain import Model

    Array = NDArray[np.float64]
    Ids = NDArray[np.intp]

__all__ = ["Landscape", "latent_landscape"]

#: A node stands for at least so many sites: fewer are outliers, and no way leads over them.
_SITES_OF_NODE = 3

#: Sites of a unit of which the most central one is its first node.
_CANDIDATES = 9

#: Nodes that are looked for beyond those asked for, as outliers among them are dropped.
_SPARE = 1.25

#: Neighbours of a node in the graph.
_NEIGHBOURS = 8

#: The density is smoothed over the distance to a site's so-manyth share of the others, but not less
#: than 1, the distance that noise alone makes.
_BANDWIDTH_SHARE = 0.01

#: Principal coordinates that are kept for drawing.
_AXES = 3

#: Calls of `progress` in all.
_REPORTS = 20


@dataclass(frozen=True, eq=False)
class Landscape:
    """Where the sites lie among the decoded pictures.

    Returned by :func:`~napari_rvae.latent_landscape`.

    Distances are those of decoded pictures, in standard deviations of the noise of a crop's pixel,
    turned pictures counted as the same. They do not depend on how the latents happen to be
    stretched. What is dense here is frequent; it is neither an energy nor, where it is thin, a
    barrier: a movie under the beam is not in equilibrium.

    Attributes
    ----------
    sites
        The sites that were looked at (all, or a sample): ``site_id``, ``unit`` (-1 = none),
        ``node`` (the nearest one), ``density``, the principal coordinates ``p0``, ``p1``, ... and
        the latents.
    nodes
        Sites that stand for those around them: ``node``, ``site_id``, ``unit``, ``n_sites``
        (nearest to it), ``density``, ``p0``, ``p1``, ... and the latents ``z0``, ``z1``, ...
    edges
        Pairs of near nodes: ``node``, ``other``, ``length`` and ``bridge``, True where the nodes
        are no near neighbours, but nothing else links two groups of them.
    latents
        One row for each latent: ``latent`` and ``distance``, how far the picture changes over one
        standard deviation of it (median over the nodes). Far below 1 it means nothing.
    distance
        Distance of each node to each other (M, M).
    bandwidth
        Width of the smoothing.
    view_share
        Share of the squared distances between the nodes that ``p0`` and ``p1`` show, 0 to 1: a
        plane is only a projection.
    noise
        Standard deviation of the noise of a crop's pixel (C,), the unit of all distances.
    pose_free
        Whether turned pictures count as the same.
    """

    sites: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame
    latents: pd.DataFrame
    distance: Array
    bandwidth: float
    view_share: float
    noise: Array
    pose_free: bool

    @property
    def node_latents(self) -> Array:
        """Latents of the nodes (M, L)."""
        return self.nodes[latent_names(self.nodes)].to_numpy(float)


def latent_landscape(
    model: Model,
    table: pd.DataFrame,
    *,
    n_nodes: int = 200,
    max_sites: int = 10_000,
    noise: ArrayLike | None = None,
    pose_free: bool = True,
    seed: int = 0,
    progress: Callable[[int, int], bool | None] | None = None,
) -> Landscape:
    """Measure where sites lie among the decoded pictures of a model.

    Parameters
    ----------
    model
        The model that made the latents.
    table
        Latents ``z0``, ``z1``, ... and ``site_id``; with ``unit``, every unit gets nodes. Rows with
        NaN are left out.
    n_nodes
        Sites that stand for all others, spread evenly over the pictures that occur.
    max_sites
        Look at a random sample of at most so many sites, rare units in full.
    noise
        Standard deviation of the noise of a crop's pixel, one or (C,), in the units of the crops;
        the model's own (``noise_sd_``), if left out.
    pose_free
        Whether turned pictures count as the same; False for a model without rotation.
    seed
        Start of the random numbers.
    progress
        Called as ``progress(done, total)`` now and then; False stops.

    Returns
    -------
    Landscape
        Nodes, density and the graph of near nodes.

    Raises
    ------
    InputError
        If there are fewer than ten sites with latents, or the noise is unknown.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    The metric is the pull-back of the decoder (:mod:`napari_rvae.analysis.landscape.metric`).
    The density of a node is the mean over the sites of exp(-d^2 / 2 h^2), d being their distance
    and h the bandwidth: the share of the sites that show, within h, the same picture. It needs no
    dimension, and a smooth map of the latents leaves it as it is. A site has the density of the
    nodes about it. Nodes are the farthest of all sites from those that are nodes already (the
    first are central ones of the units), without those that stand for fewer than three.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import RVAE, Crops, latent_landscape
    >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
    >>> crops = Crops(images=images, site_id=np.arange(64))
    >>> model = RVAE(epochs=1).fit(crops)
    >>> landscape = latent_landscape(model, model.transform(crops), n_nodes=5)
    >>> landscape.nodes["n_sites"].sum()
    np.int64(64)
    """
    names = latent_names(table)
    known = table.dropna(subset=names) if names else table.iloc[:0]
    if "site_id" not in table or len(known) < 10:
        raise InputError(
            f"A landscape needs site_id and latents of ten sites or more, and there are "
            f"{len(known)}: encode the crops (transform) and join them first."
        )
    rng = np.random.default_rng(seed)
    known = known.iloc[_sample(known, max_sites, rng)].reset_index(drop=True)
    z = known[names].to_numpy(float)
    space = PictureSpace.of(model, z, crop_noise(model, noise), pose_free=pose_free, seed=seed)
    unit = known["unit"].to_numpy(np.int64) if "unit" in known else np.full(len(known), -1)
    chosen, distance, angle = _farthest(space, n_nodes, unit, seed, progress)
    kept = _without_outliers(distance, unit, chosen)
    chosen, distance, angle = chosen[kept], distance[:, kept], angle[:, kept]
    between = _node_distances(distance, chosen)
    edges = _graph(space, chosen, between, angle)
    width = _bandwidth(distance)
    density = np.exp(-0.5 * (distance / width) ** 2).mean(0)
    places, at_sites, share = _principal(between, distance)
    nearest = distance.argmin(1)
    sites = pd.DataFrame({"site_id": known["site_id"].to_numpy(np.int64), "unit": unit})
    sites = sites.assign(node=nearest, density=_at_sites(density, distance), **at_sites)
    sites = sites.assign(**dict(zip(names, z.T, strict=True)))
    nodes = sites.iloc[chosen].reset_index(drop=True)
    nodes = nodes.assign(
        node=np.arange(len(chosen)),
        n_sites=np.bincount(nearest, minlength=len(chosen)),
        density=density,
        **places,
    )
    order = ["node", "site_id", "unit", "n_sites", "density", *places, *names]
    return Landscape(
        sites=sites,
        nodes=nodes[order],
        edges=edges,
        latents=_latents(space, chosen, names),
        distance=between,
        bandwidth=width,
        view_share=share,
        noise=space.noise,
        pose_free=pose_free,
    )


def _sample(table: pd.DataFrame, most: int, rng: np.random.Generator) -> Ids:
    """Rows of a sample, in order; of a unit at least its even share."""
    count = len(table)
    if count <= most:
        return np.arange(count)
    unit = table["unit"].to_numpy() if "unit" in table else np.zeros(count)
    drawn = rng.permutation(count)
    rank = pd.Series(unit[drawn]).groupby(unit[drawn]).cumcount().to_numpy()
    fair = rank < most // (2 * len(np.unique(unit)))
    return np.sort(np.concatenate([drawn[fair], drawn[~fair]])[:most])


def _farthest(
    space: PictureSpace,
    count: int,
    unit: NDArray[np.int64],
    seed: int,
    progress: Callable[[int, int], bool | None] | None,
) -> tuple[Ids, Array, Array]:
    """Sites spread evenly, their distances (N, M) to all sites, and the angles of the best fit."""
    count = min(round(_SPARE * max(count, 2)), len(space))
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(unit == one) for one in np.unique(unit[unit >= 0])]
    queue = [_middle(space, rows, rng) for rows in groups or [np.arange(len(space))]]
    chosen: list[int] = []
    found: list[tuple[Array, Array]] = []
    least = np.full(len(space), math.inf)
    while len(chosen) < count or queue:
        if not queue and not least.max() > 0:
            break  # there are no more different pictures
        number = queue.pop(0) if queue else int(least.argmax())
        chosen.append(number)
        found.append(space.to_all(number))
        least = np.minimum(least, found[-1][0])
        least[number] = 0.0
        total = max(count, len(chosen) + len(queue))
        now = len(chosen) * _REPORTS // total > (len(chosen) - 1) * _REPORTS // total
        if now and progress is not None and progress(len(chosen), total) is False:
            raise Cancelled("The landscape was stopped: nothing was written.")
    distance, angle = (np.stack(parts, 1) for parts in zip(*found, strict=True))
    return np.array(chosen, np.intp), distance, angle


def _middle(space: PictureSpace, rows: Ids, rng: np.random.Generator) -> int:
    """Site of a group that is nearest to all others of it, of some drawn at random."""
    some = np.sort(rng.choice(rows, min(_CANDIDATES, len(rows)), replace=False))
    return int(some[np.argmin([space.to_all(int(one))[0][rows].sum() for one in some])])


def _without_outliers(distance: Array, unit: NDArray[np.int64], chosen: Ids) -> Ids:
    """Nodes that stand for enough sites, and the best of each unit."""
    counts = np.bincount(distance.argmin(1), minlength=len(chosen))
    keep = counts >= min(_SITES_OF_NODE, counts.max())
    for one in np.unique(unit[chosen]):
        members = np.flatnonzero(unit[chosen] == one)
        keep[members[counts[members].argmax()]] = True
    return np.flatnonzero(keep)


def _node_distances(distance: Array, chosen: Ids) -> Array:
    between = distance[chosen]
    between = np.minimum(between, between.T)
    np.fill_diagonal(between, 0.0)
    return np.asarray(between)


def _graph(space: PictureSpace, chosen: Ids, between: Array, angle: Array) -> pd.DataFrame:
    """Edges to the nearest nodes, and those that a tree over all of them needs besides."""
    count = len(chosen)
    near = np.argsort(between + np.diag(np.full(count, np.inf)), axis=1)
    near = near[:, : min(_NEIGHBOURS, count - 1)]
    linked = np.zeros((count, count), bool)
    linked[np.repeat(np.arange(count), near.shape[1]), near.ravel()] = True
    linked |= linked.T
    tree = minimum_spanning_tree(csr_array(np.maximum(between, 1e-9) * (1 - np.eye(count))))
    spanning = tree.toarray() > 0
    spanning |= spanning.T
    one, other = np.nonzero(np.triu(linked | spanning, 1))
    length = space.exact(chosen[one], chosen[other], angle[chosen[one], other])
    return pd.DataFrame(
        {"node": one, "other": other, "length": length, "bridge": ~linked[one, other]}
    )


def _bandwidth(distance: Array) -> float:
    """At least 1, and as wide as it takes to hold a share of the sites about a usual node."""
    own = np.quantile(distance, _BANDWIDTH_SHARE, axis=0)
    return max(1.0, float(np.median(own)))


def _at_sites(density: Array, distance: Array) -> Array:
    """Density of sites: the geometric mean of that of nodes, the nearest counting most."""
    least = distance.min(1, keepdims=True)
    width = max(float(np.median(least)), 1e-6)
    weight = np.exp(-0.5 * (distance**2 - least**2) / width**2)
    return np.asarray(np.exp((weight @ np.log(density)) / weight.sum(1)))


def _principal(between: Array, distance: Array) -> tuple[dict[str, Array], dict[str, Array], float]:
    """Principal coordinates of nodes (M,) and sites (N,), and the share that two of them show.

    Classical scaling (Torgerson) of the nodes' distances; sites are placed by theirs to the nodes
    (Gower 1968).
    """
    squares = between**2
    centred = -0.5 * (squares - squares.mean(0) - squares.mean(1)[:, None] + squares.mean())
    values, vectors = np.linalg.eigh(centred)
    order = np.argsort(-values)[:_AXES]
    size = np.maximum(values[order], np.finfo(float).tiny)
    axes = vectors[:, order] * np.sign(vectors[np.abs(vectors[:, order]).argmax(0), order])
    total = float(np.maximum(values, 0).sum())
    share = float(np.maximum(values[order[:2]], 0).sum()) / total if total > 0 else 1.0
    at_sites = -0.5 * (distance**2 - squares.mean(0)) @ (axes / np.sqrt(size))
    at_nodes = axes * np.sqrt(size)
    # rounding gives an axis without any spread a direction of its own
    blank = values[order] <= 1e-9 * max(total, 1e-300)
    at_nodes[:, blank], at_sites[:, blank] = 0.0, 0.0
    named = [f"p{k}" for k in range(len(order))]
    return (
        dict(zip(named, at_nodes.T, strict=True)),
        dict(zip(named, at_sites.T, strict=True)),
        share,
    )


def _latents(space: PictureSpace, chosen: Ids, names: list[str]) -> pd.DataFrame:
    """How far the picture changes over one standard deviation of each latent."""
    spread = np.maximum(space.z.std(0), 1e-6)
    metric = picture_metric(
        space.model,
        space.z[chosen],
        noise=space.noise,
        spread=spread,
        pose_free=space.pose_free,
    )
    diagonal = np.maximum(np.diagonal(metric, axis1=1, axis2=2), 0.0)
    return pd.DataFrame(
        {"latent": names, "distance": np.median(np.sqrt(diagonal), axis=0) * spread}
    )
