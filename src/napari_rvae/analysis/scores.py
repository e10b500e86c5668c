"""Results against a known truth: atoms, angles, latents and units.

For simulated movies, where the truth is known. Two rules hold for every score of classes:
only sites that were matched to a true one are scored, and true classes with fewer than
:data:`MIN_CLASS_SITES` of those are left out (their sites too): a share of a dozen sites is
chance. The sense of an angle is never fitted: a mirrored angle scores like a random one.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_rvae.errors import InputError
from napari_rvae.tables import fold_angle, group_rows, neighbour_distance, validate_sites

__all__ = [
    "MIN_CLASS_SITES",
    "RARE_SHARE",
    "angle_error",
    "balanced_knn_recall",
    "cramer_rao_bound",
    "detection_scores",
    "match_sites",
    "scored_classes",
    "spatial_blocks",
    "sublattice_accuracy",
    "unit_scores",
]

#: True classes with fewer matched sites are not scored.
MIN_CLASS_SITES = 20

#: A true class is rare when its share of the scored sites is below this.
RARE_SHARE = 0.02

#: Atoms this many neighbour distances away count as unknown neighbours in the bound.
_REACH_ND = 1.6


def match_sites(found: pd.DataFrame, true: pd.DataFrame, tolerance: float) -> NDArray[np.int64]:
    """Pair found with true sites one to one, the closest first, within each frame.

    Parameters
    ----------
    found, true
        Sites tables; sites are paired within the same ``source`` and ``frame``.
    tolerance
        Largest distance of a pair, in pixels.

    Returns
    -------
    ndarray of shape (P, 2)
        Row positions of the pairs: in `found`, in `true`.

    Examples
    --------
    >>> from napari_rvae.analysis.scores import match_sites
    >>> from napari_rvae.tables import make_sites
    >>> found = make_sites(frame=0, y=[0.2, 9.0], x=[0.0, 0.0])
    >>> match_sites(found, make_sites(frame=0, y=[0.0], x=[0.0]), 1.0).tolist()
    [[0, 0]]
    """
    if not tolerance > 0:
        raise InputError(f"tolerance = {tolerance!r} must be positive: give a distance in pixels.")
    found, true = validate_sites(found), validate_sites(true)
    found_points, true_points = (t[["y", "x"]].to_numpy(float) for t in (found, true))
    true_rows = {(source, frame): rows for source, frame, rows in group_rows(true)}
    parts = [np.empty((0, 2), np.int64)]
    for source, frame, rows in group_rows(found):
        others = true_rows.get((source, frame))
        if others is not None:
            pairs = _match_points(found_points[rows], true_points[others], tolerance)
            parts.append(np.column_stack([rows[pairs[:, 0]], others[pairs[:, 1]]]))
    return np.concatenate(parts)


def _match_points(
    left: NDArray[np.float64], right: NDArray[np.float64], tolerance: float
) -> NDArray[np.int64]:
    """Pairs (P, 2) of indices of two sets of points, greedily from the closest."""
    kept = [np.flatnonzero(np.isfinite(points).all(axis=1)) for points in (left, right)]
    trees = [cKDTree(points[rows]) for points, rows in zip((left, right), kept, strict=True)]
    near = trees[0].sparse_distance_matrix(trees[1], tolerance, output_type="ndarray")
    taken: tuple[set[int], set[int]] = (set(), set())
    pairs = []
    for k in np.argsort(near["v"], kind="stable"):
        i, j = int(near["i"][k]), int(near["j"][k])
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            pairs.append((kept[0][i], kept[1][j]))
    return np.asarray(pairs, np.int64).reshape(-1, 2)


def detection_scores(
    found: pd.DataFrame,
    true: pd.DataFrame,
    *,
    tolerance: float,
    border: float,
    frame_shape: tuple[int, int],
) -> dict[str, float]:
    """Score found atoms against the true ones.

    A pair counts where its TRUE atom is at least `border` from the frame's edge; what has no
    partner counts where it is itself. So an atom near that limit, found on its other side, is
    neither missed nor false.

    Parameters
    ----------
    found, true
        Sites tables; only rows of kind "atom" are used.
    tolerance
        Largest distance of a pair, in pixels.
    border
        Width of the rim that is ignored, in pixels.
    frame_shape
        Rows and columns (Y, X) of a frame.

    Returns
    -------
    dict
        ``precision``, ``recall``, ``f1`` from 0 to 1, and ``rmse``, the root mean square error
        along one axis in pixels; NaN where there is nothing to divide by.

    Examples
    --------
    >>> from napari_rvae.analysis.scores import detection_scores
    >>> from napari_rvae.tables import make_sites
    >>> true = make_sites(frame=0, y=[10.0, 20.0], x=[10.0, 20.0])
    >>> found = make_sites(frame=0, y=[10.1], x=[10.1])
    >>> scores = detection_scores(found, true, tolerance=1, border=3, frame_shape=(32, 32))
    >>> scores["precision"], scores["recall"]
    (1.0, 0.5)
    """
    found, true = (t[t["kind"] == "atom"] for t in (validate_sites(found), validate_sites(true)))
    positions = [t[["y", "x"]].to_numpy(float) for t in (found, true)]
    limit = np.asarray(frame_shape, float) - 1 - border
    inside = [np.asarray(((p >= border) & (p <= limit)).all(axis=1)) for p in positions]
    pairs = match_sites(found, true, tolerance)
    alone = [side.copy() for side in inside]
    for column, lonely in enumerate(alone):
        lonely[pairs[:, column]] = False
    pairs = pairs[inside[1][pairs[:, 1]]]
    hits, false, missed = len(pairs), int(alone[0].sum()), int(alone[1].sum())
    error = positions[0][pairs[:, 0]] - positions[1][pairs[:, 1]]
    return {
        "precision": hits / (hits + false) if hits + false else math.nan,
        "recall": hits / (hits + missed) if hits + missed else math.nan,
        "f1": 2 * hits / (2 * hits + false + missed) if hits + false + missed else math.nan,
        "rmse": float(np.sqrt(np.mean(error**2))) if hits else math.nan,
    }


def cramer_rao_bound(
    sites: pd.DataFrame,
    expected: ArrayLike,
    readout_noise: float,
    *,
    rows: ArrayLike | None = None,
    reach: float | None = None,
) -> NDArray[np.float64]:
    """Smallest standard deviation that any unbiased estimate of the positions can have.

    The Fisher information of the atom's position and amplitude, of a constant background, and
    of the positions and amplitudes of the neighbours is inverted as one matrix, so that what is
    not known of the neighbours widens the bound. The widths are taken as known, the noise of a
    pixel as Gaussian with the variance ``expected + readout_noise**2``. (Kay, Fundamentals of
    Statistical Signal Processing I, 1993, section 3.9, without the small term from the
    dependence of the variance on the parameters.)

    Parameters
    ----------
    sites
        True sites of one source, with ``amplitude`` in counts and ``sigma`` in pixels; only
        rows of kind "atom" are seen in the frames.
    expected
        Noise-free mean counts (T, Y, X), or (Y, X) for one frame.
    readout_noise
        Standard deviation of the readout noise in counts.
    rows
        Row positions of the atoms whose bound is wanted; all when left out.
    reach
        Atoms up to this distance, in pixels, count as unknown; 1.6 neighbour distances when
        left out.

    Returns
    -------
    ndarray of shape (N, 2)
        Standard deviations along y and x in pixels, one row for each of `rows`; infinite where
        the frame tells nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.scores import cramer_rao_bound
    >>> from napari_rvae.render import render_gaussians
    >>> from napari_rvae.tables import make_sites
    >>> atom = make_sites(frame=0, y=[20.0], x=[20.0], amplitude=[100.0], sigma=[3.0])
    >>> counts = render_gaussians(20, 20, 100.0, 3.0, (41, 41)) + 10.0
    >>> bound = cramer_rao_bound(atom, counts, 1.0, reach=10.0)
    >>> bool((bound > 0.03).all() and (bound < 0.06).all())
    True
    """
    sites = validate_sites(sites, need=("amplitude", "sigma"))
    if len(sites["source"].unique()) > 1:
        raise InputError("The table holds several sources: take the bound of one at a time.")
    mean = np.asarray(expected, dtype=float)
    movie = mean[np.newaxis] if mean.ndim == 2 else mean
    wanted = np.arange(len(sites)) if rows is None else np.asarray(rows, np.int64)
    if reach is None:
        reach = _REACH_ND * neighbour_distance(sites)
    values = sites[["y", "x", "amplitude", "sigma"]].to_numpy(float)
    seen = (sites["kind"] == "atom").to_numpy() & (values[:, 2] > 0)
    bound = np.full((wanted.size, 2), np.inf)
    frame_of = sites["frame"].to_numpy()
    for frame in np.unique(frame_of[wanted]):
        visible = np.flatnonzero(seen & (frame_of == frame))
        variance = movie[frame] + readout_noise**2
        if visible.size == 0:
            continue
        tree = cKDTree(values[visible, :2])
        for k in np.flatnonzero(frame_of[wanted] == frame):
            row = wanted[k]
            if seen[row]:
                near = visible[tree.query_ball_point(values[row, :2], reach)]
                atoms = values[np.concatenate([[row], near[near != row]])]
                bound[k] = _local_bound(atoms, variance, reach)
    return bound


def _local_bound(
    atoms: NDArray[np.float64], variance: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Bound (2,) of the first of the `atoms` (K, 4): y, x, amplitude, sigma."""
    # three widths beyond the neighbours: all that the frame tells of them
    half = reach + 3 * atoms[:, 3].max()
    corner = np.maximum(np.floor(atoms[0, :2] - half), 0).astype(int)
    stop = np.minimum(np.ceil(atoms[0, :2] + half) + 1, variance.shape).astype(int)
    if (stop <= corner).any():
        return np.full(2, np.inf)
    dy = np.arange(corner[0], stop[0])[:, None] - atoms[:, 0, None, None]  # (K, h, 1)
    dx = np.arange(corner[1], stop[1])[None, :] - atoms[:, 1, None, None]  # (K, 1, w)
    height, width2 = atoms[:, 2, None, None], atoms[:, 3, None, None] ** 2
    shape = np.exp(-(dy**2 + dx**2) / (2 * width2))
    slopes = [height * shape * dy / width2, height * shape * dx / width2, shape]
    by_atom = np.stack(slopes, axis=1).reshape(3 * len(atoms), -1)
    gradient = np.concatenate([by_atom, np.ones((1, by_atom.shape[1]))])
    patch = variance[corner[0] : stop[0], corner[1] : stop[1]].ravel()
    fisher = (gradient / patch) @ gradient.T
    unit = np.sqrt(np.diag(fisher))  # counts and pixels differ in size: invert a matrix of ones
    if not (unit > 0).all():
        return np.full(2, np.inf)
    covariance = np.linalg.pinv(fisher / np.outer(unit, unit), hermitian=True)
    sd: NDArray[np.float64] = np.sqrt(np.diag(covariance)[:2]) / unit[:2]
    return sd


