"""How well, and how fast, the rVAE finds angle, class and a continuous factor of simulated crops.

Every crop has a known angle, class and factor. "motif" has four classes without rotational
symmetry; "honeycomb" has graphene's: bulk carbon and three-fold silicon (order 3), four-fold
silicon (order 2), carbon beside silicon (order 1). The factor moves atoms within each class.
Two settings are tried for each: sites found to a fraction of a pixel, with shifts=False, and
sites off by up to 1.5 px along each axis, with shifts=True. The crops that are scored were not
trained on.

    OMP_NUM_THREADS=1 python benchmarks/rvae.py --quick
    OMP_NUM_THREADS=1 python benchmarks/rvae.py --out rvae.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score, balanced_accuracy_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier

from napari_rvae import RVAE, Crops
from napari_rvae.config import CropConfig, RVAEConfig
from napari_rvae.tables import fold_angle

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

PIXELS = 32
BACKGROUND = 0.12  # of the brightest atom's peak
SIGMA = 2.1  # px
CARBON = 0.45  # a carbon's peak, of silicon's
WORST_SHIFT = 1.5  # px, along each axis
N_TEST = 2000
RARE_SHARE = 0.002

#: Bars: agreement of the classes, mean angle error (at few counts), the factor, a rare class, error
#: against the clean crop, CPU time of a training on 4,000 crops.
LEAST_ARI, LEAST_ARI_FEW, FEW = 0.985, 0.90, 500
LEAST_ARI_LOW, MOST_DEGREES_LOW, LOW = 0.95, 3.0, 20.0
MOST_DEGREES, LEAST_SPEARMAN, LEAST_RARE, MOST_CLEAN = 1.0, 0.95, 0.9, 0.08
MOST_CPU_SECONDS, TIMED_SIZE = 40.0, 4000


@dataclass(frozen=True)
class Scene:
    """Atoms (N, A) about the centre of each crop before it is turned, and the truth."""

    dy: Floats
    dx: Floats
    peak: Floats
    label: Integers
    factor: Floats
    symmetry: tuple[int, ...]  # rotational order of each class


@dataclass(frozen=True)
class Truth:
    """What the crops were made of; one entry for each, but for `symmetry`."""

    label: Integers
    angle: Floats
    factor: Floats
    symmetry: tuple[int, ...]
    clean: NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    kind: str
    n: int
    shifts: bool
    seed: int
    latents: int
    peak_counts: float
    ari: float
    neighbour_recall: float
    angle_error_deg: float
    angle_in_sd: float
    factor_spearman: float
    clean_error: float
    rare_recall: float
    fit_cpu_s: float
    fit_s: float
    transform_cpu_s: float
    transform_s: float


# --------------------------------------------------------------------------- simulation
#: Offsets (dy, dx) in px and peaks of each class of motifs; the second atom moves with the factor.
_MOTIFS = (
    (((0, 0), (0, 7), (6, -4), (-10, 1), (8, 8)), (1.0, 0.7, 0.6, 0.5, 0.6)),
    (((0, 0), (1, 7), (0, -7), (9, 3), (-8, 9)), (1.0, 0.6, 0.8, 0.6, 0.5)),
    (((0, 0), (5, 6), (4, -6), (-7, 0), (-6, -11)), (1.0, 0.7, 0.5, 0.8, 0.6)),
    (((0, 0), (0, 8), (8, 1), (-2, -8), (-10, 6)), (0.9, 0.8, 0.5, 0.6, 0.7)),
)


def motifs(count: int, rng: np.random.Generator) -> Scene:
    """Five atoms without symmetry; the factor moves one of them by 4 px along its direction."""
    label, factor = rng.integers(0, len(_MOTIFS), count), rng.random(count)
    offsets = np.array([offset for offset, _ in _MOTIFS], float)[label]  # (N, A, 2)
    arm = offsets[:, 1]
    offsets[:, 1] += arm / np.linalg.norm(arm, axis=1, keepdims=True) * (4 * factor[:, None] - 2)
    peak = np.array([peaks for _, peaks in _MOTIFS])[label]
    return Scene(offsets[..., 0], offsets[..., 1], peak, label, factor, (1, 1, 1, 1))


def _honeycomb_sites(bond: float, reach: float) -> Floats:
    """Sites (A, 2) as (dy, dx) about one of them, the nearest first."""
    first, second = np.array([0, math.sqrt(3) * bond]), np.array([1.5, math.sqrt(0.75)]) * bond
    line = np.arange(-12, 13)
    cells = line[:, None, None] * first + line[None, :, None] * second
    one = cells.reshape(-1, 2)
    sites = np.concatenate([one, one + np.array([bond, 0])])
    sites = sites[np.linalg.norm(sites, axis=1) < reach]
    return np.asarray(sites[np.argsort(np.linalg.norm(sites, axis=1), kind="stable")])


def honeycomb(count: int, rng: np.random.Generator) -> Scene:
    """Graphene about a site: bulk C, three-fold Si, four-fold Si, C beside Si.

    The factor is how far the neighbours (or the Si beside) are pushed out.
    """
    bond = PIXELS / CropConfig().window_nd
    sites = _honeycomb_sites(bond, 0.5 * math.sqrt(2) * PIXELS + 2 * bond)
    label, factor = rng.integers(0, 4, count), rng.random(count)
    offsets = np.repeat(sites[None], count, axis=0)
    peak = np.full(offsets.shape[:2], CARBON)
    direction = sites[1:4] / bond  # of the three neighbours
    bulk, three, four, beside = (label == k for k in range(4))
    offsets[bulk, 1:4] += 0.28 * bond * (factor[bulk, None, None] - 0.5) * direction
    offsets[three, 1:4] += 0.28 * bond * factor[three, None, None] * direction
    peak[three, 0] = 1.0
    middle = sites[1] / 2  # the Si sits where a bond was
    offsets[four] -= middle
    offsets[four, 0] = 0.0
    peak[four, 0], peak[four, 1] = 1.0, 0.0
    apart = np.linalg.norm(sites - middle, axis=1)
    ring = np.argsort(apart, kind="stable")[2:6]
    out = (sites[ring] - middle) / apart[ring, None]
    offsets[np.ix_(four, ring)] += 0.28 * bond * factor[four, None, None] * out
    peak[beside, 1] = 1.0
    offsets[beside, 1] += 0.32 * bond * factor[beside, None] * direction[0]
    return Scene(offsets[..., 0], offsets[..., 1], peak, label, factor, (3, 3, 2, 1))


def scene_of(kind: str, count: int, rng: np.random.Generator) -> Scene:
    """Objects of one kind before they are turned."""
    return {"motif": motifs, "honeycomb": honeycomb, "rare": rare}[kind](count, rng)


def rare(count: int, rng: np.random.Generator) -> Scene:
    """The honeycomb's classes, most of them bulk, and 0.2 % four-fold silicon."""
    scene = honeycomb(20 * count, rng)
    number = np.maximum(1, np.round(count * np.array([0.8, 0.1, RARE_SHARE, 0.098]))).astype(int)
    rows = np.concatenate(
        [np.flatnonzero(scene.label == label)[:size] for label, size in enumerate(number)]
    )
    rows = rng.permutation(rows)
    parts = (scene.dy, scene.dx, scene.peak, scene.label, scene.factor)
    return Scene(*(part[rows] for part in parts), scene.symmetry)


