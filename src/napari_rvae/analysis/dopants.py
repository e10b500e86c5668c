"""Dopants: atoms of a rare species, or far brighter than the rest, and their tracks.

Every place of a lattice stays filled, so position alone cannot follow an atom that hops. Dopants
are linked first, by what they are as well as by where they are.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, logit

from napari_rvae import tables
from napari_rvae.config import TrackConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["atom_tracks", "dopant_rows", "find_dopants"]

#: A dopant is this many robust standard deviations and this many times above its frame's median.
_DOPANT_Z, _DOPANT_RATIO = 5.0, 1.3
#: A species, or a brightness, more common than this is no dopant but part of the crystal.
_MAX_DOPANT_SHARE = 0.1
#: Log odds that a site is a dopant: at most, and where only a label is known.
_MOST_ODDS, _LABEL_ODDS = 6.0, 4.5
#: Sites whose probability to be a dopant is below this are no part of a dopant's track.
_LEAST_PROBABILITY = 0.1
#: Costs in nats: of a hop (less after a gap), of each neighbour distance; of what cannot be.
_HOP_COST, _DISTANCE_COST, _NEVER = 4.5, 0.5, 1e3
#: A hop costs in full from this distance on.
_HOP_ND = 0.75
#: Spread of the logarithm of one dopant's amplitude from frame to frame.
_LOG_AMPLITUDE_SD = 0.25
#: Chance that a dopant is missed in a frame, and the log odds against one that begins anywhere.
_MISSED, _RARE = 0.05, 3.5
#: A track ends when its score falls below this; it does not grow above the other.
_LEAST_SCORE, _MOST_SCORE = -3.0, 12.0
#: A dopant's track has this many sightings, in this share of its frames, and these log odds.
_MIN_SIGHTINGS, _MIN_FILLED, _MIN_ODDS = 4, 0.5, 9.0
#: Ends and starts are joined within this distance; each frame between them costs so much of it.
_STITCH_ND, _STITCH_FRAME = 2.3, 0.1


@dataclass(frozen=True, eq=False)
class Dopants:
    """What each of N sites is.

    Parameters
    ----------
    kind
        Kind of dopant (N,), -1 = none.
    odds
        Log odds (N,) that it is a dopant; of the likelier kind.
    brightness
        Logarithm of its amplitude (N,), NaN = none.
    """

    kind: Ids
    odds: Points
    brightness: Points


def find_dopants(part: pd.DataFrame) -> Dopants:
    """Find the dopants among the sites of one source.

    Parameters
    ----------
    part
        Sites of one source, with ``species`` (and ``species_probability``) or ``amplitude``.

    Returns
    -------
    Dopants
        Dopants are of a rare species, or far brighter than the median of their frame.

    Examples
    --------
    >>> from napari_rvae.analysis.dopants import find_dopants
    >>> from napari_rvae.tables import make_sites
    >>> names = ["C"] * 19 + ["Si"]
    >>> sites = make_sites(frame=0, y=range(20), x=range(20), species=names)
    >>> find_dopants(sites).kind.tolist()[-2:]
    [-1, 1]
    """
    is_atom = (part["kind"] != "vacancy").to_numpy()
    amplitude = (
        part["amplitude"].to_numpy(float) if "amplitude" in part else np.full(len(part), np.nan)
    )
    amplitude = np.where(is_atom & (amplitude > 0), amplitude, np.nan)
    bright = _bright(pd.Series(amplitude), part["frame"].to_numpy())
    named = is_atom & (part["species"].fillna("") != "").to_numpy() if "species" in part else None
    if named is not None and named.any():
        code, names = pd.factorize(part["species"].where(named), sort=True)
        share = np.bincount(code[code >= 0], minlength=len(names)) / max((code >= 0).sum(), 1)
        off = named & (part["species"] == tables.OFF_LATTICE).to_numpy()
        rare = np.flatnonzero((share <= _MAX_DOPANT_SHARE) & (names != tables.OFF_LATTICE))
        kind = np.where(np.isin(code, rare), code, -1)
        # off the lattice are dopants between its places, and the host's atoms at edges and defects
        kind = np.where(off & bright, _most_alike(np.log(amplitude), kind, len(names)), kind)
        odds = _named_odds(part, kind, off)
    else:
        common = bright.sum() > _MAX_DOPANT_SHARE * max(is_atom.sum(), 1)
        kind = np.where(bright & (not common), 0, -1)
        odds = np.where(kind >= 0, _LABEL_ODDS, -_LABEL_ODDS)
    return Dopants(kind.astype(np.int64), odds, np.log(amplitude))


def _bright(amplitude: pd.Series[float], frame: Ids) -> Mask:
    """Which atoms (N,) are far brighter than the median of their frame."""
    median = amplitude.groupby(frame).transform("median")
    spread = 1.4826 * (amplitude - median).abs().groupby(frame).transform("median")
    return (amplitude > np.maximum(median + _DOPANT_Z * spread, _DOPANT_RATIO * median)).to_numpy()


def _most_alike(brightness: Points, kind: Ids, n_kinds: int) -> Ids:
    """Kind of dopant (N,) whose median brightness is nearest; a kind of their own without any."""
    known = [number for number in range(n_kinds) if np.isfinite(brightness[kind == number]).any()]
    if not known:
        return np.full(len(kind), n_kinds)
    medians = np.array([np.nanmedian(brightness[kind == number]) for number in known])
    apart = np.abs(np.nan_to_num(brightness)[:, None] - medians)
    return np.asarray(np.array(known)[apart.argmin(axis=1)])


def _named_odds(part: pd.DataFrame, kind: Ids, off: Mask) -> Points:
    """Log odds (N,) from the probability of the species, where there is one."""
    sign = np.where(kind >= 0, 1.0, -1.0)
    if "species_probability" not in part:
        return sign * _LABEL_ODDS
    chance = part["species_probability"].to_numpy(float)
    chance = np.where(off, np.nan, chance)
    odds = np.clip(logit(np.clip(chance, 1e-9, 1 - 1e-9)), -_MOST_ODDS, _MOST_ODDS)
    return np.where(np.isfinite(chance), sign * odds, sign * _LABEL_ODDS)


def atom_tracks(
    part: pd.DataFrame, lattice: Ids, points: Points, n_places: int, config: TrackConfig
) -> Ids:
    """Track of each atom of one source.

    Parameters
    ----------
    part
        Sites of one source (N rows).
    lattice
        Place of each (N,), -1 = none.
    points
        Positions (N, 2) in neighbour distances, drift removed.
    n_places
        Tracks of dopants that differ from their places get numbers from here on.
    config
        Options.

    Returns
    -------
    ndarray of int64 (N,)
        The number of the place, or that of the dopant's track; -1 for vacancies.
    """
    atom = np.where((part["kind"] != "vacancy").to_numpy(), lattice, -1)
    dopants = find_dopants(part)
    frame = part["frame"].to_numpy(np.int64)
    able = (expit(dopants.odds) > _LEAST_PROBABILITY) & (atom >= 0)
    chosen = np.flatnonzero(able)
    chosen = chosen[np.lexsort((points[chosen, 1], points[chosen, 0], frame[chosen]))]
    few = Dopants(dopants.kind[chosen], dopants.odds[chosen], dopants.brightness[chosen])
    chain = _chains(frame[chosen], points[chosen], few, config)
    chain = _stitched(chain, frame[chosen], points[chosen], config.stitch_gap)
    n_frames = len(np.unique(frame))
    by_place = np.lexsort((frame, lattice))  # rows of one place stand together, in time
    following = n_places
    for number in range(int(chain.max(initial=-1)) + 1):
        rows = chosen[chain == number]
        if not _is_real(frame[rows], dopants.odds[rows], n_frames):
            continue
        rows = _fill_gaps(rows[np.argsort(frame[rows])], by_place, lattice, frame)
        rows = rows[atom[rows] >= 0]
        place = np.unique(lattice[rows])
        left = np.count_nonzero(atom[_of_place(place[0], by_place, lattice)] >= 0) - len(rows)
        if len(place) > 1 or left > config.max_gap:
            atom[rows] = following
            following += 1
    return atom


def _is_real(frame: Ids, odds: Points, n_frames: int) -> bool:
    """Whether so many sightings make a dopant, and not some misread atoms of the host."""
    if not len(frame):
        return False
    # a movie of few frames cannot show more
    enough = len(frame) >= min(_MIN_SIGHTINGS, n_frames)
    filled = len(frame) >= _MIN_FILLED * (np.ptp(frame) + 1)
    return bool(enough and filled and odds.sum() >= min(_MIN_ODDS, _LABEL_ODDS * n_frames))


def _of_place(place: int, by_place: Ids, lattice: Ids) -> Ids:
    """Rows of one place, in time."""
    low, high = np.searchsorted(lattice, [place, place + 1], sorter=by_place)
    return np.asarray(by_place[low:high])


def _fill_gaps(rows: Ids, by_place: Ids, lattice: Ids, frame: Ids) -> Ids:
    """Rows of a dopant, and those between two of them on one place where it was not told apart."""
    filled = [rows]
    for before, after in itertools.pairwise(rows):
        if lattice[before] == lattice[after] and frame[after] > frame[before] + 1:
            place = _of_place(lattice[before], by_place, lattice)
            filled.append(place[(frame[place] > frame[before]) & (frame[place] < frame[after])])
    return np.concatenate(filled)


def _chains(frame: Ids, points: Points, dopants: Dopants, config: TrackConfig) -> Ids:
    """Chain (N,) of each dopant: the cheapest links from frame to frame, hops allowed.

    A chain may also be missed in a frame, at a cost that is small while the dopant is doubtful.
    """
    chain = np.full(len(frame), -1, np.int64)
    last, score = np.empty(0, np.int64), np.empty(0)  # last row and score of each chain
    before = frame[0] if len(frame) else 0
    for now in np.unique(frame):
        here = np.flatnonzero(frame == now)
        live = np.flatnonzero((now - frame[last] <= config.max_gap + 1) & (score > _LEAST_SCORE))
        score = score + (now - before) * np.log(_MISSED)
        before = now
        cost = _link_costs(last[live], here, frame, points, dopants, config.max_hop_nd)
        real = expit(score[live] - np.log(_MISSED))
        miss = -np.log(_MISSED + (1 - _MISSED) * (1 - real))
        beside = np.where(np.eye(len(live), dtype=bool), miss[:, None], _NEVER)
        old, new = linear_sum_assignment(np.concatenate([cost, beside], axis=1))
        linked = (new < len(here)) & (cost[old, np.minimum(new, len(here) - 1)] < _NEVER)
        old, new = live[old[linked]], here[new[linked]]
        chain[new], last[old] = old, new
        score[old] += dopants.odds[new] - np.log(_MISSED)
        score = np.minimum(score, _MOST_SCORE)
        born = here[(chain[here] < 0) & (dopants.odds[here] > 0)]
        chain[born] = len(last) + np.arange(len(born))
        last = np.concatenate([last, born])
        score = np.concatenate([score, dopants.odds[born] - _RARE])
    return chain


def _link_costs(
    last: Ids, here: Ids, frame: Ids, points: Points, dopants: Dopants, max_hop: float
) -> Points:
    """Costs (L, H) in nats of linking chains that end at `last` with sites."""
    distance = np.hypot(*(points[last, None] - points[None, here]).transpose(2, 0, 1))
    elapsed = frame[here[:1]] - frame[last] if len(here) else np.ones(len(last))
    hop = np.maximum(_HOP_COST - np.log(np.maximum(elapsed, 1)), 0)[:, None]
    change = np.nan_to_num(dopants.brightness[last, None] - dopants.brightness[None, here])
    cost = hop * np.minimum(distance / _HOP_ND, 1) + _DISTANCE_COST * distance
    cost = cost + 0.5 * (change / _LOG_AMPLITUDE_SD) ** 2 - dopants.odds[None, here]
    kinds = dopants.kind[last, None], dopants.kind[None, here]
    other = (kinds[0] != kinds[1]) & (kinds[0] >= 0) & (kinds[1] >= 0)
    return np.where((distance > max_hop) | other, _NEVER, cost)


def _stitched(chain: Ids, frame: Ids, points: Points, max_gap: int) -> Ids:
    """Join the end of a chain with a later start near it: dopants are not born inside a frame."""
    numbers, count = np.unique(chain[chain >= 0], return_counts=True)
    numbers = numbers[count >= 3]
    if max_gap < 1 or len(numbers) < 2:
        return chain
    rows = [np.flatnonzero(chain == number) for number in numbers]  # in the order of frames
    first, last = np.array([r[0] for r in rows]), np.array([r[-1] for r in rows])
    distance = np.hypot(*(points[last, None] - points[None, first]).transpose(2, 0, 1))
    elapsed = frame[first][None] - frame[last][:, None]
    able = (elapsed > 0) & (elapsed <= max_gap) & (distance <= _STITCH_ND)
    old, new = linear_sum_assignment(np.where(able, distance + _STITCH_FRAME * elapsed, _NEVER))
    joined = chain.copy()
    root = {int(number): int(number) for number in numbers}
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if able[a, b]]
    for a, b in sorted(pairs, key=lambda pair: frame[first[pair[1]]]):
        root[int(numbers[b])] = root[int(numbers[a])]
        joined[rows[b]] = root[int(numbers[b])]
    return joined


def dopant_rows(table: pd.DataFrame) -> tuple[Mask, Mask]:
    """Which sites are in the track of a dopant: one that is a dopant in most of its frames.

    Parameters
    ----------
    table
        Sites table with ``track_id``, of any number of sources.

    Returns
    -------
    tuple of ndarray of bool (N,)
        Whether the site is in such a track, and whether it was also told to be a dopant.
    """
    told = np.zeros(len(table), bool)
    for rows in table.groupby("source", sort=True).indices.values():
        told[rows] = find_dopants(table.iloc[rows]).kind >= 0
    track = table["track_id"].to_numpy(np.int64)
    share = pd.Series(told, dtype=float).groupby(track).transform("mean").to_numpy()
    inside = np.asarray((track >= 0) & (share > 0.5))
    return inside, inside & told
