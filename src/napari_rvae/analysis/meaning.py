"""What a latent means: which measured quantities the latents follow, and along which direction.

A latent does not change when a crop is turned, so what has a direction in the frame, such as a
polarization or a shear, is held by latents and angle together: the latents give the quantity in the
canonical picture, the angle turns it into the frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import false_discovery_control, rankdata

from napari_rvae import tables
from napari_rvae.analysis.descriptors import describe_sites
from napari_rvae.analysis.scores import spatial_blocks
from napari_rvae.blas import one_blas_thread
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Complex = NDArray[np.complex128]
    Ids = NDArray[np.int64]

__all__ = ["LatentDirection", "LatentMeaning", "correlate_latents"]

#: What has a direction: name, the columns that it is made of, and how many times it turns with the
#: frame.
_DIRECTED = {
    "off_centre_vector": (("off_centre_y", "off_centre_x"), 1),
    "strain_tensor": (("strain_yy", "strain_xx", "strain_xy"), 2),
}

#: Angles: they turn with the frame, modulo the symmetry of what they are the angle of.
_ANGLES = ("lattice_rotation",)

#: Columns that say how sure another one is, or in which axes; they have no direction of their own.
_NO_DESCRIPTORS = (
    "site_id",
    "off_centre_sd",
    *(c for names, _ in _DIRECTED.values() for c in names),
)

#: Areas are this many neighbour distances wide; a fold leaves out a fifth of them.
_BLOCK_ND, _FOLDS = 6.0, 5

#: Fewer sites are not correlated; more are not needed for the chance level.
_FEWEST, _MOST_SHIFTED = 40, 3000


@dataclass(frozen=True, eq=False)
class LatentDirection:
    """A direction in the latents that follows a measured quantity.

    Part of what :func:`~napari_rvae.correlate_latents` returns.

    Attributes
    ----------
    name
        Of the quantity.
    turns
        How often the quantity turns while the frame turns once: 0 for a number, 1 for a vector, 2
        for a tensor, the symmetry's order for an angle.
    latents
        Names of the latents, L of them.
    weights
        Of each latent (L,), complex where the quantity has a direction.
    offset
        What is predicted where all latents are 0.
    spread
        Covariance of the latents (L, L), for :meth:`path`.
    """

    name: str
    turns: int
    latents: tuple[str, ...]
    weights: Complex
    offset: complex
    spread: Array

    def predict(self, table: pd.DataFrame) -> Array:
        """Quantity that latents, and the angle where it has a direction, stand for.

        Parameters
        ----------
        table
            Table with the latents, and with ``angle`` where `turns` is not 0.

        Returns
        -------
        ndarray
            (N,) for a number; (N, 2) as (dy, dx) for a vector, as (xy, (xx - yy) / 2) for a tensor;
            (N,) radians for an angle, folded by its symmetry.
        """
        value = table[list(self.latents)].to_numpy(float) @ self.weights + self.offset
        if self.turns == 0:
            return np.asarray(value.real)
        value = value * np.exp(1j * self.turns * table["angle"].to_numpy(float))
        if self.name in _ANGLES:
            return np.asarray(np.angle(value) / self.turns)
        return np.stack([-value.imag, value.real], axis=1)

    def path(self, table: pd.DataFrame, n: int = 7, *, quantile: float = 0.05) -> Array:
        """Latents (n, L) along the direction, to be decoded into pictures.

        Parameters
        ----------
        table
            Latents of the sites: the path goes through their median, from where the prediction is
            low to where it is high; for a quantity with a direction, its size along its mean
            direction in the canonical pictures.
        n
            Number of places.
        quantile
            Of the prediction, at which the path begins; it ends at 1 - quantile.

        Notes
        -----
        The path does not lead along the weights but along the covariance of the latents with the
        prediction: that is how sites differ that differ in the quantity (S. Haufe and others,
        NeuroImage 87, 96 (2014)).
        """
        z = table[list(self.latents)].dropna().to_numpy(float)
        if not len(z):
            raise InputError("The table has no latents that are not NaN: there is no path.")
        mean = complex((z @ self.weights + self.offset).mean())
        phase = mean / abs(mean) if self.turns and abs(mean) > 0 else 1.0
        weights = (self.weights * np.conj(phase)).real
        pattern = self.spread @ weights
        size = float(weights @ pattern)
        middle = np.median(z, axis=0)
        score = (z - middle) @ weights
        steps = np.quantile(score, np.linspace(quantile, 1 - quantile, n))
        along = pattern / size if size > 0 else np.zeros_like(pattern)
        return np.asarray(middle + steps[:, None] * along)


@dataclass(frozen=True, eq=False)
class LatentMeaning:
    """Which measured quantities the latents follow.

    Attributes
    ----------
    table
        One row for each quantity, the one that is followed best first; see
        :func:`correlate_latents`.
    directions
        The direction of each quantity, by its name, fitted to all sites.
    """

    table: pd.DataFrame
    directions: Mapping[str, LatentDirection]

    def sentences(self, least: float = 0.5, level: float = 0.05) -> list[str]:
        """Say in words what is followed: rank correlation at least `least`, q at most `level`."""
        good = self.table[(self.table["spearman"] >= least) & (self.table["q_value"] <= level)]
        said = []
        for row in good.to_dict("records"):
            where = "a direction of the latents"
            if row["turns"]:
                where += " and the angle together"
            elif abs(row["best_spearman"]) >= row["spearman"] - 0.05:
                where = row["best_latent"]
            value = f"rank correlation {row['spearman']:.2f}"
            said.append(f"{where} follows {row['descriptor']} ({value}).")
        return said or ["No latent follows a measured quantity."]


class _Target(NamedTuple):
    """One quantity at the N sites, as a complex number that turns with the frame."""

    name: str
    value: Complex
    turns: int


@one_blas_thread()
def correlate_latents(
    table: pd.DataFrame,
    descriptors: pd.DataFrame | None = None,
    *,
    columns: Sequence[str] | None = None,
    symmetry: int | None = None,
    n_shifts: int = 199,
    seed: int = 0,
    progress: Callable[[int, int], bool | None] | None = None,
) -> LatentMeaning:
    """Compare the latents with what was measured on the positions.

    Parameters
    ----------
    table
        Sites table with ``z0``, ``z1``, ... and, for quantities that have a direction, ``angle``;
        only some of the sites, such as those of one sublattice or unit, if these are to be
        compared among themselves.
    descriptors
        Any table with ``site_id`` and columns of numbers, such as that of
        :func:`~napari_rvae.describe_sites`, which is called when left out. Describe all sites
        first, and choose some then: a site's neighbours have to be there.
    columns
        Names of the quantities; all that are known and differ between sites, when left out.
        "off_centre_vector" and "strain_tensor" are made of their columns.
    symmetry
        Order n of the lattice, by which ``lattice_rotation`` is folded; 4 or 6 by the sites' order
        parameters, when left out.
    n_shifts
        How often the quantities are shifted against the latents for the chance level.
    seed
        Start of the random numbers.
    progress
        Called as ``progress(done, total)`` after each quantity; False stops.

    Returns
    -------
    LatentMeaning
        Its table holds ``descriptor``; ``turns`` (0: a number; else it has a direction, which the
        angle holds); ``n_sites``; ``spearman_z0``, ... rank correlation with each latent,
        ``best_latent`` and ``best_spearman``, for numbers; ``r`` and ``spearman``: correlation of
        the quantity with the best linear direction of the latents, at places that the direction
        was not fitted to; ``p_value`` and ``q_value``.

    Raises
    ------
    InputError
        If there are no latents, no quantities, or fewer than 40 sites.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Latents do not change when a crop is turned. So a number is compared with a linear combination
    of the latents, and what turns s times with the frame, as a complex number, with a complex one
    times exp(i s angle): d = exp(i s a) (w0 + w1 z0 + ...). For the components of a vector or a
    tensor the correlation is taken along the axis on which they differ most, for angles of the
    deviation from their mean direction.

    Directions are fitted by least squares to four fifths of the area, in blocks of six neighbour
    distances, and judged on the rest. Neighbouring sites resemble each other, so the chance level
    is not that of a shuffle: the whole field of a quantity is shifted against that of the latents
    by random vectors, with its mirror image beyond the edge, all frames alike. p is the share of
    shifts whose r is as large; q is p corrected for the number of quantities (Benjamini and
    Hochberg).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from napari_rvae import correlate_latents
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((20, 20)).reshape(2, -1)
    >>> z = np.random.default_rng(0).normal(size=(2, 400))
    >>> sites = make_sites(frame=0, y=y, x=x, z0=z[0], z1=z[1])
    >>> measured = sites[["site_id"]].assign(size=z[0] + z[1])
    >>> found = correlate_latents(sites, measured)
    >>> found.table[["descriptor", "r"]].round(2).to_numpy().tolist()
    [['size', 1.0]]
    """
    sites = tables.validate_sites(table)
    names = tables.latent_names(sites)
    if not names:
        raise InputError("The table has no latents z0, z1, ...: join them first (join_latents).")
    measured = describe_sites(sites) if descriptors is None else descriptors
    own = [name for name in measured if name not in sites or name == "site_id"]
    known = sites[["source", "frame", "y", "x", *names]].notna().all(axis=1)
    sites = sites[known.to_numpy()].reset_index(drop=True)
    if len(sites) < _FEWEST:
        raise InputError(
            f"{len(sites)} sites have latents: {_FEWEST} are the least that can be correlated."
        )
    joined = tables.join_latents(sites, measured if descriptors is not None else measured[own])
    targets = _targets(joined, measured, columns, symmetry)
    angle = sites["angle"].to_numpy(float) if "angle" in sites else np.full(len(sites), np.nan)
    design = _Design(sites[names].to_numpy(float), angle, _folds(sites, seed))
    shifted = _shifted_rows(sites, n_shifts, seed)
    rows, directions = [], {}
    for number, target in enumerate(targets):
        row, direction = _compare(target, design, shifted, tuple(names))
        rows.append(row)
        if direction is not None:
            directions[target.name] = direction
        if progress is not None and progress(number + 1, len(targets)) is False:
            raise Cancelled("The comparison was stopped: there is no table.")
    return LatentMeaning(_finished(rows, names), directions)


def _finished(rows: list[dict[str, object]], names: list[str]) -> pd.DataFrame:
    """Sort the rows, and correct p for their number."""
    found = pd.DataFrame(rows)
    known = found["p_value"].notna().to_numpy()
    found["q_value"] = np.nan
    if known.any():
        found.loc[known, "q_value"] = false_discovery_control(found.loc[known, "p_value"])
    columns = ["descriptor", "turns", "n_sites", *(f"spearman_{name}" for name in names)]
    columns += ["best_latent", "best_spearman", "r", "spearman", "p_value", "q_value"]
    order = found["spearman"].sort_values(ascending=False, kind="stable", na_position="last").index
    return found.loc[order, columns].reset_index(drop=True)


# ----------------------------------------------------------------------------- quantities
def _targets(
    joined: pd.DataFrame,
    measured: pd.DataFrame,
    columns: Sequence[str] | None,
    symmetry: int | None,
) -> list[_Target]:
    """Quantities that were asked for, or all that differ between sites."""
    numbers = [str(name) for name in measured if measured[name].dtype.kind in "fiub"]
    directed = [name for name, (parts, _) in _DIRECTED.items() if set(parts) <= set(numbers)]
    plain = [name for name in numbers if name not in _NO_DESCRIPTORS]
    wanted = [*directed, *plain] if columns is None else list(columns)
    unknown = [name for name in wanted if name not in numbers and name not in directed]
    if unknown:
        raise InputError(f"The descriptors lack {', '.join(unknown)}: choose others.")
    found = []
    for name in wanted:
        target = _target(name, joined, symmetry)
        value = target.value[np.isfinite(target.value)]
        differs = len(value) >= _FEWEST and bool(np.std(value) > 1e-9 * (1 + np.abs(value).max()))
        if differs and (target.turns == 0 or "angle" in joined):
            found.append(target)
    if not found:
        raise InputError(
            f"No descriptor is known at {_FEWEST} sites and differs between them: there is nothing "
            "to compare the latents with."
        )
    return found


def _target(name: str, joined: pd.DataFrame, symmetry: int | None) -> _Target:
    """One quantity; vectors count x as real and upwards as imaginary."""
    if name == "off_centre_vector":
        y, x = (joined[part].to_numpy(float) for part in _DIRECTED[name][0])
        return _Target(name, x - 1j * y, 1)
    if name == "strain_tensor":
        yy, xx, xy = (joined[part].to_numpy(float) for part in _DIRECTED[name][0])
        return _Target(name, (xx - yy) / 2 - 1j * xy, 2)
    value = joined[name].to_numpy(float)
    if name not in _ANGLES:
        return _Target(name, value.astype(complex), 0)
    order = symmetry
    if order is None:
        order = 4
        if {"psi4", "psi6"} <= set(joined):
            order = 4 if joined["psi4"].median() >= joined["psi6"].median() else 6
    return _Target(name, np.exp(1j * order * value), order)


# ----------------------------------------------------------------------------- fits
class _Design(NamedTuple):
    """What quantities are predicted from."""

    z: Array  # (N, L)
    angle: Array  # (N,)
    fold: Ids  # (N,)


def _folds(sites: pd.DataFrame, seed: int) -> Ids:
    """Fold (N,) of each site: blocks of area, the same in all frames, drawn at random."""
    found = [tables.neighbour_distance(part) for _, part in sites.groupby("source")]
    distance = np.nanmedian(found) if np.isfinite(found).any() else 1.0
    block = spatial_blocks(sites, _BLOCK_ND * float(distance))
    drawn = np.random.default_rng(seed).permutation(int(block.max()) + 1) % _FOLDS
    return np.asarray(drawn[block], np.int64)


def _shifted_rows(sites: pd.DataFrame, n_shifts: int, seed: int) -> tuple[Ids, Ids]:
    """Some rows (K,), and for each the row (K, P) whose quantity a shifted field would put there.

    Frames are shifted alike, by a share of the area that the sites of their source cover.
    """
    rng = np.random.default_rng(seed)
    shifts = rng.uniform(0.0, 1.0, (n_shifts, 2))
    points = sites[["y", "x"]].to_numpy(float)
    rows = np.sort(rng.permutation(len(sites))[:_MOST_SHIFTED])
    partner = np.zeros((len(sites), n_shifts), np.int64)
    for source, _, here in tables.group_rows(sites):
        whole = points[(sites["source"] == source).to_numpy()]
        low = whole.min(axis=0)
        box = np.maximum(np.ptp(whole, axis=0) * (1 + 1e-9), 1e-6)
        mine = here[np.isin(here, rows)]
        moved = np.mod(points[mine][:, None] - low + shifts * 2 * box, 2 * box)
        moved = np.where(moved > box, 2 * box - moved, moved)  # beyond the edge, its mirror image
        partner[mine] = here[cKDTree(points[here] - low).query(moved)[1]]
    return rows, partner[rows]


def _compare(
    target: _Target, design: _Design, shifted: tuple[Ids, Ids], names: tuple[str, ...]
) -> tuple[dict[str, object], LatentDirection | None]:
    """Row of the table for one quantity, and its direction."""
    known = np.isfinite(target.value)
    if target.turns:
        known &= np.isfinite(design.angle)
    row: dict[str, object] = {"descriptor": target.name, "turns": target.turns}
    row |= {"n_sites": int(known.sum()), "best_latent": "", "best_spearman": math.nan}
    row |= dict.fromkeys((*(f"spearman_{name}" for name in names), "r", "spearman"), math.nan)
    row["p_value"] = math.nan
    if known.sum() < _FEWEST:
        return row, None
    z, value = design.z[known], target.value[known]
    if target.turns == 0:
        single = [_spearman(column, value.real) for column in z.T]
        row |= {f"spearman_{name}": rho for name, rho in zip(names, single, strict=True)}
        best = int(np.argmax(np.abs(single)))
        row |= {"best_latent": names[best], "best_spearman": single[best]}
    turn = np.exp(1j * target.turns * np.where(known, design.angle, 0.0))
    turn = turn if target.turns else np.ones(len(turn))
    guess = _held_out(design.z[known], (value / turn[known])[:, None], design.fold[known])
    guess = guess[:, 0] * turn[known]
    seen, said = _along_axis(value, guess, target)
    row["spearman"], row["r"] = _spearman(seen, said), _correlation(seen, said)
    row["p_value"] = _chance(target, design, turn, known, shifted)
    weights, offset = _fitted(z, (value / turn[known])[:, None])
    spread = np.atleast_2d(np.cov(z.T))
    direction = LatentDirection(
        target.name, target.turns, names, weights[:, 0], complex(offset[0]), spread
    )
    return row, direction


def _fitted(z: Array, value: Complex) -> tuple[Complex, Complex]:
    """Weights (L, P) and offsets (P,) of the least squares of values (N, P)."""
    middle, mean = z.mean(axis=0), value.mean(axis=0)
    weights = np.linalg.lstsq(z - middle, value - mean, rcond=None)[0]
    return np.asarray(weights, complex), np.asarray(mean - middle @ weights, complex)


def _held_out(z: Array, value: Complex, fold: Ids) -> Complex:
    """Predictions (N, P) of each fold from the others."""
    guess = np.zeros(value.shape, complex)
    for number in np.unique(fold):
        test = fold == number
        train = ~test if not test.all() else test
        weights, offset = _fitted(z[train], value[train])
        guess[test] = z[test] @ weights + offset
    return guess


def _along_axis(value: Complex, guess: Complex, target: _Target) -> tuple[Array, Array]:
    """Values and predictions (N,) as real numbers."""
    if target.turns == 0:
        return value.real, guess.real
    mean = value.mean()
    if target.name in _ANGLES:
        return np.angle(value * np.conj(mean)), np.angle(guess * np.conj(mean))
    # the axis on which the components differ most
    axis = np.exp(0.5j * np.angle(((value - mean) ** 2).mean()))
    return (value * np.conj(axis)).real, (guess * np.conj(axis)).real


def _chance(
    target: _Target,
    design: _Design,
    turn: Complex | Array,
    known: NDArray[np.bool_],
    shifted: tuple[Ids, Ids],
) -> float:
    """Share of the shifts of a quantity whose held-out correlation is as large as its own."""
    rows, partner = shifted
    if not partner.shape[1]:
        return math.nan
    kept = known[rows]
    rows, partner = rows[kept], partner[kept]
    if len(rows) < _FEWEST:
        return math.nan
    value = np.column_stack([target.value[rows], target.value[partner]])
    if np.isnan(value).any():  # where a shift leads to an unknown value, the mean says nothing
        mean = np.nanmean(target.value)
        value = np.where(np.isfinite(value), value, mean)
    own = turn[rows, None]
    guess = _held_out(design.z[rows], value / own, design.fold[rows]) * own
    a, b = value - value.mean(axis=0), guess - guess.mean(axis=0)
    size = np.sqrt((np.abs(a) ** 2).sum(axis=0) * (np.abs(b) ** 2).sum(axis=0))
    r = (a * np.conj(b)).real.sum(axis=0) / np.maximum(size, np.finfo(float).tiny)
    return float((1 + (r[1:] >= r[0]).sum()) / len(r))


def _correlation(one: Array, other: Array) -> float:
    a, b = one - one.mean(), other - other.mean()
    size = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / size) if size > 0 else 0.0


def _spearman(one: Array, other: Array) -> float:
    """Rank correlation; 0 where one of the two does not vary."""
    return _correlation(rankdata(one), rankdata(other))
