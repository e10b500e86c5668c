"""Results in napari, opened from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_rvae.cli.progress import say
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from napari_rvae import RVAE, Frames, Run
    from napari_rvae.layers import LayerTuple

__all__ = ["Scene", "check_viewer", "show_scene"]


@dataclass(frozen=True, eq=False)
class Scene:
    """What to show when the work is done."""

    layers: list[LayerTuple]
    run: Run
    model: RVAE | None = None

    @classmethod
    def of(cls, run: Run, frames: Frames | None, model: RVAE | None = None) -> Scene:
        """Make the layers of a run, over its frames where they are given.

        Raises
        ------
        InputError
            If the frames are not those of the run, or there is nothing to show.
        """
        from napari_rvae import run_layers
        from napari_rvae.layers import METADATA_KEY

        layers = run_layers(run, frames)
        if not run.manifest["files"]:  # the run was not written: there is no folder to go back to
            for _, options, _ in layers:
                del options["metadata"][METADATA_KEY]["run"]
        return cls(layers, run, model)


def check_viewer() -> None:
    """Say now, not after a minute's work, that no viewer can be opened.

    Raises
    ------
    InputError
        If napari or Qt cannot be loaded, or there is no screen.
    """
    try:
        from napari_rvae._napari.start import check_screen
    except ImportError as error:
        raise InputError(
            f'napari cannot be loaded ({error}): pip install "napari-rvae[all]" brings it.'
        ) from error
    check_screen()


def show_scene(scene: Scene) -> None:
    """Open napari, and return when the user has closed it."""
    from napari_rvae._napari.start import open_viewer, wait_until_closed

    open_viewer(scene.layers, scene.run, model=scene.model)
    say("napari is open; close its window to end")
    wait_until_closed()