def angle_error(
    angle: ArrayLike,
    true_angle: ArrayLike,
    symmetry: ArrayLike = 1,
    *,
    groups: ArrayLike | None = None,
) -> float:
    """Mean error of angles on the circle, one constant offset (gauge) per group removed.

    The offset is the circular mean of the difference at n x angle. The sense is fixed: turning
    the other way is an error, not a convention.

    Parameters
    ----------
    angle, true_angle
        Angles (N,) in radians; rows that are not finite are left out.
    symmetry
        Order n of the symmetry, 1 or more: one for all, or (N,), equal within a group.
    groups
        Label (N,) of the gauge that a site belongs to; one for all when left out.

    Returns
    -------
    float
        Mean absolute error in degrees, from 0 to 180/n; 90/n is chance. NaN without sites.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.scores import angle_error
    >>> true = np.linspace(-3, 3, 50)
    >>> round(angle_error(true + 1.0, true), 6)
    0.0
    """
    given, truth = np.asarray(angle, float), np.asarray(true_angle, float)
    order = np.broadcast_to(np.asarray(symmetry), given.shape)
    label = np.zeros(given.shape, np.int64) if groups is None else _codes(groups)
    use = np.isfinite(given) & np.isfinite(truth)
    errors = [np.empty(0)]
    for group in np.unique(label[use]):
        here = use & (label == group)
        n = int(order[here][0])
        if (order[here] != n).any() or n < 1:
            raise InputError("symmetry must be 1 or more and the same within a group of angles.")
        difference = given[here] - truth[here]
        offset = np.angle(np.mean(np.exp(1j * n * difference))) / n
        errors.append(np.abs(fold_angle(difference - offset, n)))
    joined = np.concatenate(errors)
    return float(np.degrees(joined.mean())) if joined.size else math.nan


