import copy
import dataclasses
import gc
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from napari_rvae import RVAE
from napari_rvae.errors import InputError, NapariRvaeError
from napari_rvae.vae.model import SteerableVAE
from napari_rvae.vae.training import _SCOUTING_EPOCHS, Trainer


def codes(model, crops):
    return model.transform(crops).drop(columns="site_id").to_numpy()


def patched_loss(monkeypatch, change):
    """Let `change(call number, data)` spoil the loss of single calls."""
    loss, calls = SteerableVAE.loss, []

    def spoiled(self, data, features, **options):
        calls.append(len(data))
        spoil = change(len(calls), data)
        terms = loss(self, data, features, **options)
        if not spoil:
            return terms
        nan = math.nan
        return dataclasses.replace(
            terms,
            total=terms.total * nan,
            misfit=terms.misfit * nan,
            divergence=terms.divergence * nan,
            template=terms.template * nan,
            angle=terms.angle * nan,
        )

    monkeypatch.setattr(SteerableVAE, "loss", spoiled)
    return calls


# --------------------------------------------------------------------------- the steps
def test_the_loss_falls(motif_model):
    loss = [record.loss for record in motif_model.history_]
    misfit = [record.misfit for record in motif_model.history_]
    assert loss[-1] < loss[1]
    assert misfit[-1] < 0.5 * misfit[0]
    assert 0.7 < misfit[-1] < 2  # little but noise is left


def test_the_history_tells_the_training(motif_model):
    history = motif_model.history_
    assert [record.epoch for record in history] == list(range(1, 13))
    assert all(math.isfinite(v) for record in history for v in dataclasses.astuple(record))
    assert history[-1].held_out_loss < history[0].held_out_loss
    assert np.all(np.diff([record.seconds for record in history]) >= 0)
    assert history[-1].learning_rate < history[1].learning_rate


def test_the_model_can_be_used_after_every_yield(few):
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu")
    seen = []
    for progress in model.iter_fit(few):
        assert model.is_fitted
        assert np.isfinite(codes(model, few)).all()
        assert np.isfinite(model.inverse_transform([0.0, 0.0])).all()
        assert progress.epoch == len(model.history_)
        assert progress.record is (model.history_[-1] if model.history_ else None)
        seen.append(progress.fraction)
    assert seen[0] == 0
    assert seen[-1] == 1
    assert np.all(np.diff(seen) >= 0)
    assert progress.n_epochs == progress.epoch == 3


def test_looking_in_the_middle_changes_nothing(few, quick):
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu")
    for _ in model.iter_fit(few):
        codes(model, few)
        model.manifold(2)
    np.testing.assert_array_equal(codes(model, few), codes(quick, few))


def test_progress_is_reported_often(sample, monkeypatch):
    """Within an epoch, too: at most half a second of work lies between two reports."""
    monkeypatch.setattr("napari_rvae.vae.training._REPORT_EVERY", 0.0)
    crops = sample("motif", 80).crops
    model = RVAE(n_latents=1, epochs=1, batch_size=8, hidden=16, device="cpu")
    monkeypatch.setattr("napari_rvae.vae.training._LEAST_STEPS", 1)
    fractions = [progress.fraction for progress in model.iter_fit(crops)]
    assert len(fractions) == 12  # the beginning, ten steps, the end
    np.testing.assert_allclose(np.diff(fractions[:-1]), 0.1)


def test_stopping_early_keeps_the_model_and_it_can_go_on(few):
    model = RVAE(n_latents=2, epochs=6, hidden=16, device="cpu")
    for progress in model.iter_fit(few):
        if progress.epoch == 2:
            break
    assert len(model.history_) == 2
    assert np.isfinite(codes(model, few)).all()
    last = [p.epoch for p in model.iter_fit(few, resume=True)][-1]
    assert last == len(model.history_) == 6
    assert [record.epoch for record in model.history_] == list(range(1, 7))


