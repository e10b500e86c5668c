"""Results to files and back: a table for other programs, a run that opens again.

Everything here works without the widget, which may be closed while the work goes on.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.pathway_state import Found, found_of
from napari_rvae._napari.unit_state import UnitState, state_of
from napari_rvae._napari.words import count
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.errors import InputError, NapariRvaeError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.units import Units
    from napari_rvae.config import Config
    from napari_rvae.frames import Frames
    from napari_rvae.layers import LayerTuple
    from napari_rvae.runs import Run
    from napari_rvae.vae import RVAE

__all__ = [
    "ask_export",
    "ask_open",
    "ask_save",
    "start_export",
    "start_open",
    "start_save",
]


@dataclass(frozen=True, eq=False)
class _Results:
    """What there is to save, as it is when the work begins."""

    frames: Frames | None
    sites: pd.DataFrame
    record: dict[str, Any]
    units: UnitState | None
    pathways: Found | None


def _take(sites: Any, image: Any) -> _Results:
    """Take sites and frames out of their layers."""
    from napari_rvae.layers import frames_from_layer, sites_from_layer

    if sites is None:
        raise InputError("There are no sites: detect atoms first (widget Detect).")
    frames = None if image is None else frames_from_layer(image)
    return _Results(
        frames,
        sites_from_layer(sites, image),
        dict(record_of(sites)),
        state_of(sites),
        found_of(sites),
    )


# ---------------------------------------------------------------------- a table
def start_export(
    workspace: Workspace,
    sites: Any,
    image: Any,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Job | None:
    """Write the table of a layer of sites, as :func:`napari_rvae.export_table` says.

    Parameters
    ----------
    workspace
        Where the job runs.
    sites
        Points layer.
    image
        Image layer that they lie on, for lengths and times; None leaves those out.
    path
        The file.
    overwrite
        Whether a file that is there may be replaced.

    Raises
    ------
    InputError
        If there are no sites.
    """
    results = _take(sites, image)

    def work(_control: Control) -> Generator[Progress, None, Path]:
        yield Progress(0, 0, f"writing {count(len(results.sites), 'site')}")
        from napari_rvae.io import export_table

        return export_table(results.sites, path, frames=results.frames, overwrite=overwrite)

    def then(file: Path, _outcome: Outcome) -> None:
        workspace.say("latents", f"Exported {count(len(results.sites), 'site')} to {file}", "done")

    return workspace.start("latents", "Exporting the table", work, then)


def ask_export(parent: QWidget, name: str) -> tuple[str, bool] | None:
    """Ask where to write a table: the file, and whether it may be replaced; None for nowhere."""
    kinds = "CSV (*.csv);;Parquet (*.parquet)"
    typed, kind = QFileDialog.getSaveFileName(parent, "Export table", f"{name}.csv", kinds)
    if not typed:
        return None
    suffix = ".parquet" if "parquet" in kind else ".csv"
    path = typed if Path(typed).suffix else f"{typed}{suffix}"
    return path, path == typed  # the dialog has asked about the name that was typed


# ---------------------------------------------------------------------- a run
def start_save(
    workspace: Workspace,
    sites: Any,
    image: Any,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Job | None:
    """Save sites, the model that encoded them, and the options, as a run.

    Parameters
    ----------
    workspace
        Where the job runs, and whose model is saved.
    sites
        Points layer.
    image
        Image layer that they lie on, which is described; or None.
    folder
        Where to, see :func:`napari_rvae.save_run`.
    overwrite
        Whether an earlier run in it may be replaced.

    Raises
    ------
    InputError
        If there are no sites, or the folder cannot be used.
    """
    from napari_rvae.runs import check_run_folder

    results = _take(sites, image)
    if workspace.job("train") is not None:
        raise InputError("The Train widget is at work: wait until it has finished.")
    check_run_folder(folder, overwrite=overwrite)
    model = _own_model(results, workspace.model)

    def work(_control: Control) -> Generator[Progress, None, tuple[Path, bool]]:
        yield Progress(0, 0, f"saving {count(len(results.sites), 'site')}")
        from napari_rvae.layers.steps import steps_to_save
        from napari_rvae.runs import save_run

        run, ways = _run_of(results.record), results.pathways
        rvae = _model_of_run(results, run) if model is None else model.rvae
        path = save_run(
            folder,
            frames=results.frames,
            sites=results.sites,
            model=rvae,
            units=_units(results, run),
            pathways=None if ways is None else ways.pathways,
            configs=_configs(results, run, model).values(),
            steps=steps_to_save(results.record),
            overwrite=overwrite,
        )
        return path, rvae is not None

    def then(saved: tuple[Path, bool], _outcome: Outcome) -> None:
        path, has_model = saved
        record_of(sites)["saved"] = str(path.resolve())
        if model is not None:
            workspace.note_saved(model.key, path)
        lacks = [] if has_model else ["no model"]
        lacks += [] if results.frames is not None else ["no description of the movie"]
        note = f" ({', '.join(lacks)})" if lacks else ""
        text = f"Saved {count(len(results.sites), 'site')}{note} to {path}"
        workspace.say("latents", text, "done")

    return workspace.start("latents", "Saving the run", work, then)


def _own_model(results: _Results, model: Model | None) -> Model | None:
    """The model in use, if it has encoded the sites; it has nothing to do with others."""
    from napari_rvae.tables import latent_names

    if model is None or not latent_names(results.sites):
        return None
    return model if results.record.get("model", "") == model.key else None


def _model_of_run(results: _Results, run: Run | None) -> RVAE | None:
    """Model of the run that sites were opened from, if no other has encoded them since."""
    from napari_rvae.tables import latent_names

    if run is None or not run.has_model or not latent_names(results.sites):
        return None
    return None if results.record.get("model", "") else run.load_model("cpu")


def _run_of(record: dict[str, Any]) -> Run | None:
    """Run that sites were opened from, None where there is none any more."""
    from napari_rvae.runs import load_run

    try:
        return load_run(record["run"]) if "run" in record else None
    except NapariRvaeError:
        return None


def _configs(results: _Results, run: Run | None, model: Model | None) -> dict[str, Config]:
    """Options of the steps that led to the sites, by class."""
    from napari_rvae.config import DetectConfig

    configs = {} if run is None else dict(run.configs)
    if "config" in results.record:
        configs["DetectConfig"] = DetectConfig.from_dict(results.record["config"])
    found_with = None if results.units is None else results.units.material.config
    if found_with is not None:
        configs["UnitConfig"] = found_with
    ways = results.pathways
    if ways is not None and ways.config is not None:
        configs["PathwayConfig"] = ways.config
    if model is not None:
        configs |= {"RVAEConfig": model.rvae.config, "CropConfig": model.crops}
    return configs


def _units(results: _Results, run: Run | None) -> Units | None:
    """Units of the Units widget, or those of the sites with the names that they have in the run.

    A model that came after the run has other latents, but the units are still the run's.
    """
    from napari_rvae.analysis.units import Units

    if results.units is not None:
        return results.units.now.units
    sites = results.sites
    columns = ["site_id", "unit", "unit_probability"]
    if run is None or run.units is None or any(name not in sites for name in columns):
        return None
    try:
        return Units(table=sites[columns], summary=run.units.summary)
    except InputError:  # units that were found anew
        return None


def ask_save(parent: QWidget | None) -> tuple[str, bool] | None:
    """Ask for the folder of a run, and whether to replace one; None for nowhere."""
    folder = QFileDialog.getExistingDirectory(parent, "Folder for the run")
    if not folder:
        return None
    if not (Path(folder) / "run.json").exists():
        return folder, False
    answer = QMessageBox.question(parent, "Save run", f"{folder} holds a run already. Replace it?")
    return (folder, True) if answer == QMessageBox.StandardButton.Yes else None


# ---------------------------------------------------------------------- open
def start_open(workspace: Workspace, path: str | os.PathLike[str]) -> Job | None:
    """Open a run: its layers come into the viewer, its model into use.

    Parameters
    ----------
    workspace
        Where the job runs.
    path
        The run's folder, or its ``run.json``.
    """

    def work(_control: Control) -> Generator[Progress, None, tuple[Run, list[LayerTuple]]]:
        yield Progress(0, 0, "reading the run")
        from napari_rvae.layers import run_layers
        from napari_rvae.runs import load_run

        run = load_run(path)
        return run, run_layers(run)

    def then(value: tuple[Run, list[LayerTuple]], _outcome: Outcome) -> None:
        from napari_rvae._napari.commands import show_layers, use_run_model

        run, layers = value
        show_layers(workspace.viewer, layers)
        workspace.show_options(*run.configs.values())
        n_sites = 0 if run.sites is None else len(run.sites)
        text = f"Opened {run.folder}: {count(n_sites, 'site')}."
        if use_run_model(workspace.viewer, run):
            workspace.say("latents", text, "done")
        else:
            text += " Its model was not loaded: use the button for it on Train."
            workspace.say("latents", text, "warning")
            kept = "The run's model was not loaded: press Use the run's model to take it."
            workspace.say("train", kept, "warning")

    return workspace.start("latents", "Opening the run", work, then)


def ask_open(parent: QWidget) -> str | None:
    """Ask for a run; None for none."""
    path, _ = QFileDialog.getOpenFileName(parent, "Open run", "", "Runs (run.json)")
    return path or None
