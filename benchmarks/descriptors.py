"""Whether rings, off-centring and strain are measured right, and whether latents follow them.

Simulated frames with known truth, one process a seed. Rings: graphene with bond rotations, dopants,
vacancies and a hole, on the true positions and as detected at 15 counts. Off-centring: a perovskite
with domains, with 100 counts at the peak of an A column, and with as many at that of a B column.
Its bound is that of Cramer and Rao of the positions in it. Latents: an rVAE of four latents, and
one of as many as `suggest_n_latents` suggests, trained on the B columns of a perovskite with
domains and waves of strain, against what was measured on the positions and against the truth.
Halves: whether split-half verdicts say "agrees" on movies and "does not agree" on noise and on ten
times too many units.

    OMP_NUM_THREADS=1 python benchmarks/descriptors.py --quick
    OMP_NUM_THREADS=1 python benchmarks/descriptors.py --seeds 0,1,2,3,4 --jobs 5 --json out.json
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rvae import machine, write_report
from sklearn.cluster import KMeans

from napari_rvae import (
    RVAE,
    Crops,
    Simulation,
    Units,
    correlate_latents,
    describe_sites,
    detect_atoms,
    extract_crops,
    join_latents,
    link_sites,
    neighbour_distance,
    sample_grid,
    simulate_graphene,
    simulate_perovskite,
    split_half,
    suggest_n_latents,
)
from napari_rvae.analysis import scores
from napari_rvae.synthetic.perovskite import PerovskiteConfig

SPACING, SIGMA = 14.0, 0.24 * 14.0
RINGS = (4, 5, 6, 7, 8)

#: As many latents as the crops ask for.
SUGGESTED = "suggested"

#: Quantities that the latents should follow, and the bar of the rank correlation.
FOLLOWED = ("off_centre_vector", "strain_tensor", "dilatation")
LEAST_SPEARMAN, MOST_OFF, MOST_RINGS = 0.9, 0.1, 0.02


@dataclass(frozen=True)
class Row:
    """One figure of one seed; `bar` is what it should be, `ok` whether it is."""

    seed: int
    case: str
    figure: str
    value: float
    bar: str
    ok: bool | None = None


def dose(counts: float) -> float:
    """Electrons in a column that has so many counts at its peak."""
    return counts * 2 * math.pi * SIGMA**2


def found_pairs(found: pd.DataFrame, true: pd.DataFrame) -> np.ndarray:
    """Rows (P, 2) of found and of true sites that are the same atom."""
    named = true.assign(source=str(found["source"].iloc[0]))
    return scores.match_sites(found, named, neighbour_distance(true) / 3)


def rings(seed: int, _: argparse.Namespace) -> list[Row]:
    """Planted against counted rings, where the frame shows all that is at a site."""
    simulation = simulate_graphene(
        n_frames=1, size=768, seed=seed, stone_wales=15, grains=1, dose=dose(15)
    )
    true = simulation.sites
    exact = describe_sites(true)
    inside = ((exact["ring_open"] == 0) & (true["kind"] == "atom")).to_numpy()
    planted = true[[f"rings{size}" for size in RINGS]].to_numpy()
    names = [f"ring{size}" for size in RINGS]
    wrong = float((planted != exact[names].to_numpy())[inside].any(axis=1).sum())
    rows = [Row(seed, "rings, true positions", "sites wrong", wrong, "0", wrong == 0)]
    sites = detect_atoms(simulation.frames)
    pairs = found_pairs(sites, true)
    pairs = pairs[inside[pairs[:, 1]]]
    counted = describe_sites(sites)[names].to_numpy()[pairs[:, 0]]
    for column, size in enumerate(RINGS):
        there = planted[pairs[:, 1], column].sum()
        if there:
            off = abs(counted[:, column].sum() - there) / there
            case = "rings, 15 counts"
            rows.append(Row(seed, case, f"{size}-rings off", off, "<= 0.02", off <= MOST_RINGS))
    return rows


def off_centre_bound(simulation: Simulation, seed: int) -> np.ndarray:
    """Smallest error (2,) of the off-centring of a B column among four A columns, along y and x."""
    true = simulation.sites
    random = np.random.default_rng(seed)
    inside = true[["y", "x"]].gt(3 * SPACING).all(axis=1) & (true["kind"] == "atom")
    squares = []
    for sublattice in (0, 1):
        rows = np.flatnonzero(inside & (true["sublattice"] == sublattice) & (true["frame"] == 0))
        found = scores.cramer_rao_bound(
            true,
            simulation.fields["expected"],
            PerovskiteConfig().readout_noise,
            rows=random.choice(rows, 60, replace=False),
        )
        squares.append(np.median(found, axis=0) ** 2)
    return np.sqrt(squares[1] + squares[0] / 4)


def off_centring(seed: int, _: argparse.Namespace) -> list[Row]:
    """Error of the off-centring of B columns, against that of their true positions."""
    names, rows = ["off_centre_y", "off_centre_x"], []
    for column, contrast in (("A", 1.0), ("B", PerovskiteConfig().b_contrast)):
        simulation = simulate_perovskite(size=768, seed=seed, dose=dose(100 / contrast))
        sites = detect_atoms(simulation.frames, classify=True)
        pairs = found_pairs(sites, simulation.sites)
        pairs = pairs[simulation.sites["sublattice"].to_numpy()[pairs[:, 1]] == 1]
        measured, true = describe_sites(sites), describe_sites(simulation.sites)
        error = measured[names].to_numpy()[pairs[:, 0]] - true[names].to_numpy()[pairs[:, 1]]
        known = np.isfinite(error).all(axis=1)
        stated = measured["off_centre_sd"].to_numpy()[pairs[:, 0]][known]
        case = f"off-centring, 100 counts, {column}"
        for axis, value in zip("yx", np.sqrt((error[known] ** 2).mean(axis=0)), strict=True):
            ok = bool(value <= MOST_OFF)
            rows.append(Row(seed, case, f"rms along {axis}, px", float(value), "<= 0.1", ok))
        for axis, value in zip("yx", off_centre_bound(simulation, seed), strict=True):
            rows.append(Row(seed, case, f"bound along {axis}, px", float(value), ""))
        rows.append(Row(seed, case, "stated sd, px", float(np.median(stated)), "its rms"))
        rows.append(Row(seed, case, "cages complete", float(known.mean()), ""))
    return rows


def truth_of(sites: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """Planted quantities of the found sites."""
    pairs = found_pairs(sites, true)
    own = true.iloc[pairs[:, 1]].reset_index(drop=True)
    table = own[["strain_yy", "strain_xx", "strain_xy"]].assign(
        site_id=sites["site_id"].to_numpy()[pairs[:, 0]],
        off_centre_y=own["off_y"],
        off_centre_x=own["off_x"],
        lattice_rotation=own["turn"],
    )
    return table.assign(dilatation=table["strain_yy"] + table["strain_xx"])


def suggested(crops: Crops) -> int:
    """Number of latents that the crops ask for."""
    table = suggest_n_latents(crops, device="cpu")
    return int(table.loc[table["suggested"], "n_latents"].iloc[0])


def latents(seed: int, options: argparse.Namespace) -> list[Row]:
    """Rank correlations, at other places, of quantities with the directions found for them."""
    simulation = simulate_perovskite(
        n_frames=2 if options.quick else 4,
        size=512,
        seed=seed,
        dose=dose(100),
        strain=0.03,
        wall_width=8.0,
    )
    sites = detect_atoms(simulation.frames, classify=True)
    measured, planted = describe_sites(sites), truth_of(sites, simulation.sites)
    dim = sites.groupby("sublattice")["amplitude"].median().drop(-1, errors="ignore").idxmin()
    crops = extract_crops(simulation.frames, sites)
    crops = crops.select(np.isin(crops.site_id, sites.loc[sites["sublattice"] == dim, "site_id"]))
    rows = []
    for asked in options.latents:
        n_latents = suggested(crops) if asked == SUGGESTED else int(asked)
        model = RVAE(seed=seed, n_latents=n_latents, device="cpu").fit(crops)
        joined = join_latents(sites, model.transform(crops))
        joined = joined[joined["z0"].notna()]
        for name, table in (("measured", measured), ("planted", planted)):
            found = correlate_latents(joined, table, symmetry=4, n_shifts=49).table
            found = found.set_index("descriptor").loc[[*FOLLOWED, "lattice_rotation"]]
            for entry in found.itertuples():
                barred = entry.Index in FOLLOWED and name == "measured"
                ok = bool(entry.spearman >= LEAST_SPEARMAN) if barred else None
                bar = f">= {LEAST_SPEARMAN}" if barred else ""
                case = f"{n_latents} latents, {name}"
                case = f"{case}, suggested" if asked == SUGGESTED else case
                rows.append(Row(seed, case, str(entry.Index), entry.spearman, bar, ok))
    return rows


def many_units(_: pd.DataFrame, features: pd.DataFrame) -> Units:
    """Slice the crops into sixty units, whatever they are."""
    values = features.drop(columns="site_id").to_numpy()
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    unit = KMeans(60, n_init=1, random_state=0).fit_predict(scaled).astype(np.int64)
    table = features[["site_id"]].assign(unit=unit, unit_probability=1.0)
    return Units(table, pd.DataFrame({"unit": range(60), "name": "slice", "count": 1}))


def halves(seed: int, options: argparse.Namespace) -> list[Row]:
    """Answers of split halves on a movie, with far too many units, and on noise."""
    n_frames = 6 if options.quick else 9
    movie = simulate_graphene(n_frames=n_frames, size=384, seed=seed).frames
    sites = link_sites(detect_atoms(movie))
    crops = extract_crops(movie, sites)
    noise = np.random.default_rng(seed).poisson(20, (6, 256, 256)).astype(float)
    grid = sample_grid(noise, step=14)
    asked = {
        "graphene": (split_half(crops, sites, device="cpu"), "agrees"),
        "too many units": (
            split_half(crops, sites, device="cpu", find=many_units),
            "does not agree",
        ),
        "noise": (
            split_half(extract_crops(noise, grid, window=49), grid, device="cpu"),
            "does not agree",
        ),
    }
    rows = []
    for name, (found, wanted) in asked.items():
        value = found.verdicts[0].value
        rows.append(
            Row(seed, f"halves, {name}", found.answer, value, wanted, found.answer == wanted)
        )
    return rows


CASES: dict[str, Callable[[int, argparse.Namespace], list[Row]]] = {
    "rings": rings,
    "off_centring": off_centring,
    "latents": latents,
    "halves": halves,
}


def run(task: tuple[str, int, argparse.Namespace]) -> list[Row]:
    """One case of one seed."""
    case, seed, options = task
    return CASES[case](seed, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one seed, shorter movies")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="comma-separated")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--latents", nargs="+", default=["4", SUGGESTED], help="numbers of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    options = parser.parse_args()
    seeds = [int(part) for part in options.seeds.split(",")][: 1 if options.quick else None]
    tasks = [(case, seed, options) for case in options.cases.split(",") for seed in seeds]
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    rows: list[Row] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        for part in pool.map(run, tasks):
            for row in part:
                sign = {None: "", True: "holds", False: "FAILS"}[row.ok]
                print(f"{row.seed:>4}  {row.case:<32}{row.figure:<22}{row.value:>8.3f}  "
                      f"{row.bar:<16}{sign}", flush=True)  # fmt: skip
            rows += part
    judged = [row for row in rows if row.ok is not None]
    print(f"{sum(bool(row.ok) for row in judged)} of {len(judged)} bars hold")
    write_report(options.json, rows)


if __name__ == "__main__":
    main()
