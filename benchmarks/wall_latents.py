"""Figures of walls in motion and of the latents of their windows, on simulated movies.

    python benchmarks/wall_latents.py [--seeds 3] [--first 0] [--parts motion pinning latents]

For each seed: error of the displacement of detected walls; recall and precision of pinning centres
within 3 px; rank correlation of one direction of the latents with the true curvature, area under
the curve of junctions, and spread of the latents of turned windows; what a second and
a third latent add, by the window.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from napari_rvae import (
    RVAE,
    CropConfig,
    Crops,
    Frames,
    Simulation,
    detect_walls,
    extract_crops,
    join_latents,
    pinning_centres,
    sample_grid,
    signed_response,
    simulate_walls,
    wall_motion,
)
from napari_rvae.analysis.scores import spatial_blocks
from napari_rvae.tables import latent_names
from napari_rvae.vae.measures import turn_pictures

#: A centre counts as passed when a wall came to it so many frames before the end.
PASSED = 5


def oriented(simulation: Simulation) -> Frames:
    """Signed response with the truth's sign, and the height as a further channel."""
    found = signed_response(simulation.frames)
    data = np.asarray(found.data, float)
    true = simulation.fields["polarization"]
    if np.corrcoef(data[0, 0].ravel(), true[0].ravel())[0, 1] < 0:
        data = -data
    height = np.asarray(simulation.frames.data)[:, -1].astype(float)
    height -= np.median(height, axis=2, keepdims=True)
    stack = np.stack([data[:, 0], height], axis=1)
    return dataclasses.replace(found, data=stack, channels=("response", "topography"))


def motion(seed: int) -> dict[str, float]:
    """Error of the displacement of detected walls, in px."""
    simulation = simulate_walls(n_frames=12, size=192, seed=seed)
    walls = detect_walls(simulation.frames)
    walls = walls[walls["wall_type"] == "180"].reset_index(drop=True)
    found = wall_motion(walls, simulation.frames)["displacement"].to_numpy()
    steps = np.arange(-12, 12, 0.05)
    errors, known = [], 0
    polarization = simulation.fields["polarization"]
    for frame in range(len(polarization) - 1):
        rows = np.flatnonzero((walls["frame"] == frame).to_numpy())
        angle = walls["normal_angle"].to_numpy()[rows]
        ray = np.stack([-np.sin(angle), np.cos(angle)])[..., None] * steps
        ray += walls[["y", "x"]].to_numpy()[rows].T[..., None]
        now, later = (
            crossing(ndimage.map_coordinates(polarization[t], ray, order=1, mode="nearest"), steps)
            for t in (frame, frame + 1)
        )
        true = later - now  # from the true wall, not from where it was detected
        known += int(np.isfinite(true).sum())
        errors.append((found[rows] - true)[np.isfinite(true) & np.isfinite(found[rows])])
    error = np.concatenate(errors)
    return {
        "rms": float(np.sqrt((error**2).mean())),
        "median": float(np.median(np.abs(error))),
        "above_1_px": float((np.abs(error) > 1).mean()),
        "found": error.size / known,
    }