def test_stopping_between_epochs_and_going_on_is_the_same_training(few):
    whole = RVAE(n_latents=2, epochs=5, hidden=16, device="cpu").fit(few)
    model = RVAE(n_latents=2, epochs=5, hidden=16, device="cpu")
    for progress in model.iter_fit(few):
        if progress.epoch == 2:
            break
    for _ in model.iter_fit(few, resume=True):
        pass
    np.testing.assert_array_equal(codes(model, few), codes(whole, few))


def test_a_finished_training_can_be_made_longer(fresh, few):
    fresh.config = dataclasses.replace(fresh.config, epochs=5)
    assert [p.epoch for p in fresh.iter_fit(few, resume=True)][-1] == 5
    assert np.isfinite(codes(fresh, few)).all()


@pytest.mark.parametrize("more", ["by the call", "by the config"])
def test_a_longer_training_is_asked_for(few, more):
    model = RVAE(n_latents=2, epochs=2, hidden=16, device="cpu").fit(few)
    assert not model.can_resume
    if more == "by the call":
        steps = model.iter_fit(few, resume=True, epochs=4)
    else:
        model.config = dataclasses.replace(model.config, epochs=4)
        assert model.can_resume
        steps = model.iter_fit(few, resume=True)
    assert [p.n_epochs for p in steps][-1] == 4
    assert model.config.epochs == len(model.history_) == 4
    assert not model.can_resume


def test_epochs_of_one_training(few):
    model = RVAE(n_latents=2, epochs=9, hidden=16, device="cpu")
    assert [p.n_epochs for p in model.iter_fit(few, epochs=2)][-1] == 2
    assert model.config.epochs == len(model.history_) == 2
    with pytest.raises(InputError, match="epochs = 0 is out of range"):
        next(model.iter_fit(few, resume=True, epochs=0))


def test_fewer_epochs_than_are_done_train_no_further(few):
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(few)
    before = codes(model, few)
    (only,) = model.iter_fit(few, resume=True, epochs=2)
    assert (only.message, only.fraction, only.epoch) == ("done", 1.0, 3)
    np.testing.assert_array_equal(codes(model, few), before)


def left_at_every_yield(crops, shifts):
    """Trainings left at their first, second, ... yield, and not closed yet."""
    options = {"n_latents": 2, "epochs": 5, "hidden": 16, "shifts": shifts, "device": "cpu"}
    total = sum(1 for _ in RVAE(**options).iter_fit(crops))
    for number in range(1, total + 1):
        model = RVAE(**options)
        steps = model.iter_fit(crops)
        for _ in range(number):
            last = next(steps)
        yield model, steps, last


def check_left(model, crops, folder, left):
    """It computes, saves, loads and goes on, wherever it was left."""
    before = codes(model, crops)
    assert np.isfinite(before).all()
    model.save(folder)
    np.testing.assert_array_equal(codes(RVAE.load(folder, device="cpu"), crops), before)
    assert model.can_resume is (left.message != "done")
    rest = list(model.iter_fit(crops, resume=True))
    assert rest[0].epoch == left.epoch
    assert [record.epoch for record in model.history_] == [1, 2, 3, 4, 5]
    assert np.isfinite(codes(model, crops)).all()


@pytest.mark.parametrize("shifts", [False, True])
def test_a_training_can_be_closed_at_any_yield(few, tmp_path, monkeypatch, shifts):
    monkeypatch.setattr("napari_rvae.vae.training._REPORT_EVERY", 0.0)
    monkeypatch.setattr("napari_rvae.vae.training._SEARCH_CROPS", 30)
    monkeypatch.setattr("napari_rvae.vae.training._LEAST_STEPS", 10)
    crops = few.select(np.arange(20)) if shifts else few
    for model, steps, left in left_at_every_yield(crops, shifts):
        steps.close()
        check_left(model, crops, tmp_path / "model", left)


