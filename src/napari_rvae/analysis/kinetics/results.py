"""What find_pathways returns: tables with fixed columns, so that a run can hold them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd

from napari_rvae.errors import InputError

__all__ = ["COLUMNS", "Pathways"]


def _columns(kind: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, kind)


def _interval(*names: str) -> dict[str, str]:
    return _columns("float64", *(f"{name}{end}" for name in names for end in ("", "_low", "_high")))


_ENDS = _columns("int64", "from_state", "to_state")
_END_NAMES = _columns("str", "from_name", "to_name")

#: Columns of each table, with their types.
COLUMNS: dict[str, dict[str, str]] = {
    "states": {
        "tracked": "str",
        "state": "int64",
        "name": "str",
        "unit": "int64",
        **_columns("float64", "angle", "expected"),
    },
    "table": {
        "site_id": "int64",
        "tracked": "str",
        "state": "int64",
        "state_probability": "float64",
    },
    "events": {
        "source": "str",
        "frame": "int64",
        **_columns("float64", "y", "x"),
        "tracked": "str",
        **_columns("int64", "track_id", "lattice_track_id"),
        **_ENDS,
        **_END_NAMES,
        **_columns("float64", "probability", "n_sites"),
    },
    "rates": {
        "tracked": "str",
        **_ENDS,
        **_END_NAMES,
        **_interval("rate"),
        **_columns("float64", "n_transitions", "n_events", "exposure"),
        **_interval("rate_per_second"),
        "exposure_seconds": "float64",
        **_interval("rate_per_dose"),
        "exposure_dose": "float64",
        "verdict": "str",
    },
    "passages": {**_ENDS, **_END_NAMES, **_interval("probability", "frames")},
    "routes": {**_ENDS, "route": "str", **_interval("n", "share")},
    "tests": {
        "test": "str",
        **_columns("float64", "p_value", "n_transitions", "power"),
        "alternative": "str",
        "passed": "bool",
    },
    "stationary": {
        "quantity": "str",
        **_ENDS,
        "state": "int64",
        "name": "str",
        **_interval("value"),
    },
    "summary": {"tracked": "str", "quantity": "str", "value": "float64"},
    "notes": {"note": "str"},
}


def _empty(name: str) -> pd.DataFrame:
    columns: Any = {column: pd.Series([], dtype=kind) for column, kind in COLUMNS[name].items()}
    return pd.DataFrame(columns)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pathways:
    """Events, rates and ways between structural units.

    Numbers of states are those of atoms or of places, as the column ``tracked`` ("atom" or
    "place") says. Intervals hold the true value with the probability ``level`` of the options.

    Parameters
    ----------
    states
        ``tracked``, ``state``, ``name``, ``unit`` (-1: none or several), ``angle`` (middle of the
        class of the lattice angle, radians, NaN: all) and ``expected`` number of sightings.
    table
        ``site_id``, ``tracked``, ``state`` and ``state_probability``: the most probable state of
        every site in a track, as all frames of the track tell it. Dopants are there as atoms.
    events
        One row for each physical change: ``source``, ``frame`` (the first after the change), ``y``,
        ``x`` (in that frame, pixels), ``tracked``, ``track_id`` (of atoms, else -1),
        ``lattice_track_id`` (of places, else -1), ``from_state``, ``to_state``, ``from_name``,
        ``to_name``, ``probability`` and ``n_sites`` that changed with it.
    rates
        ``tracked``, ``from_state``, ``to_state``, ``from_name``, ``to_name``; ``rate`` per frame,
        ``rate_per_second``, ``rate_per_dose``, each with ``_low`` and ``_high``; ``n_transitions``,
        ``n_events`` (of places), ``exposure`` (frames), ``exposure_seconds``, ``exposure_dose`` and
        ``verdict``: "upper limit" below 3 transitions, "order of magnitude" below 10, or "rate".
    passages
        Of atoms: ``from_state``, ``to_state``, names; ``probability`` ever to get there, and the
        mean number of ``frames`` of those that do, with ``_low`` and ``_high``.
    routes
        Of atoms: ``from_state``, ``to_state``, ``route``, ``n`` and ``share`` of the completed
        passages that took it, with ``_low`` and ``_high``.
    tests
        ``test`` ("halves", "halves, each rate", "cycles"), ``p_value``, ``n_transitions``,
        ``power`` to see the ``alternative``, ``passed``.
    stationary
        Empty unless the test of the halves allows it: ``quantity`` ("share", "relaxation time",
        "flux", "committor"), ``from_state``, ``to_state``, ``state``, ``name``, ``value``,
        ``value_low``, ``value_high``.
    summary
        ``tracked``, ``quantity``, ``value``: numbers of tracks, what the calibration found
        (``temperature``, ``floor``, ``missed``), ``stickiness``.
    notes
        ``note``: what must be known to read the rest, one plain sentence a row.

    Examples
    --------
    >>> from napari_rvae import Pathways
    >>> len(Pathways().events)
    0
    """

    states: pd.DataFrame = field(default_factory=partial(_empty, "states"))
    table: pd.DataFrame = field(default_factory=partial(_empty, "table"))
    events: pd.DataFrame = field(default_factory=partial(_empty, "events"))
    rates: pd.DataFrame = field(default_factory=partial(_empty, "rates"))
    passages: pd.DataFrame = field(default_factory=partial(_empty, "passages"))
    routes: pd.DataFrame = field(default_factory=partial(_empty, "routes"))
    tests: pd.DataFrame = field(default_factory=partial(_empty, "tests"))
    stationary: pd.DataFrame = field(default_factory=partial(_empty, "stationary"))
    summary: pd.DataFrame = field(default_factory=partial(_empty, "summary"))
    notes: pd.DataFrame = field(default_factory=partial(_empty, "notes"))

    def __post_init__(self) -> None:
        """Check the columns, and bring their order and types to what :data:`COLUMNS` says."""
        for name, types in COLUMNS.items():
            given = getattr(self, name)
            missing = [column for column in types if column not in given]
            if missing and len(given):
                raise InputError(f"The pathways' {name} lack the column {', '.join(missing)}.")
            ordered = given.reindex(columns=list(types)).astype(types).reset_index(drop=True)
            object.__setattr__(self, name, ordered)

    def __repr__(self) -> str:
        """Return how much of each there is in one line."""
        told = ("states", "events", "rates", "passages", "notes")
        return f"Pathways({', '.join(f'{len(getattr(self, name)):,} {name}' for name in told)})"

    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by their names."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
