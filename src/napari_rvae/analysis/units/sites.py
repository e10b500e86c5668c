"""What the table tells of each site, beside the features of its crop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae.analysis.descriptors import DESCRIPTOR_COLUMNS, site_descriptors
from napari_rvae.analysis.tracks import with_tracks
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["Evidence", "describe_sites", "kind_of"]

#: Codes of :attr:`Evidence.kind`.
_OTHER, _ATOM, _VACANCY = 0, 1, 2
_KINDS = {_OTHER: "other", _ATOM: "atom", _VACANCY: "vacancy"}


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of N sites: what units are found by, and what an edit of them needs.

    Parameters
    ----------
    central
        Descriptors (N, 10) of the central atoms, columns
        :data:`~napari_rvae.analysis.descriptors.DESCRIPTOR_COLUMNS`.
    place
        Lattice site (N,); a number of its own, below 0, for each row that is not linked.
    frame
        Number of the frame (N,), different in each source.
    kind
        1 for atoms, 2 for vacancies, 0 for anything else (N,).
    membership
        Probability (N, E) of each environment; NaN for sites without features.
    """

    central: Array
    place: Ids
    frame: Ids
    kind: Ids
    membership: Array

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays by name, memberships in half the precision."""
        return {**vars(self), "membership": self.membership.astype(np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Evidence:
        """Make the evidence from what :meth:`arrays` returned.

        Raises
        ------
        InputError
            If an array is missing, or they are of different numbers of sites.
        """
        try:
            evidence = cls(
                central=np.asarray(arrays["central"], np.float64),
                place=np.asarray(arrays["place"], np.int64),
                frame=np.asarray(arrays["frame"], np.int64),
                kind=np.asarray(arrays["kind"], np.int64),
                membership=np.asarray(arrays["membership"], np.float64),
            )
        except KeyError as error:
            raise InputError(f"The arrays are no evidence of units ({error}).") from None
        if len({len(values) for values in vars(evidence).values()}) != 1:
            raise InputError("The arrays of the evidence of units are of different lengths.")
        return evidence

    def of(self, rows: Ids | Mask) -> Evidence:
        """Return the evidence of some rows."""
        return Evidence(
            central=self.central[rows],
            place=self.place[rows],
            frame=self.frame[rows],
            kind=self.kind[rows],
            membership=self.membership[rows],
        )


def describe_sites(
    table: pd.DataFrame, progress: Callable[[int, int], bool | None] | None = None
) -> Evidence:
    """Gather what a table tells of its sites; they have no memberships yet.

    `progress` is called after each frame; False stops.
    """
    kind = np.select([table["kind"] == "vacancy", table["kind"] == "atom"], [_VACANCY, _ATOM], 0)
    central = site_descriptors(table, progress=progress)[list(DESCRIPTOR_COLUMNS)]
    return Evidence(
        central=central.to_numpy(float),
        place=_places(table),
        frame=table.groupby(["source", "frame"], sort=True).ngroup().to_numpy().astype(np.int64),
        kind=kind.astype(np.int64),
        membership=np.zeros((len(table), 0)),
    )


def _places(table: pd.DataFrame) -> Ids:
    """Lattice site of each row; a number of its own for each row that is not linked.

    The sites of a movie that nobody has linked are linked, where they are places: or else one place
    that is seen in eight frames would count as eight.
    """
    table = with_tracks(table)
    for name in ("lattice_track_id", "track_id"):
        if name in table:
            place = table[name].fillna(-1).to_numpy(np.int64)
            return np.where(place >= 0, place, -1 - np.arange(len(place)))
    return -1 - np.arange(len(table), dtype=np.int64)


def kind_of(kind: Ids) -> str:
    """Which kind of site most of them (N,) are: "atom", "vacancy" or "other"."""
    if np.mean(kind == _VACANCY) > 0.5:
        return _KINDS[_VACANCY]
    return _KINDS[_ATOM] if np.mean(kind != _OTHER) > 0.5 else _KINDS[_OTHER]
