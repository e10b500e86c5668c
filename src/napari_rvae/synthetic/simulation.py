"""What a simulation hands back: the movie, the true sites, and the true fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_rvae.tables import make_sites

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_rvae.frames import Frames

__all__ = ["TRUTH_COLUMNS", "Simulation", "true_sites"]

#: Columns that the table of true sites adds to those of every sites table, with their types.
TRUTH_COLUMNS = {
    "species": "str",
    "sublattice": "int64",
    "environment": "str",
    "grain": "int64",
    "angle": "float64",
    "symmetry": "int64",
    "amplitude": "float64",
    "sigma": "float64",
    "track_id": "int64",
}


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated movie with its truth.

    Parameters
    ----------
    frames
        The movie (T, Y, X) in counted electrons, with noise; of domain walls, the channels of a
        force microscope (T, C, Y, X). The column ``dose`` of its table is that of each frame by
        itself, in detected electrons per square angstrom.
    sites
        Table of every true wall, as :func:`simulate_walls` says, or of every true atom and
        vacancy inside its frame: the columns of a sites table and

        - ``species``: "C", "Si", "A", "B", or "" for a vacancy;
        - ``sublattice``: 0 or 1, -1 where it has no meaning;
        - ``environment``: the true class;
        - ``grain``: number of the crystal, from 0;
        - ``angle``: orientation of the environment in radians, in (-pi, pi], NaN where it has
          none; an offset (dy, dx) of the reference picture appears in the frame at
          (dy cos a - dx sin a, dx cos a + dy sin a), y down;
        - ``symmetry``: rotational order by which to fold that angle, 0 where it has none;
        - ``amplitude``: peak height above the background in electrons, 0 for a vacancy;
        - ``sigma``: standard deviation of the atom's image in pixels;
        - ``track_id``: the same physical atom (or vacancy) through time.
    fields
        True arrays: ``expected`` (T, Y, X), the mean counts without noise; ``background``
        (T, Y, X), their part that is no atom; ``drift`` (T, 2), the specimen's shift (y, x) in
        pixels; further ones as the simulated specimen has them.
    events
        What has happened, one row a change; None where the simulation does not keep it.
    tables
        Further true tables, by name, as the simulated specimen has them.

    Examples
    --------
    >>> from napari_rvae import simulate_graphene
    >>> simulation = simulate_graphene(n_frames=1, size=96, seed=3)
    >>> simulation.frames.shape, simulation.fields["expected"].shape
    ((1, 96, 96), (1, 96, 96))
    """

    frames: Frames
    sites: pd.DataFrame
    fields: Mapping[str, NDArray[Any]]
    events: pd.DataFrame | None = None
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return what there is in one line."""
        fields = ", ".join(self.fields)
        return f"Simulation({self.frames!r}, {len(self.sites):,} true sites, fields {fields})"


def true_sites(parts: Sequence[Mapping[str, NDArray[Any]]]) -> pd.DataFrame:
    """Put the sites of every frame into one table.

    Parameters
    ----------
    parts
        One mapping a frame: column name -> values (N,), with ``y``, ``x``, the names in
        `TRUTH_COLUMNS` and any further columns; a site without a species is a vacancy.

    Returns
    -------
    DataFrame
        A sites table with the true columns.
    """
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    numbers = np.repeat(np.arange(len(parts)), [part["y"].size for part in parts])
    table = make_sites(frame=numbers, **columns).astype(TRUTH_COLUMNS)
    table.loc[table["species"] == "", "kind"] = "vacancy"
    return table
