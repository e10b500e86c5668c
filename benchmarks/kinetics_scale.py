"""What 100,000 sites in 100 frames cost, for ``kinetics.py``: time, memory, progress, stopping."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import napari_rvae as nr
from napari_rvae.errors import Cancelled
from napari_rvae.runs import load_run, save_run

N_SITES, N_FRAMES, SIDE = 100_000, 100, 524
#: Bars: wall time on two cores, memory, and time without a call of progress.
MOST_SECONDS, MOST_BYTES, MOST_SILENCE = 120.0, 2e9, 2.0
#: Shares of the calls of progress after which a step is stopped.
STOPS = (0.0, 0.3, 0.7)

Row = dict[str, Any]


class _Listener:
    """Hears the calls of progress, tells the longest silence, and stops where it is told to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.calls, self.silence = 0, 0.0
        self._stop_at, self._last = stop_at, time.perf_counter()

    def __call__(self, _done: int, _total: int) -> bool:
        self.hear()
        self.calls += 1
        return self._stop_at is None or self.calls <= self._stop_at

    def hear(self) -> None:
        now = time.perf_counter()
        self.silence, self._last = max(self.silence, now - self._last), now


def prepare(folder: Path, model_folder: Path) -> None:
    """Write the sites of a simulated movie with latents, and their invariants, into a folder."""
    movie = nr.simulate_hopping(n_frames=N_FRAMES, size=SIDE, n_silicon=40, seed=0)
    rng = np.random.default_rng(0)
    sites = movie.sites[movie.sites["kind"] == "atom"]
    if len(sites) < N_SITES:
        raise RuntimeError(f"The movie has {len(sites)} atoms only.")
    kept = np.sort(rng.choice(len(sites), N_SITES, replace=False))
    sites = sites.iloc[kept].reset_index(drop=True)
    sites[["y", "x"]] += rng.normal(0, 0.3, (N_SITES, 2))
    sites = sites.drop(columns=["angle", "symmetry", "environment", "grain", "track_id"])
    model = nr.RVAE.load(model_folder, device="cpu")
    crops = nr.extract_crops(movie.frames, sites, model.crop_config)
    sites = nr.join_latents(sites, model.transform(crops))
    save_run(folder, sites=sites)
    invariants = model.invariants(crops)
    values = invariants.drop(columns="site_id")
    np.savez(
        folder / "invariants.npz",
        site_id=invariants["site_id"].to_numpy(),
        names=values.columns.to_numpy(str),
        values=values.to_numpy(np.float32),
    )


def measure(folder: Path) -> list[Row]:
    """Cost of each step, in a process that does nothing else.

    Parameters
    ----------
    folder
        What :func:`prepare` wrote.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, folder).result()


def _measured(folder: Path) -> list[Row]:
    sites, features = _read(folder)
    before = _peak()
    rows: list[Row] = []
    linked = _timed(rows, "tracks", lambda p: nr.link_sites(sites, progress=p))
    units = _timed(rows, "units", lambda p: nr.find_units(linked, features=features, progress=p))
    found = _timed(rows, "pathways", lambda p: nr.find_pathways(linked, units=units, progress=p))
    peak = _peak()
    for row in rows:
        row |= {"sites": len(sites), "units_found": len(units), "events": len(found.events)}
        row |= {"bytes_before": before, "bytes": peak}
    return rows


def _read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    sites = load_run(folder).sites
    kept = np.load(folder / "invariants.npz")
    features = pd.DataFrame(kept["values"].astype(float), columns=kept["names"])
    features.insert(0, "site_id", kept["site_id"])
    return sites, features


def _timed(rows: list[Row], name: str, step: Callable[[_Listener], Any]) -> Any:
    """Run a step, then stop it three times, and write down what it cost."""
    listener = _Listener()
    wall, cpu = time.perf_counter(), time.process_time()
    result = step(listener)
    listener.hear()
    row = {
        "step": name,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "calls": listener.calls,
        "silence": listener.silence,
    }
    stopped = 0
    for share in STOPS:
        try:
            step(_Listener(stop_at=int(share * listener.calls)))
        except Cancelled:
            stopped += 1
    rows.append(row | {"stopped": stopped})
    return result


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def say(rows: list[Row]) -> None:
    """Print the table and the bars."""
    frame = pd.DataFrame(rows)
    shown = ["step", "wall", "cpu", "calls", "silence", "stopped"]
    print(frame[shown].round(2).to_string(index=False))
    first = rows[0]
    print(
        f"{first['sites']:,} sites, {first['units_found']} units, {first['events']} events; peak "
        f"{first['bytes'] / 1e9:.2f} GB ({first['bytes_before'] / 1e9:.2f} before)"
    )
    bars = {
        f"wall <= {MOST_SECONDS:g} s": frame["wall"].sum() <= MOST_SECONDS,
        f"memory < {MOST_BYTES / 1e9:g} GB": first["bytes"] < MOST_BYTES,
        f"never more than {MOST_SILENCE:g} s without progress": frame["silence"].max()
        <= MOST_SILENCE,
        "every step can be stopped": (frame["stopped"] == len(STOPS)).all(),
    }
    for bar, holds in bars.items():
        print(f"{'holds' if holds else 'DOES NOT HOLD'}: {bar}")
