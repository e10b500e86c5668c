"""Landscapes, ways and film strips of a decoder whose pictures are known."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from napari_rvae import (
    Cancelled,
    Crops,
    InputError,
    film_strip,
    latent_landscape,
    latent_path,
    observed_passages,
    path_agreement,
)
from napari_rvae.analysis.landscape.metric import picture_distance, picture_metric

SIDE, SIGMA, NOISE = 24, 1.8, 0.05
LINE = np.arange(SIDE) - (SIDE - 1) / 2


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Two atoms; the second is `t` further away and `b` brighter, and the latents hide both.

    ``stretch`` is the smooth map that hides them, ``swirl`` turns the canonical pictures from place
    to place.
    """

    stretch: float = 0.0
    swirl: float = 0.0
    noise_sd_: float = NOISE

    def encode(self, t, b):
        t, b = np.asarray(t, float), np.asarray(b, float)
        z0 = t if self.stretch == 0 else np.sinh(self.stretch * t) / self.stretch
        return np.stack([z0, b + self.stretch * z0**2], -1)

    def factors(self, z):
        z0, z1 = np.asarray(z, float).T
        t = z0 if self.stretch == 0 else np.arcsinh(self.stretch * z0) / self.stretch
        return t, z1 - self.stretch * z0**2

    def inverse_transform(self, z, *, angle=0.0, shift=(0.0, 0.0)):
        z = np.atleast_2d(np.asarray(z, float))
        t, b = self.factors(z)
        turn = np.broadcast_to(np.asarray(angle, float), len(z)) + self.swirl * t
        images = np.zeros((len(z), 1, SIDE, SIDE))
        for reach, bright in ((0 * t, 1 + 0 * t), (5 + 3 * t, 0.6 + 0.2 * b)):
            y, x = -reach * np.sin(turn), reach * np.cos(turn)
            rows = np.exp(-0.5 * ((LINE - y[:, None]) / SIGMA) ** 2)
            columns = np.exp(-0.5 * ((LINE - x[:, None]) / SIGMA) ** 2)
            images[:, 0] += bright[:, None, None] * rows[:, :, None] * columns[:, None]
        return images.astype(np.float32)


def dumbbell(model, count=600, seed=0):
    """Units 0 and 1 at t = 0 and 1, the first three times as many, joined by a bow in b."""
    rng = np.random.default_rng(seed)
    which = rng.choice(3, count, p=[0.6, 0.2, 0.2])
    along = rng.random(count)
    t = np.select([which == 0, which == 1], [0.0, 1.0], along) + rng.normal(0, 0.03, count)
    b = np.where(which == 2, np.sin(math.pi * along), 0.0) + rng.normal(0, 0.05, count)
    unit = np.where(t < 0.15, 0, np.where(t > 0.85, 1, -1))
    return pd.DataFrame(
        {
            "site_id": np.arange(count) + 100,
            "unit": unit,
            "angle": 0.0,
            "shift_y": 0.0,
            "shift_x": 0.0,
            **dict(zip(("z0", "z1"), model.encode(t, b).T, strict=True)),
        }
    )


@pytest.fixture(scope="module")
def model():
    return Drawn()


@pytest.fixture(scope="module")
def table(model):
    return dumbbell(model)


@pytest.fixture(scope="module")
def landscape(model, table):
    return latent_landscape(model, table, n_nodes=60)


# ----------------------------------------------------------------------------- distance
def test_distance_of_pictures_is_that_of_their_pixels_over_the_noise(model):
    one, two = model.encode(0.2, 0.0)[None], model.encode(0.2, 0.5)[None]
    true = np.linalg.norm(model.inverse_transform(one) - model.inverse_transform(two)) / NOISE
    assert picture_distance(model, one, two) == pytest.approx(true, rel=1e-4)
    assert picture_distance(model, one, two, noise=1.0) == pytest.approx(true * NOISE, rel=1e-4)


