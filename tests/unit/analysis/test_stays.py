import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from napari_rvae.analysis.units.likeness import _cloud, separation
from napari_rvae.analysis.units.stays import find_stays, noise_covariance, whitening
from napari_rvae.analysis.units.ward import ward_clusters


def _sightings(rng, n_places=60, n_frames=12):
    """Scores of places that jump in the middle of the movie, with correlated noise."""
    place, frame = np.repeat(np.arange(n_places), n_frames), np.tile(np.arange(n_frames), n_places)
    state = np.where((place < 20) & (frame >= 6), 1, 0)
    truth = rng.normal(0, 8, (n_places, 2, 3))[place, state]
    root = np.array([[1.0, 0.0, 0.0], [0.6, 0.5, 0.0], [0.0, 0.2, 2.0]])
    return truth + rng.normal(size=truth.shape) @ root.T, place, frame, 2 * place + state, root


def test_the_noise_is_measured_in_spite_of_changes(rng):
    scores, place, frame, _, root = _sightings(rng)
    covariance = noise_covariance(scores, place, frame)
    assert np.allclose(covariance, root @ root.T, rtol=0.35, atol=0.3)
    assert np.allclose((scores @ whitening(covariance)).shape, scores.shape)


def test_noise_is_not_known_where_nothing_is_seen_again(rng):
    assert noise_covariance(rng.normal(size=(50, 3)), -1 - np.arange(50), np.zeros(50, int)) is None


def test_stays_end_where_something_changes(rng):
    scores, place, _, truth, root = _sightings(rng)
    white = scores @ whitening(root @ root.T)
    stays = find_stays(white, place, noisy=True)
    assert adjusted_rand_score(truth, stays.label) > 0.95
    assert stays.count.sum() == len(scores)
    assert np.allclose(stays.mean[stays.label[5]], white[stays.label == stays.label[5]].mean(0))
    assert (stays.first(place)[stays.label] == place).all()
    alone = find_stays(white, place, noisy=False)
    assert (alone.count == 1).all()


def test_clusters_of_equal_weights_are_those_of_scipy(rng):
    points = rng.normal(size=(80, 4))
    for count in (1, 3, 10, 80):
        own = ward_clusters(points, np.full(80, 2.0), count)
        theirs = fcluster(linkage(points, "ward"), count, "maxclust")
        assert adjusted_rand_score(own, theirs) == 1


def test_weights_count_like_repeated_points(rng):
    points = rng.normal(size=(30, 3))
    weight = rng.integers(1, 5, 30)
    own = ward_clusters(points, weight, 6)
    repeated = fcluster(linkage(np.repeat(points, weight, axis=0), "ward"), 6, "maxclust")
    assert adjusted_rand_score(np.repeat(own, weight), repeated) == pytest.approx(1)


@pytest.mark.parametrize("n_axes", [1, 4, 40])
def test_halves_of_one_cloud_have_no_valley_and_two_clouds_have(rng, n_axes):
    points = rng.normal(size=(400, n_axes))
    half = ward_clusters(points, np.ones(400), 2) == 1
    clouds = [_cloud(points[rows], np.ones(rows.sum())) for rows in (half, ~half)]
    assert separation(*clouds) < 3
    points[:200, 0] += 8
    clouds = [_cloud(own, np.ones(200)) for own in (points[:200], points[200:])]
    assert separation(*clouds) > 5
