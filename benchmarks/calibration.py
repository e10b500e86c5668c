"""Whether the rVAE's error bars are right, and whether its latents know the angle.

Calibration by simulation: latents are drawn from the prior, decoded at random angles, noise of
the trained variance is added, and the pictures are encoded again. Where the posterior is right,
the truth lies in the 68 and 95 % intervals as often as they say, and its rank among the posterior
is uniform. Invariance: noise-free crops of known factor at 36 angles each.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py --quick
    OMP_NUM_THREADS=1 python benchmarks/calibration.py --out calibration.json
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rvae import Truth, draw_scene, machine, scene_of, simulate, write_report
from scipy import stats

from napari_rvae import RVAE, Crops
from napari_rvae.tables import fold_angle

Floats = NDArray[np.float64]

#: A crop with a larger share of another mode is flagged: two readings of it are possible.
FLAGGED = 0.05
N_ANGLES = 36

#: Bars: coverage off by, flagged crops, chance of ranks like these, variance over that of the
#: factor without noise and with it, angle error without noise.
MOST_OFF, MOST_FLAGGED, LEAST_CHANCE = 0.03, 0.03, 0.01
MOST_SPREAD, MOST_NOISY_SPREAD, MOST_DEGREES = 0.01, 0.10, 0.5


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    kind: str
    seed: int
    latents: int
    z_68: float
    z_95: float
    angle_68: float
    angle_95: float
    flagged: float
    rank_p: float  # least over the latents, times their number
    spread: float
    noisy_spread: float
    angle_deg: float
    fit_cpu_s: float


def posterior_scores(
    model: RVAE, order: int, rng: np.random.Generator, *, draws: int, bins: int = 20
) -> dict[str, float]:
    """Coverage of the intervals and uniformity of the ranks, by simulation."""
    count = model.n_latents_
    z = rng.normal(size=(draws, count))
    angle = rng.uniform(-math.pi, math.pi, draws)
    clean = model.inverse_transform(z, angle=angle)
    noise = rng.normal(0, model.noise_sd_[None, :, None, None], clean.shape)
    crops = Crops(images=(clean + noise).astype(np.float32), site_id=np.arange(draws))
    table = model.transform(crops)
    sure = (table["other_mode"] <= FLAGGED).to_numpy()
    names = [f"z{i}" for i in range(count)]
    off = (table[names].to_numpy() - z) / table[[f"{name}_sd" for name in names]].to_numpy()
    turn = fold_angle(table["angle"].to_numpy() - angle, order) / table["angle_sd"].to_numpy()
    rank = stats.norm.cdf(-off[sure])
    chances = [stats.chisquare(np.histogram(column, bins, (0, 1))[0]).pvalue for column in rank.T]
    return {
        "z_68": float((np.abs(off[sure]) < 1).mean()),
        "z_95": float((np.abs(off[sure]) < 1.96).mean()),
        "angle_68": float((np.abs(turn[sure]) < 1).mean()),
        "angle_95": float((np.abs(turn[sure]) < 1.96).mean()),
        "flagged": float(1 - sure.mean()),
        "rank_p": float(min(1.0, min(chances) * count)),
    }


def invariance(
    model: RVAE, kind: str, rng: np.random.Generator, *, objects: int, peak: float
) -> dict[str, float]:
    """Variance of z over the angles of a crop, as a share of that which the factor makes."""
    scene = scene_of(kind, objects, rng)
    turns = np.linspace(-math.pi, math.pi, N_ANGLES, endpoint=False) + 0.01
    repeated = dataclasses.replace(
        scene,
        **{
            name: np.repeat(getattr(scene, name), N_ANGLES, axis=0)
            for name in ("dy", "dx", "peak", "label", "factor")
        },
    )
    angle = np.tile(turns, objects)
    found = {}
    for name, counts in (("spread", math.inf), ("noisy_spread", peak)):
        crops = draw_scene(kind, repeated, angle, rng=rng, peak_counts=counts).crops
        table = model.transform(crops)
        names = [f"z{i}" for i in range(model.n_latents_)]
        z = table[names].to_numpy().reshape(objects, N_ANGLES, -1)
        within = z.var(axis=1).sum(1)
        means = z.mean(axis=1)
        factor = np.array(
            [means[scene.label == k].var(axis=0).sum() for k in range(len(scene.symmetry))]
        )
        found[name] = float(np.mean(within / factor[scene.label]))
        if name == "spread":
            found["angle_deg"] = _angle_follows(table["angle"].to_numpy(), angle, scene, objects)
    return found


def _angle_follows(angle: Floats, true: Floats, scene: Truth, objects: int) -> float:
    """Root mean square error of the angle in degrees, one offset for each object."""
    errors = []
    for one, other, label in zip(
        angle.reshape(objects, -1), true.reshape(objects, -1), scene.label, strict=True
    ):
        order = scene.symmetry[label]
        offset = np.angle(np.exp(1j * order * (one - other)).mean()) / order
        errors.append(fold_angle(one - other - offset, order))
    return float(np.degrees(np.sqrt(np.mean(np.square(errors)))))


def run(kind: str, seed: int, options: argparse.Namespace) -> Row:
    """Train on one set of crops, and test the error bars."""
    rng = np.random.default_rng([seed, 77])
    shift = rng.normal(0, 0.1, (options.crops, 2))
    crops, _ = simulate(kind, options.crops, rng=rng, shift=shift, peak_counts=options.peak)
    start = time.process_time()
    model = RVAE(n_latents=options.latents, seed=seed, device="cpu").fit(crops)
    seconds = time.process_time() - start
    order = 6 if kind == "honeycomb" else 1
    scores = posterior_scores(model, order, rng, draws=options.draws)
    scores |= invariance(model, kind, rng, objects=options.objects, peak=options.peak)
    return Row(kind=kind, seed=seed, latents=options.latents, fit_cpu_s=seconds, **scores)


HEADER = (
    f"{'kind':<10}{'seed':>5}{'lat':>4}{'z 68':>7}{'z 95':>7}{'a 68':>7}{'a 95':>7}{'flagged':>9}"
    f"{'rank p':>8}{'spread':>9}{'noisy':>8}{'angle':>7}{'fit CPU s':>11}"
)


def line_of(row: Row) -> str:
    """One row of the table as text."""
    return (
        f"{row.kind:<10}{row.seed:>5}{row.latents:>4}{row.z_68:>7.3f}{row.z_95:>7.3f}"
        f"{row.angle_68:>7.3f}{row.angle_95:>7.3f}{row.flagged:>9.3f}{row.rank_p:>8.3f}"
        f"{row.spread:>9.4f}{row.noisy_spread:>8.3f}{row.angle_deg:>7.2f}{row.fit_cpu_s:>11.1f}"
    )


def bars(rows: list[Row]) -> list[str]:
    """Say which of the bars hold, each with the worst run."""
    off = max(
        abs(value - aim)
        for row in rows
        for value, aim in (
            (row.z_68, 0.6827),
            (row.z_95, 0.95),
            (row.angle_68, 0.6827),
            (row.angle_95, 0.95),
        )
    )
    checks = (
        (off <= MOST_OFF, "intervals within 3 points", off),
        (max(r.flagged for r in rows) <= MOST_FLAGGED, "flagged", max(r.flagged for r in rows)),
        (min(r.rank_p for r in rows) >= LEAST_CHANCE, "ranks", min(r.rank_p for r in rows)),
        (max(r.spread for r in rows) <= MOST_SPREAD, "spread", max(r.spread for r in rows)),
        (
            max(r.noisy_spread for r in rows) <= MOST_NOISY_SPREAD,
            "spread with noise",
            max(r.noisy_spread for r in rows),
        ),
        (max(r.angle_deg for r in rows) <= MOST_DEGREES, "angle", max(r.angle_deg for r in rows)),
    )
    return [
        f"{'holds' if ok else 'FAILS':<6} {name}: worst {worst:.4f}" for ok, name, worst in checks
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one seed, fewer draws")
    parser.add_argument("--kinds", default="motif,honeycomb", help="comma-separated")
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--latents", type=int, default=2)
    parser.add_argument("--crops", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--objects", type=int, default=60)
    parser.add_argument("--peak", type=float, default=40.0)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    seeds = [int(part) for part in options.seeds.split(",")]
    if options.quick:
        seeds, options.draws, options.crops = seeds[:1], 1000, 1000
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(HEADER)
    rows = []
    for kind in options.kinds.split(","):
        for seed in seeds:
            rows.append(run(kind, seed, options))
            print(line_of(rows[-1]), flush=True)
    print("\n".join(bars(rows)))
    write_report(options.out, rows)


if __name__ == "__main__":
    main()