def test_turned_pictures_are_the_same():
    turned = Drawn(swirl=2.0)
    one, two = turned.encode([0.1, 0.5], [0.0, 0.3]), turned.encode([0.4, 0.5], [0.1, 0.3])
    plain = picture_distance(Drawn(), one, two)
    assert picture_distance(turned, one, two) == pytest.approx(plain, rel=0.02, abs=0.05)
    assert picture_distance(turned, one, two, pose_free=False)[0] > 1.5 * plain[0]


@pytest.mark.parametrize("swirl", [0.0, 1.0])
def test_metric_gives_the_distance_of_near_pictures(swirl):
    model = Drawn(stretch=0.7, swirl=swirl)
    z, step = model.encode([0.2, 0.8], [0.1, -0.2]), np.array([0.03, -0.02])
    metric = picture_metric(model, z)
    assert np.allclose(metric, metric.transpose(0, 2, 1))
    near = np.sqrt(np.einsum("i,mij,j->m", step, metric, step))
    assert near == pytest.approx(picture_distance(model, z - step / 2, z + step / 2), rel=0.03)


def test_noise_must_be_known_and_positive(model):
    z = model.encode([0.1], [0.0])
    with pytest.raises(InputError, match="positive"):
        picture_distance(model, z, z, noise=0.0)
    with pytest.raises(InputError, match="give it as noise"):
        picture_distance(dataclasses.replace(model, noise_sd_=None), z, z)


# ----------------------------------------------------------------------------- landscape
def test_density_tells_where_most_sites_are(landscape, table):
    sites = landscape.sites
    assert sites["site_id"].tolist() == table["site_id"].tolist()
    by_unit = sites.groupby("unit")["density"].median()
    assert by_unit[0] / by_unit[1] == pytest.approx(3, rel=0.25)
    assert by_unit[1] > 2 * by_unit[-1]
    assert (sites["density"] > 0).all()
    assert (sites["density"] <= 1).all()
    assert landscape.nodes["n_sites"].sum() == len(table)


def test_view_keeps_distances_and_says_what_it_leaves_out(landscape, model):
    nodes = landscape.nodes
    z = landscape.node_latents
    far = picture_distance(model, z[:1].repeat(len(z), 0), z)
    shown = np.hypot(nodes["p0"] - nodes["p0"][0], nodes["p1"] - nodes["p1"][0])
    assert 0.8 < landscape.view_share <= 1
    assert np.corrcoef(far, shown)[0, 1] > 0.95
    apart = landscape.sites.set_index("site_id").loc[nodes["site_id"], ["p0", "p1"]].to_numpy()
    assert np.abs(apart - nodes[["p0", "p1"]].to_numpy()).max() < 0.15 * far.max()


def test_latents_that_draw_nothing_have_no_distance(model):
    @dataclasses.dataclass(frozen=True)
    class Idle(Drawn):
        def inverse_transform(self, z, **pose):
            return super().inverse_transform(np.asarray(z)[..., :2], **pose)

    table = dumbbell(model).assign(z2=np.random.default_rng(0).normal(size=600))
    latents = latent_landscape(Idle(), table, n_nodes=30).latents.set_index("latent")["distance"]
    assert latents["z2"] < 0.01
    assert latents[["z0", "z1"]].min() > 1


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(stretch=st.floats(0.2, 2.0), seed=st.integers(0, 9))
def test_a_smooth_map_of_the_latents_changes_nothing(stretch, seed):
    one, two = (
        latent_landscape(m, dumbbell(m, count=250, seed=seed), n_nodes=60)
        for m in (Drawn(), Drawn(stretch=stretch))
    )
    assert one.sites["density"].to_numpy() == pytest.approx(two.sites["density"].to_numpy(), 1e-2)
    assert latent_path(one, 0, 1).length == pytest.approx(latent_path(two, 0, 1).length, 1e-2)


