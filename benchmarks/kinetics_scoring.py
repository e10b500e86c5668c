"""How pathways that were found in simulated movies are scored for ``kinetics.py``."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.stats import beta

import napari_rvae as nr
from napari_rvae.analysis.kinetics.passages import observed_routes

LEVEL = 0.95
BOND, RIM, REACH = 14.0, 2.0, 2.0  # px; of the frame in bonds, and of an event
MISSED = 0.05
STILL = dict.fromkeys(("hop", "far_hop", "to_four", "from_four", "loss", "edge_loss"), 0.0)
#: Silicon that hardly hops by itself, but goes to the other sublattice by way of four bonds.
DETOUR = {"hop": 0.002, "to_four": 0.03, "from_four": 0.03}
MOVIES: dict[str, dict[str, float]] = {"moving": {}, "still": STILL, "detour": DETOUR}
#: Silicon atoms, and frames, of which the planted routes are counted.
MANY, FRAMES = 20_000, 50
#: Passages from which on a movie is asked for the route that most take.
ENOUGH = 5.0

Row = dict[str, Any]
Ids = NDArray[np.int64]


def jeffreys(n: float, rest: float) -> tuple[float, float]:
    """Interval of a chance of which `n` of ``n + rest`` came true."""
    low, high = beta.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], n + 0.5, rest + 0.5)
    return float(low), float(high)


def true_counts(states: Ids) -> Ids:
    """Steps (4, 4) of true states (N, T); -1 = not there."""
    before, after = states[:, :-1], states[:, 1:]
    good = (before >= 0) & (after >= 0)
    return np.bincount(4 * before[good] + after[good], minlength=16).reshape(4, 4)


def pixel_row(job: tuple[int, str], folder: str) -> Row:
    """Links, events, rates and routes of one simulated movie, with a model kept in a folder."""
    seed, kind = job
    start = time.process_time()
    movie = nr.simulate_hopping(seed=seed, **MOVIES[kind])
    sites = nr.detect_atoms(movie.frames, classify=True)
    rng = np.random.default_rng(seed)
    gone = (sites["kind"] == "atom") & (rng.random(len(sites)) < MISSED)
    sites = nr.link_sites(sites[~gone].reset_index(drop=True))
    model = nr.RVAE.load(folder, device="cpu")
    crops = nr.extract_crops(movie.frames, sites, model.crop_config)
    sites = nr.join_latents(sites, model.transform(crops))
    units = nr.find_units(sites, features=model.invariants(crops))
    found = nr.find_pathways(sites, units=units, frames_table=movie.frames.table)
    row: Row = {"seed": seed, "kind": kind}
    row |= _links(movie, sites) | _events(movie, found.events)
    if kind != "still":
        planted, read_right = _planted_states(movie, sites, found)
        row |= {"states": len(set(planted.values()) - {3}), "read_right": read_right}
        row |= _rates(movie, found, planted) | _routes(movie, found, planted)
    return row | {"cpu": time.process_time() - start}


def _truth(movie: nr.Simulation, sites: pd.DataFrame) -> np.ndarray:
    """True track (N,) of each detected atom, -1 for none."""
    true = np.full(len(sites), -1)
    atoms = movie.sites[movie.sites["kind"] == "atom"]
    for frame, here in atoms.groupby("frame"):
        rows = np.flatnonzero((sites["frame"] == frame) & (sites["kind"] == "atom"))
        tree = cKDTree(here[["y", "x"]].to_numpy())
        far, near = tree.query(sites[["y", "x"]].to_numpy()[rows])
        true[rows] = np.where(far < 0.35 * BOND, here["track_id"].to_numpy()[near], -1)
    return true


def _links(movie: nr.Simulation, sites: pd.DataFrame) -> Row:
    """Numbers of right links and of links: of the host, of silicon that stays and that hops."""
    silicon = movie.sites.loc[movie.sites["species"] == "Si", "track_id"].unique()
    table = sites.assign(true=_truth(movie, sites)).query("true >= 0")
    table = table.sort_values(["true", "frame"])
    true, frame = table["true"].to_numpy(), table["frame"].to_numpy()
    place, atom = table["lattice_track_id"].to_numpy(), table["track_id"].to_numpy()
    same = (true[1:] == true[:-1]) & (np.diff(frame) <= 3)
    moved = place[1:] != place[:-1]
    is_silicon = np.isin(true[1:], silicon)
    drift = movie.fields["drift"]
    still = table[["y", "x"]].to_numpy() - drift[frame]
    far = np.hypot(*(still[1:] - still[:-1]).T) > 1.3 * BOND
    right = atom[1:] == atom[:-1]
    cases = {
        "host": (same & ~is_silicon, ~moved),
        "stays": (same & is_silicon & ~moved, right),
        "hops": (same & is_silicon & moved & ~far, right),
        "far_hops": (same & is_silicon & moved & far, right),
    }
    out: Row = {}
    for name, (which, good) in cases.items():
        out |= {f"{name}_right": int(good[which].sum()), f"{name}_links": int(which.sum())}
    return out


def _events(movie: nr.Simulation, found: pd.DataFrame) -> Row:
    """Events right, found and true, away from the rim of the frame."""
    inner = []
    for table in (found, movie.events):
        place, size = table[["y", "x"]].to_numpy(float), np.array(movie.frames.frame_shape)
        rim = np.minimum(place, size - 1 - place).min(axis=1, initial=np.inf)
        inner.append(table[rim > RIM * BOND])
    one, two = (table[["frame", "y", "x"]].to_numpy(float) for table in inner)
    apart = np.hypot(*(one[:, None, 1:] - two[None, :, 1:]).transpose(2, 0, 1)) / BOND
    frames = np.abs(one[:, None, 0] - two[None, :, 0])
    good = (apart <= REACH) & (frames <= 1)
    pairs = linear_sum_assignment(np.where(good, apart + frames, 1e3))
    return {
        "events_right": int(good[pairs].sum()),
        "events_found": len(one),
        "events_true": len(two),
    }


def _planted_states(
    movie: nr.Simulation, sites: pd.DataFrame, found: nr.Pathways
) -> tuple[dict[int, int], float]:
    """Planted state of each state that was found, where it is the only one, and right readings."""
    table = sites.assign(true=_truth(movie, sites)).merge(found.table, on="site_id")
    silicon = _silicon(movie)[["track_id", "frame", "planted"]]
    joined = table.query("tracked == 'atom'").merge(
        silicon.rename(columns={"track_id": "true"}), on=["true", "frame"]
    )
    best = pd.crosstab(joined["state"], joined["planted"]).idxmax(axis=1)
    planted = {int(s): int(p) for s, p in best.items() if (best == p).sum() == 1}
    right = float((joined["state"].map(planted) == joined["planted"]).mean())
    gone = found.states.query("tracked == 'atom'")["state"].max()
    if np.isfinite(gone):
        planted[int(gone)] = 3
    return planted, right


def _silicon(movie: nr.Simulation) -> pd.DataFrame:
    """Sightings of silicon with their planted state."""
    silicon = movie.sites[movie.sites["species"] == "Si"].drop_duplicates(["track_id", "frame"])
    three = silicon["environment"] == "si3"
    return silicon.assign(planted=np.where(three, silicon["sublattice"], 2))


def _states_in_sight(movie: nr.Simulation) -> Ids:
    """True states (N, T), as far as the atoms are in the frames; -1 elsewhere."""
    states, silicon = movie.fields["states"], _silicon(movie)
    track, frame = silicon["track_id"].to_numpy(), silicon["frame"].to_numpy()
    planted = silicon["planted"].to_numpy()
    # silicon is numbered after all places; which number is the first follows from the states
    firsts = range(track.max() - len(states) + 1, track.min() + 1)
    first = max(firsts, key=lambda k: (states[track - k, frame] == planted).sum())
    seen = np.full(states.shape, -1)
    seen[track - first, frame] = planted
    lost = (states[:, 1:] == 3) & (seen[:, :-1] >= 0)
    seen[:, 1:][lost] = 3
    return seen


def _rates(movie: nr.Simulation, found: nr.Pathways, planted: dict[int, int]) -> Row:
    """Planted rates inside their intervals, and how wide these are beside those of true states."""
    chance, counts = movie.fields["transition"], true_counts(_states_in_sight(movie))
    covered, by_true, widths = 0, 0, []
    for rate in found.rates.query("tracked == 'atom'").itertuples():
        if rate.from_state not in planted or rate.to_state not in planted:
            continue
        one, two = planted[rate.from_state], planted[rate.to_state]
        low, high = jeffreys(counts[one, two], counts[one].sum() - counts[one, two])
        covered += bool(rate.rate_low <= chance[one, two] <= rate.rate_high)
        by_true += bool(low <= chance[one, two] <= high)
        widths.append((rate.rate_high - rate.rate_low) / (high - low))
    return {"covered": covered, "by_true": by_true, "rates": len(widths), "widths": widths}


def _routes(movie: nr.Simulation, found: nr.Pathways, planted: dict[int, int]) -> Row:
    """Pairs of states for which the route that most passages take is the planted one."""
    states = found.states.query("tracked == 'atom'")
    number = dict(zip(states["name"], states["state"], strict=True))
    ways = [
        (tuple(planted.get(number.get(name, -1), -1) for name in route.split(" > ")), n)
        for route, n in zip(found.routes["route"], found.routes["n"], strict=True)
    ]
    return {"routes": ways, **routes_named(movie.fields["transition"], ways)}


def routes_named(chance: NDArray[np.float64], ways: list[tuple[tuple[int, ...], float]]) -> Row:
    """Pairs of planted states with enough passages, and those whose first route is the planted.

    Parameters
    ----------
    chance
        Planted chances (4, 4) per frame.
    ways
        Routes that were found, in planted states (-1 = none), and how often each was taken.
    """
    right, asked = 0, 0
    for pair, route in planted_routes(chance).items():
        mine = [way for way in ways if (way[0][0], way[0][-1]) == pair]
        if sum(n for _, n in mine) >= ENOUGH:
            asked += 1
            right += max(mine, key=lambda way: way[1])[0] == route
    return {"routes_right": right, "routes_asked": asked}


def planted_routes(chance: NDArray[np.float64]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Route that most passages between each two states take, counted in very many true histories.

    Parameters
    ----------
    chance
        Planted chances (4, 4) per frame; the atoms begin in the first two states.
    """
    rng = np.random.default_rng(0)
    states = np.empty((MANY, FRAMES), np.int8)
    states[:, 0] = rng.integers(0, 2, MANY)
    for frame in range(1, FRAMES):
        steps = np.cumsum(chance, axis=1)[states[:, frame - 1]]
        states[:, frame] = np.minimum((rng.random((MANY, 1)) > steps).sum(axis=1), 3)
    names = {number: str(number) for number in range(4)}
    table = observed_routes(states[None], np.full(MANY, FRAMES), names, LEVEL)
    best = table.drop_duplicates(["from_state", "to_state"])  # most frequent first
    routes = [tuple(map(int, route.split(" > "))) for route in best["route"]]
    return {(route[0], route[-1]): route for route in routes}
