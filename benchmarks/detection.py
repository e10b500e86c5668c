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
- ellipse: a probe that is 1.1, 1.2 and 1.3 times as long as wide, as astigmatism makes it;
- large: a frame of 4096 x 4096 px on two threads, in a process of its own (only with ``--large``);
- movie: 20 frames of 1024 x 1024 px on one thread and on two (only with ``--large``);
- peers: other finders on the middle of the frames of "lattice", each at its best threshold for
  the frame, and ours on the same middle (only with ``--peers-python``).

The peers run in an environment of their own, see ``detection_peers.py``.

    OMP_NUM_THREADS=1 python benchmarks/detection.py --quick
    OMP_NUM_THREADS=1 python benchmarks/detection.py --large --peers-python peers-env/bin/python
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

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
    cropped,
    make_case,
    vacuum_depth,
)
from detection_peers import FINDERS, Found, ask_peers
from detection_scoring import (
    TOLERANCE,
    Figure,
    accuracy,
    cost,
    environment_scores,
    figure,
    find,
    frame_scores,
    inner_pairs,
    positions,
    root_mean_square,
)
from rvae import write_report
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_rvae import DetectConfig
from napari_rvae.analysis.scores import match_sites
from napari_rvae.tables import make_sites

COUNTS, KINDS = (100.0, 15.0, 4.0), ("honeycomb", "perovskite")

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

#: Longest by shortest width of elliptical probes.
ELONGATIONS = (1.1, 1.2, 1.3)

LARGE_SIDE, LARGE_THREADS = 4096, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}

#: Frames of a movie, of which so many are different.
MOVIE_FRAMES, MOVIE_DIFFERENT = 20, 4

#: A peer is ahead if its F1 is larger at all, or its error smaller by this factor.
AHEAD = 0.98


