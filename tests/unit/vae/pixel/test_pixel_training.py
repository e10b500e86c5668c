import copy
import dataclasses
import math
import time

import dask.array as da
import numpy as np
import pytest
import torch

from napari_rvae import RVAE, Crops, RVAEConfig
from napari_rvae.errors import InputError, NapariRvaeError
from napari_rvae.vae.pixel.model import PixelVAE
from napari_rvae.vae.pixel.training import PixelTrainer

MODULE = "napari_rvae.vae.pixel.training"


def codes(model, crops):
    """All that the engine tells: not, whether there are other modes."""
    return model.transform(crops).drop(columns=["site_id", "other_mode"]).to_numpy()


def patched_loss(monkeypatch, change):
    """Let `change(call number, images)` spoil the loss of single calls."""
    loss, calls = PixelVAE.loss, []

    def spoiled(self, images, **options):
        calls.append(len(images))
        spoil = change(len(calls), images)
        terms = loss(self, images, **options)
        if spoil:
            values = {f.name: getattr(terms, f.name) * math.nan for f in dataclasses.fields(terms)}
            terms = dataclasses.replace(terms, **values)
        return terms

    monkeypatch.setattr(PixelVAE, "loss", spoiled)
    return calls


def trainer_of(model):
    assert isinstance(model._trainer, PixelTrainer)
    return model._trainer


@pytest.fixture
def often(monkeypatch):
    """Report before every piece, and let four crops be a piece."""
    monkeypatch.setattr(f"{MODULE}._REPORT_EVERY", -1.0)
    monkeypatch.setattr(PixelVAE, "at_a_time", lambda *_: 4)


# --------------------------------------------------------------------------- the steps
def test_the_loss_falls(learned):
    loss = [record.loss for record in learned.history_]
    misfit = [record.misfit for record in learned.history_]
    assert loss[-1] < 0.4 * loss[0]
    assert 1 < misfit[-1] < 4
    assert misfit[-1] < 0.4 * misfit[0]


def test_the_history_tells_the_training(learned):
    history = learned.history_
    assert [record.epoch for record in history] == list(range(1, 41))
    values = [dataclasses.asdict(record) for record in history]
    assert all(math.isnan(value.pop("held_out_loss")) for value in values)  # none are held out
    assert all(type(v) in {int, float} for value in values for v in value.values())
    assert all(math.isfinite(v) for value in values for v in value.values())
    assert np.all(np.diff([record.seconds for record in history]) > 0)
    assert {record.learning_rate for record in history} == {3e-3}  # constant, as published


def test_the_model_can_be_used_after_every_yield(few, pixel_model, often):
    """Also in the middle of a step, between its pieces."""
    model = pixel_model(shifts=True, epochs=1)
    seen = []
    for progress in model.iter_fit(few):
        assert model.is_fitted
        assert np.isfinite(codes(model, few.select([0]))).all()
        assert np.isfinite(model.inverse_transform([0.0, 0.0])).all()
        assert progress.epoch == len(model.history_)
        assert progress.record is (model.history_[-1] if model.history_ else None)
        seen.append(progress.fraction)
    assert len(seen) == 1 + 4 * 3 + 1  # the beginning, steps of ten in pieces of four, the end
    assert seen[0] == 0
    assert seen[-1] == 1
    assert np.all(np.diff(seen) >= 0)
    assert progress.message == "done"


def test_looking_in_the_middle_changes_nothing(few, pixel_model, often):
    one, other = pixel_model(epochs=2), pixel_model(epochs=2)
    for number, _ in enumerate(one.iter_fit(few)):
        if number % 5 == 2:
            codes(one, few.select([0]))
            one.manifold(2)
    for _ in other.iter_fit(few):
        pass
    np.testing.assert_array_equal(codes(one, few), codes(other, few))


def test_reports_are_seldom_in_a_fast_training(few, pixel_model, monkeypatch):
    monkeypatch.setattr(f"{MODULE}._REPORT_EVERY", 1e9)
    assert len(list(pixel_model().iter_fit(few))) == 4  # three epochs and the end


def test_the_time_that_the_caller_takes_does_not_count(few, pixel_model):
    model = pixel_model(epochs=2)
    for _ in model.iter_fit(few):
        time.sleep(0.2)
    assert 0 < model.history_[-1].seconds < 0.3


