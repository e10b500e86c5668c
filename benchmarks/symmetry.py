"""How often the rotational order of units of known symmetry is found from decoded pictures.

Every set has five units, one of each order 1, 2, 3, 4 and 6, in crops turned at random and then
sheared by 1 % in the scan frame, as by drift. "motif": atoms at random, in orbits of the order;
"broken": the same, but the unit of order 1 is a symmetric one with a single atom moved, dimmed or
missing; "lattice": sites and hollows of a honeycomb and a square lattice. Within a unit all
distances vary by 5 %. A model is trained on each set, and the order is asked for each unit (from
the median of its crops' latents) and for some single crops (from their latents and standard
deviations).

    OMP_NUM_THREADS=1 python benchmarks/symmetry.py --quick
    OMP_NUM_THREADS=1 python benchmarks/symmetry.py --out symmetry.json
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rvae import write_report

from napari_rvae import RVAE, Crops
from napari_rvae.config import CropConfig
from napari_rvae.vae.symmetry import ORDERS, decoded_symmetry

Floats = NDArray[np.float64]
Unit = tuple[Floats, Floats]  # offsets (A, 2) as (dy, dx) in px, and peaks (A,)

PIXELS = 32
BOND = PIXELS / CropConfig().window_nd
SIGMA = 2.1  # px
BACKGROUND = 0.12  # of the brightest atom's peak
PLANTED = (1, 2, 3, 4, 6)
SHEAR, CENTRING, BREATHING = 0.01, 0.1, 0.05
SINGLES = 8

#: Share of the units whose order must be right.
LEAST_RIGHT = 0.95


@dataclass(frozen=True)
class Row:
    """What one unit gave; deviations in neighbour distances."""

    kind: str
    seed: int
    planted: int
    found: int
    largest_symmetric: float  # deviation for orders that the unit has
    smallest_other: float  # and for those that it has not
    singles_right: float
    singles_unknown: float
    fit_cpu_s: float
    symmetry_cpu_s: float


# --------------------------------------------------------------------------- simulation
def orbit(order: int, radius: float, angle: float) -> Floats:
    """Offsets (order, 2) at equal angles on a circle."""
    phi = angle + 2 * math.pi * np.arange(order) / order
    return radius * np.stack([-np.sin(phi), np.cos(phi)], 1)


def motif(order: int, rng: np.random.Generator) -> Unit:
    """Atom in the middle and orbits about it, at random, no two atoms nearer than 5 px."""
    while True:
        offsets, peaks = [np.zeros((1, 2))], [rng.uniform(0.6, 1, 1)]
        for _ in range({1: 4, 2: 2, 3: 2, 4: int(rng.integers(1, 3)), 6: 1}[order]):
            offsets.append(orbit(order, rng.uniform(6, 11.5), rng.uniform(0, 2 * math.pi)))
            peaks.append(np.full(order, rng.uniform(0.4, 1)))
        every = np.concatenate(offsets)
        apart = np.linalg.norm(every[:, None] - every, axis=2) + 99 * np.eye(len(every))
        if apart.min() > 5:
            return every, np.concatenate(peaks)


def broken(order: int, rng: np.random.Generator) -> Unit:
    """A motif; for order 1 a symmetric one with its last atom moved, dimmed or missing."""
    if order > 1:
        return motif(order, rng)
    offsets, peaks = motif(int(rng.choice(ORDERS)), rng)
    how = rng.integers(3)
    if how == 0:
        offsets[-1] += orbit(1, 2.5, rng.uniform(0, 2 * math.pi))[0]
    elif how == 1:
        peaks[-1] /= 2
    else:
        offsets, peaks = offsets[:-1], peaks[:-1]
    return offsets, peaks


def lattice(order: int, rng: np.random.Generator) -> Unit:
    """A place in a honeycomb or, for order 4, in a square lattice; some with a heavy atom."""
    line = np.arange(-12, 13) * BOND
    if order == 4:
        sites = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    else:
        cells = line[:, None, None] * np.array([0, math.sqrt(3)])
        cells = (cells + line[None, :, None] * np.array([1.5, math.sqrt(0.75)])).reshape(-1, 2)
        sites = np.concatenate([cells, cells + np.array([BOND, 0])])
    sites = sites - {2: [BOND / 2, 0], 6: [-BOND, 0]}.get(order, [0, 0])
    distance = np.linalg.norm(sites, axis=1)
    sites = sites[np.argsort(distance, kind="stable")][: int((distance < 32).sum())]
    peaks, heavy = np.full(len(sites), 0.45), rng.random() < 0.5
    if order == 1:  # beside a heavy atom
        peaks[1] = 1.0
    elif order == 6 and heavy:  # the hollow is filled
        sites, peaks = np.concatenate([np.zeros((1, 2)), sites]), np.append(1.0, peaks)
    elif heavy:
        peaks[: 2 if order == 2 else 1] = 1.0
    return sites, peaks


def simulate(
    units: Sequence[Unit], count: int, counts: float, rng: np.random.Generator
) -> tuple[Crops, NDArray[np.int64]]:
    """Crops with Poisson noise, less their mean, and the unit of each."""
    label = rng.integers(0, len(units), count)
    line = np.arange(PIXELS) - (PIXELS - 1) / 2
    images = np.empty((count, 1, PIXELS, PIXELS), np.float32)
    for image, number in zip(images[:, 0], label, strict=True):
        offsets, peaks = units[number]
        dy, dx = (offsets * (1 + BREATHING * (rng.random() - 0.5))).T
        angle = rng.uniform(-math.pi, math.pi)
        y = dy * math.cos(angle) - dx * math.sin(angle)
        x = dx * math.cos(angle) + dy * math.sin(angle) + SHEAR * y
        y, x = y + rng.normal(0, CENTRING), x + rng.normal(0, CENTRING)
        rows = np.exp(-0.5 * ((line - y[:, None]) / SIGMA) ** 2)
        columns = np.exp(-0.5 * ((line - x[:, None]) / SIGMA) ** 2)
        clean = np.einsum("a,ay,ax->yx", peaks, rows, columns) + BACKGROUND
        image[:] = rng.poisson(clean * counts) / counts
    images -= images.mean(axis=(2, 3), keepdims=True)
    window = CropConfig().window_nd
    return Crops(images=images, site_id=np.arange(count), window_nd=window), label


# --------------------------------------------------------------------------- runs
KINDS = {"motif": motif, "broken": broken, "lattice": lattice}


def run(kind: str, seed: int, count: int, counts: float) -> list[Row]:
    """Train on one set of units; one row for each."""
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    units = [KINDS[kind](order, rng) for order in PLANTED]
    crops, label = simulate(units, count, counts, rng)
    begun = time.process_time()
    model = RVAE(seed=seed, device="cpu").fit(crops)
    fitted = time.process_time()
    table = model.transform(crops)
    z, z_sd = (
        table[[f"z{i}{end}" for i in range(model.config.n_latents)]].to_numpy(float)
        for end in ("", "_sd")
    )
    encoded = time.process_time()
    found = decoded_symmetry(model, z, z_sd=z_sd, unit=label)
    done = time.process_time()
    rows = []
    for number, order in enumerate(PLANTED):
        some = np.flatnonzero(label == number)[:SINGLES]
        single = decoded_symmetry(model, z[some], z_sd=z_sd[some])["order"].to_numpy()
        deviation = {n: float(found[f"deviation_{n}"][number]) / BOND for n in ORDERS}
        rows.append(
            Row(
                kind=kind,
                seed=seed,
                planted=order,
                found=int(found["order"][number]),
                largest_symmetric=max([deviation[n] for n in ORDERS if order % n == 0], default=0),
                smallest_other=min([deviation[n] for n in ORDERS if order % n], default=math.nan),
                singles_right=float((single == order).mean()),
                singles_unknown=float((single == -1).mean()),
                fit_cpu_s=fitted - begun,
                symmetry_cpu_s=(done - encoded) / len(PLANTED),
            )
        )
    return rows


HEADER = (
    f"{'kind':<9}{'seed':>5}{'planted':>9}{'found':>7}{'symmetric to':>14}{'others from':>13}"
    f"{'single crops':>14}{'cannot tell':>13}{'fit CPU s':>11}{'CPU s':>7}"
)


def line_of(row: Row) -> str:
    """One row of the table as text."""
    return (
        f"{row.kind:<9}{row.seed:>5}{row.planted:>9}{row.found:>7}{row.largest_symmetric:>14.3f}"
        f"{row.smallest_other:>13.3f}{row.singles_right:>14.2f}{row.singles_unknown:>13.2f}"
        f"{row.fit_cpu_s:>11.1f}{row.symmetry_cpu_s:>7.2f}"
    )


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Say whether the bar holds, and how far symmetric and other deviations are apart."""
    table = pd.DataFrame(rows)
    right = table["planted"] == table["found"]
    by_order = right.groupby(table["planted"]).mean()
    share = float(right.mean())
    yield (
        f"{'holds' if share >= LEAST_RIGHT else 'FAILS':<6} order right for >= {LEAST_RIGHT:.0%} "
        f"of the units: {share:.1%} of {len(rows)} ("
        + ", ".join(f"order {order}: {value:.0%}" for order, value in by_order.items())
        + f"); cannot tell: {(table['found'] == -1).mean():.1%}"
    )
    symmetric = table.loc[table["planted"] > 1, "largest_symmetric"]
    other = table["smallest_other"].dropna()
    yield (
        f"deviations in neighbour distances: symmetric at most {symmetric.max():.3f} (median "
        f"{symmetric.median():.3f}), others at least {other.min():.3f} (median "
        f"{other.median():.3f})"
    )
    yield (
        f"single crops: right {table['singles_right'].mean():.1%}, cannot tell "
        f"{table['singles_unknown'].mean():.1%}"
    )


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one set of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2, 3, 4], help="such as 0,1,2")
    parser.add_argument("--size", type=int, default=2000, help="crops of a set")
    parser.add_argument(
        "--peak", type=float, default=40.0, help="counts at the peak of the brightest atom"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    print(f"{options.size} crops a set; deviations in neighbour distances")
    print(HEADER)
    rows: list[Row] = []
    for kind in options.kinds.split(","):
        for seed in options.seeds[:1] if options.quick else options.seeds:
            for row in run(kind, seed, options.size, options.peak):
                rows.append(row)
                print(line_of(row), flush=True)
    for verdict in verdicts(rows):
        print(verdict)
    write_report(options.out, rows, peak_counts=options.peak)


if __name__ == "__main__":
    main()