class Bar(NamedTuple):
    """What must hold for the mean over the seeds in every case of a row."""

    row: str
    value: str
    least: float = -math.inf
    most: float = math.inf
    counts: tuple[float, ...] = COUNTS
    cases: tuple[str, ...] = ("",)  # ends of their names


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
    Bar("scales", "CPU s/Mpx", most=3.0, cases=(" 12 px", " 20 px", " 30 px", " 50 px")),
    Bar("dark", "F1", least=0.998),
    Bar("ellipse", "F1", least=0.998),
    Bar("ellipse", "y/bound", most=1.3),
    Bar("ellipse", "x/bound", most=1.3),
    Bar("ellipse", "z y", 0.85, 1.25),
    Bar("ellipse", "z x", 0.85, 1.25),
    Bar("large", "wall s", most=30.0),
)


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
        for how, told in {"scale unknown": {}, "scale told": known}.items():
            frames = [make(np.random.default_rng(k)) for k in range(options.noise_seeds)]
            numbers = [len(find(frame.astype(np.float32), **told)[0]) for frame in frames]
            values = {
                "false/Mpx": float(np.mean(numbers)) / (NOISE_SIDE**2 / 1e6),
                "frames": float(len(numbers)),
            }
            yield Figure("empty", f"{name}, {how}", "", 0.0, 0, "ours", 0, values)


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
    for setting in settings(["isolated", "few"], counts, options, size=options.size // 2):
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
    contrast = next(f for f in dataclasses.fields(DetectConfig) if f.name == "contrast")
    untold = {"contrast": "auto"} if "auto" in contrast.metadata["choices"] else {}
    counts = [c for c in options.counts if c > 4]
    size = options.size * 3 // 4
    for setting in settings(KINDS, counts, options, size=size, contrast="dark"):
        case = make_case(setting)
        for name, told in {"told": {"contrast": "dark"}, "not told": untold}.items():
            found, _ = find(case.image, **told)
            atoms, scores = frame_scores(found, case)
            yield figure("dark", case, atoms, scores, f"{setting.specimen}, {name}")


def ellipse_row(options: argparse.Namespace) -> Iterator[Figure]:
    """An elliptical probe."""
    counts = [c for c in options.counts if c > 4]
    for longer in ELONGATIONS:
        every = settings(KINDS, counts, options, size=options.size // 2, elongation=longer)
        for setting in (some for some in every if some.simulator == "tailed"):
            case = make_case(setting)
            found, cpu = find(case.image)
            atoms, scores = frame_scores(found, case)
            values = scores | accuracy(found, case) | cost(cpu, case)
            yield figure("ellipse", case, atoms, values, f"{setting.specimen}, {longer:g} to 1")


def large_row(options: argparse.Namespace) -> Iterator[Figure]:
    """Measure one large frame in a process that holds nothing else."""
    case = make_case(Setting(specimen="honeycomb", seed=options.seeds[0], size=LARGE_SIDE))
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, LARGE_THREADS):
        path = Path(folder) / "frame.npy"
        np.save(path, case.image)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found, values = pool.submit(find_in_file, path).result()
    atoms, scores = frame_scores(found, case)
    yield figure("large", case, atoms, scores | values)


def movie_row(options: argparse.Namespace) -> Iterator[Figure]:
    """Time a movie on one thread and on two; its frames are searched side by side."""
    first = Setting(specimen="honeycomb", seed=options.seeds[0], size=options.size)
    cases = [
        make_case(dataclasses.replace(first, seed=first.seed + k)) for k in range(MOVIE_DIFFERENT)
    ]
    images = [case.image for case in cases] * (MOVIE_FRAMES // MOVIE_DIFFERENT)
    for threads in ("1", "2"):
        environment = LARGE_THREADS | {"OMP_NUM_THREADS": threads}
        with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, environment):
            path = Path(folder) / "frames.npy"
            np.save(path, np.stack(images))
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                found, values = pool.submit(find_in_file, path).result()
        atoms, scores = frame_scores(found[found["frame"] == 0], cases[0])
        load = {"load": os.getloadavg()[0]}
        name = f"{len(images)} frames, threads: {threads}"
        yield figure("movie", cases[0], atoms, scores | values | load, name)


def find_in_file(path: Path) -> tuple[pd.DataFrame, dict[str, float]]:
    """Find the atoms in a file's frames; and wall seconds, CPU seconds and memory for it."""
    frame = np.load(path)
    find(frame[..., :128, :128].reshape(-1, 128, 128)[0])  # load everything
    before = largest_memory()
    begun = time.perf_counter()
    found, cpu = find(frame)
    wall = time.perf_counter() - begun
    memory = {"MiB": largest_memory(), "MiB before": before}
    return found, {"wall s": wall, "CPU s": cpu, **memory}


def largest_memory() -> float:
    """Most that this process has held so far, in MiB; Linux counts the parent's in `ru_maxrss`."""
    status = Path("/proc/self/status")
    if status.exists():
        facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(facts["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peers_row(options: argparse.Namespace) -> Iterator[Figure]:
    """Ours and the peers on the same parts of the frames, and errors for the same atoms."""
    for setting in settings(KINDS, options.counts, options, size=options.size):
        case = cropped(make_case(setting), options.peers_size)
        table, cpu = find(case.image)
        ours = Found(positions(table), cpu, "")
        true = positions(case.sites[case.sites["kind"] == "atom"])
        peers = ask_peers(
            options.peers_python,
            case.image,
            true,
            sigma=case.setting.sigma,
            spacing=case.setting.spacing,
            tolerance=TOLERANCE * case.setting.spacing,
        )
        for name, found in {"ours": ours, **peers}.items():
            yield beside(name, found, ours, case)


def beside(name: str, found: Found, ours: Found, case: Case) -> Figure:
    """Score a finder, and its errors and ours for the atoms that both have found."""
    tables = [make_sites(frame=0, y=p.position[:, 0], x=p.position[:, 1]) for p in (found, ours)]
    atoms, scores = frame_scores(tables[0], case)
    rows = [dict(zip(*inner_pairs(t, case)[::-1], strict=True)) for t in tables]
    common = sorted(set(rows[0]) & set(rows[1]))
    true = positions(case.sites)[common]
    errors = [
        positions(t)[[r[k] for k in common]] - true for t, r in zip(tables, rows, strict=True)
    ]
    theirs, mine = (root_mean_square(e) if common else np.full(2, math.nan) for e in errors)
    values = {"RMSE y": theirs[0], "RMSE x": theirs[1], "ours y": mine[0], "ours x": mine[1]}
    scored = figure("peers", case, atoms, {**scores, **values, **cost(found.cpu, case)})
    return dataclasses.replace(scored, who=name)


ROWS: dict[str, Callable[[argparse.Namespace], Iterator[Figure]]] = {
    "lattice": lattice_row,
    "defects": defects_row,
    "empty": empty_row,
    "isolated": isolated_row,
    "scales": scales_row,
    "dark": dark_row,
    "ellipse": ellipse_row,
    "large": large_row,
    "movie": movie_row,
    "peers": peers_row,
}


# --------------------------------------------------------------------------- report
DIGITS = {"F1": 4, "precision": 4, "recall": 4, "RMSE y": 3, "RMSE x": 3, "false": 0}


def line_of(one: Figure) -> str:
    """One row of the table as text."""
    values = "".join(f"{value:>12.{DIGITS.get(name, 2)}f}" for name, value in one.values.items())
    return (
        f"{one.case:<36}{one.simulator:<10}{one.counts:>6g}{one.seed:>5} "
        f"{one.who:<10}{one.atoms:>7}{values}"
    )


def header_of(one: Figure) -> str:
    """Names of the columns."""
    names = "".join(f"{name:>12}" for name in one.values)
    return f"{one.row:<36}{'simulator':<10}{'counts':>6}{'seed':>5} {'who':<10}{'atoms':>7}{names}"


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
        if bar.value not in means:
            continue
        some = means[(means["row"] == bar.row) & (means["who"] == "ours")].dropna(subset=bar.value)
        some = some[some["counts"].isin(bar.counts) & some["case"].str.endswith(bar.cases)]
        if some.empty:
            continue
        value = some[bar.value]
        # how far inside the bar, negative outside
        room = (value - bar.least).clip(upper=bar.most - value)
        failing = int((room < -1e-9).sum())
        worst = some.iloc[int(room.argmin())]
        limits = " and ".join(
            f"{sign} {limit:g}"
            for sign, limit in ((">=", bar.least), ("<=", bar.most))
            if math.isfinite(limit)
        )
        counts = ", ".join(f"{c:g}" for c in bar.counts if c in set(some["counts"]) - {0})
        text = (
            f"{bar.row}: {bar.value} {limits}{f' at {counts} counts' if counts else ''}: worst "
            f"{worst[bar.value]:.4g} ({worst['case']}, {worst['simulator']}, "
            f"{worst['counts']:g}); {failing} of {len(some)} fail"
        )
        yield text, failing == 0


def ahead(figures: Sequence[Figure]) -> Iterator[tuple[str, bool]]:
    """Say whether a peer is ahead of ours in a case, in the mean over the seeds."""
    means = seed_means([f for f in figures if f.row == "peers"])
    ours, peers = (means.drop(index=n, level="who") for n in (list(FINDERS), "ours"))
    peers = peers.reset_index("who")
    level = ours.droplevel("who")["F1"].reindex(peers.index)
    leads = {
        "F1": peers["F1"] - level,
        "error along y": AHEAD - peers["RMSE y"] / peers["ours y"],
        "error along x": AHEAD - peers["RMSE x"] / peers["ours x"],
    }
    for name, lead in leads.items():
        where = [
            f"{peers['who'].iloc[k]} ({index[1]}, {index[2]}, {index[3]:g})"
            for k, index in enumerate(peers.index)
            if lead.iloc[k] > 1e-9
        ]
        yield f"peers: none ahead in {name}{': ' if where else ''}{', '.join(where)}", not where


def _numbers(kind: type) -> Callable[[str], list[Any]]:
    return lambda text: [kind(part) for part in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one seed of small frames")
    parser.add_argument("--rows", type=_numbers(str), help=f"some of {', '.join(ROWS)}")
    parser.add_argument("--seeds", type=_numbers(int), default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--counts", type=_numbers(float), default=list(COUNTS), help="100,15,4")
    parser.add_argument("--size", type=int, default=1024, help="side of a frame in pixels")
    parser.add_argument("--noise-seeds", type=int, default=NOISE_SEEDS)
    parser.add_argument("--large", action="store_true", help="also a large frame and a movie")
    parser.add_argument("--peers-python", help="Python of the peers' environment: also compare")
    parser.add_argument("--peers-size", type=int, default=384, help="side of their frames")
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args()
    if options.rows is None:
        left_out = dict.fromkeys(("large", "movie"), not options.large)
        left_out["peers"] = not options.peers_python
        options.rows = [row for row in ROWS if not left_out.get(row)]
    if options.quick:
        options.seeds, options.size, options.noise_seeds = options.seeds[:1], 512, 2
        options.peers_size = 256
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if "peers" in options.rows and not options.peers_python:
        parser.error("peers need --peers-python: the Python of their environment")
    return options


def main() -> None:
    options = _arguments()
    find(make_case(Setting(specimen="honeycomb", size=128)).image)  # load everything once
    figures: list[Figure] = []
    for name in options.rows:
        for one in ROWS[name](options):
            shown = figures[-1] if figures else None
            if shown is None or [shown.row, *shown.values] != [one.row, *one.values]:
                print(f"\n{header_of(one)}")
            figures.append(one)
            print(line_of(one), flush=True)
    print()
    held = dict(verdicts(figures))
    if options.peers_python:
        held |= dict(ahead(figures))
    for text, holds in held.items():
        print(f"{'holds' if holds else 'FAILS':<6} {text}")
    write_report(options.out, figures, bars=held)


if __name__ == "__main__":
    main()