class Drawn(NamedTuple):
    """Crops, and what they would be without noise (N, 1, S, S)."""

    crops: Crops
    clean: NDArray[np.float32]


def draw_scene(
    kind: str,
    scene: Scene,
    angle: Floats,
    *,
    rng: np.random.Generator,
    peak_counts: float,
    shift: Floats | None = None,
    blur: float = 0.0,
) -> Drawn:
    """Crops as a microscope would give them, less their mean; without noise at infinite counts.

    An offset (dy, dx) is turned by a to (dy cos a - dx sin a, dx cos a + dy sin a), y down.
    """
    count = len(angle)
    moved = np.zeros((count, 2)) if shift is None else shift
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    y = scene.dy * c - scene.dx * s + moved[:, :1]
    x = scene.dx * c + scene.dy * s + moved[:, 1:]
    line = np.arange(PIXELS) - (PIXELS - 1) / 2
    clean = np.empty((count, 1, PIXELS, PIXELS), np.float32)
    for start in range(0, count, 1000):
        part = slice(start, start + 1000)
        rows = np.exp(-0.5 * ((line - y[part, :, None]) / SIGMA) ** 2)
        columns = np.exp(-0.5 * ((line - x[part, :, None]) / SIGMA) ** 2)
        clean[part, 0] = np.einsum("na,nay,nax->nyx", scene.peak[part], rows, columns) + BACKGROUND
    noisy = clean if math.isinf(peak_counts) else rng.poisson(clean * peak_counts) / peak_counts
    if blur > 0:
        noisy = clean + blurred(noisy - clean, blur)
    images, clean = (
        (values - values.mean(axis=(2, 3), keepdims=True)).astype(np.float32)
        for values in (noisy, clean)
    )
    window = math.nan if kind == "motif" else CropConfig().window_nd
    return Drawn(Crops(images=images, site_id=np.arange(count), window_nd=window), clean)


