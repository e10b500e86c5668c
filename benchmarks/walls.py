"""Domain walls found in simulated scans of a force microscope, against the planted ones.

Movies of `simulate_walls` with several seeds: a complex background of 0.3 of the domains' response,
a phase offset of every scan, walls of 3 px half-width, noise, row offsets and lost rows. And scans
of another wall model, made here: an error function as profile, domains from smoothed noise, noise
that is correlated along the rows, and a gain that changes from row to row.

    OMP_NUM_THREADS=1 python benchmarks/walls.py --quick
    OMP_NUM_THREADS=1 python benchmarks/walls.py --json walls.json
    OMP_NUM_THREADS=1 python benchmarks/walls.py --scans scan_1.h5 scan_2.ibw --out pictures
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rvae import machine, write_report
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import erf

from napari_rvae import (
    RVAE,
    Frames,
    detect_walls,
    extract_crops,
    find_junctions,
    fold_angle,
    read_frames,
    register_scans,
    sample_grid,
    signed_response,
    simulate_walls,
)
from napari_rvae.curves import curve_points, normals_and_bends, zero_curves
from napari_rvae.tables import latent_names, make_sites

#: Bars: px, shares of the walls' length, degrees.
MOST_OFFSET, LEAST_SHARE, MOST_TURN, LEAST_TYPE = 0.5, 0.95, 3.0, 0.95
#: A wall that is found within this of a true one is that one, in px.
NEAR = 4.0


@dataclass(frozen=True)
class Row:
    """Scores of one movie; offsets in px, turns in degrees, time in CPU seconds a frame."""

    case: str
    seed: int
    frames: int
    offset: float
    bias: float
    recall: float
    precision: float
    turn: float
    right_type: float
    curvature: float  # rank correlation with the true one along 180-degree walls
    junctions: float  # share found within 5 px
    seconds: float


def other_model(seed: int, side: int = 192, noise: float = 0.15) -> tuple[Frames, pd.DataFrame]:
    """Make one scan whose walls are no tanh, with its true walls."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(side, side)), 14, mode="wrap")
    field /= field.std()
    curves = zero_curves(field)
    # distance on a grid four times as fine, so that it is not that of the library
    fine = ndimage.zoom(field, 4, order=3, mode="nearest", grid_mode=True) > 0
    away = ndimage.distance_transform_edt(fine) - ndimage.distance_transform_edt(~fine)
    away = away.reshape(side, 4, side, 4).mean(axis=(1, 3)) / 4
    angle = rng.uniform(-math.pi / 2, math.pi / 2)
    y, x = np.indices((side, side)) - side / 2
    across = x * math.cos(angle) - y * math.sin(angle) + rng.uniform(-20, 20)
    level = 1 - 0.4 * (erf((across + 15) / 4) - erf((across - 15) / 4)) / 2
    signal = level * erf(away / 3.4) + 0.3 * np.exp(1j * rng.uniform(-math.pi, math.pi))
    grain = rng.normal(size=(2, side, side))
    grain = ndimage.gaussian_filter1d(grain, 0.6, axis=2)
    signal = signal + noise * (grain[0] + 1j * grain[1]) / grain.std()
    signal = signal * (1 + 0.03 * rng.normal(size=(side, 1)))
    signal = signal * np.exp(1j * rng.uniform(-math.pi, math.pi))
    frames = Frames(
        np.stack([np.abs(signal), np.degrees(np.angle(signal))])[None],
        channels=("amplitude", "phase"),
    )
    parts = [_polar_part(curve, field) for curve in curves]
    steps = np.arange(-1.5 * side, 1.5 * side, 0.5)
    shift = across - (x * math.cos(angle) - y * math.sin(angle))
    for edge in (-15.0, 15.0):
        place = edge - float(shift[0, 0])
        points = place * np.array([-math.sin(angle), math.cos(angle)])
        points = points + steps[:, None] * np.array([math.cos(angle), math.sin(angle)]) + side / 2
        inside = ((points >= 0) & (points <= side - 1)).all(axis=1)
        own = float(fold_angle(angle, 2))
        parts.append((points[inside], np.full(inside.sum(), own), np.zeros(inside.sum()), False))
    points, angles, bends = (np.concatenate([part[k] for part in parts]) for k in range(3))
    kinds = np.concatenate([np.full(len(part[0]), part[3]) for part in parts])
    true = make_sites(
        frame=0, y=points[:, 0], x=points[:, 1], kind="wall", normal_angle=angles, curvature=bends,
        wall_type=np.where(kinds, "180", "ferroelastic"),
    )  # fmt: skip
    return frames, true


