"""Numbers, lengths and movies in words, for status lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.frames import Frames

__all__ = [
    "NO_SITES",
    "count",
    "count_sites",
    "describe",
    "describe_distance",
    "enumerate_frames",
    "listed",
    "outline",
    "physical_length",
    "pixel",
]

#: What every widget says where there are no sites to work on.
NO_SITES = "Detect atoms or walls first (widget Detect), or open a run."


def count(number: int, noun: str) -> str:
    """Write a number of things: "1 site", "1,204 sites"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Write a list: "a, b and c"."""
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)


def enumerate_frames(numbers: Sequence[int]) -> str:
    """Name frames by the numbers of the slider: "frame 3", "frames 0, 4 and 7", "frames 2 to 9"."""
    if len(numbers) == 1:
        return f"frame {numbers[0]}"
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 2 and list(numbers) == list(range(first, last + 1)):
        return f"frames {first} to {last}"
    return f"frames {listed([str(number) for number in numbers])}"


def outline(frames: Frames) -> str:
    """Say how many frames there are, and how large."""
    rows, columns = frames.frame_shape
    size = f"{count(frames.n_frames, 'frame')} of {rows} x {columns} px"
    known = pixel(frames)
    return f"{size}, {known} a pixel" if known else size


def pixel(frames: Frames) -> str:
    """Write the size of a pixel, "" where it is not known."""
    return physical_length(math.sqrt(math.prod(frames.pixel_size)), frames.units[-1])


def describe(sites: pd.DataFrame, frames: Frames, n_frames: int, n_border: int) -> str:
    """Say how many atoms there are, how far apart they are, and of which species."""
    n_empty = int((sites["kind"] == "vacancy").sum())
    parts = [f"{count(len(sites) - n_empty, 'atom')} in {count(n_frames, 'frame')}"]
    if n_empty:
        parts.append(_count_vacancies(n_empty))
    apart = describe_distance(sites, frames)
    if apart:
        parts.append(apart)
    if n_border:
        parts.append(f"{n_border:,} at the border")
    return ". ".join((", ".join(parts), *_count_species(sites))) + "."


def _count_species(sites: pd.DataFrame) -> list[str]:
    """Say how many atoms there are of each species; nothing where there is one at most."""
    if "species" not in sites:
        return []
    from napari_rvae.layers import legend_of

    listed = legend_of(sites[sites["kind"] != "vacancy"], "species")
    words = [f"{entry.name} {entry.count:,}" for entry in listed if entry.value is not None]
    return [f"Species: {', '.join(words)}"] if len(words) > 1 else []


def count_sites(sites: pd.DataFrame) -> str:
    """Say how many atoms and vacancies there are: "12 atoms", "12 atoms and 1 vacancy"."""
    n_empty = int((sites["kind"] == "vacancy").sum())
    atoms = count(len(sites) - n_empty, "atom")
    return f"{atoms} and {_count_vacancies(n_empty)}" if n_empty else atoms


def _count_vacancies(number: int) -> str:
    return "1 vacancy" if number == 1 else f"{number:,} vacancies"


def describe_distance(sites: pd.DataFrame, frames: Frames) -> str:
    """Say how far apart atoms are, "" where that is not known."""
    from napari_rvae.tables import neighbour_distance

    distance = neighbour_distance(sites)
    if not math.isfinite(distance):
        return ""
    length = physical_length(distance * math.sqrt(math.prod(frames.pixel_size)), frames.units[-1])
    return f"neighbours {distance:.1f} px{f' ({length})' if length else ''} apart"


def physical_length(value: float, unit: str) -> str:
    """Write a length with the prefix that suits it; "" if the unit is none of length."""
    from pint import Quantity, UndefinedUnitError

    try:
        length = Quantity(value, unit)
    except (UndefinedUnitError, ValueError):
        return ""
    if not length.check("[length]"):
        return ""
    return f"{length.to_compact():.3g~P}"