def blurred(noise: Floats, blur: float) -> Floats:
    """Noise (N, C, S, S) of the same variance that is correlated over `blur` px."""
    kernel = _line(blur)
    for axis in (2, 3):
        noise = ndimage.convolve1d(noise, kernel, axis=axis, mode="wrap")
    return noise / (kernel**2).sum()


def _line(blur: float) -> Floats:
    line = np.arange(-math.ceil(4 * blur), math.ceil(4 * blur) + 1)
    kernel = np.exp(-0.5 * (line / blur) ** 2)
    return np.asarray(kernel / kernel.sum())


def autocorrelation(blur: float) -> Floats:
    """Of :func:`blurred` noise (9, 9), 1 in the middle."""
    line = np.correlate(_line(blur), _line(blur), mode="full")
    middle = line.size // 2
    line = line[middle - 4 : middle + 5] / line[middle]
    return np.outer(line, line)


def simulate(
    kind: str,
    count: int,
    *,
    rng: np.random.Generator,
    shift: Floats,
    peak_counts: float,
    blur: float = 0.0,
    told: bool = True,
) -> tuple[Crops, Truth]:
    """Crops of random objects at random angles, and what they were made of.

    With `blur`, their noise is correlated, and unless `told` is false the crops know it.
    """
    scene = scene_of(kind, count, rng)
    angle = rng.uniform(-math.pi, math.pi, count)
    drawn = draw_scene(kind, scene, angle, rng=rng, peak_counts=peak_counts, shift=shift, blur=blur)
    crops = drawn.crops
    if blur > 0 and told:
        crops = dataclasses.replace(crops, noise_correlation=autocorrelation(blur))
    return crops, Truth(scene.label, angle, scene.factor, scene.symmetry, drawn.clean)


# --------------------------------------------------------------------------- scores
def angle_error(angle: Floats, truth: Truth) -> float:
    """Mean absolute error in degrees: see :func:`angle_errors`."""
    return float(np.degrees(np.abs(angle_errors(angle, truth)).mean()))


def angle_errors(angle: Floats, truth: Truth) -> Floats:
    """Errors in radians, folded, after one constant offset for each class."""
    errors = np.empty(angle.size)
    for label, order in enumerate(truth.symmetry):
        here = truth.label == label
        difference = angle[here] - truth.angle[here]
        offset = np.angle(np.exp(1j * order * difference).mean()) / order
        errors[here] = fold_angle(difference - offset, order)
    return errors


def angle_coverage(table: pd.DataFrame, truth: Truth) -> float:
    """Share of the angles whose error is within ``angle_sd``; right is 0.68."""
    error = angle_errors(table["angle"].to_numpy(float), truth)
    return float((np.abs(error) <= table["angle_sd"].to_numpy(float)).mean())


def factor_spearman(z: Floats, truth: Truth) -> float:
    """Rank correlation of the factor with its quadratic fit; the mean over the classes.

    The fit is made on every other crop and scored on the rest.
    """
    found = []
    for label in range(len(truth.symmetry)):
        here = truth.label == label
        own, factor = z[here], truth.factor[here]
        i, j = np.triu_indices(z.shape[1])
        terms = np.column_stack([np.ones(len(own)), own, own[:, i] * own[:, j]])
        weights = np.linalg.lstsq(terms[::2], factor[::2], rcond=None)[0]
        found.append(spearmanr(terms[1::2] @ weights, factor[1::2]).statistic)
    return float(np.mean(found))


def class_agreement(z: Floats, truth: Truth) -> float:
    """Adjusted Rand index of a four-component Gaussian mixture on the latents.

    Of many starts the most likely mixture counts; the classes are curved, so that a single start
    is often caught.
    """
    mixture = GaussianMixture(
        len(truth.symmetry), init_params="k-means++", n_init=30, reg_covar=1e-4, random_state=0
    )
    return float(adjusted_rand_score(truth.label, mixture.fit_predict(z)))


def neighbour_recall(z: Floats, truth: Truth) -> float:
    """Balanced recall of the classes from the five nearest latents of the other crops.

    Unlike the mixture's, this score does not depend on the shape of the classes.
    """
    vote = KNeighborsClassifier(5).fit(z[::2], truth.label[::2]).predict(z[1::2])
    return float(balanced_accuracy_score(truth.label[1::2], vote))


