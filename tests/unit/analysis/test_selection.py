"""Sites chosen in the plane of two columns, and the classes that are given to them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path

from napari_rvae import InputError, count_classes, label_sites, select_sites
from napari_rvae.tables import make_sites


@pytest.fixture
def sites():
    rng = np.random.default_rng(0)
    n = 400
    z0 = rng.normal(size=n)
    z0[::50] = np.nan
    return make_sites(
        frame=np.repeat([0, 1], n // 2),
        y=rng.uniform(0, 99, n),
        x=rng.uniform(0, 99, n),
        z0=z0,
        z1=1000 * rng.normal(size=n),
        angle=rng.uniform(-np.pi, np.pi, n),
    )


def test_a_box_takes_what_lies_in_it(sites):
    chosen = select_sites(sites, "z0", "z1", box=[(1, 500), (-1, -500)])  # corners in any order
    inside = sites["z0"].between(-1, 1) & sites["z1"].between(-500, 500)
    assert chosen.tolist() == sites.loc[inside, "site_id"].tolist()
    assert 0 < len(chosen) < len(sites)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=3, max_size=12))
def test_a_lasso_takes_what_matplotlib_would(corners):
    points = np.random.default_rng(1).uniform(-2, 2, (200, 2))
    # y is of another size: latents and pixels differ by orders of magnitude
    table = pd.DataFrame({"site_id": np.arange(200), "a": points[:, 0], "b": points[:, 1] * 1e4})
    hull = _hull(np.asarray(corners))
    if hull is None:
        return
    chosen = set(select_sites(table, "a", "b", polygon=hull * [1, 1e4]).tolist())
    shape = Path(np.vstack([hull, hull[:1]]))
    grown, shrunk = (
        set(np.flatnonzero(shape.contains_points(points, radius=r)).tolist()) for r in (1e-6, -1e-6)
    )
    assert (grown & shrunk) <= chosen <= (grown | shrunk)


def _hull(corners):
    from scipy.spatial import ConvexHull, QhullError

    try:
        return corners[ConvexHull(corners).vertices]
    except QhullError:
        return None


def test_the_nearest_are_measured_in_spreads(sites):
    place = (0.0, 0.0)
    chosen = select_sites(sites, "z0", "z1", near=place, n=5)
    known = sites.dropna(subset=["z0"])
    away = (known["z0"] / known["z0"].std(ddof=0)) ** 2 + (
        known["z1"] / known["z1"].std(ddof=0)
    ) ** 2
    assert chosen.tolist() == known.loc[away.nsmallest(5).index, "site_id"].tolist()
    along = select_sites(sites, "z0", "z1", near=place, unit_lengths=(1.0, 1e9))
    assert along[0] == known.loc[known["z0"].abs().idxmin(), "site_id"]


def test_a_frame_and_degrees(sites):
    box = [(-90, -np.inf), (90, np.inf)]
    chosen = select_sites(sites, "angle", "z1", box=box, frame=1, in_degrees=True)
    wanted = sites["angle"].abs().le(np.pi / 2) & (sites["frame"] == 1)
    assert chosen.tolist() == sites.loc[wanted, "site_id"].tolist()


def test_what_has_no_value_is_never_chosen(sites):
    chosen = select_sites(sites, "z0", "z1", near=(0, 0), n=len(sites))
    assert len(chosen) == sites["z0"].notna().sum()
    assert select_sites(sites.assign(z0=np.nan), "z0", "z1", near=(0, 0)).size == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "0 of polygon"),
        ({"box": [(0, 0), (1, 1)], "near": (0, 0)}, "2 of polygon"),
        ({"polygon": [(0, 0), (1, 1)]}, "3 corners"),
        ({"near": (0, 0), "n": 0}, "one site or more"),
        ({"near": 3.0}, "one place"),
    ],
)
def test_what_cannot_be_asked(sites, options, words):
    with pytest.raises(InputError, match=words):
        select_sites(sites, "z0", "z1", **options)


def test_columns_that_cannot_be_axes(sites):
    with pytest.raises(InputError, match="lacks the column z9"):
        select_sites(sites, "z9", "z1", near=(0, 0))
    with pytest.raises(InputError, match="holds no numbers"):
        select_sites(sites, "kind", "z1", near=(0, 0))
    with pytest.raises(InputError, match="site_id"):
        select_sites(sites.drop(columns="site_id"), "z0", "z1", near=(0, 0))


def test_a_site_has_one_class_at_a_time(sites):
    named = label_sites(sites, [3, 5, 8], "edge")
    named = label_sites(named, [5, 9], " dopant ")
    assert named.set_index("site_id")["class"][[3, 5, 8, 9, 0]].tolist() == [
        *("edge", "dopant", "edge", "dopant", "")
    ]
    assert count_classes(named)[["class", "count"]].to_numpy().tolist() == [
        *(["dopant", 2], ["edge", 2])
    ]
    assert "class" not in sites
    assert len(count_classes(label_sites(named, [3, 5, 8, 9], ""))) == 0
    assert count_classes(sites).empty


def test_classes_that_cannot_be_given(sites):
    with pytest.raises(InputError, match="1 of the sites"):
        label_sites(sites, [0, 10**6], "edge")
    with pytest.raises(InputError, match="holds numbers"):
        label_sites(sites, [0], "edge", column="z0")
