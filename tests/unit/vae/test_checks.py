"""The self-checks: they accuse models that fail, and only those."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from napari_rvae import RVAE, Crops, RVAEConfig
from napari_rvae.errors import Cancelled, InputError, NotFittedError
from napari_rvae.vae.checks import Check, ModelChecks, check_model
from napari_rvae.vae.measures import turn_pictures

NAMES = [
    "angle",
    "explained",
    "angle_sd",
    "turn_spread",
    "pose_leak",
    "scan_leak",
    "active",
    "contrast",
    "position",
]
PAIR_NAMES = ["latents_agree", "angles_agree", "neighbours_agree"]


class Engine:
    """What the checks ask of a model, with answers of one's own."""

    def __init__(self, crops, n_latents=3, *, angle=None, rotation=True):
        self.config = RVAEConfig(n_latents=n_latents, rotation=rotation)
        flat = crops.read().reshape(len(crops), -1).astype(float)
        self.mean = flat.mean(0)
        _, size, axes = np.linalg.svd(flat - self.mean, full_matrices=False)
        self.axes, self.size = axes[:n_latents], size[:n_latents] / math.sqrt(len(crops))
        self.angle = angle

    def z(self, crops):
        flat = crops.read().reshape(len(crops), -1).astype(float)
        return (flat - self.mean) @ self.axes.T / self.size

    def transform(self, crops):
        z = self.z(crops)
        angle = np.zeros(len(crops)) if self.angle is None else self.angle(crops)
        table = pd.DataFrame({"site_id": crops.site_id, "angle": angle, "angle_sd": 0.05})
        table["shift_y"] = table["shift_x"] = 0.0
        for k, column in enumerate(z.T):
            table[f"z{k}"], table[f"z{k}_sd"] = column, 0.1
        return table

    def inverse_transform(self, z, *, angle, shift):
        flat = (z * self.size) @ self.axes + self.mean
        return flat.reshape(len(z), 1, 32, 32).astype(np.float32)


class Round(Engine):
    """Latents that do not turn, and pictures in which nothing does."""

    def z(self, crops):
        line = np.arange(crops.pixels) - (crops.pixels - 1) / 2
        inside = crops.read()[:, 0, np.hypot(line[:, None], line) < 14].astype(float)
        return np.stack([100 * inside.std(1), 1000 * (inside**3).mean(1)], 1)

    def inverse_transform(self, z, *, angle, shift):
        return np.zeros((len(z), 1, 32, 32), np.float32)