def test_stopping_between_epochs_and_going_on_is_the_same_training(few, pixel_model):
    whole = pixel_model(epochs=5).fit(few)
    model = pixel_model(epochs=5)
    for progress in model.iter_fit(few):
        if progress.epoch == 2:
            break
    assert model.can_resume
    for _ in model.iter_fit(few, resume=True):
        pass
    np.testing.assert_array_equal(codes(model, few), codes(whole, few))


def test_a_training_can_be_left_at_any_yield(few, pixel_model, often):
    total = sum(1 for _ in pixel_model(epochs=2).iter_fit(few))
    for number in range(1, total + 1, 9):
        model = pixel_model(epochs=2)
        steps = model.iter_fit(few)
        for _ in range(number):
            next(steps)
        steps.close()
        assert np.isfinite(codes(model, few)).all()
        assert [p.epoch for p in model.iter_fit(few, resume=True)][-1] == 2
        assert [record.epoch for record in model.history_] == [1, 2]


def test_a_training_can_be_made_longer_with_another_rate(few, fresh_pixel):
    fresh_pixel.config = dataclasses.replace(fresh_pixel.config, learning_rate=5e-5, beta=0.5)
    for _ in fresh_pixel.iter_fit(few, resume=True, epochs=5):
        pass
    assert [record.learning_rate for record in fresh_pixel.history_] == [1e-3] * 3 + [5e-5] * 2


@pytest.mark.parametrize("option", ["decoder", "angle_prior_sd", "pixel_share", "half_precision"])
def test_what_cannot_change_in_a_training_that_goes_on(few, fresh_pixel, option):
    value = {"decoder": "steerable", "half_precision": True}.get(option, 0.5)
    fresh_pixel.config = dataclasses.replace(fresh_pixel.config, **{option: value, "epochs": 9})
    with pytest.raises(InputError, match=f"^{option} cannot change"):
        next(fresh_pixel.iter_fit(few, resume=True))


def test_a_released_model_still_computes(few, fresh_pixel):
    before = codes(fresh_pixel, few)
    fresh_pixel.release()
    np.testing.assert_array_equal(codes(fresh_pixel, few), before)
    assert not fresh_pixel.can_resume


# --------------------------------------------------------------------------- held-out crops
@pytest.fixture
def held_out(monkeypatch):
    """Let a quarter of forty crops be held out."""
    monkeypatch.setattr("napari_rvae.vae.start._WORTH_SPLITTING", 40)
    return {"held_out": 0.25, "learning_rate": 1e-3}


def test_held_out_crops_are_not_trained_on(few, pixel_model, held_out):
    model = pixel_model(**held_out).fit(few)
    trainer = trainer_of(model)
    count = trainer.n_training
    assert 8 <= len(trainer.data) - count <= 12
    assert max(int(rows.max()) for rows in trainer._batches()) < count
    assert all(math.isfinite(record.held_out_loss) for record in model.history_)
    trainer.data[count:] += 5.0
    last = model.history_[-1]
    for _ in model.iter_fit(few, resume=True, epochs=4):
        pass
    assert model.history_[-1].held_out_loss > 2 * last.held_out_loss
    assert model.history_[-1].loss < 1.1 * last.loss


def test_the_held_out_loss_is_that_of_the_weights(few, pixel_model, held_out):
    model = pixel_model(pixel_share=1.0, epochs=1, **held_out).fit(few)
    trainer = trainer_of(model)
    trainer.micro = len(trainer.data)
    seed = torch.Generator().manual_seed(model.config.seed)
    with torch.no_grad():
        unseen = trainer.data[trainer.n_training :]
        loss = model._trained.model.loss(unseen, beta=1.0, seed=seed)
    assert model.history_[-1].held_out_loss == pytest.approx(float(loss.total), rel=1e-5)


def planned(monkeypatch, losses):
    """Let the held-out losses of the epochs be these."""
    plan = iter(losses)

    def told(_):
        yield from ()
        return next(plan)

    monkeypatch.setattr(PixelTrainer, "_held_out_loss", told)


