"""Hypothesis strategies for the tables and arrays of the package."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_rvae.frames import Frames
from napari_rvae.tables import SITE_KINDS, concat_sites, make_sites

#: Angles over several turns, in radians.
angles = st.floats(-30.0, 30.0, allow_nan=False)

#: Orders of rotational symmetry.
orders = st.integers(1, 12)

#: Positions in pixels.
coordinates = st.floats(-1e3, 1e4, allow_nan=False).map(lambda value: round(value, 3))

_DTYPES = (np.bool_, np.uint8, np.uint16, np.int64, np.float32, np.float64)


@st.composite
def one_source_tables(draw, *, source="", min_rows=0, max_rows=20):
    """A sites table of one source, fresh from `make_sites`."""
    size = draw(st.integers(min_rows, max_rows))
    values = {
        name: draw(st.lists(strategy, min_size=size, max_size=size))
        for name, strategy in {
            "frame": st.integers(0, 3),
            "y": coordinates,
            "x": coordinates,
            "amplitude": st.floats(0, 1e6),
        }.items()
    }
    kind = draw(st.sampled_from(SITE_KINDS))
    return make_sites(
        **{name: np.array(v, float if name != "frame" else int) for name, v in values.items()},
        kind=kind,
        source=source,
    )


@st.composite
def sites_tables(draw, *, max_rows=20):
    """A sites table as users hand it in: several sources, any order, any numbers, any index."""
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
    parts = [draw(one_source_tables(source=name, max_rows=max_rows)) for name in names]
    table = concat_sites(*parts)
    numbers = draw(
        st.lists(st.integers(0, 10**12), min_size=len(table), max_size=len(table), unique=True)
    )
    order = draw(st.permutations(range(len(table))))
    table = table.assign(site_id=np.array(numbers, np.int64)).iloc[order]
    return table.set_axis(pd.RangeIndex(5, 5 + len(table)), axis=0)


@st.composite
def latents_tables(draw, site_id):
    """A latents table for some of the sites, and for some that are not there."""
    known = [int(number) for number in site_id]
    some = draw(st.lists(st.sampled_from(known), unique=True)) if known else []
    extra = draw(st.lists(st.integers(-100, -1), max_size=3, unique=True))
    numbers = np.array(draw(st.permutations(some + extra)), np.int64)
    return pd.DataFrame(
        {
            "site_id": numbers,
            "angle": np.linspace(-3, 3, numbers.size),
            "z0": numbers.astype(float),
            "unit": np.arange(numbers.size),
        }
    )


@st.composite
def movies(draw, *, max_side=16):
    """Frames of any shape and type, with any scale."""
    n_axes = draw(st.integers(2, 4))
    side = st.integers(8, max_side)
    shape = (draw(side), draw(side))
    if n_axes == 4:
        shape = (draw(st.integers(1, 3)), *shape)
    if n_axes >= 3:
        shape = (draw(st.integers(1, 4)), *shape)
    dtype = draw(st.sampled_from(_DTYPES))
    data = draw(hnp.arrays(dtype, shape, fill=st.just(dtype(0))))
    scale = draw(st.lists(st.floats(1e-3, 1e3), min_size=n_axes, max_size=n_axes))
    return Frames(data, scale=tuple(scale))