def test_a_training_can_be_dropped_in_another_thread(few, tmp_path, monkeypatch):
    """As by a worker that is abandoned, whose iterator the viewer's thread throws away."""
    monkeypatch.setattr("napari_rvae.vae.training._LEAST_STEPS", 10)
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as other:
        for number in (1, 4):
            model = RVAE(n_latents=2, epochs=5, hidden=16, device="cpu")
            held = [model.iter_fit(few)]
            left = other.submit(lambda n=number, h=held: [next(h[0]) for _ in range(n)][-1])
            left = left.result(timeout=60)
            held.clear()
            gc.collect()
            assert torch.get_num_threads() == before
            check_left(model, few, tmp_path / f"model{number}", left)


def test_a_training_that_was_begun_anew_ends_the_earlier_one(few):
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu")
    earlier = model.iter_fit(few)
    next(earlier)
    model.fit(few)
    history = model.history_
    assert list(earlier) == []
    assert model.history_ is history


@pytest.mark.parametrize(("option", "value"), [("n_latents", 3), ("hidden", 8), ("seed", 1)])
def test_what_cannot_change_in_a_training_that_goes_on(few, option, value):
    model = RVAE(n_latents=2, epochs=2, hidden=16, device="cpu").fit(few)
    model.config = dataclasses.replace(model.config, **{option: value, "epochs": 3})
    with pytest.raises(InputError, match=f"^{option} cannot change") as error:
        next(model.iter_fit(few, resume=True))
    assert "\n" not in str(error.value)


def test_what_can_change_in_a_training_that_goes_on(few):
    model = RVAE(n_latents=2, epochs=2, hidden=16, device="cpu").fit(few)
    model.config = dataclasses.replace(model.config, epochs=4, learning_rate=1e-4, beta=0.5)
    for _ in model.iter_fit(few, resume=True):
        pass
    assert model.history_[-1].learning_rate <= 1e-4


def test_nothing_to_resume(few):
    with pytest.raises(InputError, match="no training to resume"):
        next(RVAE().iter_fit(few, resume=True))


def test_the_callback_stops_the_training(few):
    seen = []

    def callback(record):
        seen.append(record.epoch)
        return record.epoch < 2

    model = RVAE(n_latents=2, epochs=9, hidden=16, device="cpu").fit(few, callback=callback)
    assert seen == [1, 2]
    assert len(model.history_) == 2
    assert np.isfinite(codes(model, few)).all()


def test_a_callback_that_returns_nothing_stops_nothing(few):
    seen = []
    model = RVAE(n_latents=1, epochs=4, hidden=8, device="cpu").fit(few, callback=seen.append)
    assert seen == model.history_
    assert len(seen) == 4