def clean_error(model: RVAE, crops: Crops, truth: Truth) -> float:
    """Squared error of the reconstruction over that of the crop itself, in the disc."""
    line = np.arange(PIXELS) - (PIXELS - 1) / 2
    disc = np.hypot(line[:, None], line) < PIXELS / 2 - 1
    found = model.reconstruct(crops)[:, 0][:, disc]
    clean, noisy = truth.clean[:, 0][:, disc], crops.read()[:, 0][:, disc]
    return float(np.square(found - clean).mean() / np.square(noisy - clean).mean())


def rare_recall(z: Floats, truth: Truth) -> float:
    """Recall of the rarest class, each cluster of an over-fitted mixture mapped to its majority."""
    mixture = GaussianMixture(
        12, init_params="k-means++", n_init=10, reg_covar=1e-4, random_state=0
    )
    cluster = mixture.fit_predict(z)
    majority = [np.bincount(truth.label[cluster == k], minlength=4).argmax() for k in range(12)]
    rarest = np.bincount(truth.label).argmin()
    return float((np.array(majority)[cluster] == rarest)[truth.label == rarest].mean())


# --------------------------------------------------------------------------- runs
@dataclass(frozen=True)
class Setting:
    """What one line of the table is made with."""

    kind: str
    n: int
    shifts: bool
    seed: int
    latents: int
    centring_sd: float
    peak_counts: float
    blur: float
    told: bool


def run(setting: Setting) -> Row:
    """Train on one set of crops, score another."""
    rng = np.random.default_rng([setting.seed, setting.n, setting.shifts])

    def make(count: int) -> tuple[Crops, Truth]:
        shift = (
            rng.uniform(-WORST_SHIFT, WORST_SHIFT, (count, 2))
            if setting.shifts
            else rng.normal(0, setting.centring_sd, (count, 2))
        )
        return simulate(
            setting.kind,
            count,
            rng=rng,
            shift=shift,
            peak_counts=setting.peak_counts,
            blur=setting.blur,
            told=setting.told,
        )

    crops, _ = make(setting.n)
    test, truth = make(setting.n if setting.kind == "rare" else N_TEST)
    model = RVAE(n_latents=setting.latents, shifts=setting.shifts, seed=setting.seed, device="cpu")
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(crops)
    cpu_fitted, wall_fitted = time.process_time(), time.perf_counter()
    table = model.transform(test)
    cpu_done, wall_done = time.process_time(), time.perf_counter()
    z = table[[f"z{i}" for i in range(setting.latents)]].to_numpy(float)
    return Row(
        kind=setting.kind,
        n=setting.n,
        shifts=setting.shifts,
        seed=setting.seed,
        latents=setting.latents,
        peak_counts=setting.peak_counts,
        ari=class_agreement(z, truth),
        neighbour_recall=neighbour_recall(z, truth),
        angle_error_deg=angle_error(table["angle"].to_numpy(float), truth),
        angle_in_sd=angle_coverage(table, truth),
        factor_spearman=factor_spearman(z, truth),
        clean_error=clean_error(model, test, truth),
        rare_recall=rare_recall(z, truth) if setting.kind == "rare" else math.nan,
        fit_cpu_s=cpu_fitted - cpu,
        fit_s=wall_fitted - wall,
        transform_cpu_s=cpu_done - cpu_fitted,
        transform_s=wall_done - wall_fitted,
    )


HEADER = (
    f"{'kind':<10}{'N':>7}{'shifts':>7}{'seed':>5}{'lat':>4}{'ARI':>7}{'5-NN':>7}{'angle':>8}"
    f"{'in sd':>7}{'factor':>8}{'clean':>7}{'rare':>6}{'fit CPU s':>11}{'fit s':>8}"
    f"{'transform CPU s':>17}{'transform s':>13}"
)


def line_of(row: Row) -> str:
    """One row of the table as text."""
    shifts = "yes" if row.shifts else "no"
    return (
        f"{row.kind:<10}{row.n:>7}{shifts:>7}{row.seed:>5}{row.latents:>4}{row.ari:>7.3f}"
        f"{row.neighbour_recall:>7.3f}"
        f"{row.angle_error_deg:>8.2f}{row.angle_in_sd:>7.2f}{row.factor_spearman:>8.3f}"
        f"{row.clean_error:>7.3f}{row.rare_recall:>6.2f}{row.fit_cpu_s:>11.1f}"
        f"{row.fit_s:>8.1f}{row.transform_cpu_s:>17.2f}{row.transform_s:>13.2f}"
    )


