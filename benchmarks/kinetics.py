"""Score events and rates on planted kinetics: python benchmarks/kinetics.py.

Part "tables": tracks of 20 dopants in 50 frames, whose states are read with 3 % errors and missed
in 5 % of the frames, with probabilities that are right or too sure (logarithms times three). Do the
95 % intervals hold the planted rates, how wide are they beside those from the true states (Jeffreys
intervals), how often do the tests raise an alarm although the rates are constant and obey detailed
balance?

Part "pixels": movies of silicon that hops in graphene (synthetic/hopping.py), from the frames on:
detection, 5 % of the atoms taken away, tracks, crops, latents of a model trained on another movie,
units, pathways. And the same with all rates zero: how many events are found?
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.stats import beta

import napari_rvae as nr
from napari_rvae.synthetic.readings import simulate_readings

#: Chances per frame: three-fold on either sublattice, four-fold, gone.
CHAIN = np.array(
    [
        [0.968, 0.02, 0.01, 0.002],
        [0.02, 0.968, 0.01, 0.002],
        [0.01, 0.01, 0.978, 0.002],
        [0, 0, 0, 1],
    ]
)
KINDS = {"calibrated": 1.0, "too sure": 3.0}
LEVEL, ALARM = 0.95, 0.05
BOND, RIM, REACH = 14.0, 2.0, 2.0  # px; of the frame in bonds, and of an event
MISSED = 0.05
STILL = dict.fromkeys(("hop", "far_hop", "to_four", "from_four", "loss", "edge_loss"), 0.0)

Row = dict[str, Any]


def table_row(job: tuple[str, int]) -> list[Row]:
    """Rates, intervals and tests of one simulated table."""
    kind, seed = job
    start = time.process_time()
    made = simulate_readings(CHAIN, sureness=KINDS[kind], seed=seed)
    names = pd.DataFrame({"unit": range(4), "name": ["A", "B", "4", "host"], "count": 1})
    units = nr.Units(made.sites[["site_id", "unit", "unit_probability"]], names)
    found = nr.find_pathways(
        made.sites,
        units=units,
        probabilities=made.probabilities,
        split="off",
        follow="atoms",
        n_samples=400,
        level=LEVEL,
    )
    rates = found.rates.set_index(["from_name", "to_name"])
    tests = found.tests.set_index("test")
    seen = _true_counts(made.states)
    order = ["A", "B", "4", "gone"]
    rows = []
    for source, target in ((s, t) for s in range(3) for t in range(4) if s != t):
        key = order[source], order[target]
        if key not in rates.index:
            rows.append({"kind": kind, "seed": seed, "rate": key, "state_lost": True})
            continue
        rate, true = rates.loc[key], CHAIN[source, target]
        n, rest = seen[source, target], seen[source].sum() - seen[source, target]
        low, high = beta.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], n + 0.5, rest + 0.5)
        rows.append(
            {
                "kind": kind,
                "seed": seed,
                "rate": key,
                "state_lost": False,
                "covered": bool(rate["rate_low"] <= true <= rate["rate_high"]),
                "covered_by_true_states": bool(low <= true <= high),
                "width": (rate["rate_high"] - rate["rate_low"]) / (high - low),
                "bias": rate["rate"] / true,
                "n": rate["n_transitions"],
                "halves": tests.loc["halves", "p_value"],
                "cycles": tests.loc["cycles", "p_value"],
                "cpu": time.process_time() - start,
            }
        )
    return rows


def _true_counts(states: np.ndarray) -> np.ndarray:
    """Steps (4, 4) of the true states."""
    before, after = states[:, :-1], states[:, 1:]
    good = before >= 0
    return np.bincount(4 * before[good] + after[good], minlength=16).reshape(4, 4)


def pixel_row(job: tuple[int, bool], folder: str) -> Row:
    """Links, events and rates of one simulated movie."""
    seed, still = job
    start = time.process_time()
    movie = nr.simulate_hopping(seed=seed, **(STILL if still else {}))
    sites = nr.detect_atoms(movie.frames, classify=True)
    rng = np.random.default_rng(seed)
    gone = (sites["kind"] == "atom") & (rng.random(len(sites)) < MISSED)
    sites = nr.link_sites(sites[~gone].reset_index(drop=True))
    model = nr.RVAE.load(folder, device="cpu")
    crops = nr.extract_crops(movie.frames, sites, model.crop_config)
    sites = nr.join_latents(sites, model.transform(crops))
    units = nr.find_units(sites, features=model.invariants(crops))
    found = nr.find_pathways(sites, units=units, frames_table=movie.frames.table)
    row: Row = {"seed": seed, "still": still}
    row |= _links(movie, sites) | _events(movie, found.events)
    if not still:
        row |= _rates(movie, sites, found)
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


def _rates(movie: nr.Simulation, sites: pd.DataFrame, found: nr.Pathways) -> Row:
    """Planted rates inside their intervals, for the states that were told apart."""
    table = sites.assign(true=_truth(movie, sites)).merge(found.table, on="site_id")
    silicon = movie.sites[movie.sites["species"] == "Si"].drop_duplicates(["track_id", "frame"])
    three = silicon["environment"] == "si3"
    state = np.where(three, silicon["sublattice"], 2)
    silicon = silicon.assign(planted=state)[["track_id", "frame", "planted"]]
    joined = table.query("tracked == 'atom'").merge(
        silicon.rename(columns={"track_id": "true"}), on=["true", "frame"]
    )
    share = pd.crosstab(joined["state"], joined["planted"])
    best = share.idxmax(axis=1)
    planted = {int(s): int(p) for s, p in best.items() if (best == p).sum() == 1}
    rates = found.rates.query("tracked == 'atom'")
    gone = found.states.query("tracked == 'atom'")["state"].max() if len(rates) else -1
    planted[int(gone)] = 3
    chance = movie.fields["transition"]
    covered, known = 0, 0
    for rate in rates.itertuples():
        if rate.from_state in planted and rate.to_state in planted:
            true = chance[planted[rate.from_state], planted[rate.to_state]]
            known += 1
            covered += bool(rate.rate_low <= true <= rate.rate_high)
    right = float((joined["state"].map(planted) == joined["planted"]).mean())
    states = len(set(planted.values()) - {3})
    return {"covered": covered, "rates": known, "states": states, "read_right": right}


def _mapped(function: Callable[[Any], Any], jobs: Iterable[Any], workers: int) -> list[Any]:
    if workers <= 1:
        return [function(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(function, jobs))


def tables(options: argparse.Namespace) -> list[Row]:
    """Print and return the rows of part "tables"."""
    jobs = [(kind, seed) for kind in KINDS for seed in range(options.seeds or 100)]
    rows = [row for part in _mapped(table_row, jobs, options.jobs) for row in part]
    frame = pd.DataFrame(rows)
    for kind, part in frame.groupby("kind", sort=False):
        lost, part = part["state_lost"].mean(), part[~part["state_lost"]]  # noqa: PLW2901
        tests = part.drop_duplicates("seed")
        alarms = [
            f"{name} {(tests[name] < ALARM).sum()} of {tests[name].notna().sum()}"
            for name in ("halves", "cycles")
        ]
        print(
            f"{kind}: coverage {part['covered'].mean():.3f} (true states "
            f"{part['covered_by_true_states'].mean():.3f}), width {part['width'].median():.2f}, "
            f"bias {part['bias'].median() - 1:+.0%}, lost {lost:.3f}; alarms: {', '.join(alarms)}; "
            f"{part['cpu'].mean():.1f} CPU s each"
        )
    return rows


def pixels(options: argparse.Namespace) -> list[Row]:
    """Print and return the rows of part "pixels"."""
    seeds = range(1, 1 + (options.seeds or 30))
    with tempfile.TemporaryDirectory() as folder:
        other = nr.simulate_hopping(seed=0, n_frames=10 if options.quick else 30)
        sites = nr.link_sites(nr.detect_atoms(other.frames, classify=True))
        crops = nr.extract_crops(other.frames, sites)
        nr.RVAE(epochs=6 if options.quick else 20, max_crops=8000).fit(crops).save(folder)
        jobs = [(seed, still) for seed in seeds for still in (False, True)]
        rows = _mapped(partial(pixel_row, folder=folder), jobs, options.jobs)
    frame = pd.DataFrame(rows)
    moving, still = frame[~frame["still"]], frame[frame["still"]]
    print(pd.DataFrame(moving).drop(columns=["still"]).to_string(index=False))
    for name in ("host", "stays", "hops", "far_hops"):
        right, links = moving[f"{name}_right"].sum(), moving[f"{name}_links"].sum()
        print(f"links, {name}: {right / max(links, 1):.4f} of {links}")
    right = moving["events_right"].sum()
    print(
        f"events: precision {right / max(moving['events_found'].sum(), 1):.3f}, recall "
        f"{right / max(moving['events_true'].sum(), 1):.3f} of {moving['events_true'].sum()}; "
        f"static {still['events_found'].mean():.2f} a movie"
    )
    print(
        f"rates: coverage {moving['covered'].sum() / max(moving['rates'].sum(), 1):.3f} of "
        f"{moving['rates'].sum()}; {moving['states'].mean():.2f} of 3 states told apart, "
        f"{moving['read_right'].mean():.3f} of the sightings right; "
        f"{frame['cpu'].mean():.0f} CPU s a movie"
    )
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", nargs="+", default=["tables", "pixels"], help="tables, pixels")
    parser.add_argument("--seeds", type=int, help="simulations of each kind (100, 30)")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="a model trained for a minute")
    parser.add_argument("--json", type=Path, help="where to write all rows")
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    results = {name: {"tables": tables, "pixels": pixels}[name](options) for name in options.parts}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, default=float), encoding="utf-8")


if __name__ == "__main__":
    main()
