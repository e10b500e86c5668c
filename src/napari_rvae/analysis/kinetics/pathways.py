"""Find which unit turns into which, where and when, how fast and by which way."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae import tables
from napari_rvae.analysis.dopants import dopant_rows
from napari_rvae.analysis.kinetics import divisions, events, passages, rates
from napari_rvae.analysis.kinetics.hidden_markov import (
    Calibration,
    Posterior,
    calibrate,
    stickiness,
)
from napari_rvae.analysis.kinetics.results import Pathways
from napari_rvae.analysis.kinetics.sightings import (
    Movie,
    Sightings,
    describe_movie,
    gather_sightings,
)
from napari_rvae.analysis.kinetics.states import (
    States,
    choose_states,
    merge_states,
    unit_probabilities,
)
from napari_rvae.analysis.kinetics.tests import ALARM, kinetic_tests
from napari_rvae.analysis.track_quality import movie_drift
from napari_rvae.blas import one_blas_thread
from napari_rvae.config import PathwayConfig
from napari_rvae.errors import Cancelled, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.units import Units

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["find_pathways"]

#: Names of the states that are never seen.
_GONE, _EMPTY = "gone", "empty"
#: Errors of readings that persist as much as this look like visits to another state.
_STICKY = 0.3
#: A unit of places that stays with less than this chance per frame is a reading of another one;
#: they are merged, and the model fitted again, at most so often.
_LEAST_STAY, _MERGE_ROUNDS = 0.5, 3
#: An atom that comes into the frames is first seen so near to their rim, in neighbour distances.
_ENTRY_ND = 1.5
#: Steps that `progress` counts.
_STEPS = 6


@one_blas_thread()
def find_pathways(
    table: pd.DataFrame,
    config: PathwayConfig | None = None,
    *,
    units: Units | None = None,
    probabilities: pd.DataFrame | None = None,
    frames_table: pd.DataFrame | None = None,
    progress: Callable[[int, int], bool | None] | None = None,
    **overrides: Any,
) -> Pathways:
    """Find the events and rates of a movie: which unit turns into which, and how.

    Parameters
    ----------
    table
        Sites table after :func:`~napari_rvae.link_sites`, of any number of sources; with ``unit``
        and ``unit_probability``, unless `units` is given. ``lattice_angle`` (or ``sublattice``)
        divides the units of dopants, see the option ``split``.
    config
        Options.
    units
        What :func:`~napari_rvae.find_units` returned.
    probabilities
        ``site_id`` and one column for each unit, whose name ends in its number, such as
        ``unit_0``; those of `units` if left out.
    frames_table
        ``Frames.table``: ``frame``, ``time`` in seconds, ``dose`` of each frame in e/Å².
    progress
        Called as ``progress(done, total)``; False stops.
    **overrides
        Single options of :class:`~napari_rvae.PathwayConfig`.

    Returns
    -------
    Pathways
        Events, rates, passages, routes, tests. Where there is nothing to tell, tables are empty and
        ``notes`` say why.

    Raises
    ------
    InputError
        If the sites have no tracks or no units.
    Cancelled
        If `progress` returned False.

    Notes
    -----
    Two hidden Markov models: of dopant atoms, whose last state ("gone") absorbs, and of the places
    of the lattice, whose last state ("empty") does not. Unit probabilities are calibrated inside
    the model (temperature, bias, floor). A sighting that is missed says nothing of the unit;
    tracks are censored where they leave the frames and at the end of the movie. Intervals of atoms'
    rates come from histories drawn from the posterior, those of places count events, not sites.
    Rates are transition probabilities per frame.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_rvae import find_pathways, link_sites
    >>> from napari_rvae.tables import make_sites
    >>> y, x = 10.0 * np.indices((6, 6)).reshape(2, -1)
    >>> frame = np.repeat(np.arange(8), y.size)
    >>> sites = make_sites(frame=frame, y=np.tile(y, 8), x=np.tile(x, 8))
    >>> sites = link_sites(sites.assign(unit=0, unit_probability=1.0))
    >>> len(find_pathways(sites).events)
    0
    """
    config = dataclasses.replace(config or PathwayConfig(), **overrides)
    table = tables.validate_sites(table)
    missing = [name for name in ("track_id", "lattice_track_id") if name not in table]
    if missing:
        raise InputError(
            f"The sites table lacks the column {', '.join(missing)}: link the sites (link_sites)."
        )
    # in the order of the sites' numbers, so that the order of the rows does not matter
    table = table.sort_values("site_id", kind="stable", ignore_index=True)
    work = _Work(progress)
    numbers, probability = unit_probabilities(table, units, probabilities)
    names = {} if units is None else units.names
    movies, notes = _movies(table)
    notes += _what_is_missing(table, numbers, movies)
    work.done()
    if notes and not (movies and len(numbers)):
        return Pathways(notes=pd.DataFrame({"note": notes}))
    scene = _Scene(table, numbers, probability, names, movies, config, frames_table)
    rng = np.random.default_rng(config.seed)
    atoms = _follow_atoms(scene, work) if config.follow != "places" else None
    work.done()
    places = _follow_places(scene, work) if config.follow != "atoms" else None
    work.done()
    return _together(scene, atoms, places, notes, rng, work)


class _Work:
    """Counts the steps of the work and stops it when asked to."""

    def __init__(self, progress: Callable[[int, int], bool | None] | None) -> None:
        self._progress, self._done = progress, 0

    def done(self) -> None:
        self._done += 1
        self.tick()

    def tick(self) -> None:
        """Ask whether to stop, in the middle of a step."""
        if self._progress is not None and self._progress(self._done, _STEPS) is False:
            raise Cancelled("The search for pathways was stopped: nothing was written.")


@dataclass(frozen=True, eq=False)
class _Scene:
    """Everything that is known before tracks are followed."""

    table: pd.DataFrame
    units: Ids
    probability: Array
    names: dict[int, str]
    movies: dict[str, Movie]
    config: PathwayConfig
    frames_table: pd.DataFrame | None


@dataclass(frozen=True, eq=False)
class _Followed:
    """Tracks of one kind and what the model says of them."""

    tracked: str
    states: States
    seen: Sightings
    calibration: Calibration
    likelihood: Array
    model: Posterior
    notes: tuple[str, ...] = ()


def _movies(table: pd.DataFrame) -> tuple[dict[str, Movie], list[str]]:
    """Describe the sources; say which can not be used."""
    drift = movie_drift(table)
    movies, notes = {}, []
    for source, part in table.groupby("source", sort=True):
        where = f"Source {source!r}" if source else "The movie"
        if part["frame"].nunique() < 2:
            notes.append(f"{where} has one frame: nothing can change in it.")
        elif not math.isfinite(tables.neighbour_distance(part)):
            notes.append(f"{where} has fewer than three sites a frame: it was left out.")
        else:
            movies[str(source)] = describe_movie(part, drift[drift["source"] == source])
    if not len(table):
        notes.append("There are no sites.")
    return movies, notes


def _what_is_missing(table: pd.DataFrame, numbers: Ids, movies: dict[str, Movie]) -> list[str]:
    notes = []
    if movies and not len(numbers):
        notes.append("No site has a unit (are the latents NaN?): there are no states to follow.")
    if movies and len(numbers) == 1:
        notes.append("There is one unit: only losses, and hops that turn a site, can be seen.")
    if movies and not (table["lattice_track_id"] >= 0).any():
        notes.append("No site is in a track: nothing can be followed.")
    return notes


def _follow_atoms(scene: _Scene, work: _Work) -> _Followed | None:
    """Tracks of dopants, and the model of their states."""
    table, config = scene.table, scene.config
    rows, told = dopant_rows(table)
    divide = None
    if config.split == "lattice_angle" and "lattice_angle" in table:
        angle = table["lattice_angle"].to_numpy(float)
        divide = divisions.by_angle(angle, _stayed(table, told), config.max_angles)
    elif config.split == "sublattice" and "sublattice" in table:
        divide = divisions.by_sublattice(table["sublattice"].to_numpy(np.int64))
    states = choose_states(
        scene.units,
        # an atom that was not told to be a dopant was misread: its unit is that of something else
        np.where(told[:, None], scene.probability, np.nan),
        told,
        scene.names,
        divide=divide,
        max_states=config.max_states,
        hidden=_GONE,
    )
    track = np.where(rows, table["track_id"].to_numpy(np.int64), -1)
    seen = gather_sightings(
        table,
        scene.movies,
        track,
        states.probability,
        border=config.border_nd,
        min_sightings=config.min_sightings,
    )
    return _modelled("atom", states, seen, work)


def _stayed(table: pd.DataFrame, rows: Mask) -> Ids:
    """Rows (M, 2) that are sightings of one place in successive frames, of some rows."""
    chosen = table.loc[rows, ["lattice_track_id", "frame"]]
    chosen = chosen[chosen["lattice_track_id"] >= 0].sort_values(["lattice_track_id", "frame"])
    place, frame = chosen.to_numpy(np.int64).T
    next_frame = (np.diff(place) == 0) & (np.diff(frame) == 1)
    row = chosen.index.to_numpy(np.int64)
    pairs: Ids = np.stack([row[:-1], row[1:]], axis=1)[next_frame]
    return pairs


def _follow_places(scene: _Scene, work: _Work) -> _Followed | None:
    """Tracks of places, and the model of their states."""
    table, config = scene.table, scene.config
    track = table["lattice_track_id"].to_numpy(np.int64)
    vacant = (table["kind"] == "vacancy").to_numpy()
    states = choose_states(
        scene.units,
        scene.probability,
        (track >= 0) & ~vacant,
        scene.names,
        divide=None,
        max_states=3 * config.max_states,
        hidden=_EMPTY,
    )
    notes: tuple[str, ...] = ()
    for _ in range(_MERGE_ROUNDS):
        seen = gather_sightings(
            table,
            scene.movies,
            track,
            states.probability,
            border=config.border_nd,
            min_sightings=config.min_sightings,
        )
        # a vacancy is a row of the table, but nothing was seen there
        seen = dataclasses.replace(seen, seen=seen.seen & ~vacant[seen.row])
        item = _modelled("place", states, seen, work)
        into = {} if item is None else _fleeting(item.model)
        if not into:
            break
        names = states.names
        notes += tuple(
            f"Unit {names[old]!r} lasts less than two frames on end: places with it count as "
            f"{names[new]!r}."
            for old, new in into.items()
        )
        states = merge_states(states, into)
    return None if item is None else dataclasses.replace(item, notes=notes)


def _fleeting(model: Posterior) -> dict[int, int]:
    """States that last less than two frames on average, and what each is a reading of.

    Two units that take turns from frame to frame are two readings of the same surroundings.
    """
    visible = len(model.transition) - 1
    stays = np.diag(model.transition)[:visible]
    exchange = (model.counts + model.counts.T)[:visible, :visible]
    into: dict[int, int] = {}
    for state in np.argsort(stays):
        others = [k for k in range(visible) if k != state and k not in into]
        if stays[state] >= _LEAST_STAY or not others or int(state) in into.values():
            continue
        into[int(state)] = max(others, key=lambda k, state=state: exchange[state, k])  # type: ignore[misc]
    return into


def _modelled(tracked: str, states: States, seen: Sightings, work: _Work) -> _Followed | None:
    if not len(seen) or not states.probability.shape[1]:
        return None
    calibration, likelihood, model = calibrate(seen, absorbing=tracked == "atom", tick=work.tick)
    return _Followed(tracked, states, seen, calibration, likelihood, model)


def _together(
    scene: _Scene,
    atoms: _Followed | None,
    places: _Followed | None,
    notes: list[str],
    rng: np.random.Generator,
    work: _Work,
) -> Pathways:
    """Events, rates and all that follows from them."""
    config = scene.config
    found, changes = _events(scene, atoms, places)
    work.done()
    parts: dict[str, list[pd.DataFrame]] = {"rates": [], "summary": [], "states": [], "table": []}
    extra: dict[str, pd.DataFrame] = {}
    if atoms is not None:
        histories = rates.draw_histories(
            atoms.likelihood,
            atoms.seen.length,
            atoms.model.transition,
            n_samples=config.n_samples,
            rng=rng,
            tick=work.tick,
        )
        parts["rates"].append(_named(rates.atom_rates(histories, config.level), atoms, scene))
        extra, more = _ways(scene, atoms, histories, rng, work)
        broken, doubts = _broken(atoms, scene, histories.counts)
        parts["summary"].append(broken)
        notes = notes + more + doubts
    elif config.follow != "places":
        notes = [*notes, "There are no tracks of dopants: rates are those of places only."]
    work.done()
    if places is not None:
        exposure = np.asarray((places.model.state * places.seen.looked[..., None]).sum(axis=(0, 1)))
        of_places = rates.place_rates(changes, exposure, config.level)
        if len(of_places):
            parts["rates"].append(_named(of_places, places, scene))
    for item in (places, atoms):  # what is known of an atom goes before what is of its place
        if item is None:
            continue
        parts["states"].append(item.states.table.assign(tracked=item.tracked))
        parts["table"].append(_site_states(scene, item))
        parts["summary"].append(_summary(item))
        notes = [*notes, *item.notes, *_warnings(item)]
    joined = {name: pd.concat(part, ignore_index=True) for name, part in parts.items() if part}
    if "table" in joined:
        joined["table"] = joined["table"].drop_duplicates("site_id", keep="last")
        joined["table"] = joined["table"].sort_values("site_id", ignore_index=True)
    if not len(found):
        notes = [*notes, "No event was found."]
    work.done()
    return Pathways(events=found, notes=pd.DataFrame({"note": notes}), **joined, **extra)


def _ways(
    scene: _Scene,
    atoms: _Followed,
    histories: rates.Histories,
    rng: np.random.Generator,
    work: _Work,
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Passages, routes and tests of atoms; equilibrium where the tests allow it."""
    names, level = atoms.states.names, scene.config.level
    middles = [(movie.first + movie.last + 1) / 2 for movie in scene.movies.values()]
    by_source = dict(zip(scene.movies, middles, strict=True))
    half = np.array([by_source[str(name)] for name in atoms.seen.source])
    tests = kinetic_tests(atoms.seen, histories, half, rng, tick=work.tick)
    out = {
        "passages": passages.first_passages(histories.transition, names, level),
        "routes": passages.observed_routes(histories.states, atoms.seen.length, names, level),
        "tests": tests,
    }
    groups = passages.joined_groups(histories.counts)
    halves = tests[tests["test"].str.startswith("halves")]
    if len(groups) > 1:
        said = " and ".join(", ".join(names[state] for state in group) for group in groups)
        why = f"no transition joins the states {said}"
        rest = "chances and times from one to the other say only what that leaves open"
    elif (halves["p_value"] < ALARM).any():
        why, rest = "the rates of the two halves of the movie differ", ""
    elif not tests["passed"].iloc[0]:
        why = "there are too few transitions to see whether the rates stay the same"
        rest = ""
    else:
        out["stationary"] = passages.stationary_quantities(histories.transition, names, level)
        return out, []
    note = f"No shares in equilibrium, committors or fluxes: {why}"
    return out, [f"{note}; {rest}." if rest else f"{note}."]