def bars(rows: Sequence[Row]) -> Iterator[str]:
    """Say which of the bars hold, each with the worst run."""
    even = [r for r in rows if r.kind != "rare"]  # a mixture of as many parts as classes suits
    many, few = [r for r in even if r.n > FEW], [r for r in even if r.n <= FEW]
    low = [r for r in many if r.peak_counts < LOW]
    high = [r for r in many if r.peak_counts >= LOW]
    rare_ones = [r for r in rows if r.kind == "rare"]
    timed = [r for r in rows if r.n == TIMED_SIZE]
    checks = (
        (high, "ari", LEAST_ARI, f"ARI with more than {FEW} crops"),
        (low, "ari", LEAST_ARI_LOW, f"ARI with more than {FEW} crops, few counts"),
        (few, "ari", LEAST_ARI_FEW, f"ARI with at most {FEW} crops"),
        (high, "factor_spearman", LEAST_SPEARMAN, "rank correlation of the factor"),
        (rare_ones, "rare_recall", LEAST_RARE, f"recall of a class of {RARE_SHARE:.1%}"),
        (high, "angle_error_deg", -MOST_DEGREES, "mean angle error, degrees"),
        (low, "angle_error_deg", -MOST_DEGREES_LOW, "mean angle error, degrees, few counts"),
        (high, "clean_error", -MOST_CLEAN, "error against the clean crop, share of the noise"),
        (timed, "fit_cpu_s", -MOST_CPU_SECONDS, f"fit of {TIMED_SIZE} crops, CPU s"),
    )
    for group, name, bar, text in checks:
        if group:
            sign = 1 if bar > 0 else -1
            worst = min(group, key=lambda row: sign * getattr(row, name))
            holds = sign * getattr(worst, name) >= bar
            limit = f"{text} {'>=' if sign > 0 else '<='} {abs(bar):g}"
            yield _verdict(holds, limit, f"{getattr(worst, name):.3f}", worst)


def _verdict(holds: bool, text: str, found: str, worst: Row) -> str:  # noqa: FBT001
    which = f"{worst.kind}, {worst.n} crops, shifts={worst.shifts}, seed {worst.seed}"
    return f"{'holds' if holds else 'FAILS':<6} {text}: worst {found} ({which})"


def machine() -> dict[str, str | int]:
    """What the times were taken on."""
    return {
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processor": platform.machine(),
    }


def write_report(path: Path | None, rows: Sequence[Any], **about: Any) -> None:
    """Write the rows of a table as JSON, with the machine and what else there is to say."""
    if path is not None:
        lines = [dataclasses.asdict(row) for row in rows]
        report = {"machine": machine(), **about, "rows": lines}
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="only 500 crops, one seed")
    parser.add_argument("--kinds", default="motif,honeycomb", help="comma-separated; also rare")
    parser.add_argument("--sizes", type=_numbers, default=[500, 4000, 10_000])
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument(
        "--latents",
        type=int,
        default=2,
        help=f"number of latents; 2 here, {RVAEConfig().n_latents} in the package",
    )
    parser.add_argument(
        "--shifts", choices=("no", "yes", "both"), default="both", help="settings to try"
    )
    parser.add_argument(
        "--centring", type=float, default=0.1, help="sd (px) of the sites without shifts"
    )
    parser.add_argument(
        "--peak", type=float, default=40.0, help="counts at the peak of the brightest atom"
    )
    parser.add_argument(
        "--blur", type=float, default=0.0, help="the noise is correlated over so many px"
    )
    parser.add_argument("--untold", action="store_true", help="and the crops do not know it")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    sizes, seeds = ([FEW], options.seeds[:1]) if options.quick else (options.sizes, options.seeds)
    shifts = {"no": [False], "yes": [True], "both": [False, True]}[options.shifts]
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(f"{N_TEST} test crops; angle error in degrees (chance 90 / order of symmetry)")
    print(HEADER)
    rows: list[Row] = []
    for kind in options.kinds.split(","):
        for n in sizes:
            for moved in shifts:
                for seed in seeds:
                    row = run(
                        Setting(
                            kind=kind,
                            n=n,
                            shifts=moved,
                            seed=seed,
                            latents=options.latents,
                            centring_sd=options.centring,
                            peak_counts=options.peak,
                            blur=options.blur,
                            told=not options.untold,
                        )
                    )
                    rows.append(row)
                    print(line_of(row), flush=True)
    for verdict in bars(rows):
        print(verdict)
    write_report(
        options.out,
        rows,
        peak_counts=options.peak,
        centring_sd=options.centring,
        blur=options.blur,
        told=not options.untold,
    )


if __name__ == "__main__":
    main()