def _polar_part(
    curve: np.ndarray, field: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    points = curve_points(curve, 0.5)
    angle, bend = normals_and_bends(field, points, sigma=1.0)
    return points, angle, bend, True


def scored(
    case: str, seed: int, frames: Frames, true: pd.DataFrame, junctions: pd.DataFrame | None
) -> Row:
    """Find the walls and compare them with the true ones."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = detect_walls(frames, spacing=1.0)
    seconds = (time.process_time() - start) / frames.n_frames
    true = _with_its_sign(true, found)
    offset, turn, right, hit, recalled, bend = [], [], [], [], [], []
    for number in range(frames.n_frames):
        one, two = (table[table["frame"] == number] for table in (true, found))
        a, b = (table[["y", "x"]].to_numpy() for table in (one, two))
        kinds = [table["wall_type"].to_numpy(str) for table in (one, two)]
        for kind in ("180", "ferroelastic"):
            mine, theirs = kinds[0] == kind, kinds[1] == kind
            if not mine.any() or not theirs.any():
                recalled.append(np.zeros(mine.sum(), bool))
                hit.append(np.zeros(theirs.sum(), bool))
                continue
            gap, near = cKDTree(a[mine]).query(b[theirs])
            good = gap < NEAR
            normal = one["normal_angle"].to_numpy()[mine][near]
            along = np.stack([-np.sin(normal), np.cos(normal)], axis=1)
            offset.append(((b[theirs] - a[mine][near]) * along).sum(axis=1)[good])
            angle = two["normal_angle"].to_numpy()[theirs]
            turn.append(fold_angle(angle - normal, 1 if kind == "180" else 2)[good])
            hit.append(good)
            recalled.append(cKDTree(b[theirs]).query(a[mine])[0] < NEAR)
            if kind == "180":
                true_bend = one["curvature"].to_numpy()[mine][near]
                bend.append(np.stack([true_bend, two["curvature"].to_numpy()[theirs]])[:, good])
        if len(a) and len(b):
            gap, near = cKDTree(a).query(b)
            right.append((kinds[0][near] == kinds[1])[gap < NEAR])
    both = np.concatenate(bend, axis=1) if bend else np.zeros((2, 2))
    return Row(
        case=case,
        seed=seed,
        frames=frames.n_frames,
        offset=_rms(offset),
        bias=float(np.mean(np.concatenate(offset))),
        recall=float(np.mean(np.concatenate(recalled))),
        precision=float(np.mean(np.concatenate(hit))),
        turn=math.degrees(_rms(turn)),
        right_type=float(np.mean(np.concatenate(right))),
        curvature=float(pd.DataFrame(both.T).corr(method="spearman").iloc[0, 1]),
        junctions=math.nan if junctions is None else _junctions(junctions, found),
        seconds=seconds,
    )


def _with_its_sign(true: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Turn all true normals round where the free sign of the whole movie came out the other way."""
    polar = [table[table["wall_type"] == "180"] for table in (true, found)]
    places = [table[["frame", "y", "x"]].to_numpy(float) * (1e3, 1, 1) for table in polar]
    near = cKDTree(places[0]).query(places[1])[1]
    angles = [table["normal_angle"].to_numpy() for table in polar]
    if np.cos(angles[1] - angles[0][near]).sum() >= 0:
        return true
    own = true["wall_type"] == "180"
    return true.assign(
        normal_angle=np.where(own, true["normal_angle"] + math.pi, true["normal_angle"]),
        curvature=-true["curvature"],
    )


def _rms(parts: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate(parts)))))


def _junctions(true: pd.DataFrame, found: pd.DataFrame) -> float:
    """Share of the true junctions that are found."""
    mine = find_junctions(found)
    seen = []
    for frame, rows in true.groupby("frame"):
        here = mine.loc[mine["frame"] == frame, ["y", "x"]].to_numpy()
        places = rows[["y", "x"]].to_numpy()
        seen.append(
            cKDTree(here).query(places)[0] < 5 if len(here) else np.zeros(len(places), bool)
        )
    return float(np.mean(np.concatenate(seen))) if seen else math.nan


HEADER = (
    f"{'case':12} {'seed':>4} {'offset':>7} {'bias':>7} {'recall':>7} {'precis.':>7} {'turn':>6} "
    f"{'type':>6} {'curv.':>6} {'junct.':>6} {'s/frame':>7}"
)


def line_of(row: Row) -> str:
    return (
        f"{row.case:12} {row.seed:4d} {row.offset:7.3f} {row.bias:7.3f} {row.recall:7.3f} "
        f"{row.precision:7.3f} {row.turn:6.2f} {row.right_type:6.3f} {row.curvature:6.3f} "
        f"{row.junctions:6.2f} {row.seconds:7.2f}"
    )


def bars(rows: list[Row]) -> list[str]:
    """Say which bars hold in every movie of each case, and how it does on the average."""
    table = pd.DataFrame([vars(row) for row in rows])
    lines = []
    for case, part in table.groupby("case"):
        mean, low, high = (part.agg(how, numeric_only=True) for how in ("mean", "min", "max"))
        tests = [
            ("offset", mean["offset"], high["offset"], high["offset"] <= MOST_OFFSET),
            ("recall", mean["recall"], low["recall"], low["recall"] >= LEAST_SHARE),
            ("precision", mean["precision"], low["precision"], low["precision"] >= LEAST_SHARE),
            ("turn", mean["turn"], high["turn"], high["turn"] <= MOST_TURN),
            ("type", mean["right_type"], low["right_type"], low["right_type"] >= LEAST_TYPE),
        ]
        for name, value, worst, holds in tests:
            sign = "ok  " if holds else "FAIL"
            lines.append(f"{sign} {case:12} {name:10} mean {value:.3f}, worst {worst:.3f}")
    return lines


