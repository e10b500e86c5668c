"""The demonstration: a simulated movie, the whole way, and how right it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_rvae.cli.progress import say

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_rvae import Simulation

__all__ = ["METRICS", "print_metrics", "truth_metrics"]

#: Names of the metrics and what they mean.
METRICS = {
    "detection_precision": "share of the found atoms that are real",
    "detection_recall": "share of the real atoms that are found",
    "detection_f1": "harmonic mean of both",
    "position_rmse_over_crb": "position error, 1 = the least that the noise allows",
    "sublattice_accuracy": "sublattice read from the lattice angle",
    "angle_error_deg": "mean error of the angle in the bulk, degrees",
    "latent_knn_recall": "true class from the latents of other places",
    "unit_macro_f1": "units against true classes, mean F1",
    "rare_class_recall": "units: recall of the classes below 2 %",
    "n_units": "units found",
    "unit_ari": "units against true classes, adjusted Rand index",
    "seconds": "time taken",
}

#: Atoms whose bound is calculated.
_BOUND_SAMPLE = 300


def truth_metrics(simulation: Simulation, sites: pd.DataFrame) -> dict[str, float]:
    """Score a result against the simulation it was made from.

    Pairs are at most a third of a neighbour distance apart; half a neighbour distance at the
    edge of a frame is left out of the detection scores. The angle is scored in the bulk, folded
    by the lattice's three-fold symmetry, with one offset for the movie; sublattice, latents and
    units on every matched site that has a crop, class = true environment.

    Parameters
    ----------
    simulation
        Movie with its truth.
    sites
        Sites found in it, with latents and units.

    Returns
    -------
    dict
        One number for each of :data:`METRICS` but the time, NaN where it has no meaning.
    """
    from napari_rvae import neighbour_distance
    from napari_rvae.analysis import scores

    source = str(sites["source"].iloc[0])
    true = simulation.sites.assign(source=source)
    atoms, true_atoms = (t[t["kind"] == "atom"].reset_index(drop=True) for t in (sites, true))
    distance = neighbour_distance(true_atoms)
    detection = scores.detection_scores(
        atoms,
        true_atoms,
        tolerance=distance / 3,
        border=distance / 2,
        frame_shape=simulation.frames.frame_shape,
    )
    pairs = scores.match_sites(sites, true, distance / 3)
    found, truth = (t.iloc[pairs[:, k]].reset_index(drop=True) for k, t in enumerate((sites, true)))
    bulk = (truth["environment"] == "bulk").to_numpy()
    z = found[[f"z{k}" for k in range(8) if f"z{k}" in found]].to_numpy(float)
    blocks = scores.spatial_blocks(truth, 5 * distance, track=truth["track_id"])
    return {
        "detection_precision": detection["precision"],
        "detection_recall": detection["recall"],
        "detection_f1": detection["f1"],
        "position_rmse_over_crb": _error_over_bound(simulation, atoms, true_atoms, distance),
        "sublattice_accuracy": scores.sublattice_accuracy(
            found["lattice_angle"], truth["sublattice"], truth["grain"]
        ),
        "angle_error_deg": scores.angle_error(found["angle"][bulk], truth["angle"][bulk], 3),
        "latent_knn_recall": scores.balanced_knn_recall(z, truth["environment"], blocks),
        **scores.unit_scores(found["unit"], truth["environment"]),
    }


def _error_over_bound(
    simulation: Simulation, atoms: pd.DataFrame, true: pd.DataFrame, distance: float
) -> float:
    """Root mean square of the position errors over that of their bounds, for sampled atoms."""
    from napari_rvae.analysis import scores

    pairs = scores.match_sites(atoms, true, distance / 3)
    places = true[["y", "x"]].to_numpy(float)[pairs[:, 1]]
    limit = np.asarray(simulation.frames.frame_shape) - 1 - distance / 2
    pairs = pairs[((places >= distance / 2) & (places <= limit)).all(axis=1)]
    if not len(pairs):
        return math.nan
    size = min(_BOUND_SAMPLE, len(pairs))
    sample = np.random.default_rng(0).permutation(len(pairs))[:size]
    left, right = pairs[sample].T
    bound = scores.cramer_rao_bound(
        true,
        simulation.fields["expected"],
        float(simulation.frames.metadata["readout_noise"]),
        rows=right,
    )
    error = atoms[["y", "x"]].to_numpy(float)[left] - true[["y", "x"]].to_numpy(float)[right]
    return _rms(error) / _rms(bound)


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def print_metrics(metrics: dict[str, float]) -> None:
    """Print the metrics, a line each."""
    say("")
    for name, text in METRICS.items():
        value = metrics[name]
        whole = name in {"n_units", "seconds"} and math.isfinite(value)
        shown = f"{value:.0f}" if whole else f"{value:.3f}"
        say(f"{name:<24}{shown:>8}  {text}")