def test_pictures_that_turn_from_place_to_place_change_little():
    # the distances agree only as well as pictures can be turned, so other sites become nodes
    one, two = (
        latent_landscape(m, dumbbell(m, count=250), n_nodes=60)
        for m in (Drawn(), Drawn(stretch=1.0, swirl=1.5))
    )
    logs = np.log([one.sites["density"], two.sites["density"]])
    assert np.corrcoef(logs)[0, 1] > 0.9
    assert latent_path(one, 0, 1).length == pytest.approx(latent_path(two, 0, 1).length, 0.25)


def test_rare_units_are_kept_in_a_sample(model, table):
    rare = table.assign(unit=np.where(table.index < 4, 7, 0))
    landscape = latent_landscape(model, rare, n_nodes=10, max_sites=50)
    assert len(landscape.sites) == 50
    assert (landscape.sites["unit"] == 7).sum() == 4
    assert 7 in set(landscape.nodes["unit"])


def test_bad_input_is_told_in_a_line(model, table):
    with pytest.raises(InputError, match="ten sites or more, and there are 0"):
        latent_landscape(model, table.assign(z0=np.nan))
    with pytest.raises(InputError, match="there are 0"):
        latent_landscape(model, table[["site_id"]])


def test_equal_pictures_give_one_node(model, table):
    landscape = latent_landscape(model, table.assign(z0=0.0, z1=0.0, unit=0), n_nodes=10)
    assert len(landscape.nodes) == 1
    assert landscape.nodes["density"][0] == pytest.approx(1)