def draw_scans(paths: list[Path], folder: Path) -> None:
    """Draw the walls of real scans over response and amplitude, and compare repeated ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        frames = read_frames(path)
        response = signed_response(frames)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            walls = detect_walls(frames, spacing=2.0)
        lengths = {kind: 2 * int((walls["wall_type"] == kind).sum()) for kind in ("180",
                   "ferroelastic")}  # fmt: skip
        facts = response.table.iloc[0]
        print(
            f"{path.name}: {facts['domains']} domain(s), background {facts['background']:.2f}, "
            f"180-degree walls {lengths['180']} px, ferroelastic {lengths['ferroelastic']} px"
            + "".join(f"; {warning.message}" for warning in said)
        )
        figure, axes = plt.subplots(1, 2, figsize=(14, 7.4), layout="constrained")
        signed = response.frame(0, "response")
        most = float(np.nanquantile(np.abs(signed), 0.97))
        axes[0].imshow(signed, cmap="RdBu_r", vmin=-most, vmax=most)
        axes[1].imshow(np.abs(signed), cmap="gray", vmax=most)
        for axis, title in zip(axes, ("signed response", "its size"), strict=True):
            axis.set(title=f"{path.name}: {title}", xticks=[], yticks=[])
            for kind, colour in (("180", "#00c853"), ("ferroelastic", "#d500f9")):
                part = walls[walls["wall_type"] == kind]
                axis.plot(part["x"], part["y"], ".", ms=2.5, color=colour, label=kind)
        axes[1].legend(loc="lower right")
        figure.savefig(folder / f"{path.stem}.png", dpi=70)
        plt.close(figure)
    if len(paths) == 2:
        both = register_scans([read_frames(path) for path in paths])
        response = signed_response(both)
        one, two = (response.frame(t, "response") for t in (0, 1))
        known = np.isfinite(one) & np.isfinite(two)
        moved = both.table.iloc[1]
        print(
            f"registered by ({moved['shift_y']:.1f}, {moved['shift_x']:.1f}) px, match "
            f"{moved['match']:.3f}; the responses correlate by "
            f"{np.corrcoef(one[known], two[known])[0, 1]:.3f}, their signs agree in "
            f"{np.mean(np.sign(one[known]) == np.sign(two[known])):.1%}"
        )
        height = [name for name in both.channels if name.lower().startswith(("height", "topogr"))]
        for movie, channel in ((response, "response"), *((both, name) for name in height[:1])):
            found = ", ".join(f"{value:.2f}" for value in sorted(repeated(movie, channel)))
            print(f"latents of {channel} at the same places correlate by {found}")


def repeated(movie: Frames, channel: str) -> list[float]:
    """Correlation of each latent of the same places in two registered scans.

    Windows of 24 px on a grid, of both scans; the model is told nothing of what belongs together.
    """
    one = movie.select_channel(channel)
    crops = extract_crops(one, sample_grid(one, step=8), window=24)
    table = RVAE(device="cpu").fit(crops).transform(crops)
    table = table.assign(frame=crops.frame, y=crops.y.round(), x=crops.x.round())
    first, second = (part for _, part in table.groupby("frame"))
    both = first.merge(second, on=["y", "x"], suffixes=("", "_again"))
    names = latent_names(table)
    return [float(np.corrcoef(both[name], both[f"{name}_again"])[0, 1]) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="two seeds")
    parser.add_argument("--seeds", type=int, default=8, help="movies of each case")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--scans", type=Path, nargs="+", help="draw the walls of these files")
    parser.add_argument("--out", type=Path, default=Path("walls"), help="folder of the pictures")
    options = parser.parse_args()
    if options.scans:
        draw_scans(options.scans, options.out)
        return
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(HEADER)
    rows: list[Row] = []
    count = 2 if options.quick else options.seeds
    for seed in range(options.first, options.first + count):
        movie = simulate_walls(n_frames=6, size=192, seed=seed, spacing=0.5)
        noisy = simulate_walls(n_frames=2, size=192, seed=seed, spacing=0.5, noise=0.3)
        frames, true = other_model(seed)
        for row in (
            scored("simulated", seed, movie.frames, movie.sites, movie.tables["junctions"]),
            scored("twice noise", seed, noisy.frames, noisy.sites, noisy.tables["junctions"]),
            scored("other model", seed, frames, true, None),
        ):
            rows.append(row)
            print(line_of(row), flush=True)
    print("\n".join(bars(rows)))
    write_report(options.json, rows)


if __name__ == "__main__":
    main()
