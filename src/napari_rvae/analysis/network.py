"""The network of states: who turns into whom, in an order and with words that can be drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_rvae.analysis.kinetics.results import Pathways

    Array = NDArray[np.float64]

__all__ = ["CLOCKS", "Network", "pathway_network"]

#: What rates can be given per: the column, and its sign in words.
CLOCKS = {
    "frame": ("rate", "per frame"),
    "second": ("rate_per_second", "per s"),
    "dose": ("rate_per_dose", "per e/Å²"),
}

#: With more states than this, those without an arrow are not drawn.
_CROWDED = 8

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

#: Fewer transitions than this are none: half of one is what the prior puts in.
_NONE = 0.5


@dataclass(frozen=True, eq=False)
class Network:
    """States as nodes on a circle, rates as arrows between them.

    Attributes
    ----------
    nodes
        One row for each state: ``state``, ``name``, ``unit``, ``angle``, ``share`` of the
        sightings, ``y`` and ``x`` on the unit circle (y up).
    edges
        One row for each pair with transitions: ``from_state``, ``to_state``, ``rate``, ``low``,
        ``high``, ``n_transitions``, ``n_events`` (in the list of events), ``verdict`` and ``text``
        ("0.012 (0.006 to 0.02)", "< 0.004", "about 0.01").
    unseen
        Number of pairs of states between which no transition was seen.
    left_out
        Number of pairs with transitions that are not among the edges, for lack of room.
    alone
        Number of states that are not among the nodes, because no arrow leads to or from them.
    per
        What the rates are given per, in words.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    unseen: int
    left_out: int
    alone: int
    per: str


def pathway_network(
    pathways: Pathways,
    *,
    tracked: Literal["atom", "place"] = "atom",
    per: Literal["frame", "second", "dose"] = "frame",
    most: int = 18,
) -> Network:
    """Order the states of pathways on a circle, and put their rates into words.

    Parameters
    ----------
    pathways
        What :func:`~napari_rvae.find_pathways` returned.
    tracked
        States of dopant atoms or of places of the lattice.
    per
        Rates per frame, per second, or per dose.
    most
        Most arrows; those with most transitions are kept.

    Returns
    -------
    Network
        States that exchange most stand beside each other. Where there are more than eight, those
        without an arrow are left out.

    Raises
    ------
    InputError
        If there are no states of that kind, or the frames know no time or dose.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Pathways
    >>> from napari_rvae.analysis.network import pathway_network
    >>> states = pd.DataFrame({"tracked": "atom", "state": [0, 1], "name": ["three-fold", "gone"]})
    >>> pathways = Pathways(states=states.assign(unit=[0, -1], angle=float("nan"), expected=9.0))
    >>> pathway_network(pathways).nodes["name"].tolist()
    ['three-fold', 'gone']
    """
    states = pathways.states[pathways.states["tracked"] == tracked]
    if states.empty:
        raise InputError(f"There are no states of {tracked}s: see the notes of the pathways.")
    column, words = CLOCKS[per]
    rates = pathways.rates[pathways.rates["tracked"] == tracked]
    if len(rates) and not np.isfinite(rates[column]).any():
        raise InputError(f"The frames know no rate {words}: choose per frame.")
    known = rates[rates["n_transitions"] >= _NONE]
    known = known.sort_values("n_transitions", ascending=False, kind="stable")
    shown = known.head(most)
    joined = set(shown["from_state"]) | set(shown["to_state"])
    is_seen = states["expected"].fillna(0.0) > 0
    is_joined = states["state"].isin(joined)
    nodes = states[is_seen | is_joined]
    if len(nodes) > _CROWDED and is_joined.any():
        nodes = states[is_joined]
    alone = len(states) - len(nodes)
    nodes = nodes.reset_index(drop=True)
    order = _around(nodes["state"].tolist(), shown)
    angle = np.empty(len(nodes))
    angle[order] = math.pi / 2 - 2 * math.pi * np.arange(len(nodes)) / max(len(nodes), 1)
    total = float(states["expected"].sum())
    nodes = nodes.assign(
        share=nodes["expected"].fillna(0.0) / total if total > 0 else math.nan,
        y=np.sin(angle),
        x=np.cos(angle),
    )
    return Network(
        nodes=nodes[["state", "name", "unit", "angle", "share", "y", "x"]],
        edges=_edges(shown, column, pathways.events[pathways.events["tracked"] == tracked]),
        unseen=len(rates) - len(known),
        left_out=len(known) - len(shown),
        alone=alone,
        per=words,
    )


def _around(states: list[int], rates: pd.DataFrame) -> NDArray[np.intp]:
    """Order of the states around a circle in which those that exchange most are neighbours.

    The order of the Fiedler vector: the best there is for the sum of squared steps on a line.
    """
    place = {state: number for number, state in enumerate(states)}
    weight = np.zeros((len(states), len(states)))
    for one, other, count in zip(
        rates["from_state"], rates["to_state"], rates["n_transitions"], strict=True
    ):
        weight[place[one], place[other]] += math.sqrt(count)
    weight += weight.T + 1e-3  # those without arrows have an order, too
    np.fill_diagonal(weight, 0)
    _, vectors = np.linalg.eigh(np.diag(weight.sum(1)) - weight)
    if len(states) < 3:
        return np.arange(len(states))
    order = np.argsort(vectors[:, 1], kind="stable")
    first = int(np.flatnonzero(order == 0)[0])
    return np.roll(order, -first)  # the first state, the most frequent one, stands on top


def _edges(rates: pd.DataFrame, column: str, events: pd.DataFrame) -> pd.DataFrame:
    edges = rates[["from_state", "to_state", "n_transitions", "verdict"]].assign(
        rate=rates[column], low=rates[f"{column}_low"], high=rates[f"{column}_high"]
    )
    ends = ["from_state", "to_state"]
    counts = events.groupby(ends).size().rename("n_events").reset_index()
    edges = edges.merge(counts, on=ends, how="left").fillna({"n_events": 0})
    edges["n_events"] = edges["n_events"].astype("int64")
    edges["text"] = [
        _words(rate, low, high, verdict)
        for rate, low, high, verdict in zip(
            edges["rate"], edges["low"], edges["high"], edges["verdict"], strict=True
        )
    ]
    order = ["rate", "low", "high", "n_transitions", "n_events", "verdict", "text"]
    return edges[[*ends, *order]]


def _words(rate: float, low: float, high: float, verdict: str) -> str:
    """Say a rate as well as it is known."""
    if not math.isfinite(rate):
        return "unknown"
    if verdict == "upper limit":
        return f"< {_number(high)}"
    about = "about " if verdict == "order of magnitude" else ""
    return f"{about}{_number(rate)} ({_number(low)} to {_number(high)})"


def _number(value: float) -> str:
    """Two digits, small ones with a power of ten."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.2g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}·10{str(int(power)).translate(_RAISED)}"