def test_progress_is_told_and_can_stop(model, table):
    seen = []
    latent_landscape(model, table, n_nodes=20, progress=lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(Cancelled, match="stopped"):
        latent_landscape(model, table, n_nodes=20, progress=lambda *_: False)


# ----------------------------------------------------------------------------- ways
def test_path_stays_where_sites_are(landscape, model):
    path = latent_path(landscape, 0, 1)
    t, b = model.factors(path.z)
    assert t[0] < 0.15
    assert t[-1] > 0.85
    assert b[np.abs(t - 0.5).argmin()] > 0.7  # over the bow, not straight across
    assert not path.bridged
    assert path.largest_step < 0.5 * path.length
    assert (np.diff(path.table["distance"]) > 0).all()
    back = latent_path(landscape, 1, 0)
    assert back.table["node"].tolist() == path.table["node"].tolist()[::-1]


def test_a_gap_is_told(model, table):
    apart = table[table["unit"] >= 0]
    path = latent_path(latent_landscape(model, apart, n_nodes=40), 0, 1)
    assert path.bridged
    assert path.largest_step > 0.5 * path.length


def test_unknown_units_are_told(landscape):
    with pytest.raises(InputError, match="no node of unit 5: choose from 0, 1"):
        latent_path(landscape, 0, 5)
    with pytest.raises(InputError, match="two different"):
        latent_path(landscape, 1, 1)


def test_other_ways_do_not_agree(landscape, model, table):
    path = latent_path(landscape, 0, 1)
    below = dumbbell(model, seed=1)
    below["z1"] = -below["z1"]
    other = latent_path(latent_landscape(model, below, n_nodes=60), 0, 1)
    same = latent_path(latent_landscape(model, dumbbell(model, seed=2), n_nodes=60), 0, 1)
    found = path_agreement(model, path, model, same)
    assert found.attrs["agreement"] > 0.8
    assert found.attrs["verdict"].startswith("agrees:")
    found = path_agreement(model, path, model, other)
    assert found.attrs["agreement"] < 0.3
    assert found.attrs["verdict"].startswith("does not agree")
    strange = dataclasses.replace(other, start=3)
    with pytest.raises(InputError, match="same units"):
        path_agreement(model, path, model, strange)


# ----------------------------------------------------------------------------- passages
def test_passages_follow_tracks_over_the_landscape(landscape, model):
    frame = np.arange(10)
    t = np.clip((frame - 3) / 4, 0, 1)
    z = model.encode(t, np.sin(math.pi * t))
    table = pd.DataFrame(
        {"site_id": frame, "frame": frame, "track_id": 4, "lattice_track_id": -1, "source": ""}
        | {"z0": z[:, 0], "z1": z[:, 1]}
    )
    events = pd.DataFrame(
        {"source": "", "frame": [5, 5], "track": [4, 9], "tracked": ["atom", "place"]}, index=[8, 9]
    )
    rows = observed_passages(model, landscape, table, events, before=3, after=4)
    assert rows["event"].tolist() == [8] * 7
    assert rows["step"].tolist() == [-3, -2, -1, 0, 1, 2, 3]
    ends = landscape.nodes.set_index("node").loc[rows["node"], "unit"].to_numpy()
    assert (ends[0], ends[-1]) == (0, 1)
    own = landscape.sites.groupby("unit")[["p0", "p1"]].median()
    assert math.dist(rows[["p0", "p1"]].iloc[0], own.loc[0]) < 2
    with pytest.raises(InputError, match="sites lack the column track_id"):
        observed_passages(model, landscape, table.drop(columns="track_id"), events)
    assert observed_passages(model, landscape, table, events.iloc[:0]).empty


# ----------------------------------------------------------------------------- film strips
def test_film_strip_has_equal_steps_and_the_crops_beside(landscape, model, table):
    rng = np.random.default_rng(0)
    angle = rng.uniform(-math.pi, math.pi, len(table))
    images = model.inverse_transform(table[["z0", "z1"]], angle=angle)
    images = images + rng.normal(0, NOISE, images.shape).astype(np.float32)
    crops = Crops(images=images, site_id=table["site_id"].to_numpy())
    path = latent_path(landscape, 0, 1)
    latents = table.assign(angle=angle)
    strip = film_strip(model, path, n=7, crops=crops, latents=latents, n_nearest=8)
    assert len(strip) == 7
    steps = picture_distance(model, strip.z[:-1], strip.z[1:])
    assert steps.std() < 0.15 * steps.mean()
    assert (strip.nearest.groupby("picture").size() == 8).all()
    middle = np.hypot(LINE[:, None], LINE) < SIDE / 2 - 2
    rest = (strip.crops - strip.pictures)[:, 0][:, middle]
    assert np.nanstd(rest) < 1.5 * NOISE
    with pytest.raises(InputError, match="None of the crops"):
        film_strip(model, path, crops=crops, latents=latents.assign(site_id=0).iloc[:1])


def test_film_strip_of_a_passage_has_one_picture_a_frame(model):
    turned = Drawn(swirl=2.0)
    z = turned.encode([0.0, 0.1, 0.9], [0.0, 0.0, 0.0])
    strip = film_strip(turned, z, n=None)
    assert np.isnan(strip.crops).all()
    assert strip.distance[2] > 4 * strip.distance[1] > 0
    # each picture lies as the one before it
    assert strip.pictures == pytest.approx(Drawn().inverse_transform(z), abs=0.03)
    as_seen = film_strip(turned, z, n=None, angle=[0.0, 0.5, 1.0])
    assert as_seen.pictures == pytest.approx(turned.inverse_transform(z, angle=[0.0, 0.5, 1.0]))
    with pytest.raises(InputError, match="one point"):
        film_strip(model, z[:1], n=None)
    with pytest.raises(InputError, match="two of either"):
        film_strip(model, z[:1])
    crops = Crops(images=turned.inverse_transform(z), site_id=np.arange(3))
    table = pd.DataFrame({"site_id": np.arange(3), "angle": 0.0}).assign(shift_y=0.0, shift_x=0.0)
    with pytest.raises(InputError, match="one for each point"):
        film_strip(turned, z, n=None, crops=crops, latents=table, site_id=[0])
