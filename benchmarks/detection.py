"""Score the search for atoms on simulated frames with known truth, and beside other finders.

``detect_atoms`` is told nothing. The frames are those of ``detection_cases.py``, from two
simulators; positions are compared with the Cramer-Rao bound. The rows:

- lattice: honeycomb with bright dopants and empty sites, and perovskite, at three doses: atoms
  found, precision of the positions along y and x, error bars, and CPU seconds;
- defects: the same in places of their own: atoms off the lattice, at the rim of a crystal and at
  that of the frame, 5-7 defects, a grain boundary, empty sites (none must be found there);
- empty: false atoms in pure noise (for one movie scale unknown and one known) and in the vacuum
  beside a crystal, from 3 px beyond its edge;
- isolated: atoms without a lattice;
- scales: neighbours 6 to 50 px apart with the same electrons in a column;
- dark: inverted contrast, told and not told;
- large: a frame of 4096 x 4096 px on two threads, in a process of its own (only with ``--large``);
- peers: other finders on the middle of the frames of "lattice", each at its best threshold for
  the frame, and ours on the same middle (only with ``--peers-python``).

The peers run in an environment of their own, see ``detection_peers.py``.

    OMP_NUM_THREADS=1 python benchmarks/detection.py --quick
    OMP_NUM_THREADS=1 python benchmarks/detection.py --peers-python peers-env/bin/python --large
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from detection_cases import (
    READOUT,
    SIGMA,
    SIMULATORS,
    SPACING,
    Case,
    Floats,
    Setting,
    make_case,
    position_bound,
    vacuum_depth,
)
from numpy.typing import NDArray
from rvae import write_report
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_rvae import DetectConfig, detect_atoms
from napari_rvae.analysis.scores import detection_scores, match_sites
from napari_rvae.errors import NoLatticeWarning

COUNTS, KINDS = (100.0, 15.0, 4.0), ("honeycomb", "perovskite")

#: A found atom is right within this share of the neighbour distance.
TOLERANCE = 0.3

#: The bound is taken of so many atoms a frame.
BOUND_ATOMS = 500

#: Around a defect, so many neighbour distances wide, every found atom must be a true one.
AROUND = 0.75

#: Environments that are scored apart, and where they are.
DEFECTS = {
    "adatoms": ("off_lattice", "frame_edge"),
    "half": ("edge",),
    "graphene": ("five_seven", "boundary", "edge", "vacancy"),
    "perovskite vacancies": ("vacancy", "frame_edge"),
}

#: Vacuum begins so many pixels beyond the edge of a crystal.
VACUUM_FROM = 3.0

NOISE_SEEDS, NOISE_SIDE = 10, 384

#: Sides of frames by neighbour distance, in pixels.
SCALES = {6.0: 384, 8.0: 512, 12.0: 768, 20.0: 1024, 30.0: 1280, 50.0: 1536}


@dataclass(frozen=True)
class Figure:
    """What one finder made of one frame, or of one environment in it."""

    row: str
    case: str
    simulator: str
    counts: float
    seed: int
    who: str
    atoms: int  # true ones that were scored
    values: dict[str, float]


class Bar(NamedTuple):
    """What must hold for the mean over the seeds in every case of a row."""

    row: str
    value: str
    least: float = -math.inf
    most: float = math.inf
    counts: tuple[float, ...] = COUNTS


BARS = (
    Bar("lattice", "F1", least=0.998, counts=(100.0, 15.0)),
    Bar("lattice", "F1", least=0.97, counts=(4.0,)),
    Bar("lattice", "y/bound", most=1.2, counts=(100.0, 15.0)),
    Bar("lattice", "x/bound", most=1.2, counts=(100.0, 15.0)),
    Bar("lattice", "z y", 0.85, 1.2, counts=(100.0, 15.0)),
    Bar("lattice", "z x", 0.85, 1.2, counts=(100.0, 15.0)),
    Bar("lattice", "CPU s/Mpx", most=3.0),
    Bar("defects", "recall", least=0.95, counts=(100.0,)),
    Bar("defects", "recall", least=0.9, counts=(15.0,)),
    Bar("defects", "precision", least=0.95, counts=(100.0,)),
    Bar("defects", "precision", least=0.9, counts=(15.0,)),
    Bar("empty", "false/Mpx", most=10.0, counts=(0.0,)),
    Bar("empty", "false", most=0.0),
    Bar("isolated", "recall", least=0.98, counts=(100.0,)),
    Bar("scales", "F1", least=0.99),
    Bar("dark", "F1", least=0.998),
)


# --------------------------------------------------------------------------- scores
def find(image: NDArray[np.float32], **options: Any) -> tuple[pd.DataFrame, float]:
    """Let ours find the atoms of a frame; and the CPU seconds that took."""
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoLatticeWarning)
        found = detect_atoms(image, **options)
    return found, time.process_time() - begun


def frame_scores(found: pd.DataFrame, case: Case) -> tuple[int, dict[str, float]]:
    """Count the true atoms away from the rim; precision, recall, F1."""
    setting = case.setting
    scores = detection_scores(
        found,
        case.sites,
        tolerance=TOLERANCE * setting.spacing,
        border=setting.spacing,
        frame_shape=case.expected.shape,
    )
    atoms = (case.sites["kind"] == "atom").to_numpy() & inner(case.sites, case)
    named = {"precision": scores["precision"], "recall": scores["recall"], "F1": scores["f1"]}
    return int(atoms.sum()), named


def inner(sites: pd.DataFrame, case: Case) -> NDArray[np.bool_]:
    """Which sites are a neighbour distance or more from the frame's rim."""
    return rim_distance(sites, case) >= case.setting.spacing


