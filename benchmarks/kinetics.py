"""Score events and rates on planted kinetics: python benchmarks/kinetics.py.

Part "tables": tracks of 20 dopants in 50 frames, whose states are read with 3 % errors and missed
in 5 % of the frames, with probabilities that are right or too sure (logarithms times three). Do the
95 % intervals hold the planted rates, how wide are they beside those from the true states (Jeffreys
intervals), how often do the tests raise an alarm although the rates are constant and obey detailed
balance? "driven" and "more" have rates that are 2 and 4 times as large one way round: is it seen?

Part "pixels": movies of silicon that hops in graphene (synthetic/hopping.py), from the frames on:
detection, 5 % of the atoms taken away, tracks, crops, latents of a model trained on another movie,
units, pathways. And the same with all rates zero: how many events are found? And with silicon that
goes to the other sublattice by way of four bonds: is this route named?

Part "scale": what tracks, units and pathways of 100,000 sites in 100 frames cost, whether they tell
of their progress all the time, and whether they can be stopped.
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
from kinetics_scale import measure, prepare, say
from kinetics_scoring import (
    LEVEL,
    MOVIES,
    Row,
    jeffreys,
    pixel_row,
    routes_named,
    true_counts,
)

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
#: How sure the readings are, and how many times as large the rates are one way round the states.
KINDS = {"calibrated": (1.0, 1.0), "too sure": (3.0, 1.0), "driven": (1.0, 2.0), "more": (1.0, 4.0)}
ALARM = 0.05


def driven(factor: float) -> np.ndarray:
    """Return the chances with rates that are `factor` times as large one way round as the other."""
    chance = CHAIN - np.diag(np.diag(CHAIN))
    for here, there in ((0, 1), (1, 2), (2, 0)):
        chance[here, there] *= factor**0.5
        chance[there, here] /= factor**0.5
    return chance + np.diag(1 - chance.sum(axis=1))


def table_row(job: tuple[str, int]) -> list[Row]:
    """Rates, intervals and tests of one simulated table."""
    kind, seed = job
    start = time.process_time()
    sureness, drive = KINDS[kind]
    chain = driven(drive)
    made = simulate_readings(chain, sureness=sureness, seed=seed)
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
    seen = true_counts(made.states)
    order = ["A", "B", "4", "gone"]
    rows = []
    for source, target in ((s, t) for s in range(3) for t in range(4) if s != t):
        key = order[source], order[target]
        if key not in rates.index:
            rows.append({"kind": kind, "seed": seed, "rate": key, "state_lost": True})
            continue
        rate, true = rates.loc[key], chain[source, target]
        n, rest = seen[source, target], seen[source].sum() - seen[source, target]
        low, high = jeffreys(n, rest)
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
                "cycles_power": tests.loc["cycles", "power"],
                "cycles_n": tests.loc["cycles", "n_transitions"],
                "cpu": time.process_time() - start,
            }
        )
    return rows


def _mapped(function: Callable[[Any], Any], jobs: Iterable[Any], workers: int) -> list[Any]:
    if workers <= 1:
        return [function(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(function, jobs))


def tables(options: argparse.Namespace) -> list[Row]:
    """Print and return the rows of part "tables"."""
    seeds = range(options.first, options.first + (options.seeds or 100))
    jobs = [(kind, seed) for kind in options.tables for seed in seeds]
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
            f"bias {part['bias'].median() - 1:+.0%}, lost {lost:.3f}; alarms: {', '.join(alarms)} "
            f"(power stated for a factor of 2: {tests['cycles_power'].mean():.2f}, "
            f"{tests['cycles_n'].mean():.0f} transitions); "
            f"{part['cpu'].mean():.1f} CPU s each"
        )
    return rows


def pixels(options: argparse.Namespace) -> list[Row]:
    """Print and return the rows of part "pixels"."""
    seeds = range(options.first, options.first + (options.seeds or 30))
    with tempfile.TemporaryDirectory() as kept:
        folder = _trained(options, kept)
        jobs = [(seed, kind) for seed in seeds for kind in options.kinds]
        rows = _mapped(partial(pixel_row, folder=str(folder)), jobs, options.jobs)
    for kind, part in pd.DataFrame(rows).groupby("kind", sort=False):
        print(f"\n{kind}: {len(part)} movies, {part['cpu'].mean():.0f} CPU s each")
        print(
            part.drop(columns=["kind", "widths", "routes"], errors="ignore").to_string(index=False)
        )
        _say(str(kind), part)
    return rows


def scale(options: argparse.Namespace) -> list[Row]:
    """Print and return the rows of part "scale"."""
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as movie:
        prepare(Path(movie) / "run", _trained(options, kept))
        rows = measure(Path(movie) / "run")
    say(rows)
    return rows


def _trained(options: argparse.Namespace, kept: str) -> Path:
    """Folder of a model that was trained on a movie of its own, now or before."""
    folder = Path(options.model or kept)
    if not (folder / "config.json").exists():
        other = nr.simulate_hopping(seed=0, n_frames=10 if options.quick else 30)
        sites = nr.link_sites(nr.detect_atoms(other.frames, classify=True))
        crops = nr.extract_crops(other.frames, sites)
        nr.RVAE(epochs=6 if options.quick else 20, max_crops=8000).fit(crops).save(folder)
    return folder


def _say(kind: str, part: pd.DataFrame) -> None:
    """Print what all movies of one kind say together."""
    for name in ("host", "stays", "hops", "far_hops"):
        right, links = part[f"{name}_right"].sum(), part[f"{name}_links"].sum()
        print(f"links, {name}: {right / max(links, 1):.4f} of {links}")
    right, found, true = (part[f"events_{name}"].sum() for name in ("right", "found", "true"))
    print(
        f"events: precision {right / max(found, 1):.3f}, recall {right / max(true, 1):.3f} of "
        f"{true}; {found / len(part):.2f} found a movie"
    )
    if kind == "still":
        return
    rates, widths = part["rates"].sum(), np.concatenate([*part["widths"]])
    print(
        f"rates: coverage {part['covered'].sum() / max(rates, 1):.3f} of {rates} (true states "
        f"{part['by_true'].sum() / max(rates, 1):.3f}), width {np.median(widths):.2f}; "
        f"{part['states'].mean():.2f} of 3 states told apart, "
        f"{part['read_right'].mean():.3f} of the sightings right"
    )
    chance = nr.synthetic.HoppingConfig(**MOVIES[kind]).transition
    named = routes_named(chance, _pooled(part["routes"]))
    print(
        f"planted routes named: {part['routes_right'].sum()} of {part['routes_asked'].sum()} in "
        f"single movies, {named['routes_right']} of {named['routes_asked']} in all together"
    )


def _pooled(routes: Iterable[list[tuple[tuple[int, ...], float]]]) -> list[tuple[Any, float]]:
    """Routes of several movies, each once."""
    total: dict[tuple[int, ...], float] = {}
    for way, n in (item for part in routes for item in part):
        total[tuple(way)] = total.get(tuple(way), 0.0) + n
    return list(total.items())


PARTS = {"tables": tables, "pixels": pixels, "scale": scale}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--seeds", type=int, help="simulations of each kind (100, 30)")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--tables", nargs="+", default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--kinds", nargs="+", default=list(MOVIES), help=", ".join(MOVIES))
    parser.add_argument("--model", type=Path, help="folder to keep the trained model in")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="a model trained for a minute")
    parser.add_argument("--json", type=Path, help="where to write all rows")
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    results = {name: PARTS[name](options) for name in options.parts}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, default=float), encoding="utf-8")


if __name__ == "__main__":
    main()
