"""RVAE: the model that a user holds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from napari_rvae.config import CropConfig, RVAEConfig
from napari_rvae.crops import Crops
from napari_rvae.device import choose_device, describe_device, limit_threads, release_memory
from napari_rvae.errors import InputError, NotFittedError
from napari_rvae.tables import latent_grid
from napari_rvae.vae.checkpoint import read_model, write_model
from napari_rvae.vae.engine import Trained, Training
from napari_rvae.vae.engines import ENGINES, model_header, options_to_resume, restore_model
from napari_rvae.vae.epochs import EpochRecord, FitProgress
from napari_rvae.vae.latents import angle_shares, features_table, latents_table
from napari_rvae.vae.start import number_of_latents

__all__ = ["RVAE"]


class RVAE:
    """Rotationally invariant variational autoencoder.

    Learns, from crops alone, latent variables that do not change when a crop is turned, and
    the angle by which it is turned. The maths are in the documentation ("The method and its
    limits").

    Parameters
    ----------
    config
        Options; the defaults when left out.
    device
        "auto" (CUDA, then MPS, then CPU) or a device's name.
    **overrides
        Single options, such as ``epochs=20``.

    Attributes
    ----------
    config
        The options; a training puts the number of latents in where it was automatic.
    history_
        List of :class:`EpochRecord`, one for each epoch.
    device_
        Device used, in words.
    left_out_
        Number of crops with NaN that were left out of the training.
    noise_sd_
        Noise of a pixel (C,) that the model reckons with.
    basis_
        What the basis of the crops holds: number of coefficients, condition number, shares.

    Examples
    --------
    >>> from napari_rvae import RVAE, detect_atoms, extract_crops, simulate_graphene
    >>> movie = simulate_graphene(n_frames=2, size=128).frames
    >>> crops = extract_crops(movie, detect_atoms(movie))
    >>> model = RVAE(epochs=2).fit(crops)
    >>> model.transform(crops)[["angle", "z0"]].shape[1]
    2
    """

    def __init__(
        self, config: RVAEConfig | None = None, *, device: str = "auto", **overrides: Any
    ) -> None:
        self.config = dataclasses.replace(config or RVAEConfig(), **overrides)
        self.device = device
        self.history_: list[EpochRecord] = []
        self.device_ = ""
        self.left_out_ = 0
        self._trained: Trained | None = None
        self._trainer: Training | None = None
        self._stale = False  # the gauge is older than the weights

    def __repr__(self) -> str:
        """Return class, number of latents and state in one line."""
        state = f"{len(self.history_)} epochs" if self.is_fitted else "not fitted"
        number = self.n_latents_ if self.is_fitted else self.config.n_latents or "automatic"
        return f"RVAE(n_latents={number}, {state})"

    @property
    def is_fitted(self) -> bool:
        """Whether there is anything to compute results with."""
        return self._trained is not None

    def fit(
        self, crops: Crops, *, callback: Callable[[EpochRecord], bool | None] | None = None
    ) -> RVAE:
        """Train on crops.

        Parameters
        ----------
        crops
            Crops (N, C, S, S); those with NaN are left out.
        callback
            Called after every epoch with its record; returning False stops the training and
            keeps what is there.

        Returns
        -------
        RVAE
            This model.

        Raises
        ------
        InputError
            If there are fewer than eight usable crops, or all are the same.
        """
        seen = 0
        for progress in self.iter_fit(crops):
            if progress.record is not None and progress.epoch > seen:
                seen = progress.epoch
                if callback is not None and callback(progress.record) is False:
                    break
        if self._trainer is not None:
            self._trainer.restore_best()
        self._finish()
        return self

    def iter_fit(
        self, crops: Crops, *, resume: bool = False, epochs: int | None = None
    ) -> Iterator[FitProgress]:
        """Train step by step, so that the caller can show progress, pause and stop.

        The training can be left at any step: drop the iterator, or close it. What was trained
        until then is the model. On the CPU, steps that are too small for several threads are
        computed by one.

        Parameters
        ----------
        crops
            Crops (N, C, S, S).
        resume
            Go on with a training of this model that was left, on the crops that it was begun
            with (`crops` is not read).
        epochs
            Train up to so many epochs in all, and keep that in :attr:`config`; its own number
            when left out. With `resume` it makes a training longer.

        Yields
        ------
        FitProgress
            At most half a second apart on crops of the usual size (the first training of a
            process also loads parts of torch, which takes a second). As long as the message is
            "preparing" the model is what it was before; after every other report it can be
            used as it is then.

        Raises
        ------
        InputError
            If there are fewer than eight usable crops, there is nothing to resume, or an option
            has changed that cannot change in a training that goes on.

        Examples
        --------
        >>> import numpy as np
        >>> from napari_rvae import RVAE, Crops
        >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
        >>> crops, model = Crops(images=images, site_id=np.arange(64)), RVAE(epochs=3)
        >>> for progress in model.iter_fit(crops):
        ...     if progress.epoch == 2:
        ...         break
        >>> len(model.history_), model.can_resume
        (2, True)
        >>> for progress in model.iter_fit(crops, resume=True, epochs=4):
        ...     pass
        >>> len(model.history_), model.can_resume
        (4, False)
        """
        config = self.config
        if epochs is not None:
            config = dataclasses.replace(config, epochs=epochs)
        if resume:
            trainer = self._left_training(config)
        else:
            trainer = yield from self._start(crops, config)
        self.config = trainer.config
        steps = trainer.run()
        while self._trainer is trainer:  # neither released nor begun anew
            # the limit ends before the yield: the caller has all threads
            with limit_threads(trainer.threads):
                progress = next(steps, None)
            if progress is None:
                return
            self.history_ = trainer.history
            self._stale = True
            yield progress

    @property
    def can_resume(self) -> bool:
        """Whether a training was left before its last epoch, so that it can go on.

        Also where a finished training has been given more epochs in :attr:`config`; never for a
        model that was loaded, or whose memory was released.
        """
        trainer = self._trainer
        if trainer is None or len(trainer.history) >= self.config.epochs:
            return False
        longer = self.config.epochs > trainer.config.epochs
        return longer or not trainer.finished

    def _left_training(self, config: RVAEConfig) -> Training:
        """Return the training, to go on with these options if it can."""
        if self._trainer is None:
            raise InputError("There is no training to resume: call fit or iter_fit first.")
        self._trainer.config = options_to_resume(self._trainer.config, config)
        return self._trainer

    def _start(self, crops: Crops, config: RVAEConfig) -> Generator[FitProgress, None, Training]:
        """Begin a training; what was there before stays until all is ready."""
        device = choose_device(self.device)
        config = dataclasses.replace(config, n_latents=number_of_latents(config, crops))
        start = yield from ENGINES[config.decoder].start(crops, config, device)
        self._trainer, self._trained = start.trainer, start.trained
        self.left_out_ = start.left_out
        self.device_ = describe_device(device)
        self._stale = True
        return start.trainer

    def release(self) -> None:
        """Give back the memory that only a further training needs, on the device and here.

        That is the training crops and the state of the optimiser. Everything else can be done
        as before, but the training cannot be resumed. Close the iterator of :meth:`iter_fit`
        first if it was left: it holds the same.

        Examples
        --------
        >>> import numpy as np
        >>> from napari_rvae import RVAE, Crops
        >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
        >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
        >>> model.release()
        >>> model.manifold(2).shape
        (2, 2, 1, 32, 32)
        """
        if self._trained is None:
            return
        trained = self._finish()  # aligning the pictures needs the training crops
        self._trainer = None
        trained.model.zero_grad(set_to_none=True)
        release_memory(trained.device)

    @property
    def crop_config(self) -> CropConfig:
        """Options with which to cut crops for this model: those of the training crops.

        The window is in neighbour distances where the training crops knew it so, else in frame
        pixels. For crops of an array of one's own, `content` has to be given again.

        Raises
        ------
        NotFittedError
            Before the training.

        Examples
        --------
        >>> from napari_rvae import RVAE, detect_atoms, extract_crops, simulate_graphene
        >>> movie = simulate_graphene(n_frames=1, size=128).frames
        >>> sites = detect_atoms(movie)
        >>> model = RVAE(epochs=1).fit(extract_crops(movie, sites, content="rendered"))
        >>> round(model.crop_config.window_nd, 3), model.crop_config.content
        (3.5, 'rendered')
        >>> latents = model.transform(extract_crops(movie, sites, model.crop_config))
        """
        return self._fitted.crop_config

    @property
    def n_latents_(self) -> int:
        """Number of latents of the trained model."""
        return self._fitted.model.n_latents

    @property
    def channels_(self) -> tuple[str, ...]:
        """Channels of the frames that the crops of the training show, at each of :attr:`lags_`."""
        return self._fitted.base_channels

    @property
    def lags_(self) -> tuple[int, ...]:
        """Frame lags of the layers of the training's crops, (0,) for single frames.

        Examples
        --------
        >>> import numpy as np
        >>> from napari_rvae import RVAE, extract_crops, sample_grid
        >>> movie = np.random.default_rng(0).normal(size=(3, 2, 64, 64))
        >>> sites = sample_grid(movie, step=6)
        >>> crops = extract_crops(movie, sites, window=16, pixels=16, lags=(0, -1))
        >>> model = RVAE(epochs=1).fit(crops)
        >>> model.channels_, model.lags_
        (('channel 0', 'channel 1'), (0, -1))
        """
        return self._fitted.lags

    @property
    def window_px_(self) -> float:
        """Side of the window of the training's crops in frame pixels; their mean for several."""
        return self._fitted.window_px

    @property
    def basis_(self) -> dict[str, float]:
        """What the basis of the crops holds.

        ``coefficients``, their number; ``orders``, angular orders; ``condition``, condition
        number of the sampled functions before they were orthonormalised; ``disc_share``, share
        of the crops' power in the disc (its corners are not seen); ``kept_share``, share of the
        signal in the disc, noise taken off, that the coefficients hold.

        Raises
        ------
        NotFittedError
            Before the training.
        """
        return self._fitted.basis.summary()

    @property
    def noise_sd_(self) -> NDArray[np.float64]:
        """Noise of a pixel (C,) that the model reckons with, in the units of the crops.

        What the training could not describe counts as noise, too.

        Raises
        ------
        NotFittedError
            Before the training.
        """
        return self._fitted.noise_sd

    @property
    def _fitted(self) -> Trained:
        if self._trained is None:
            raise NotFittedError("This model is not trained: call fit first.")
        return self._trained

    def _finish(self) -> Trained:
        """Return what was trained, with a gauge that fits the weights."""
        trained = self._fitted
        if self._stale or trained.gauge is None:
            trained.model.eval()
            trainer = self._trainer
            assert trainer is not None  # noqa: S101 - a stale model was trained here
            trained.learn_gauge(trainer.latents(), self.config.seed)
            self._stale = False
        return trained

    def transform(self, crops: Crops) -> pd.DataFrame:
        """Latent variables and angle of every crop.

        Parameters
        ----------
        crops
            Crops on the grid and with the channels of the training.

        Returns
        -------
        DataFrame
            One row per crop, in order: ``site_id``; ``angle`` in (-pi, pi] and ``angle_sd``,
            radians; ``shift_y``, ``shift_x``, frame pixels (0 without ``shifts``); ``z0``,
            ``z0_sd``, ...; ``other_mode``, share of the posterior that belongs to other latents
            than these, 0 to 1 (above 0.05: two readings of the crop are possible); ``residual``,
            mean squared misfit over what the training left (about 1); ``lattice_angle``, angle
            at which the host's picture fits the decoded crop best, in (-pi/n, pi/n] for an
            n-fold host, free of the gauge. Crops with NaN give NaN.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If the crops do not fit the model.
        """
        trained = self._finish()
        trained.check(crops)
        return latents_table(crops, trained, self.n_latents_)

    def angle_posterior(self, crops: Crops, *, parts: int = 180) -> NDArray[np.float64]:
        """How sure the angle of every crop is: its whole posterior, not the one best value.

        Parameters
        ----------
        crops
            A few crops on the grid and with the channels of the training.
        parts
            Equal parts of the circle; part k is centred at -pi + 2 pi k / parts.

        Returns
        -------
        ndarray of shape (N, parts)
            Share of the posterior in each part; they sum to 1. A crop that looks the same when it
            is turned has several peaks. NaN for crops with NaN.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If the crops do not fit the model, or `parts` is not positive.

        Notes
        -----
        The steerable engine's posterior is exact for the most likely latents (see
        ``docs/concepts/method``); the published engine's is the normal one of its encoder.

        Examples
        --------
        >>> import numpy as np
        >>> from napari_rvae import RVAE, Crops
        >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
        >>> crops = Crops(images=images, site_id=np.arange(64))
        >>> RVAE(epochs=1).fit(crops).angle_posterior(crops.select([3]), parts=36).shape
        (1, 36)
        """
        if parts < 1:
            raise InputError(f"parts = {parts}: divide the circle into one part or more.")
        trained = self._finish()
        trained.check(crops)
        return angle_shares(crops, trained, parts)

    def invariants(self, crops: Crops) -> pd.DataFrame:
        """Rotation-invariant features of every crop: of the basis alone, not of the network.

        Parameters
        ----------
        crops
            Crops on the grid and with the channels of the training.

        Returns
        -------
        DataFrame
            One row per crop, in order: ``site_id`` and the features f0, f1, ...; those that change
            sign when the crop is mirrored end in "_odd" (f20_odd). NaN for crops with NaN.

        Raises
        ------
        NotFittedError
            Before the training, which the basis is learned in.
        InputError
            If the crops do not fit the model.
        """
        trained = self._finish()
        trained.check(crops)
        return features_table(crops, trained)

    def inverse_transform(
        self, z: ArrayLike, *, angle: ArrayLike = 0.0, shift: ArrayLike = (0.0, 0.0)
    ) -> NDArray[np.float32]:
        """Pictures of latents.

        Parameters
        ----------
        z
            Latents (M, L), or (L,) for one.
        angle
            Radians, one or (M,); 0 gives the canonical pictures.
        shift
            Where the picture's centre lies, (y, x) in pixels of the grid, (2,) or (M, 2).

        Returns
        -------
        ndarray of shape (M, C, S, S)
            In the units of the crops; zero outside the disc.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If `z` has another number of latents than the model.

        Examples
        --------
        >>> import numpy as np
        >>> from napari_rvae import RVAE, Crops
        >>> images = np.random.default_rng(0).normal(size=(64, 1, 32, 32)).astype(np.float32)
        >>> model = RVAE(epochs=1).fit(Crops(images=images, site_id=np.arange(64)))
        >>> model.inverse_transform(np.zeros(4)).shape
        (1, 1, 32, 32)
        """
        trained = self._finish()
        values = np.atleast_2d(np.asarray(z, np.float32))
        if values.shape[1] != self.n_latents_:
            raise InputError(
                f"z has {values.shape[1]} columns: the model has {self.n_latents_} latents."
            )
        count = len(values)
        angles = np.broadcast_to(np.asarray(angle, np.float32), (count,))
        shifts = np.broadcast_to(np.asarray(shift, np.float32), (count, 2))
        return trained.draw(values, angles, shifts)

    def reconstruct(self, crops: Crops) -> NDArray[np.float32]:
        """What the model sees in every crop: its picture at the crop's angle and shift.

        Returns
        -------
        ndarray of shape (N, C, S, S)
            In the units of the crops; NaN for crops with NaN, zero outside the disc.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If the crops do not fit the model.
        """
        table = self.transform(crops)
        names = [f"z{i}" for i in range(self.n_latents_)]
        good = table["z0"].notna().to_numpy()
        out = np.full(crops.images.shape, np.nan, np.float32)
        grid = crops.pixels / crops.window_px
        out[good] = self.inverse_transform(
            table.loc[good, names].to_numpy(),
            angle=table.loc[good, "angle"].to_numpy(),
            shift=table.loc[good, ["shift_y", "shift_x"]].to_numpy() * grid,
        )
        return out

    def manifold(self, n: int = 9, *, dims: tuple[int, int] | None = None) -> NDArray[np.float32]:
        """Decoded pictures on a grid through the latent space.

        Parameters
        ----------
        n
            Pictures along each side.
        dims
            The two latents to vary; the two that spread most, if left out. They run over the
            5 to 95 % quantiles of the training crops, the others stay at their median.

        Returns
        -------
        ndarray of shape (n, n, C, S, S)
            The first latent grows to the right, the second upwards.

        Raises
        ------
        NotFittedError
            Before the training.
        InputError
            If the model has no such latents.
        """
        trained = self._finish()
        if dims is None:
            spread = np.argsort(trained.spread[95] - trained.spread[5])[::-1]
            dims = (int(spread[0]), int(spread[1 % len(spread)]))
        z = latent_grid(trained.spread, n, dims)
        pictures = self.inverse_transform(z.reshape(n * n, -1))
        return pictures.reshape(n, n, *pictures.shape[1:])

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the model into a folder, in place of an earlier one.

        The folder holds config.json and, named by it, weights-<hash>.safetensors.

        Parameters
        ----------
        folder
            Where to; made where it is missing.

        Raises
        ------
        NotFittedError
            Before the training.
        ModelFileError
            If it cannot be written.
        """
        trained = self._finish()
        header = model_header(self.config, trained, self.history_)
        write_model(folder, header, trained.tensors())

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "auto") -> RVAE:
        """Read a model that :meth:`save` wrote.

        Parameters
        ----------
        folder
            The folder that was given to :meth:`save`.
        device
            "auto" (CUDA, then MPS, then CPU) or a device's name.

        Raises
        ------
        ModelFileError
            If the files are missing, damaged, or not ours.
        InputError
            If the device is not on this machine.
        """
        where = choose_device(device)
        header, tensors = read_model(folder)
        config, trained, history = restore_model(folder, header, tensors, where)
        model = cls(config, device=device)
        model._trained, model.history_ = trained, history
        model.device_ = describe_device(where)
        return model