def sublattice_accuracy(
    lattice_angle: ArrayLike, sublattice: ArrayLike, grain: ArrayLike, *, n: int = 3
) -> float:
    """Share of sites whose sublattice can be told from the lattice angle alone.

    Within each true grain the angles are split in two by 2-means on the circle of period
    2 pi / n, without labels; the better of the two ways to name the halves is taken.

    Parameters
    ----------
    lattice_angle
        Angles (N,) in radians; rows that are not finite are left out.
    sublattice
        True sublattice (N,), two values; -1 (none) is left out.
    grain
        True grain (N,); -1 (none) is left out.
    n
        Symmetry of a site: 3 in a honeycomb, where the two sublattices lie 60 degrees apart.

    Returns
    -------
    float
        Share from 0.5 to 1; NaN without sites.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.scores import sublattice_accuracy
    >>> sublattice_accuracy([0.1, 0.0, 1.0, 1.1], [0, 0, 1, 1], [0, 0, 0, 0])
    1.0
    """
    angle = np.asarray(lattice_angle, float)
    truth, grains = np.asarray(sublattice), np.asarray(grain)
    use = np.isfinite(angle) & (truth >= 0) & (grains >= 0)
    right = total = 0
    for label in np.unique(grains[use]):
        here = use & (grains == label)
        half = _two_directions(n * angle[here])
        same = int((half == (truth[here] == truth[here].min())).sum())
        right += max(same, half.size - same)
        total += half.size
    return right / total if total else math.nan


