"""Figures of walls in motion and of the latents of their windows, on simulated movies.

    python benchmarks/wall_latents.py [--seeds 3] [--first 0] [--parts motion pinning latents]

For each seed: error of the displacement of detected walls; recall and precision of pinning centres
within 3 px; rank correlation of one direction of the latents with the true curvature, area under
the curve of junctions, and spread of the latents of turned windows; what a second and
a third latent add, by the window. The part "held-out" trains one model on four movies (4 k to
4 k + 3 for seed k) and judges each by what the other three tell, "suggested" does the same with
as many latents as are suggested; "latents" judges parts of one
movie by its other parts. The direction is fitted by Huber's loss: where walls merge, a site in a
hundred has a bend of a smaller radius than a wall is wide, which would turn a direction of least
squares. All sites are judged; those within 12 px of a junction and the others on their own, too.
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
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import HuberRegressor, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from napari_rvae import (
    RVAE,
    CropConfig,
    Crops,
    Frames,
    RVAEConfig,
    Simulation,
    concat_crops,
    concat_sites,
    detect_walls,
    extract_crops,
    join_latents,
    pinning_centres,
    sample_grid,
    signed_response,
    simulate_walls,
    suggest_n_latents,
    wall_motion,
)
from napari_rvae.analysis.scores import spatial_blocks
from napari_rvae.tables import latent_names
from napari_rvae.vae.measures import turn_pictures

#: A centre counts as passed when a wall came to it so many frames before the end.
PASSED = 5

#: A site so near to a crossing is at a junction, and one so far away is at none; in px.
NEAR, FAR = 3, 12

#: Movies of one model of the part "held-out".
POOL = 4


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


def walls_of(seed: int) -> tuple[Simulation, pd.DataFrame]:
    """A movie and its detected walls."""
    simulation = simulate_walls(n_frames=16, size=192, seed=seed)
    return simulation, detect_walls(simulation.frames).assign(source=f"movie {seed}")


def crops_along(simulation: Simulation, walls: pd.DataFrame, walls_drawn: str = "auto") -> Crops:
    """Windows along walls; all options are the defaults, as a user of Detect and Train has them."""
    movie = oriented(simulation).select_channel("response")
    return extract_crops(movie, walls, CropConfig(window=24, walls=walls_drawn))


def latents(seed: int, *, walls_drawn: str = "auto") -> dict[str, float]:
    """What the latents of windows along detected walls tell of the truth, within one movie.

    Sites of 180-degree walls are judged. A movie has few junctions, which stay where they are: in
    some movies one part of it holds nearly all, and the others cannot tell what one looks like.
    """
    simulation, walls = walls_of(seed)
    crops = crops_along(simulation, walls, walls_drawn)
    model = RVAE(seed=seed, device="cpu").fit(crops)
    table = encoded(model, walls, crops)
    bend, junction = truth(simulation, table)
    guess, chance = guesses(table, bend, junction, spatial_blocks(table, 48), GroupKFold(5))
    z = table[latent_names(table)].to_numpy()
    rows = np.arange(0, len(crops), max(1, len(crops) // 300))
    some = crops.select(rows)
    turned = [
        model.transform(dataclasses.replace(some, images=turn_pictures(some.images, a)))[
            latent_names(table)
        ].to_numpy()
        for a in np.linspace(0, 2 * math.pi, 7)[:-1]
    ]
    return {
        **scores(guess, chance, bend, junction),
        "spread_when_turned": float(np.median(np.std(turned, axis=0).mean(0) / z.std(0))),
        "sites": float(len(table)),
    }


def held_out(seed: int, *, suggested: bool = False) -> dict[str, float]:
    """The same of one model of four movies, each judged by what the other three tell.

    Suggested: with as many latents as `suggest_n_latents` says, as a user of Train may have it.
    """
    found = [walls_of(one) for one in range(POOL * seed, POOL * (seed + 1))]
    simulations = [simulation for simulation, _ in found]
    table = concat_sites(*(walls for _, walls in found))
    by_movie = [part for _, part in table.groupby("source", sort=False, observed=True)]
    crops = concat_crops(*map(crops_along, simulations, by_movie))
    config = RVAEConfig(seed=seed)
    if suggested:
        tried = suggest_n_latents(crops, config, device="cpu")
        number = int(tried.loc[tried["suggested"], "n_latents"].iloc[0])
        config = dataclasses.replace(config, n_latents=number)
    model = RVAE(config, device="cpu").fit(crops)
    table = encoded(model, table, crops)
    movie = table["source"].to_numpy()
    parts = [table[movie == name].reset_index(drop=True) for name in pd.unique(movie)]
    known = [truth(*pair) for pair in zip(simulations, parts, strict=True)]
    bend, junction = (np.concatenate(values) for values in zip(*known, strict=True))
    table = pd.concat(parts, ignore_index=True)
    movie = table["source"].to_numpy()
    guess, chance = guesses(table, bend, junction, movie, LeaveOneGroupOut())
    each = pd.DataFrame(
        [
            scores(*(values[movie == name] for values in (guess, chance, bend, junction)))
            for name in pd.unique(movie)
        ]
    )
    worst = {f"worst_{name}": each[name].min() for name in ("curvature_spearman", "junction_auc")}
    found_with = {"sites": float(len(table)), "latents": float(model.n_latents_)}
    return {**scores(guess, chance, bend, junction), **worst, **found_with}


def encoded(model: RVAE, walls: pd.DataFrame, crops: Crops) -> pd.DataFrame:
    """Sites of 180-degree walls that have latents."""
    table = join_latents(walls, model.transform(crops)).dropna(subset=["z0"])
    return table[table["wall_type"] == "180"].reset_index(drop=True)


def guesses(
    table: pd.DataFrame, bend: np.ndarray, junction: np.ndarray, groups: np.ndarray, folds: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Curvature (N,) along one direction of the latents, and how likely a junction each site is.

    Of each group by what the others tell; NaN where the truth does not say, and where the others
    have no junction.
    """
    z = table[latent_names(table)].to_numpy()
    guess, chance = np.full((2, len(table)), np.nan)
    good, used = np.isfinite(bend), is_clear(junction)
    line = make_pipeline(StandardScaler(), HuberRegressor(max_iter=1000))
    line = TransformedTargetRegressor(line, transformer=StandardScaler())
    guess[good] = cross_val_predict(line, z[good], bend[good], groups=groups[good], cv=folds)
    judge = make_pipeline(  # a stripe may begin on either side
        StandardScaler(),
        PolynomialFeatures(2),
        LogisticRegression(class_weight="balanced", max_iter=2000),
    )
    rows = np.flatnonzero(used)
    is_one = junction[rows] < NEAR
    for train, test in folds.split(z[rows], is_one, groups[rows]):
        if 0 < is_one[train].sum() < train.size:
            judge.fit(z[rows[train]], is_one[train])
            chance[rows[test]] = judge.predict_proba(z[rows[test]])[:, 1]
    return guess, chance


def is_clear(junction: np.ndarray) -> np.ndarray:
    """Sites that are at a junction or well away from all of them."""
    return (junction < NEAR) | (junction > FAR)


def scores(
    guess: np.ndarray, chance: np.ndarray, bend: np.ndarray, junction: np.ndarray
) -> dict[str, float]:
    """Rank correlation with the curvature, and area under the curve of junctions."""
    good, used = np.isfinite(bend), is_clear(junction) & np.isfinite(chance)
    is_one = junction[used] < NEAR
    told = 0 < is_one.sum() < is_one.size

    def correlated(rows: np.ndarray) -> float:
        return float(spearmanr(guess[rows], bend[rows])[0])

    return {
        "curvature_spearman": correlated(good),
        "near_junctions": correlated(good & (junction <= FAR)),
        "away": correlated(good & (junction > FAR)),
        "junction_auc": float(roc_auc_score(is_one, chance[used])) if told else math.nan,
        "junctions": float(is_one.sum()),
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
    "held-out": held_out,
    "suggested": functools.partial(held_out, suggested=True),
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
