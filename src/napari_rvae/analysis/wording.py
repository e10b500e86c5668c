"""A unit's card in plain words."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_rvae.analysis.stands import LARGER

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.cards import UnitCard

__all__ = ["Host", "describe_card", "describe_walls"]

#: Open to one side by so much (radians), a site is at an edge: across a single missing atom the
#: next ones are seen.
_EDGE = math.radians(140.0)
#: Brighter or dimmer than the host by this factor is said.
_RATIO = 1.25
#: Bonds longer or shorter than the host's by this share are said.
_LONGER = 0.06
#: A wall with a larger radius of curvature, in pixels, is straight for all that a scan shows.
_STRAIGHT = 1000.0
#: Neighbours of a unit with less than this share are not named.
_NAMED_SHARE = 0.1
_SPACE = "\N{NO-BREAK SPACE}"


class Host(NamedTuple):
    """What a unit is compared with.

    Attributes
    ----------
    card, row
        Card, and row of the summary, of the (largest) host.
    is_alone
        Whether there is no other host: then its name need not be said.
    """

    card: UnitCard
    row: pd.Series[Any]
    is_alone: bool = True

    @property
    def name(self) -> str:
        """What it is called in a sentence."""
        return "the host" if self.is_alone else repr(str(self.row["name"]))


def describe_card(
    card: UnitCard, row: pd.Series[Any], host: Host, *, what: str = "", is_vacancy: bool = False
) -> UnitCard:
    """Return the card with its caption, made of what is known.

    Parameters
    ----------
    card
        A card without one.
    row
        The unit's row of the summary.
    host
        What it is compared with.
    what
        What stands there, of sites that are no atoms; else the atoms' surroundings are told.
    is_vacancy
        Whether its sites are empty.
    """
    rings = _rings(card.rings) if card.rings != host.card.rings else ""
    seen = what or _what(card, row, host, rings, is_vacancy=is_vacancy)
    parts = [seen, _how_often(card, row), _beside(card), _symmetry(card), _sure(card)]
    sentences = [part[0].upper() + part[1:] for part in parts if part]
    return dataclasses.replace(card, caption=" ".join(f"{sentence}." for sentence in sentences))


def describe_walls(sites: pd.DataFrame, everywhere: pd.DataFrame) -> str:
    """Say how strong the walls of a unit's sites are, beside all of them, and how they bend.

    A strength is in the unit of the scan's amplitude, which may be any: what tells is the ratio.
    """
    parts = []
    if "curvature" in sites and sites["curvature"].notna().any():
        bend = float(sites["curvature"].abs().median())
        straight = bend * _STRAIGHT < 1
        parts.append("straight" if straight else f"radius of curvature {1 / bend:.0f} px")
    if "strength" in sites and sites["strength"].notna().any():
        usual = float(everywhere["strength"].median())
        if usual > 0 and len(sites) < len(everywhere):
            ratio = f"{float(sites['strength'].median()) / usual:.2g}"
            times = "of" if ratio == "1" else f"{ratio} times"
            parts.append(f"{times} the median strength of all sites")
    return ", ".join(parts) or "sites along walls"


def _what(card: UnitCard, row: pd.Series[Any], host: Host, rings: str, *, is_vacancy: bool) -> str:
    """What stands in the middle and around it."""
    parts = [_seen(card, row, host, is_vacancy=is_vacancy)]
    is_edge = card.open_side > _EDGE
    at_gap = not is_edge and not is_vacancy and _fewer(card, row, host)
    # a gap is a large ring: it need not be said twice
    if rings and not ((is_edge or at_gap) and LARGER in card.rings):
        parts.append(rings)
    if is_edge:
        parts.append(f"at an edge (open by {math.degrees(card.open_side):.0f} degrees)")
    elif at_gap:
        parts.append("beside a gap")
    return ", ".join(filter(None, [*parts, *_against_host(row, host)]))


def _seen(card: UnitCard, row: pd.Series[Any], host: Host, *, is_vacancy: bool) -> str:
    """Atoms of the picture, and the number of neighbours of the sites where that is another.

    The one is read from the unit's picture, the other is the median over its sites, where a
    neighbour that is a little too far away is none: each is called what it is.
    """
    known = _known(row, "coordination")
    count = float(row["coordination"]) if known else math.nan
    if card.motif is None or not len(card.motif):
        number = round(count) if known else 0
        return f"{number} neighbour{'' if number == 1 else 's'}" if known else ""
    text = card.motif.text
    differs = known and round(count) != len(card.motif.neighbours)
    if is_vacancy and card.motif.has_centre:
        return f"empty site, {text} in its picture"
    if not is_vacancy and not card.motif.has_centre:
        text = f"no atom in the middle of its picture, {card.motif.around or 'none'} around"
    elif differs:
        text += " in its picture"
    if differs:
        text += f", {count:.1f} neighbours by distance"
        if card.unit != host.card.unit and _known(host.row, "coordination"):
            text += f" ({host.name} has {float(host.row['coordination']):.1f})"
    return text


def _against_host(row: pd.Series[Any], host: Host) -> list[str]:
    """How brightness and bonds differ from the host's."""
    parts = []
    if _known(row, "relative_amplitude"):
        ratio = float(row["relative_amplitude"])
        if ratio > _RATIO:
            parts.append(f"{ratio:.1f} times as bright as {host.name}")
        elif 0 < ratio < 1 / _RATIO:
            parts.append(f"only {_percent(ratio)} as bright as {host.name}")
    if _known(row, "bond_length") and _known(host.row, "bond_length"):
        longer = float(row["bond_length"]) / float(host.row["bond_length"])
        if abs(longer - 1) > _LONGER:
            parts.append(f"bonds {longer:.2f} times as long as those of {host.name}")
    return parts