def test_it_stops_where_nothing_more_is_won_and_returns_to_the_best(
    few, pixel_model, held_out, monkeypatch
):
    planned(monkeypatch, [1.0, 9.0, 9.0, 9.0, 5.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    model = pixel_model(epochs=10, patience=3, **held_out)
    steps = model.iter_fit(few)
    states = [copy.deepcopy(model._trained.model.state_dict()) for _ in steps]
    assert len(model.history_) == 9  # the first epochs do not count; the sixth is the best
    assert trainer_of(model).finished
    assert not model.can_resume
    assert all(torch.equal(states[6][k], states[-1][k]) for k in states[6])
    assert not torch.equal(states[8]["out.bias"], states[-1]["out.bias"])
    more = model.iter_fit(few, resume=True, epochs=11)  # asked for all the same
    assert [progress.epoch for progress in more][-1] == 11


def test_without_held_out_crops_every_epoch_is_trained(few, pixel_model):
    model = pixel_model(epochs=9, patience=1).fit(few)
    assert len(model.history_) == 9
    assert trainer_of(model).best is None


# --------------------------------------------------------------------------- batches and pieces
def test_batches_are_as_asked_for_and_a_rest_is_left_out(few, pixel_model):
    model = pixel_model(batch_size=12, epochs=1).fit(few)
    batches = trainer_of(model)._batches()
    assert [len(rows) for rows in batches] == [12, 12, 12]
    assert len(set(torch.cat(batches).tolist())) == 36
    assert trainer_of(pixel_model(batch_size=200, epochs=1).fit(few)).batch == 40


def gradient(trainer, rows):
    for _ in trainer._gradient(rows, 0.0):
        pass
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def test_pieces_give_the_gradient_of_the_batch(few, pixel_model, monkeypatch):
    trainer = trainer_of(pixel_model(epochs=1, pixel_share=1.0).fit(few))
    # codes without a random part: pieces draw the same numbers in another order
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
    rows = torch.arange(20)
    found = []
    for micro in (20, 7, 1):
        trainer.micro = micro
        found.append(gradient(trainer, rows))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [1e-3, 0.1, 0.37, 0.99])
def test_each_crop_of_a_step_has_other_pixels(few, pixel_model, share):
    trainer = trainer_of(pixel_model(epochs=1, pixel_share=share).fit(few))
    chosen = trainer._choose(40, trainer.generator)
    assert chosen.shape == (40, max(1, round(share * 1024)))
    assert all(len(set(row.tolist())) == len(row) for row in chosen)
    used = np.bincount(chosen.flatten().numpy(), minlength=1024)
    assert used.max() - used.min() <= 1  # together they cover the picture evenly
    assert not torch.equal(chosen, trainer._choose(40, trainer.generator))


def test_all_pixels_need_no_choice(few, pixel_model):
    assert trainer_of(pixel_model(epochs=1, pixel_share=1.0).fit(few))._choose(3, None) is None


def test_small_steps_get_one_thread(few, pixel_model):
    assert trainer_of(pixel_model(epochs=1).fit(few)).threads == 1
    large = trainer_of(pixel_model(epochs=1, hidden=128, pixel_share=1.0).fit(few))
    assert large.threads is None


# --------------------------------------------------------------------------- mishaps
def test_a_loss_that_is_no_number_rolls_back(few, pixel_model, monkeypatch):
    patched_loss(monkeypatch, lambda call, _: call in {6, 12})
    model = pixel_model(epochs=6, learning_rate=1e-3).fit(few)
    assert len(model.history_) == 6
    assert all(math.isfinite(record.loss) for record in model.history_)
    rate = [record.learning_rate for record in model.history_]
    np.testing.assert_allclose(rate, np.array([1, 0.5, 0.25, 0.25, 0.25, 0.25]) * 1e-3)
    assert np.isfinite(codes(model, few)).all()


def test_a_roll_back_returns_to_the_last_good_epoch(few, pixel_model, monkeypatch):
    patched_loss(monkeypatch, lambda call, _: call == 7)
    model = pixel_model(epochs=2)
    weights = []
    monkeypatch.setattr(f"{MODULE}._REPORT_EVERY", 1e9)
    for _ in model.iter_fit(few):
        state = model._trained.model.state_dict()
        weights.append({name: value.clone() for name, value in state.items()})
    assert len(weights) == 4  # first epoch, second, second again, done
    assert all(torch.equal(weights[1][name], weights[2][name]) for name in weights[1])


def test_a_training_that_diverges_for_good_says_so_and_leaves_a_model(
    few, pixel_model, monkeypatch
):
    patched_loss(monkeypatch, lambda call, _: call > 8)
    model = pixel_model(epochs=9)
    with pytest.raises(NapariRvaeError, match="diverged: use a smaller learning_rate"):
        model.fit(few)
    monkeypatch.undo()
    assert len(model.history_) == 2
    assert np.isfinite(codes(model, few)).all()


def test_a_full_memory_halves_the_pieces_and_keeps_the_batch(few, pixel_model, monkeypatch):
    def refuse(_, images):
        if len(images) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return False

    calls = patched_loss(monkeypatch, refuse)
    model = pixel_model(epochs=2).fit(few)
    assert trainer_of(model).batch == 10
    assert trainer_of(model).micro == 2
    assert calls[:7] == [10, 5, 2, 2, 2, 2, 2]
    assert len(model.history_) == 2


def test_a_memory_that_holds_nothing_is_an_error(few, pixel_model, monkeypatch):
    def refuse(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    patched_loss(monkeypatch, refuse)
    with pytest.raises(NapariRvaeError, match=r"memory is full.*use device='cpu'"):
        pixel_model().fit(few)


def test_other_errors_are_not_taken_for_a_full_memory(few, pixel_model, monkeypatch):
    def refuse(*_):
        raise RuntimeError("shapes do not fit")

    calls = patched_loss(monkeypatch, refuse)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        pixel_model().fit(few)
    assert len(calls) == 1


def test_constant_crops(pixel_model):
    crops = Crops(images=np.ones((20, 1, 32, 32), np.float32), site_id=np.arange(20))
    with pytest.raises(InputError, match="one constant value"):
        pixel_model().fit(crops)


def test_too_few_crops(few, pixel_model):
    with pytest.raises(InputError, match="8 are the least"):
        pixel_model().fit(few.select(np.arange(7)))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_crops_changes_nothing(few, pixel_model, scale):
    scaled = dataclasses.replace(few, images=few.images * np.float32(scale))
    model, usual = pixel_model().fit(scaled), pixel_model().fit(few)
    np.testing.assert_allclose(codes(model, scaled), codes(usual, few), rtol=1e-2, atol=1e-2)


# --------------------------------------------------------------------------- randomness
def test_the_same_seed_gives_the_same_result(few, pixel_model):
    one, again, other = (pixel_model(seed=seed).fit(few) for seed in (0, 0, 1))
    np.testing.assert_array_equal(codes(one, few), codes(again, few))
    assert not np.array_equal(codes(one, few), codes(other, few))


def test_nothing_global_is_touched(few, pixel_model):
    def state():
        return (
            torch.random.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_num_threads(),
            torch.is_autocast_enabled("cpu"),
            torch.is_grad_enabled(),
        )

    before = state()
    images = few.images.copy()
    model = pixel_model(shifts=True, half_precision=True).fit(few)
    model.reconstruct(few)
    model.manifold(2)
    assert state() == before
    np.testing.assert_array_equal(images, few.images)


# --------------------------------------------------------------------------- the beginning
@pytest.mark.parametrize("lazy", [False, True])
def test_many_crops_are_prepared_in_pieces(few, pixel_model, monkeypatch, lazy):
    usual = pixel_model().fit(few)
    for module in (MODULE, "napari_rvae.vae.start"):
        monkeypatch.setattr(f"{module}.CHUNK", 12)
    images = da.from_array(few.images, chunks=(7, 1, 32, 32)) if lazy else few.images
    model = pixel_model()
    seen = []
    for progress in model.iter_fit(dataclasses.replace(few, images=images)):
        preparing = progress.message == "preparing"
        assert model.is_fitted is not preparing
        seen.append(preparing)
    assert seen == sorted(seen, reverse=True)
    assert seen.count(True) == 3 + 3  # looked through, read
    np.testing.assert_allclose(codes(model, few), codes(usual, few), rtol=1e-3, atol=1e-3)


def test_crops_with_nan_are_left_out(few, pixel_model):
    images = few.images.copy()
    images[[3, 5], 0, 2, 2] = np.nan
    model = pixel_model().fit(dataclasses.replace(few, images=images))
    assert model.left_out_ == 2
    assert len(trainer_of(model).data) == 38


def test_published_options():
    config = RVAEConfig.published()
    assert (config.decoder, config.epochs, config.batch_size) == ("pixel", 200, 200)
    assert (config.learning_rate, config.hidden, config.angle_prior_sd) == (1e-4, 128, 0.1)
    assert (config.n_latents, config.shifts, config.rotation) == (2, True, True)
    assert (config.beta, config.pixel_share, config.half_precision) == (1.0, 1.0, False)
    assert RVAEConfig.published(epochs=3, seed=4) == dataclasses.replace(config, epochs=3, seed=4)
    with pytest.raises(TypeError):
        RVAEConfig.published(epoch=3)


def test_the_engine_is_one_option(few):
    model = RVAE(decoder="pixel", epochs=1, hidden=8, pixel_share=0.05, device="cpu").fit(few)
    assert np.isfinite(codes(model, few)).all()