def crossing(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Where along rays (N, S) a polarization changes its sign nearest to 0; NaN: nowhere."""
    low, high = values[:, :-1], values[:, 1:]
    rises = ((low < 0) != (high < 0)) & (low != high)
    share = np.where(rises, low / np.where(rises, low - high, 1.0), 0.0)
    place = np.where(rises, steps[:-1] + share * (steps[1] - steps[0]), np.inf)
    best = place[np.arange(len(place)), np.abs(place).argmin(1)]
    return np.where(np.isfinite(best), best, np.nan)


def pinning(seed: int) -> dict[str, float]:
    """Centres found within 3 px, of those that a wall has passed."""
    simulation = simulate_walls(n_frames=30, size=192, seed=seed)
    found = pinning_centres(signed_response(simulation.frames))[["y", "x"]].to_numpy()
    true = simulation.tables["pinning"]
    reached = true[true["first_frame"] >= 0][["y", "x"]].to_numpy()
    passed = true[true["first_frame"].between(0, 29 - PASSED)][["y", "x"]].to_numpy()
    return {
        "passed": float(len(passed)),
        "recalled": float((nearest(passed, found) <= 3).sum()),
        "found": float(len(found)),
        "right": float((nearest(found, reached) <= 3).sum()),
    }


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance (N,) to the nearest of others; inf without any."""
    if not len(others) or not len(points):
        return np.full(len(points), np.inf)
    return np.asarray(cKDTree(others).query(points)[0])


def latents(seed: int, *, walls_drawn: str = "auto") -> dict[str, float]:
    """What the latents of windows along detected walls tell of the truth.

    All options are the defaults, as a user of Detect and Train has them. Sites of 180-degree walls
    are judged.
    """
    simulation = simulate_walls(n_frames=16, size=192, seed=seed)
    movie = oriented(simulation).select_channel("response")
    walls = detect_walls(simulation.frames)
    crops = extract_crops(movie, walls, CropConfig(window=24, walls=walls_drawn))
    model = RVAE(seed=seed, device="cpu").fit(crops)
    table = join_latents(walls, model.transform(crops)).dropna(subset=["z0"])
    table = table[table["wall_type"] == "180"].reset_index(drop=True)
    z = table[latent_names(table)].to_numpy()
    bend, junction = truth(simulation, table)
    block = spatial_blocks(table, 48)
    folds = GroupKFold(5)
    good = np.isfinite(bend)
    guess = cross_val_predict(LinearRegression(), z[good], bend[good], groups=block[good], cv=folds)
    used = (junction < 3) | (junction > 12)
    is_one = junction[used] < 3
    judge = make_pipeline(  # a stripe may begin on either side
        StandardScaler(),
        PolynomialFeatures(2),
        LogisticRegression(class_weight="balanced", max_iter=2000),
    )
    chance = cross_val_predict(
        judge, z[used], is_one, groups=block[used], cv=folds, method="predict_proba"
    )[:, 1]
    rows = np.arange(0, len(crops), max(1, len(crops) // 300))
    some = crops.select(rows)
    turned = [
        model.transform(dataclasses.replace(some, images=turn_pictures(some.images, a)))[
            latent_names(table)
        ].to_numpy()
        for a in np.linspace(0, 2 * math.pi, 7)[:-1]
    ]
    return {
        "curvature_spearman": float(spearmanr(guess, bend[good])[0]),
        "junction_auc": float(roc_auc_score(is_one, chance)),
        "junctions": float(is_one.sum()),
        "spread_when_turned": float(np.median(np.std(turned, axis=0).mean(0) / z.std(0))),
        "sites": float(len(table)),
    }


def truth(simulation: Simulation, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Curvature of the true wall at each site (NaN beyond 2 px), and distance of a junction."""
    bend, junction = np.full(len(table), np.nan), np.full(len(table), np.inf)
    true = simulation.sites[simulation.sites["wall_type"] == "180"]
    for frame, part in table.groupby("frame"):
        here = true[true["frame"] == frame]
        points = part[["y", "x"]].to_numpy()
        distance, number = cKDTree(here[["y", "x"]]).query(points)
        value = here["curvature"].to_numpy()[number]
        bend[part.index] = np.where(distance < 2, value, np.nan)
        crossed = simulation.tables["junctions"].query("frame == @frame")[["y", "x"]].to_numpy()
        junction[part.index] = nearest(points, crossed)
    return bend, junction


def windows(seed: int) -> dict[str, float]:
    """Share of what one latent leaves unexplained that a second one takes, and then a third."""
    simulation = simulate_walls(n_frames=6, size=192, seed=seed, stripes=0)
    movie = oriented(simulation).select_channel("response")
    found: dict[str, float] = {}
    for side in (8, 16, 32, 64):
        config = CropConfig(window=side, pixels=min(max(side, 16), 32), subtract_mean=False)
        crops = extract_crops(movie, sample_grid(movie, step=8), config)
        left = [rest(crops, number, seed) for number in (1, 2, 3)]
        found[f"{side} px: 2nd"] = 1 - left[1] / left[0]
        found[f"{side} px: 3rd"] = 1 - left[2] / left[1]
    return found


def rest(crops: Crops, n_latents: int, seed: int) -> float:
    """Mean squared misfit within the disc of a model with so many latents."""
    model = RVAE(n_latents=n_latents, epochs=15, seed=seed, device="cpu").fit(crops)
    shown = model.reconstruct(crops)
    disc = np.abs(shown).sum((0, 1)) > 0
    return float(((crops.images - shown)[..., disc] ** 2).mean())


PARTS = {
    "motion": motion,
    "pinning": pinning,
    "latents": latents,
    "plain": functools.partial(latents, walls_drawn="off"),
    "windows": windows,
}


def main() -> None:
    """Run the parts over the seeds; print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    every: dict[str, Any] = {}
    seeds = range(options.first, options.first + options.seeds)
    for name in options.parts:
        table = pd.DataFrame([PARTS[name](seed) for seed in seeds])
        every[name] = table.to_dict("records")
        print(f"\n{name}\n{table.round(3).to_string()}", flush=True)
        if name == "pinning":
            total = table.sum()
            recall, right = total["recalled"] / total["passed"], total["right"] / total["found"]
            print(f"recall {recall:.2f}, precision {right:.2f}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()