def _how_often(card: UnitCard, row: pd.Series[Any]) -> str:
    noun = "site" if card.count == 1 else "sites"
    text = f"{card.count:,} {noun} ({_percent(card.share)})"
    places = row.get("n_places")
    if places is not None and 0 < int(places) < card.count:
        text += f" in {int(places):,} place{'' if int(places) == 1 else 's'}"
    known = card.shares[card.shares["share"].notna()] if len(card.shares) else card.shares
    if len(known) > 2:
        text += _trend(known)
    return text


def _trend(shares: pd.DataFrame) -> str:
    """Whether a share rises or falls by more than its error, weighted least squares."""
    t = np.arange(len(shares)) / (len(shares) - 1)
    weight = 1 / shares["share_sd"].to_numpy(float) ** 2
    t = t - np.average(t, weights=weight)
    slope = float((weight * t * shares["share"]).sum() / (weight * t**2).sum())
    error = 1 / math.sqrt(float((weight * t**2).sum()))
    if abs(slope) < 3 * error:
        return ""
    return f", {'growing' if slope > 0 else 'shrinking'} over the movie"


def _beside(card: UnitCard) -> str:
    shown = card.beside[card.beside["share"] >= _NAMED_SHARE].head(3) if len(card.beside) else None
    if shown is None or not len(shown):
        return ""
    names = [
        f"{'its own kind' if unit == card.unit else repr(name)} ({_percent(share)})"
        for unit, name, share in zip(shown["unit"], shown["name"], shown["share"], strict=True)
    ]
    return f"beside {', '.join(names)}"


def _symmetry(card: UnitCard) -> str:
    """Symmetry of the decoded picture: "3-fold symmetry"."""
    if card.symmetry == "cannot tell":
        return "its symmetry cannot be told"
    return f"{card.symmetry} symmetry" if card.symmetry.endswith("-fold") else card.symmetry


def _sure(card: UnitCard) -> str:
    """Whether other starts found it, and how sure its sites are of it."""
    parts = []
    if card.starts.total:
        parts.append(card.starts.text)
    elif math.isfinite(card.stability):
        parts.append(f"{_percent(card.stability)} agreement with other starts")
    if math.isfinite(card.probability):
        parts.append(f"median probability {card.probability:.2f}")
    said = ", ".join(parts)
    return f"doubtful: {said}" if card.is_doubtful else said


def _rings(sizes: tuple[int, ...]) -> str:
    """Which rings meet at a site: "5-7 pair (rings 5, 6, 7)"."""
    if not sizes:
        return ""
    listed = ", ".join(str(size) if size < LARGER else "larger" for size in sizes)
    text = f"ring{'' if len(sizes) == 1 else 's'} {listed}"
    return f"5-7 pair ({text})" if {5, 7} <= set(sizes) else text


def _fewer(card: UnitCard, row: pd.Series[Any], host: Host) -> bool:
    """Whether a unit has fewer neighbours than the host, by its sites and in its picture."""
    if not (_known(row, "coordination") and _known(host.row, "coordination")):
        return False
    by_sites = round(float(row["coordination"])) < round(float(host.row["coordination"]))
    motifs = [one for one in (card.motif, host.card.motif) if one is not None and one.has_centre]
    if len(motifs) < 2:
        return by_sites
    return by_sites and len(motifs[0].neighbours) < len(motifs[1].neighbours)


def _known(row: pd.Series[Any], name: str) -> bool:
    return name in row and bool(np.isfinite(float(row[name])))


def _percent(share: float) -> str:
    return f"{100 * share:.2g}{_SPACE}%" if share < 0.1 else f"{100 * share:.0f}{_SPACE}%"