# --------------------------------------------------------------------------- mishaps
@pytest.mark.parametrize("shifts", [False, True])
def test_a_loss_that_is_no_number_rolls_back(few, monkeypatch, shifts):
    # the training that finds the shifts takes one step more than its epochs if one fails
    before = _SCOUTING_EPOCHS + 1 if shifts else 0
    failing = {before + 4, before + 6} | ({5} if shifts else set())
    patched_loss(monkeypatch, lambda call, _: call in failing)
    model = RVAE(n_latents=2, epochs=8, hidden=16, shifts=shifts, device="cpu").fit(few)
    assert len(model.history_) == 8
    assert all(math.isfinite(record.loss) for record in model.history_)
    assert np.isfinite(codes(model, few)).all()
    calm = RVAE(n_latents=2, epochs=8, hidden=16, device="cpu")
    rate = [record.learning_rate for record in model.history_]
    monkeypatch.undo()
    usual = [record.learning_rate for record in calm.fit(few).history_]
    np.testing.assert_allclose(np.divide(rate, usual), [1, 1, 1, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_a_training_that_diverges_for_good_says_so_and_leaves_a_model(few, monkeypatch):
    patched_loss(monkeypatch, lambda call, _: call > 2)
    model = RVAE(n_latents=2, epochs=9, hidden=16, device="cpu")
    with pytest.raises(NapariRvaeError, match="diverged: use a smaller learning_rate"):
        model.fit(few)
    monkeypatch.undo()
    assert len(model.history_) == 2
    assert np.isfinite(codes(model, few)).all()


def test_a_full_memory_halves_the_pieces_and_keeps_the_batch(few, monkeypatch):
    def refuse(_, data):
        if len(data) > 12:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return False

    patched_loss(monkeypatch, refuse)
    model = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(few)
    assert model._trainer.batch == 40
    assert model._trainer.micro == 10
    assert len(model.history_) == 3
    assert np.isfinite(codes(model, few)).all()


def test_a_memory_that_holds_nothing_is_an_error_and_no_idle_training(few, monkeypatch):
    def refuse(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    patched_loss(monkeypatch, refuse)
    with pytest.raises(NapariRvaeError, match=r"memory is full.*use device='cpu'"):
        RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(few)


def test_other_errors_are_not_taken_for_a_full_memory(few, monkeypatch):
    def refuse(*_):
        raise RuntimeError("shapes do not fit")

    calls = patched_loss(monkeypatch, refuse)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(few)
    assert len(calls) == 1


# --------------------------------------------------------------------------- randomness
def test_the_same_seed_gives_the_same_result(few, quick):
    again = RVAE(n_latents=2, epochs=3, hidden=16, device="cpu").fit(few)
    np.testing.assert_array_equal(codes(again, few), codes(quick, few))
    other = RVAE(n_latents=2, epochs=3, hidden=16, seed=1, device="cpu").fit(few)
    assert not np.array_equal(codes(other, few), codes(quick, few))


@pytest.mark.parametrize("shifts", [False, True])
def test_nothing_global_is_touched(few, shifts):
    def state():
        return (
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
        )

    before = state()
    model = RVAE(n_latents=2, epochs=5, hidden=16, shifts=shifts, device="cpu").fit(few)
    codes(model, few)
    model.manifold(2)
    assert state() == before


def test_the_callers_crops_stay(few):
    images = few.images.copy()
    RVAE(n_latents=2, epochs=1, hidden=16, device="cpu").fit(few).reconstruct(few)
    np.testing.assert_array_equal(images, few.images)


# --------------------------------------------------------------------------- held-out crops
def test_few_crops_are_all_trained_on(quick):
    assert all(math.isnan(record.held_out_loss) for record in quick.history_)
    assert quick._trainer.n_training == len(quick._trainer.pictures)


def test_the_best_weights_are_restored_and_the_training_stops(sample, monkeypatch):
    losses = iter([9.0, 8.0, 7.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(Trainer, "_held_out_loss", lambda _: next(losses))
    model = RVAE(n_latents=2, epochs=8, hidden=16, patience=3, device="cpu")
    for progress in model.iter_fit(sample("motif", 60).crops):
        if progress.epoch == 4 and progress.message == "training":
            best = copy.deepcopy(model._trained.model.state_dict())
    assert len(model.history_) == 7  # three epochs without a better one
    assert progress.fraction == 1
    assert not model.can_resume
    for name, value in model._trained.model.state_dict().items():
        assert torch.equal(value, best[name])


def test_a_stalled_training_can_be_made_longer(sample, monkeypatch):
    monkeypatch.setattr(Trainer, "_held_out_loss", lambda self: float(len(self.history)))
    crops = sample("motif", 60).crops
    model = RVAE(n_latents=2, epochs=6, hidden=16, patience=1, device="cpu").fit(crops)
    assert len(model.history_) == 4
    model.config = dataclasses.replace(model.config, epochs=9)
    assert model.can_resume
    for _ in model.iter_fit(crops, resume=True):
        pass
    assert len(model.history_) > 4


def test_the_model_that_was_stopped_is_the_best_so_far(sample, monkeypatch):
    monkeypatch.setattr(Trainer, "_held_out_loss", lambda self: float(len(self.history)))
    restored = []
    monkeypatch.setattr(Trainer, "restore_best", lambda self: restored.append(len(self.history)))
    RVAE(n_latents=2, epochs=9, hidden=16, device="cpu").fit(
        sample("motif", 60).crops, callback=lambda record: record.epoch < 5
    )
    assert restored == [5]
