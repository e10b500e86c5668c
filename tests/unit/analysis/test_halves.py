import logging
import threading

import numpy as np
import pandas as pd
import pytest

from napari_rvae import (
    Cancelled,
    Crops,
    InputError,
    Units,
    detect_atoms,
    extract_crops,
    sample_grid,
    simulate_graphene,
    split_half,
)
from napari_rvae.analysis.said_of import said_of
from napari_rvae.figures import report_figure
from napari_rvae.tables import make_sites


@pytest.fixture(scope="module")
def movie():
    return simulate_graphene(n_frames=4, size=224, seed=0, grains=1).frames


@pytest.fixture(scope="module")
def sites(movie):
    return detect_atoms(movie)


@pytest.fixture(scope="module")
def crops(movie, sites):
    return extract_crops(movie, sites)


@pytest.fixture(scope="module")
def halves(crops, sites):
    return split_half(crops, sites, epochs=12, device="cpu")


def test_the_log_names_the_half(crops, sites, caplog):
    with caplog.at_level("INFO"):
        split_half(crops, sites, epochs=1, device="cpu")
    own = [one.getMessage() for one in caplog.records if one.name.startswith("napari_rvae")]
    assert len([line for line in own if line.startswith("First half of the data: ")]) >= 1
    assert all(line.startswith(("First half", "Second half")) for line in own)
    assert not any("find the units of this movie anew" in line for line in own)


def test_lines_of_other_threads_and_later_ones_are_left_alone(caplog):
    logger = logging.getLogger("napari_rvae.vae.splits")
    with caplog.at_level("INFO"), said_of("First half of the data"):
        logger.info("%d crops", 5)
        other = threading.Thread(target=logger.info, args=("another training",))
        other.start()
        other.join()
        with said_of(""):
            logger.info("not told")
    with caplog.at_level("INFO"):
        logger.info("later")
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["First half of the data: 5 crops", "another training", "later"]


def _verdicts(found):
    return {verdict.result: verdict for verdict in found.verdicts}


def test_a_simulated_movie_agrees(halves, crops):
    assert halves.answer == "agrees"
    assert _verdicts(halves)["angles"].answer == "agrees"
    assert "does not agree" not in {verdict.answer for verdict in halves.verdicts}
    assert halves.halves == "odd and even frames, compared on all"
    assert halves.common.tolist() == crops.site_id.tolist()
    assert halves.models[0].config.seed != halves.models[1].config.seed


def test_halves_and_crops_are_told_in_one_line(halves, crops):
    assert repr(halves).startswith("SplitHalf('agrees': units ")
    assert "\n" not in repr(halves) + repr(crops)
    assert repr(crops).startswith(f"Crops({len(crops):,} of 32 x 32 px")


def test_matched_units_share_their_crops(halves):
    matched = halves.matched
    assert matched["f1"].between(0, 1).all()
    assert matched.loc[0, "f1"] > 0.8
    twins = matched.loc[matched["other"] >= 0, "other"]
    assert twins.is_unique


def test_far_too_many_units_do_not_agree(crops, sites):
    rng = np.random.default_rng(0)

    def many(_, features):
        table = features[["site_id"]].assign(unit=rng.integers(0, 40, len(features)))
        summary = pd.DataFrame({"unit": range(40), "name": "u", "count": 1})
        return Units(table.assign(unit_probability=1.0), summary)

    found = split_half(crops, sites, epochs=2, device="cpu", find=many)
    assert _verdicts(found)["units"].answer == "does not agree"
    assert found.answer == "does not agree"


def test_pure_noise_does_not_agree():
    frames = np.random.default_rng(0).poisson(20, (4, 160, 160)).astype(float)
    grid = sample_grid(frames, step=12)
    found = split_half(extract_crops(frames, grid, window=40), grid, epochs=8, device="cpu")
    assert found.answer == "does not agree"
    assert _verdicts(found)["units"].answer == "does not agree"


def test_the_area_is_halved_without_common_pixels(crops, sites):
    one = crops.select(crops.frame == 0)
    asked = []

    def none(table, features):
        asked.append(set(features["site_id"]))
        unit = np.zeros(len(table), np.int64)
        labels = pd.DataFrame({"site_id": table["site_id"], "unit": unit, "unit_probability": 1.0})
        return Units(labels, pd.DataFrame({"unit": [0], "name": ["host"], "count": [1]}))

    found = split_half(one, sites, epochs=1, device="cpu", find=none)
    assert found.halves.startswith("strips of the area")
    assert _verdicts(found)["units"].answer == "cannot tell"
    assert len(asked) == 2


def test_verdicts_become_checks_on_the_report(halves, movie, sites):
    checks = halves.checks
    assert [check.name for check in checks] == ["halves_units", "halves_angles", "halves_latents"]
    assert all(check.text.startswith("Halves of the data, ") for check in checks)
    page = report_figure(movie, sites, halves=halves)
    texts = [text.get_text() for part in page.subfigs for text in part.texts]
    assert any("angles: agrees" in text.replace("\n", " ") for text in texts)


def test_what_cannot_be_halved_is_said_in_one_line(crops, sites):
    with pytest.raises(InputError, match="40 are the least: take more"):
        split_half(crops.select(np.arange(60)), sites)
    with pytest.raises(InputError, match="choose auto"):
        split_half(crops, sites, by="rows")
    with pytest.raises(InputError, match="one frame"):
        split_half(crops.select(crops.frame == 0), sites, by="frames")
    with pytest.raises(InputError, match="lack some"):
        split_half(crops, make_sites(frame=0, y=[0.0], x=[0.0]))
    lost = Crops(images=crops.images, site_id=crops.site_id)
    with pytest.raises(InputError, match="do not know"):
        split_half(lost, sites)


def test_it_can_be_stopped(crops, sites):
    done = []

    def stop(number, total):
        done.append((number, total))
        return len(done) < 3

    with pytest.raises(Cancelled, match="no verdict"):
        split_half(crops, sites, epochs=5, device="cpu", progress=stop)
    assert {total for _, total in done} == {14}
