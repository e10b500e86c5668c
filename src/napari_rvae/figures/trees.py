"""The tree of mergers of environments as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_rvae.errors import InputError
from napari_rvae.figures.page import new_figure, plain_axes, shorten, theme_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_rvae.analysis.units import Units
    from napari_rvae.figures.page import Theme

__all__ = ["draw_tree", "tree_figure"]

#: Room below and above a tree, in inches.
_BELOW, _ABOVE = 0.55, 0.2


def tree_figure(units: Units, *, theme: Literal["light", "dark"] = "light") -> Figure:
    """Draw the tree of mergers: which environments would join at which cost.

    Parameters
    ----------
    units
        What :func:`~napari_rvae.find_units` returned.
    theme
        "light" for print, "dark" for the screen.

    Returns
    -------
    matplotlib.figure.Figure
        Environments that have sites, in the colours of their units. A dashed line shows where the
        tree is cut, unless the units were merged or split otherwise by hand.

    Raises
    ------
    InputError
        If the units have no tree: there is one environment, or they are of an older run.

    Examples
    --------
    >>> import pandas as pd
    >>> from napari_rvae import Units
    >>> from napari_rvae.figures.trees import tree_figure
    >>> table = pd.DataFrame({"site_id": [0], "unit": [0], "unit_probability": [1.0]})
    >>> summary = pd.DataFrame({"unit": [0], "name": ["host"], "count": [1]})
    >>> tree_figure(Units(table, summary))
    Traceback (most recent call last):
    ...
    napari_rvae.errors.InputError: These units have no tree of mergers: find them again, with ...
    """
    look = theme_of(theme)
    leaves = int((units.environments["count"] > 0).sum())
    if leaves < 2 or not len(units.tree):
        raise InputError(
            "These units have no tree of mergers: find them again, with two environments or more."
        )
    tall = max(2.4, 0.24 * leaves + _BELOW + _ABOVE)
    figure = new_figure((8.0, tall), look)
    box = (0.06, _BELOW / tall, 0.56, 1 - (_BELOW + _ABOVE) / tall)
    axes = figure.add_axes(box, facecolor=look.paper)
    plain_axes(axes, look)
    draw_tree(axes, units, look)
    return figure


def draw_tree(axes: Axes, units: Units, look: Theme) -> None:
    """Draw environments as leaves on the right, and where they join towards the left.

    Environments without sites are left out.

    Parameters
    ----------
    axes
        Where to.
    units
        Units with two environments or more and a tree.
    look
        Colours of the page.
    """
    finer = units.environments[units.environments["count"] > 0]
    colors = units.colors
    unit_of: dict[int, int] = dict(zip(finer["environment"], finer["unit"], strict=True))
    children = _mergers(units.tree, set(unit_of))
    order = _leaves_in_order(children, list(unit_of))
    height = {leaf: float(place) for place, leaf in enumerate(order)}
    reached = dict.fromkeys(order, 0.0)
    # mergers are spaced by their order: costs span many decades, and what matters is what is next
    for step, (node, (first, second)) in enumerate(children.items(), start=1):
        color = _color_of(node, children, unit_of, colors, look)
        ends = reached[first], reached[second]
        for child, end in zip((first, second), ends, strict=True):
            own = _color_of(child, children, unit_of, colors, look)
            axes.plot([end, step], [height[child]] * 2, color=own, linewidth=1.5)
        axes.plot([step, step], [height[first], height[second]], color=color, linewidth=1.5)
        height[node], reached[node] = (height[first] + height[second]) / 2, float(step)
    names = dict(zip(finer["environment"], finer["name"], strict=True))
    counts = dict(zip(finer["environment"], finer["count"], strict=True))
    for leaf in order:
        text = f"{shorten(names[leaf], 40)}  ({counts[leaf]:,})"
        axes.annotate(
            text,
            (0, height[leaf]),
            xytext=(5, 0),
            textcoords="offset points",
            color=look.ink,
            fontsize=8,
            va="center",
        )
        axes.plot(0, height[leaf], "o", color=colors[unit_of[leaf]], markersize=5)
    axes.set(xlim=(len(children) + 0.5, -0.2), ylim=(len(order) - 0.5, -0.5), yticks=[])
    groups = len(order) - np.arange(len(children) + 1)
    ticks = np.unique(np.linspace(0, len(children), min(8, len(children) + 1)).round().astype(int))
    axes.set_xticks(ticks, [str(groups[tick]) for tick in ticks])
    axes.set_xlabel("groups that are left", color=look.ink, fontsize=8.5)
    axes.spines["left"].set_visible(False)
    now = _cut_of(children, unit_of)
    if now is not None:
        axes.axvline(now + 0.5, color=look.faint, linewidth=0.8, linestyle="--")


def _mergers(tree: pd.DataFrame, leaves: set[int]) -> dict[int, tuple[int, int]]:
    """Which two groups each merger joins, as if there were no environments but the leaves."""
    stands_for = {leaf: leaf for leaf in leaves}
    mergers: dict[int, tuple[int, int]] = {}
    for node, *pair in tree[["node", "first", "second"]].to_numpy(int).tolist():
        known = [stands_for[child] for child in pair if child in stands_for]
        if len(known) == 2:
            mergers[node] = (known[0], known[1])
            stands_for[node] = node
        elif known:
            stands_for[node] = known[0]
    return mergers


def _cut_of(children: dict[int, tuple[int, int]], unit_of: dict[int, int]) -> int | None:
    """How many mergers make the units; None where they were merged or split otherwise by hand."""
    owner: dict[int, int | None] = dict(unit_of)
    is_whole = [True]
    for node, (first, second) in children.items():
        owner[node] = owner[first] if owner[first] == owner[second] else None
        is_whole.append(owner[node] is not None)
    now = len(unit_of) - len(set(unit_of.values()))
    return now if all(is_whole[: now + 1]) else None


def _leaves_in_order(children: dict[int, tuple[int, int]], leaves: list[int]) -> list[int]:
    """Leaves in such an order that no branches cross."""
    inner = {child for pair in children.values() for child in pair}
    roots = [node for node in (*children, *leaves) if node not in inner]
    order: list[int] = []
    waiting = roots[::-1]
    while waiting:
        node = waiting.pop()
        if node in children:
            waiting.extend(children[node][::-1])
        else:
            order.append(node)
    return order


def _color_of(
    node: int,
    children: dict[int, tuple[int, int]],
    unit_of: dict[int, int],
    colors: dict[int, str],
    look: Theme,
) -> str:
    """Colour of the unit that a branch belongs to; grey where it joins several."""
    waiting, units = [node], set()
    while waiting:
        here = waiting.pop()
        waiting.extend(children.get(here, ()))
        if here in unit_of:
            units.add(unit_of[here])
    return colors[units.pop()] if len(units) == 1 else look.faint