def _events(
    scene: _Scene, atoms: _Followed | None, places: _Followed | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events in pixels with names, and the changes of places by event."""
    config = scene.config
    of_atoms: list[tuple[object, ...]] = []
    of_places: list[tuple[object, ...]] = []
    if atoms is not None:
        of_atoms = events.atom_changes(
            atoms.seen, atoms.model, jump=config.jump_nd, least=config.min_probability
        )
    if places is not None:
        of_places = events.place_changes(places.seen, places.model, least=config.min_probability)
    found, changes = events.merge_changes(
        of_atoms, of_places, radius=config.merge_nd, min_sites=config.min_sites
    )
    is_atom = (found["tracked"] == "atom").to_numpy(bool)
    for end in ("from", "to"):
        names = [
            (atoms if atom else places).states.names[int(state)]  # type: ignore[union-attr]
            for atom, state in zip(is_atom, found[f"{end}_state"], strict=True)
        ]
        found[f"{end}_name"] = pd.Series(names, dtype="str")
    found["y"], found["x"], inside = _in_pixels(found, scene)
    track = found["track"].to_numpy(np.int64)
    found["track_id"] = np.where(is_atom, track, -1)
    found["lattice_track_id"] = np.where(is_atom, -1, track)
    return found[inside].reset_index(drop=True), changes


def _in_pixels(found: pd.DataFrame, scene: _Scene) -> tuple[Array, Array, Mask]:
    """Where events (M,) are in their frames, in pixels, and whether they are away from its rim."""
    where, inside = np.empty((len(found), 2)), np.ones(len(found), bool)
    places = found[["y", "x"]].to_numpy(float)
    for k, (source, frame) in enumerate(zip(found["source"], found["frame"], strict=True)):
        movie = scene.movies[str(source)]
        place = places[k] + movie.drift[min(int(frame), movie.last) - movie.first]
        border = scene.config.border_nd
        inside[k] = ((place > movie.low + border) & (place < movie.high - border)).all()
        where[k] = place * movie.distance
    return where[:, 0], where[:, 1], inside


def _named(table: pd.DataFrame, item: _Followed, scene: _Scene) -> pd.DataFrame:
    clock = _clock(item, scene.frames_table)
    return rates.rate_table(table, item.states.names, item.tracked, clock)


def _clock(item: _Followed, frames_table: pd.DataFrame | None) -> pd.DataFrame:
    """Seconds and dose (K,) of the average frame spent in each state; NaN where unknown."""
    n_states = item.model.state.shape[2]
    clock = pd.DataFrame(np.nan, index=range(n_states), columns=["seconds", "dose"])
    if frames_table is None or "frame" not in frames_table:
        return clock
    known = frames_table.drop_duplicates("frame").set_index("frame").sort_index()
    steps = np.arange(item.seen.seen.shape[1])
    frame = item.seen.first_frame[:, None] + steps
    weight = item.model.state * (steps < item.seen.length[:, None])[..., None]
    columns = {}
    if "time" in known:
        apart = np.gradient(known["time"].to_numpy(float)) if len(known) > 1 else np.array([np.nan])
        gaps = np.gradient(known.index.to_numpy(float)) if len(known) > 1 else np.array([1.0])
        columns["seconds"] = pd.Series(apart / gaps, index=known.index)
    if "dose" in known:
        columns["dose"] = known["dose"].astype(float)
    for name, values in columns.items():
        each = values.reindex(frame.ravel()).to_numpy(float).reshape(frame.shape)
        good = np.isfinite(each)[..., None] * weight
        total = good.sum(axis=(0, 1))
        mean = (np.nan_to_num(each)[..., None] * weight).sum(axis=(0, 1))
        mean = np.where(total > 0, mean / np.where(total > 0, total, 1), np.nan)
        clock[name] = np.where(mean > 0, mean, np.nan)
    return clock


def _site_states(scene: _Scene, item: _Followed) -> pd.DataFrame:
    """Most probable state of each site of the tracks."""
    track, step = np.nonzero(item.seen.row >= 0)
    chance = item.model.state[track, step]
    return pd.DataFrame(
        {
            "site_id": scene.table["site_id"].to_numpy(np.int64)[item.seen.row[track, step]],
            "tracked": item.tracked,
            "state": chance.argmax(axis=1),
            "state_probability": chance.max(axis=1),
        }
    )


def _summary(item: _Followed) -> pd.DataFrame:
    values = {
        "tracks": len(item.seen),
        "sightings": int(item.seen.seen.sum()),
        "frames in sight": int(item.seen.length.sum()),
        "temperature": item.calibration.temperature,
        "floor": item.calibration.floor,
        "missed": item.calibration.missed,
        "stickiness": stickiness(item.seen, item.model),
    }
    return pd.DataFrame(
        {"tracked": item.tracked, "quantity": list(values), "value": list(values.values())}
    )


def _broken(atoms: _Followed, scene: _Scene, counts: Ids) -> tuple[pd.DataFrame, list[str]]:
    """Rate of loss if every track that begins inside the frames goes on with one that broke.

    Dopants are not born: where one appears away from the rim after the first frame, another track
    has most likely ended too early.
    """
    seen, begun = atoms.seen, 0
    for track, source in enumerate(seen.source):
        movie = scene.movies[str(source)]
        frame = int(seen.first_frame[track])
        here = seen.place[track, 0] + movie.drift[frame - movie.first]
        border = scene.config.border_nd + _ENTRY_ND
        inside = ((here > movie.low + border) & (here < movie.high - border)).all()
        begun += bool(inside) and frame > movie.first + 1
    lost = counts[:, :-1, -1].sum(axis=1).mean()
    exposure = counts[:, :-1].sum(axis=(1, 2)).mean()
    rate = max(lost - begun, 0.0) / max(exposure, 1.0)
    values = {"begun inside the frames": begun, "loss without breaks": rate}
    table = pd.DataFrame(
        {"tracked": "atom", "quantity": list(values), "value": list(map(float, values.values()))}
    )
    if not begun:
        return table, []
    note = (
        f"{begun} tracks of dopants begin inside the frames, perhaps the rest of broken ones: then "
        f"of {lost:.1f} losses {max(lost - begun, 0):.1f} are real ({rate:.2g} per frame)."
    )
    return table, [note]


def _warnings(item: _Followed) -> list[str]:
    sticky = stickiness(item.seen, item.model)
    if not sticky > _STICKY:
        return []
    note = (
        f"Units of {item.tracked}s are misread for several frames on end (correlation "
        f"{sticky:.2f}): some visits to other states may be such errors, and rates too high."
    )
    return [note]