def rim_distance(sites: pd.DataFrame, case: Case) -> Floats:
    """Distance (N,) from the centres of the outermost pixels."""
    place = sites[["y", "x"]].to_numpy(float)
    return np.minimum(place, case.setting.size - 1 - place).min(axis=1)


def accuracy(found: pd.DataFrame, case: Case) -> dict[str, float]:
    """Errors in units of the bound and of the stated standard deviations, along y and x."""
    pairs, rows = inner_pairs(found, case)
    error = positions(found)[pairs] - positions(case.sites)[rows]
    stated = found[["y_sd", "x_sd"]].to_numpy(float)[pairs]
    z = np.std(error / stated, axis=0)
    some = np.random.default_rng(0).permutation(len(rows))[:BOUND_ATOMS]
    bound, jittered = (root_mean_square(part) for part in position_bound(case, rows[some]))
    rmse = root_mean_square(error[some])
    names = ("RMSE y", "RMSE x", "y/bound", "x/bound", "x/jittered", "z y", "z x")
    values = (*rmse, *(rmse / bound), rmse[1] / jittered[1], *z)
    return dict(zip(names, map(float, values), strict=True))


def inner_pairs(found: pd.DataFrame, case: Case) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of found and of true atoms that belong together, away from the rim."""
    true = np.flatnonzero((case.sites["kind"] == "atom").to_numpy())
    tolerance = TOLERANCE * case.setting.spacing
    pairs = match_sites(found, case.sites.iloc[true], tolerance)
    rows = true[pairs[:, 1]]
    kept = inner(case.sites, case)[rows]
    return pairs[kept, 0], rows[kept]


def positions(sites: pd.DataFrame) -> Floats:
    """Places (N, 2) of sites."""
    return sites[["y", "x"]].to_numpy(float)


def root_mean_square(values: Floats) -> Floats:
    """Root of the mean square (2,) over the atoms."""
    return np.asarray(np.sqrt((values**2).mean(axis=0)))


def environment_scores(
    found: pd.DataFrame, case: Case, environment: str
) -> tuple[int, dict[str, float]]:
    """Recall of the atoms of one environment, and precision of what was found around them.

    At vacancies the recall is the share where nothing was found.
    """
    spacing = case.setting.spacing
    chosen = in_environment(case, environment)
    pairs = match_sites(found, case.sites[case.sites["kind"] == "atom"], TOLERANCE * spacing)
    right = np.zeros(len(found), bool)
    right[pairs[:, 0]] = True
    there = positions(case.sites)[chosen]
    if not len(there) or not len(found):
        return len(there), {"recall": 0.0, "precision": math.nan}
    gap = cKDTree(positions(found)).query(there)[0]
    if environment == "vacancy":
        recall = float((gap > TOLERANCE * spacing).mean())
        return len(there), {"recall": recall, "precision": math.nan}
    true = np.flatnonzero((case.sites["kind"] == "atom").to_numpy())
    matched = np.zeros(len(case.sites), bool)
    matched[true[pairs[:, 1]]] = True
    around = cKDTree(there).query(positions(found))[0] <= AROUND * spacing
    precision = float(right[around].mean()) if around.any() else math.nan
    return len(there), {"recall": float(matched[chosen].mean()), "precision": precision}


def in_environment(case: Case, environment: str) -> NDArray[np.bool_]:
    """Which true sites to score: away from the rim, or near it and at least sigma inside."""
    away = rim_distance(case.sites, case)
    if environment == "frame_edge":
        near = (away >= case.setting.sigma) & (away < case.setting.spacing)
        return np.asarray(near & (case.sites["kind"] == "atom").to_numpy())
    named = (case.sites["environment"] == environment).to_numpy()
    return np.asarray(named & (away >= case.setting.spacing))


# --------------------------------------------------------------------------- rows
def settings(
    specimens: Sequence[str], counts: Sequence[float], options: argparse.Namespace, **more: Any
) -> Iterator[Setting]:
    """All combinations of specimen, simulator, dose and seed."""
    for specimen in specimens:
        for simulator in SIMULATORS:
            for dose in counts:
                for seed in options.seeds:
                    yield Setting(
                        specimen=specimen, simulator=simulator, counts=dose, seed=seed, **more
                    )


def figure(
    row: str, case: Case, atoms: int, values: dict[str, float], name: str | None = None
) -> Figure:
    """Say what ours made of a case."""
    s = case.setting
    return Figure(row, name or s.specimen, s.simulator, s.counts, s.seed, "ours", atoms, values)


def cost(cpu: float, case: Case) -> dict[str, float]:
    """CPU seconds of a frame for a million pixels, and milliseconds for an atom."""
    atoms = int((case.sites["kind"] == "atom").sum())
    return {"CPU s/Mpx": cpu / (case.image.size / 1e6), "CPU ms/atom": 1e3 * cpu / atoms}


def lattice_row(options: argparse.Namespace) -> Iterator[Figure]:
    """Crystals at all doses."""
    for setting in settings(KINDS, options.counts, options, size=options.size):
        case = make_case(setting)
        found, cpu = find(case.image)
        atoms, scores = frame_scores(found, case)
        yield figure("lattice", case, atoms, scores | accuracy(found, case) | cost(cpu, case))


def defects_row(options: argparse.Namespace) -> Iterator[Figure]:
    """Atoms in unusual places."""
    counts = [c for c in options.counts if c > 4]
    for setting in settings(list(DEFECTS), counts, options, size=options.size * 3 // 4):
        case = make_case(setting)
        found, _ = find(case.image)
        for environment in DEFECTS[setting.specimen]:
            atoms, scores = environment_scores(found, case, environment)
            name = f"{setting.specimen}: {environment}"
            yield figure("defects", case, atoms, scores, name)


def empty_row(options: argparse.Namespace) -> Iterator[Figure]:
    """False atoms: in noise and in vacuum."""
    for setting in settings(["half"], options.counts, options, size=options.size * 3 // 4):
        case = make_case(setting)
        found, _ = find(case.image)
        near = match_sites(found, case.sites, TOLERANCE * setting.spacing)[:, 0]
        false = np.delete(positions(found), near, axis=0)
        number = int((vacuum_depth(in_specimen(false, case), setting) > VACUUM_FROM).sum())
        yield figure("empty", case, 0, {"false": number}, "vacuum")
    known = {"sigma": SIGMA, "neighbour_distance": SPACING}
    for name, make in NOISES.items():
        for told in (False, True):
            case_name = f"{name}, scale {'told' if told else 'unknown'}"
            for seed in range(options.noise_seeds):
                image = make(np.random.default_rng(seed)).astype(np.float32)
                found, _ = find(image, **(known if told else {}))
                value = {"false/Mpx": len(found) / (image.size / 1e6)}
                yield Figure("empty", case_name, "", 0.0, seed, "ours", 0, value)


def in_specimen(points: Floats, case: Case) -> Floats:
    """Where points (N, 2) of a frame lie in the specimen, as the nearest true site tells."""
    if not len(points):
        return points
    near = cKDTree(positions(case.sites)).query(points)[1]
    shift = case.sites[["specimen_y", "specimen_x"]].to_numpy(float) - positions(case.sites)
    return np.asarray(points + shift[near])


def _white(rng: np.random.Generator) -> Floats:
    return rng.normal(0.0, 1.0, (NOISE_SIDE, NOISE_SIDE))


def _counted(mean: float) -> Callable[[np.random.Generator], Floats]:
    return lambda rng: rng.poisson(mean, (NOISE_SIDE, NOISE_SIDE)).astype(float)


def _correlated(rng: np.random.Generator) -> Floats:
    return np.asarray(ndimage.gaussian_filter1d(_white(rng), 1.0, axis=1))


def _striped(rng: np.random.Generator) -> Floats:
    return _white(rng) + rng.normal(0.0, READOUT, (NOISE_SIDE, 1))


NOISES: dict[str, Callable[[np.random.Generator], Floats]] = {
    "white noise": _white,
    "10 counts": _counted(10.0),
    "0.3 counts": _counted(0.3),
    "correlated along x": _correlated,
    "offset rows": _striped,
}


def isolated_row(options: argparse.Namespace) -> Iterator[Figure]:
    """Atoms without a lattice."""
    counts = [c for c in options.counts if c > 4]
    for setting in settings(["isolated", "few"], counts, options, size=options.size):
        case = make_case(setting)
        found, _ = find(case.image)
        atoms, scores = frame_scores(found, case)
        yield figure("isolated", case, atoms, scores)


def scales_row(options: argparse.Namespace) -> Iterator[Figure]:
    """The same pictures on coarse and on fine grids."""
    for spacing, size in SCALES.items():
        for setting in settings(KINDS, [15.0], options, size=size, spacing=spacing):
            case = make_case(setting)
            found, cpu = find(case.image)
            atoms, scores = frame_scores(found, case)
            name = f"{setting.specimen}, {spacing:g} px"
            yield figure("scales", case, atoms, scores | cost(cpu, case), name)


def dark_row(options: argparse.Namespace) -> Iterator[Figure]:
    """Inverted contrast."""
    choices = next(f for f in dataclasses.fields(DetectConfig) if f.name == "contrast").metadata
    untold = {"contrast": "auto"} if "auto" in str(choices) else {}
    counts = [c for c in options.counts if c > 4]
    size = options.size * 3 // 4
    for setting in settings(KINDS, counts, options, size=size, contrast="dark"):
        case = make_case(setting)
        for name, told in {"told": {"contrast": "dark"}, "not told": untold}.items():
            found, _ = find(case.image, **told)
            atoms, scores = frame_scores(found, case)
            yield figure("dark", case, atoms, scores, f"{setting.specimen}, {name}")


ROWS: dict[str, Callable[[argparse.Namespace], Iterator[Figure]]] = {
    "lattice": lattice_row,
    "defects": defects_row,
    "empty": empty_row,
    "isolated": isolated_row,
    "scales": scales_row,
    "dark": dark_row,
}


# --------------------------------------------------------------------------- report
DIGITS = {"F1": 4, "precision": 4, "recall": 4, "RMSE y": 3, "RMSE x": 3, "false": 0}


def line_of(figure: Figure) -> str:
    """One row of the table as text."""
    values = "".join(f"{value:>12.{DIGITS.get(name, 2)}f}" for name, value in figure.values.items())
    return (
        f"{figure.case:<36}{figure.simulator:<10}{figure.counts:>6g}{figure.seed:>5} "
        f"{figure.who:<10}{figure.atoms:>7}{values}"
    )


def header_of(figure: Figure) -> str:
    """Names of the columns."""
    names = "".join(f"{name:>12}" for name in figure.values)
    return (
        f"{figure.row:<36}{'simulator':<10}{'counts':>6}{'seed':>5} {'who':<10}{'atoms':>7}{names}"
    )


def seed_means(figures: Sequence[Figure]) -> pd.DataFrame:
    """Means over the seeds, each atom counting the same."""
    table = pd.DataFrame([dataclasses.asdict(f) for f in figures])
    values = pd.DataFrame(table.pop("values").tolist())
    weight = np.maximum(table["atoms"].to_numpy(float), 1e-9)
    keys = [table[name] for name in ("row", "who", "case", "simulator", "counts")]
    weights = values.notna().mul(weight, axis=0).groupby(keys).sum()
    return values.mul(weight, axis=0).groupby(keys).sum(min_count=1) / weights


def verdicts(figures: Sequence[Figure]) -> Iterator[tuple[str, bool]]:
    """Say which bars hold, and for which case they hold least."""
    means = seed_means(figures).reset_index()
    for bar in BARS:
        some = means[(means["row"] == bar.row) & (means["who"] == "ours")]
        if bar.value not in some or not (some := some[some["counts"].isin(bar.counts)]).size:
            continue
        some = some.dropna(subset=bar.value)
        if some.empty:
            continue
        value = some[bar.value]
        # how far inside the bar, negative outside
        room = np.minimum(value - bar.least, bar.most - value)
        failing = int((room < -1e-9).sum())
        worst = some.loc[room.idxmin()]
        limits = " and ".join(
            f"{sign} {limit:g}"
            for sign, limit in ((">=", bar.least), ("<=", bar.most))
            if math.isfinite(limit)
        )
        counts = ", ".join(f"{c:g}" for c in bar.counts if c)
        text = (
            f"{bar.row}: {bar.value} {limits}{f' at {counts} counts' if counts else ''}: worst "
            f"{worst[bar.value]:.4g} ({worst['case']}, {worst['simulator']}, "
            f"{worst['counts']:g}); {failing} of {len(some)} fail"
        )
        yield text, failing == 0


def _numbers(kind: type) -> Callable[[str], list[Any]]:
    return lambda text: [kind(part) for part in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one seed of small frames")
    parser.add_argument("--rows", type=_numbers(str), default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--seeds", type=_numbers(int), default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--counts", type=_numbers(float), default=list(COUNTS), help="100,15,4")
    parser.add_argument("--size", type=int, default=1024, help="side of a frame in pixels")
    parser.add_argument("--noise-seeds", type=int, default=NOISE_SEEDS)
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.size, options.noise_seeds = options.seeds[:1], 512, 2
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = _arguments()
    find(make_case(Setting(specimen="honeycomb", size=128)).image)  # load everything once
    figures: list[Figure] = []
    for name in options.rows:
        for figure in ROWS[name](options):
            shown = figures[-1] if figures else None
            if shown is None or [shown.row, *shown.values] != [figure.row, *figure.values]:
                print(f"\n{header_of(figure)}")
            figures.append(figure)
            print(line_of(figure), flush=True)
    print()
    held = dict(verdicts(figures))
    for text, holds in held.items():
        print(f"{'holds' if holds else 'FAILS':<6} {text}")
    write_report(options.out, figures, bars=held)


if __name__ == "__main__":
    main()
