"""How a search for units goes on from what other starts found."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from napari_rvae import UnitConfig
from napari_rvae.analysis.units import search
from napari_rvae.analysis.units.tree import agglomerate, groups_at

N_ENVIRONMENTS = 4


def tree_of(*groups):
    """Mergers that leave these groups of four environments when those that cost are left out."""

    def cost(one, other):
        whole = {*one, *other}
        return 0.5 if any(whole <= set(group) for group in groups) else 2.0

    return agglomerate(np.full(N_ENVIRONMENTS, 9), cost)


def test_what_is_merged_anew_is_judged_again_until_nothing_new_is_unsure(monkeypatch):
    trees = [tree_of([0, 1], [2], [3]), tree_of([0, 1], [2, 3])]
    unsure = []

    def merged_anew(*_args, loose, **_options):
        unsure.append(np.flatnonzero(loose).tolist())
        return trees[len(unsure) - 1]

    def alone(_model, groups, _least):
        single = [group[0] for group in groups if len(group) == 1 and group[0] != 0]
        return np.isin(np.arange(N_ENVIRONMENTS), single)

    monkeypatch.setattr(search, "_tree", merged_anew)
    monkeypatch.setattr(search, "_agreed_less", alone)
    monkeypatch.setattr(search, "_without_scraps", lambda found, *_args, **_options: found)
    found = search._agreed(
        search.Found(
            SimpleNamespace(n_environments=N_ENVIRONMENTS, ring=np.zeros(N_ENVIRONMENTS)),
            np.eye(N_ENVIRONMENTS),
            tree_of([0], [1], [2, 3]),
            3,
        ),
        None,
        SimpleNamespace(label=np.arange(N_ENVIRONMENTS)),
        None,
        None,
        UnitConfig(),
        turn=np.zeros(N_ENVIRONMENTS),
        step=search.Steps(None, 1),
    )
    assert unsure == [[1], [1, 2, 3]]
    left = groups_at(found.tree, N_ENVIRONMENTS, found.n_units)
    assert sorted(group.tolist() for group in left) == [[0, 1], [2, 3]]
