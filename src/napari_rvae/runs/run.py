"""A run as it was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_rvae import config
from napari_rvae.errors import InputError, ModelFileError
from napari_rvae.frames import Frames
from napari_rvae.runs.describe import describe_frames
from napari_rvae.runs.layout import RUN_FILE

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.kinetics.results import Pathways
    from napari_rvae.analysis.units import Units
    from napari_rvae.vae import RVAE

__all__ = ["Run"]


@dataclass(frozen=True, eq=False)
class Run:
    """A run as it was loaded; the input it was made from is described, not opened.

    Parameters
    ----------
    folder
        Where it was loaded from.
    sites
        Sites table with everything that was joined to it, or None.
    units
        Structural units, or None.
    configs
        Options of the steps, by the names of their classes.
    frames
        Description of the input, see :func:`describe_frames`, or None.
    manifest
        All of ``run.json``.
    pathways
        Events and rates, or None.
    """

    folder: Path
    sites: pd.DataFrame | None
    units: Units | None
    configs: Mapping[str, config.Config]
    frames: Mapping[str, Any] | None
    manifest: Mapping[str, Any]
    pathways: Pathways | None = None

    def __repr__(self) -> str:
        """Return where it is and what it holds in one line."""
        found = [name for name in ("sites", "units", "pathways") if getattr(self, name) is not None]
        held = [*found, "model"] if self.has_model else found
        return f"Run({str(self.folder)!r}: {', '.join(held) or 'empty'})"

    @property
    def has_model(self) -> bool:
        """Whether there is a model to load."""
        return "model" in self.manifest["files"]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What was done, step by step; empty for runs of versions that did not note it."""
        return [dict(step) for step in self.manifest.get("steps", ())]

    def placement_frames(self) -> Frames | None:
        """Frames of the input's shape, scale, units and name, empty and without memory.

        Returns
        -------
        Frames
            What layers can be placed on while the input is not at hand; None where the run does
            not describe one.

        Raises
        ------
        ModelFileError
            If the description is damaged.
        """
        if self.frames is None:
            return None
        try:
            return Frames(
                np.broadcast_to(np.uint8(0), tuple(self.frames["shape"])),
                axis_labels=tuple(self.frames["axis_labels"]),
                scale=tuple(self.frames["scale"]),
                units=tuple(self.frames["units"]),
                channels=tuple(self.frames["channels"]),
                name=str(self.frames["name"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self.folder}: {RUN_FILE} does not describe its input ({error}); take it from a "
                "copy or run again."
            ) from None

    def check_frames(self, frames: Frames) -> None:
        """Raise InputError if frames are not those that the run was made from.

        Shape and hash are compared, where the run knows them.
        """
        if self.frames is None:
            return
        shape, known = tuple(self.frames["shape"]), self.frames.get("sha256")
        if shape != frames.shape:
            raise InputError(
                f"The movie is of shape {frames.shape}, that of the run of {shape}: give the movie "
                "that the run was made from."
            )
        if known is not None and describe_frames(frames)["sha256"] not in {known, None}:
            raise InputError(
                f"The movie {frames.name!r} shows something else than that of the run, "
                f"{self.frames.get('name')!r}: give the movie that the run was made from."
            )

    def load_model(self, device: str = "auto") -> RVAE:
        """Load the model.

        Parameters
        ----------
        device
            Where it will compute, see :class:`napari_rvae.RVAE`.

        Raises
        ------
        ModelFileError
            If the run has no model, or it was damaged after the run was loaded.
        """
        if not self.has_model:
            raise ModelFileError(f"{self.folder} holds no model: it was saved without one.")
        from napari_rvae.vae import RVAE

        return RVAE.load(self.folder / self.manifest["files"]["model"]["name"], device=device)