def found(model, crops, **options):
    """The checks by name, all figures being numbers or None with a reason."""
    checks = check_model(model, crops, **options)
    for check in checks.checks:
        assert check.value is None or math.isfinite(check.value)
        assert check.text.endswith(".")
        assert "nan" not in check.text
        assert check.value is not None or check.level == "info"
        assert check.interval is None or check.interval[0] <= check.value <= check.interval[1]
    return {check.name: check for check in checks.checks}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Turn fewer crops; their number changes no verdict here."""
    monkeypatch.setattr("napari_rvae.vae.evidence._TURNED", 40)


@pytest.fixture(scope="module")
def some(motif_sample):
    """A part of the crops that the model of motifs was trained on."""
    return motif_sample.crops.select(np.arange(200))


# ---------------------------------------------------------------- models that work


@pytest.fixture(scope="module")
def good(motif_model, some):
    return found(motif_model, some)


def test_a_good_model_is_found_good(good):
    assert list(good) == NAMES
    levels = {name: check.level for name, check in good.items()}
    assert set(levels.values()) == {"good", "info"}
    assert good["angle"].value < 0.2
    assert good["angle"].text == "The angle was learnt: it follows turned crops to 0.1 degrees."
    assert good["explained"].value > 0.97
    assert good["turn_spread"].value < 0.03
    assert good["pose_leak"].value < 0.05
    assert 0 < good["angle_sd"].value < 2


def test_the_lattice_is_judged_by_its_symmetry(lattice_model, sample):
    checks = found(lattice_model, sample("honeycomb", 300).crops)
    assert checks["angle"].level == "good"
    assert checks["angle"].value < 0.5
    assert checks["explained"].level == "good"


def test_what_crops_do_not_tell_is_not_judged(good):
    for name in ("scan_leak", "contrast", "position"):
        assert good[name].value is None
        assert good[name].level == "info"


def test_the_same_crops_give_the_same_figures(motif_model, motif_sample):
    part = motif_sample.crops.select(np.arange(120))
    assert check_model(motif_model, part) == check_model(motif_model, part)


def test_any_crops_of_the_model_can_be_checked_not_only_its_own(motif_model, sample):
    assert found(motif_model, sample("motif", 100, seed=9).crops)["angle"].level == "good"


# ---------------------------------------------------------------- models that fail


def test_latents_that_hold_the_angle_are_told_of(some):
    checks = found(Engine(some), some)
    assert checks["angle"].level == "bad"
    assert checks["angle"].text.startswith("The angle was not learnt: when crops are turned, it is")
    assert "(90 by chance). Do not use it." in checks["angle"].text
    assert "another seed" in checks["angle"].advice
    assert checks["turn_spread"].level == "bad"
    assert checks["turn_spread"].value > 0.8
    assert checks["pose_leak"].level == "bad"
    assert checks["pose_leak"].value > 0.5
    assert checks["scan_leak"].value is None
    assert checks["angle_sd"].level == "info"
    assert "means nothing" in checks["angle_sd"].text


def test_an_angle_at_random_was_not_learnt(some, rng):
    model = Round(some, 2, angle=lambda crops: rng.uniform(-math.pi, math.pi, len(crops)))
    checks = found(model, some)
    assert checks["angle"].level == "bad"
    assert checks["explained"].level == "bad"
    assert checks["explained"].value == pytest.approx(0, abs=0.05)
    # the latents are innocent
    assert checks["turn_spread"].level == "good"
    assert checks["pose_leak"].level in ("good", "info")  # that of 200 crops is not sure


def test_a_model_without_latents_is_told_of(some):
    class Still(Engine):
        def z(self, crops):
            return np.zeros((len(crops), 3))

    checks = found(Still(some), some)
    assert checks["active"].level == "bad"
    assert checks["active"].value == 0
    for name in ("turn_spread", "pose_leak", "contrast", "position"):
        assert "No latent is in use" in checks[name].text


def test_a_latent_that_is_not_used_is_named(sample):
    class Lazy(Engine):
        def z(self, crops):
            return super().z(crops) * [1, 0.001, 1]

    crops = sample("motif", 100).crops
    active = found(Lazy(crops), crops)["active"]
    assert active.value == 2
    assert active.text == "2 of 3 latents are in use (z0, z2)."
    assert active.advice == "2 would do as well."


# ---------------------------------------------------------------- no angle


def test_a_plain_vae_has_no_angle_and_is_not_blamed(some, trained):
    checks = found(trained(some, epochs=3, rotation=False), some)
    assert "has no angle: it was trained without rotation" in checks["angle"].text
    for name in ("angle", "angle_sd", "turn_spread", "pose_leak", "scan_leak"):
        assert checks[name].level == "info"
    assert checks["turn_spread"].value > 0.5
    assert checks["pose_leak"].value > 0.1


@pytest.fixture(scope="module")
def discs(picture):
    """Discs of several sizes, with counting noise: nothing turns."""
    rng = np.random.default_rng(1)
    clean = np.stack([picture([[0, 0]], sigma=width) for width in rng.uniform(1.5, 4, 200)])
    images = rng.poisson((clean[:, None] + 0.1) * 60) / 60
    images -= images.mean((2, 3), keepdims=True)
    return Crops(images=images.astype(np.float32), site_id=np.arange(200))


def test_round_crops_have_no_angle_to_learn(discs, trained):
    checks = found(trained(discs, epochs=3), discs)
    assert "no angle to find" in checks["angle"].text
    assert checks["angle"].level == "info"
    assert not any(check.level == "bad" for check in checks.values())


def test_round_ones_among_others_are_counted(discs, some, motif_model):
    both = Crops(images=np.concatenate([discs.images, some.images]), site_id=np.arange(400))
    angle = found(motif_model, both)["angle"]
    assert angle.level == "good"
    share = int(angle.text.split("%")[0].split()[-1])
    assert 44 <= share <= 52
    assert "of the crops are round and have none" in angle.text


# ---------------------------------------------------------------- where and how bright


@pytest.fixture(scope="module")
def placed(motif_sample):
    """Motifs in a frame that is brighter to the right."""
    y, x = np.random.default_rng(0).uniform(0, 1000, (2, 300))
    part = motif_sample.crops.select(np.arange(300))
    return dataclasses.replace(part, y=y, x=x, mean=3 * x + 7, sd=np.ones(300))


def test_latents_that_follow_brightness_or_position_are_named(placed):
    class Ramp(Engine):
        def z(self, crops):
            rows = np.searchsorted(placed.site_id, crops.site_id)
            ramp = (placed.x[rows] - 500) / 300
            return np.concatenate([super().z(crops)[:, :1], ramp[:, None]], 1)

    checks = found(Ramp(placed, 2), placed)
    for name, what in (("contrast", "mean brightness"), ("position", "x")):
        assert checks[name].level == "warn"
        assert checks[name].value > 0.95
        assert checks[name].text.startswith(f"z1 follows the {what} of the crops")
        assert "map" in checks[name].advice


def test_latents_that_do_not_are_good(placed, motif_model):
    checks = found(motif_model, placed)
    assert checks["contrast"].level == checks["position"].level == "good"
    assert checks["scan_leak"].level == "good"
    assert checks["scan_leak"].value < 0.1


def test_latents_that_go_along_with_the_angle_of_the_frame_are_told_of(
    motif_sample, placed, motif_model
):
    class Scan(Engine):
        """Finds the angle, and has latents that know how a site lay in the frame."""

        def z(self, crops):
            angle = motif_sample.angle[np.searchsorted(placed.site_id, crops.site_id)]
            return np.stack([np.cos(angle), np.sin(angle)], 1)

        def transform(self, crops):
            return super().transform(crops).assign(angle=motif_model.transform(crops)["angle"])

    checks = found(Scan(placed, 2), placed)
    assert checks["turn_spread"].level == "good"
    assert checks["pose_leak"].level == "good"
    assert checks["scan_leak"].level == "warn"
    assert checks["scan_leak"].value > 0.25
    assert "Row noise or shear" in checks["scan_leak"].advice


def test_crops_that_all_lie_alike_cannot_tell(sample, motif_model):
    alike = sample("motif", 200, angle=0.3)
    y, x = np.random.default_rng(0).uniform(0, 1000, (2, 200))
    crops = dataclasses.replace(alike.crops, y=y, x=x).select(alike.label == 0)
    checks = found(motif_model, crops)
    assert "lie alike" in checks["scan_leak"].text
    assert checks["angle"].level == "good"
    # turned at random, they do tell
    assert checks["pose_leak"].level == "good"


# ---------------------------------------------------------------- two models


def test_two_seeds_that_agree(motif_sample, motif_model, trained):
    other = trained(motif_sample.crops, epochs=12, seed=1)
    checks = found(motif_model, motif_sample.crops, other=other)
    assert list(checks) == NAMES + PAIR_NAMES
    assert checks["latents_agree"].level == "good"
    assert checks["latents_agree"].value > 0.8
    assert checks["angles_agree"].level == "good"
    assert checks["angles_agree"].value < 2


def test_two_models_that_do_not(motif_sample, motif_model):
    class Other(Engine):
        def transform(self, crops):
            noise = np.random.default_rng(int(crops.site_id[0]))
            table = super().transform(crops)
            table["angle"] = noise.uniform(-math.pi, math.pi, len(crops))
            for name in ("z0", "z1"):
                table[name] = noise.normal(size=len(crops))
            return table

    other = Other(motif_sample.crops, 2)
    checks = found(motif_model, motif_sample.crops, other=other)
    assert checks["latents_agree"].level == "bad"
    assert checks["angles_agree"].level == "bad"
    assert checks["angles_agree"].value > 60
    assert checks["neighbours_agree"].value < 0.15


def test_a_partner_of_no_latents_is_no_comparison(motif_sample, motif_model):
    class Still(Engine):
        def z(self, crops):
            return np.zeros((len(crops), 3))

    checks = found(motif_model, motif_sample.crops, other=Still(motif_sample.crops))
    assert all(checks[name].value is None for name in PAIR_NAMES)


# ---------------------------------------------------------------- odd input


@pytest.mark.parametrize("count", [8, 20, 61])
def test_few_crops_are_told_of_and_not_judged(count, few, quick):
    part = few.select(np.arange(min(count, len(few))))
    if count > len(few):
        part = dataclasses.replace(
            few,
            images=np.concatenate([few.images, few.images[: count - len(few)]]),
            site_id=np.arange(count),
            frame=np.zeros(0, int),
            source=np.zeros(0, str),
            y=np.zeros(0),
            x=np.zeros(0),
            mean=np.zeros(0),
            sd=np.zeros(0),
        )
    assert list(found(quick, part)) == NAMES


def test_a_handful_says_nothing(few, quick):
    checks = check_model(quick, few.select([0, 1, 2]))
    (only,) = checks.verdicts
    assert only.text == "Nothing can be told from 3 crops: 8 are the least."
    assert only.level == "warn"


def test_crops_with_nan_are_left_out(some, motif_model, good):
    images = some.images.copy()
    images[::4, 0, 5, 5] = np.nan
    checks = check_model(motif_model, dataclasses.replace(some, images=images))
    assert checks.n_crops == 150
    assert checks.figures["angle"] == pytest.approx(good["angle"].value, abs=0.1)
    nothing = dataclasses.replace(some, images=np.full_like(images, np.nan))
    assert check_model(motif_model, nothing).n_crops == 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_crops_does_not_matter(scale, sample, trained):
    crops = sample("motif", 100).crops
    scaled = dataclasses.replace(crops, images=(crops.images * scale).astype(np.float32))
    checks = found(trained(scaled, epochs=6), scaled)
    assert checks["angle"].level == "good"
    assert checks["explained"].level == "good"


@pytest.mark.parametrize("kind", ["constant", "noise-free", "noise"])
def test_other_crops_are_judged_without_a_crash(kind, motif_model, motif_sample, rng):
    crops = motif_sample.crops.select(np.arange(80))
    images = {
        "constant": np.full((80, 1, 32, 32), 3.0),
        "noise-free": motif_sample.clean[:80],
        "noise": rng.normal(size=(80, 1, 32, 32)),
    }[kind].astype(np.float32)
    checks = found(motif_model, dataclasses.replace(crops, images=images))
    if kind != "noise-free":
        assert "no angle to find" in checks["angle"].text


def test_the_per_pixel_engine_answers_the_same_questions(few):
    crops = dataclasses.replace(few, images=few.images[:, :, ::2, ::2].copy(), window_px=16.0)
    model = RVAE(n_latents=2, epochs=1, decoder="pixel", hidden=16, device="cpu").fit(crops)
    checks = found(model, crops)
    assert list(checks) == NAMES
    assert checks["angle"].level == "bad"  # one epoch teaches it nothing


def test_two_channels(sample, trained):
    crops = sample("motif", 100, channels=2).crops
    assert found(trained(crops, epochs=3), crops)["angle"].level == "good"


def test_noise_that_the_crops_know_of_is_believed(some, motif_model):
    deep = dataclasses.replace(some, noise_sd=10.0)
    assert "no angle to find" in found(motif_model, deep)["angle"].text
    row = np.zeros((9, 9))
    row[4] = 0.5
    row[4, 4] = 1.0
    white = dataclasses.replace(some, noise_sd=float(some.images.std() / 2))
    red = dataclasses.replace(white, noise_correlation=row)
    shares = [found(motif_model, crops)["explained"].value for crops in (white, red)]
    assert shares[1] > shares[0]


# ---------------------------------------------------------------- the result


def test_verdicts_come_the_most_serious_first_and_once():
    def check(name, level, text):
        return Check(name, None, None, "", level, text)

    checks = ModelChecks(
        (
            check("a", "good", "A."),
            check("b", "info", "B."),
            check("c", "bad", "C."),
            check("d", "info", "B."),
            check("e", "warn", "E."),
        ),
        9,
    )
    assert [(v.name, v.level) for v in checks.verdicts] == [
        ("c", "bad"),
        ("e", "warn"),
        ("b", "info"),
        ("a", "good"),
    ]
    assert [str(v) for v in checks.verdicts] == ["C.", "E.", "B.", "A."]
    assert list(checks.figures) == list("abcde")
    assert json.loads(json.dumps(checks.figures)) == checks.figures


@pytest.mark.parametrize(
    ("value", "interval", "unit", "said"),
    [
        (None, None, "degrees", "not known"),
        (0.1234, None, "", "0.123"),
        (0.1234, (0.1, 0.2), "", "0.123 (0.1 to 0.2)"),
        (3.0, None, "latents", "3 latents"),
    ],
)
def test_figures_in_words(value, interval, unit, said):
    assert Check("a", value, interval, unit, "good", "A.").figure == said


def test_progress_is_told_and_can_stop(few, quick):
    told = []
    check_model(quick, few, progress=lambda done, total: told.append((done, total)))
    assert told == [(k, len(NAMES)) for k in range(len(NAMES))]
    with pytest.raises(Cancelled, match="2 of 9"):
        check_model(quick, few, progress=lambda done, _: done < 2)


def test_models_that_are_not_trained_and_crops_that_do_not_fit(few, quick):
    with pytest.raises(NotFittedError):
        check_model(RVAE(), few)
    small = Crops(images=np.zeros((9, 1, 16, 16), np.float32), site_id=np.arange(9))
    with pytest.raises(InputError, match="cut them alike"):
        check_model(quick, small)


def test_neither_model_nor_crops_are_changed(few, fresh):
    before = few.images.copy()
    latents = fresh.transform(few)
    check_model(fresh, few, other=fresh)
    assert np.array_equal(few.images, before)
    pd.testing.assert_frame_equal(fresh.transform(few), latents)
    assert not np.array_equal(turn_pictures(few.images, 0.5), before)