def _two_directions(phase: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Split directions (radians) in two by 2-means on the circle; True for one of the halves."""
    points = np.exp(1j * phase)
    axis = np.exp(0.5j * np.angle(np.mean(points**2)))  # two opposite ends, to begin with
    half: NDArray[np.bool_] = (points * axis.conj()).real > 0
    for _ in range(50):
        centres = [np.exp(1j * np.angle(points[side].sum())) for side in (half, ~half)]
        nearer = (points * np.conj(centres[0])).real > (points * np.conj(centres[1])).real
        if (nearer == half).all() or nearer.all() or not nearer.any():
            break
        half = nearer
    return half


def scored_classes(classes: ArrayLike) -> NDArray[np.bool_]:
    """Whether a site's true class is large enough to be scored.

    Parameters
    ----------
    classes
        True class (N,), words or numbers; missing values and "" are never scored.

    Returns
    -------
    ndarray of shape (N,)
        True where the class has at least :data:`MIN_CLASS_SITES` sites.

    Examples
    --------
    >>> from napari_rvae.analysis.scores import scored_classes
    >>> int(scored_classes(["bulk"] * 30 + ["edge"] * 3).sum())
    30
    """
    labels = pd.Series(np.asarray(classes)).replace("", np.nan)
    counts = labels.map(labels.value_counts())
    return np.asarray(counts.fillna(0) >= MIN_CLASS_SITES, dtype=np.bool_)


def spatial_blocks(
    sites: pd.DataFrame, side: float, *, track: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Find the square block of the field of view that each site lies in.

    Parameters
    ----------
    sites
        Sites table.
    side
        Side of a block in pixels.
    track
        Lattice site (N,) that a row belongs to, -1 for none. Its mean position over the movie
        decides, so that a lattice site lies in one block however the movie drifts.

    Returns
    -------
    ndarray of shape (N,)
        Number of the block, from 0.

    Examples
    --------
    >>> from napari_rvae.analysis.scores import spatial_blocks
    >>> from napari_rvae.tables import make_sites
    >>> spatial_blocks(make_sites(frame=0, y=[1.0, 2.0, 70.0], x=[1.0, 2.0, 1.0]), 64).tolist()
    [0, 0, 1]
    """
    sites = validate_sites(sites)
    places = sites[["y", "x"]].reset_index(drop=True)
    if track is not None:
        tracks = pd.Series(np.asarray(track, np.int64))
        keys = [sites["source"].reset_index(drop=True), tracks]
        on_track = (tracks >= 0).to_numpy()
        means = places.groupby(keys).transform("mean")
        places = places.where(np.repeat(~on_track[:, None], 2, axis=1), means)
    cells = (places / side).apply(np.floor)
    cells.insert(0, "source", sites["source"].to_numpy())
    return np.asarray(cells.groupby(["source", "y", "x"], sort=True).ngroup(), np.int64)


def balanced_knn_recall(
    z: ArrayLike,
    classes: ArrayLike,
    blocks: ArrayLike,
    *,
    k: int = 5,
    folds: int = 5,
    max_train: int = 150,
    seed: int = 0,
) -> float:
    """Mean recall of the true classes by nearest neighbours among the latents of other places.

    Each fold of blocks is classified by the sites of the other folds, at most `max_train` of
    each class so that the common class does not outvote the others. Classes that lie in one
    block only cannot be tested and are left out, as are those of :func:`scored_classes`.

    Parameters
    ----------
    z
        Latents (N, L); rows that are not finite are left out.
    classes
        True class (N,), words or numbers.
    blocks
        Number (N,) of the place that a site belongs to, see :func:`spatial_blocks`: no place
        is in training and test.
    k
        Number of neighbours that vote.
    folds
        Number of parts.
    max_train
        Training sites of each class.
    seed
        Start of the random numbers.

    Returns
    -------
    float
        Mean over the classes of the share of their sites that are named right; NaN with fewer
        than two classes.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae.analysis.scores import balanced_knn_recall
    >>> classes = np.arange(100) % 2
    >>> balanced_knn_recall(classes[:, None] * 5.0, classes, np.arange(100) // 10)
    1.0
    """
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.neighbors import KNeighborsClassifier

    values, place = np.asarray(z, float), np.asarray(blocks)
    use = np.flatnonzero(scored_classes(classes) & np.isfinite(values).all(axis=1))
    label = _codes(np.asarray(classes)[use])
    spread = pd.Series(place[use]).groupby(label).transform("nunique").to_numpy() > 1
    use, label = use[spread], label[spread]
    names = np.unique(label)
    n_folds = min(folds, np.unique(place[use]).size)
    if names.size < 2 or n_folds < 2:
        return math.nan
    random = np.random.default_rng(seed)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    named = np.full(use.size, -1)
    for train, test in splitter.split(values[use], label, place[use]):
        mixed = random.permutation(train)
        chosen = np.concatenate([mixed[label[mixed] == name][:max_train] for name in names])
        voter = KNeighborsClassifier(min(k, chosen.size))
        voter.fit(values[use[chosen]], label[chosen])
        named[test] = voter.predict(values[use[test]])
    return float(np.mean([(named[label == name] == name).mean() for name in names]))


def unit_scores(unit: ArrayLike, classes: ArrayLike) -> dict[str, float]:
    """Score units against true classes; each unit stands for its majority class.

    Parameters
    ----------
    unit
        Unit (N,), whole numbers; -1 (none) is left out.
    classes
        True class (N,), words or numbers.

    Returns
    -------
    dict
        ``unit_macro_f1``: mean F1 over the classes; ``rare_class_recall``: mean recall over the
        classes below :data:`RARE_SHARE` of the sites (NaN if there is none); ``n_units``: how
        many units there are, all sites counted; ``unit_ari``: adjusted Rand index.

    Examples
    --------
    >>> from napari_rvae.analysis.scores import unit_scores
    >>> unit_scores([0] * 40 + [1] * 40, ["a"] * 40 + ["b"] * 40)["unit_macro_f1"]
    1.0
    """
    from sklearn.metrics import adjusted_rand_score, f1_score, recall_score

    units = np.asarray(unit)
    use = scored_classes(np.where(units >= 0, np.asarray(classes, dtype=object), ""))
    n_units = int(np.unique(units[units >= 0]).size)
    if not use.any():
        nothing = dict.fromkeys(("unit_macro_f1", "rare_class_recall", "unit_ari"), math.nan)
        return {**nothing, "n_units": n_units}
    label, known = _codes(np.asarray(classes)[use]), units[use]
    table = pd.crosstab(known, label)
    named = table.idxmax(axis=1).loc[known].to_numpy()
    names, counts = np.unique(label, return_counts=True)
    rare = names[counts < RARE_SHARE * label.size]
    recall = recall_score(label, named, labels=rare, average="macro") if rare.size else math.nan
    macro = f1_score(label, named, labels=names, average="macro", zero_division=0.0)
    return {
        "unit_macro_f1": float(macro),
        "rare_class_recall": float(recall),
        "n_units": n_units,
        "unit_ari": float(adjusted_rand_score(label, known)),
    }


def _codes(labels: ArrayLike) -> NDArray[np.int64]:
    """Return the number of each label in the order of their names; -1 for a missing one."""
    return np.asarray(pd.factorize(pd.Series(np.asarray(labels)), sort=True)[0], np.int64)
