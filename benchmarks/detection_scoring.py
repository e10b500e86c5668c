"""How what was found is scored for ``detection.py``: atoms, places, error bars, cost."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from detection_cases import Case, Floats, position_bound
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_rvae import detect_atoms
from napari_rvae.analysis.scores import detection_scores, match_sites
from napari_rvae.errors import NoLatticeWarning

#: A found atom is right within this share of the neighbour distance.
TOLERANCE = 0.3

#: Errors and their bound are those of so many atoms a frame: their ratio is then known to 1.6 %
#: (of 500, to 3 %).
BOUND_ATOMS = 2000

#: What is said of positions, error bars and the measured width.
ACCURACY = ("RMSE y", "RMSE x", "y/bound", "x/bound", "x/jittered", "z y", "z x", "width")

#: Around a defect, so many neighbour distances wide, every found atom must be a true one.
AROUND = 0.75


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
    return np.asarray(np.minimum(place, case.setting.size - 1 - place).min(axis=1))


def accuracy(found: pd.DataFrame, case: Case) -> dict[str, float]:
    """Errors in units of the bound and of the stated ones along y and x; and the width's share."""
    pairs, rows = inner_pairs(found, case)
    if not len(rows):
        return dict.fromkeys(ACCURACY, math.nan)
    error = positions(found)[pairs] - positions(case.sites)[rows]
    stated = found[["y_sd", "x_sd"]].to_numpy(float)[pairs]
    z = np.std(error / stated, axis=0)
    some = np.random.default_rng(0).permutation(len(rows))[:BOUND_ATOMS]
    bound, jittered = (root_mean_square(part) for part in position_bound(case, rows[some]))
    rmse = root_mean_square(error[some])
    width = float(found["sigma"].median()) / case.setting.sigma
    values = (*rmse, *(rmse / bound), rmse[1] / jittered[1], *z, width)
    return dict(zip(ACCURACY, map(float, values), strict=True))


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
    gap = np.asarray(cKDTree(positions(found)).query(there)[0])
    if environment == "vacancy":
        recall = float((gap > TOLERANCE * spacing).mean())
        return len(there), {"recall": recall, "precision": math.nan}
    true = np.flatnonzero((case.sites["kind"] == "atom").to_numpy())
    matched = np.zeros(len(case.sites), bool)
    matched[true[pairs[:, 1]]] = True
    around = np.asarray(cKDTree(there).query(positions(found))[0]) <= AROUND * spacing
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
