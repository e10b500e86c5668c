"""Whether what a wall looks like tells how far it will move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from napari_rvae import tables
from napari_rvae.analysis.scores import spatial_blocks
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.vae import RVAE

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]

__all__ = ["DisplacementPrediction", "predict_displacement"]

#: Parts that are held out in turn, and fewest segments and sites to do so.
_FOLDS, _FEWEST_BLOCKS, _FEWEST = 5, 10, 100

#: Trees of a forest, and sites in a leaf, so that single sites are not learned by heart.
_TREES, _LEAF = 100, 10

#: A probability below this is no chance.
_LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class DisplacementPrediction:
    """How well the motion of walls is told from what they look like.

    Returned by :func:`~napari_rvae.predict_displacement`.

    Attributes
    ----------
    scores
        One row for each set of quantities, "latents", "geometry" and "both": ``r2``, share of the
        variance of the displacement at held-out segments that is predicted (below 0: worse than
        the mean of the others); ``spearman``, rank correlation there; ``p_value``.
    features
        One row for each quantity, the one that is followed most first: ``name``, ``spearman`` with
        the displacement, ``p_value``.
    table
        ``site_id``, ``displacement`` and, for each set, the held-out prediction.
    n_segments
        Number of segments of walls.
    """

    scores: pd.DataFrame
    features: pd.DataFrame
    table: pd.DataFrame
    n_segments: int

    @property
    def sentences(self) -> list[str]:
        """What predicts the motion of walls, in words."""
        said = []
        for row in self.scores.to_dict("records"):
            name = {"both": "Latents and geometry together"}.get(row["set"], row["set"].title())
            sure = row["p_value"] <= _LEVEL and row["r2"] > 0
            verb = "tell" if row["set"] != "geometry" else "tells"
            much = f"{verb} {row['r2']:.0%} of" if sure else f"{verb} nothing certain about"
            said.append(
                f"{name} {much} the variance of the displacement at segments that were held out "
                f"(p = {row['p_value']:.3f})."
            )
        for row in self.features.to_dict("records")[:3]:
            if row["p_value"] <= _LEVEL:
                way = "further" if row["spearman"] > 0 else "less far"
                said.append(
                    f"Where {row['name']} is larger, walls move {way} along their normal "
                    f"(rank correlation {row['spearman']:.2f})."
                )
        return said


def predict_displacement(
    table: pd.DataFrame,
    *,
    latents: Sequence[str] | None = None,
    geometry: Sequence[str] = ("curvature",),
    model: RVAE | None = None,
    segment: float = 32.0,
    n_permutations: int = 999,
    seed: int = 0,
) -> DisplacementPrediction:
    """Predict the displacement of walls from their latents, at places that were held out.

    Forests of regression trees are grown on four fifths of the segments, squares of the field of
    view in all their frames, and asked about the others. The same is done with the geometry of the
    wall alone, and with both: what the latents add is what the wall's surroundings tell beyond it.
    The probability that a score is chance comes from moving the displacements by whole segments
    against the predictions.

    Parameters
    ----------
    table
        Sites along walls with ``displacement`` (:func:`~napari_rvae.wall_motion`), latents and
        geometry. Rows where one of them is missing are left out.
    latents
        Columns of the latents; all when left out.
    geometry
        Columns of the baseline.
    model
        The model of the latents: it must not have seen later frames (lags above 0).
    segment
        Side of a segment in px; larger than the window of the crops, or neighbours share pixels.
    n_permutations
        Random shifts of the displacements.
    seed
        Start of the random numbers.

    Returns
    -------
    DisplacementPrediction
        Scores, and what is followed, in numbers and in words (``sentences``).

    Raises
    ------
    InputError
        If a column is missing, the model saw later frames, or there are fewer than 100 sites in 10
        segments.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import predict_displacement
    >>> from napari_rvae.tables import make_sites
    >>> rng = np.random.default_rng(0)
    >>> y, x, z = rng.uniform(0, 200, 400), rng.uniform(0, 200, 400), rng.normal(size=400)
    >>> sites = make_sites(frame=0, y=y, x=x, kind="wall", z0=z, curvature=rng.normal(size=400),
    ...                    displacement=z)
    >>> found = predict_displacement(sites, n_permutations=99)
    >>> found.scores["set"].tolist(), bool(found.scores["r2"][0] > 0.5)
    (['latents', 'geometry', 'both'], True)
    """
    if model is not None and max(model.lags_) > 0:
        raise InputError(
            f"The model saw later frames (lags {model.lags_}): what comes cannot be predicted "
            "from itself; train on lags of 0 and below."
        )
    names = list(latents) if latents is not None else tables.latent_names(table)
    if not names:
        raise InputError("The table has no latents: join them first (see join_latents).")
    columns = [*names, *geometry]
    sites = tables.validate_sites(table, need=["displacement", *columns])
    whole = np.isfinite(sites[["displacement", *columns]].to_numpy(float)).all(1)
    sites = sites[whole].reset_index(drop=True)
    block = spatial_blocks(sites, segment)
    n_blocks = len(np.unique(block))
    if len(sites) < _FEWEST or n_blocks < _FEWEST_BLOCKS:
        raise InputError(
            f"There are {len(sites)} sites that move, in {n_blocks} segments: {_FEWEST} sites in "
            f"{_FEWEST_BLOCKS} segments are the least."
        )
    moved = sites["displacement"].to_numpy(float)
    chance = _Chance(block, n_permutations, np.random.default_rng(seed))
    found = sites[["site_id", "displacement"]].copy()
    scores = []
    for title, used in {"latents": names, "geometry": list(geometry), "both": columns}.items():
        if used:
            guess, mean = _held_out(sites[used].to_numpy(float), moved, block, seed)
            r2 = 1 - float(((moved - guess) ** 2).sum() / ((moved - mean) ** 2).sum())
            scores.append((title, r2, *chance.spearman(guess, moved, two_sided=False)))
            found[title] = guess
    features = [(name, *chance.spearman(sites[name].to_numpy(float), moved)) for name in columns]
    ranked = sorted(features, key=lambda row: -abs(row[1]))
    return DisplacementPrediction(
        pd.DataFrame(scores, columns=["set", "r2", "spearman", "p_value"]),
        pd.DataFrame(ranked, columns=["name", "spearman", "p_value"]),
        found,
        n_blocks,
    )


def _held_out(values: Array, moved: Array, block: Ids, seed: int) -> tuple[Array, Array]:
    """Predictions (N,) at segments that were held out, and the mean of the others."""
    from sklearn.ensemble import ExtraTreesRegressor

    numbers = np.unique(block)
    fold = np.random.default_rng(seed).permutation(numbers.size) % _FOLDS
    part = fold[np.searchsorted(numbers, block)]
    guess, mean = np.empty((2, moved.size))
    for number in range(_FOLDS):
        test = part == number
        forest = ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, random_state=seed)
        guess[test] = forest.fit(values[~test], moved[~test]).predict(values[test])
        mean[test] = moved[~test].mean()
    return guess, mean


class _Chance:
    """Rank correlations of what is moved by whole segments."""

    def __init__(self, block: Ids, count: int, rng: np.random.Generator) -> None:
        self._order = np.argsort(block, kind="stable")
        starts = np.flatnonzero(np.diff(block[self._order], prepend=-1))
        self._shifts = rng.choice(starts[1:], size=count)

    def spearman(self, one: Array, other: Array, *, two_sided: bool = True) -> tuple[float, float]:
        """Rank correlation, and the probability that chance gives one as large."""
        a, b = (rankdata(v)[self._order] - (v.size + 1) / 2 for v in (one, other))
        size = float(np.sqrt((a**2).sum() * (b**2).sum()))
        if size == 0:
            return 0.0, 1.0
        value = float(a @ b) / size
        drawn = np.array([float(a @ np.roll(b, int(shift))) / size for shift in self._shifts])
        above = np.abs(drawn) >= abs(value) if two_sided else drawn >= value
        return value, float((1 + above.sum()) / (1 + drawn.size))
