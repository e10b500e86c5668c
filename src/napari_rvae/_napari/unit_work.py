"""The work of the Units widget: find units, draw their cards, edit them; what becomes of it.

Everything here works without the widget, which may be closed while the work goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import napari_rvae
from napari_rvae._napari.dense_work import frames_of_model
from napari_rvae._napari.jobs import Control, Job, Outcome, Progress
from napari_rvae._napari.layer_kinds import record_of
from napari_rvae._napari.settings import read_preferences
from napari_rvae._napari.unit_state import Material, Step, UnitState, keep_units, state_of
from napari_rvae._napari.words import NO_SITES, count, listed
from napari_rvae._napari.workspace import Model, Workspace
from napari_rvae.errors import InputError, NapariRvaeError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.analysis.halves import SplitHalf
    from napari_rvae.analysis.units import Units
    from napari_rvae.config import CropConfig, UnitConfig
    from napari_rvae.crops import Crops
    from napari_rvae.frames import Frames
    from napari_rvae.vae import RVAE

__all__ = [
    "count_present",
    "cut_range",
    "has_units",
    "start_edit",
    "start_export",
    "start_find",
    "start_halves",
    "start_open",
    "step_back",
    "step_forward",
]

NO_LATENTS = "These sites have no latents yet: train or apply a model (widget Train)."
NO_IMAGE = "There is no image: open the movie that the sites lie on."
NO_MODEL = "The model of these latents is not there: train or load one (widget Train)."
NO_UNITS = "There are no units yet: press Find units."
BUSY = "The Train widget is at work: wait until it has finished."
GONE = "The layer of the sites is gone: the units were not kept."

#: What two halves of the data can say, the worst first, of results that have a plural.
_ANSWERS = {
    "does not agree": "do not agree",
    "agrees": "agree",
    "cannot tell": "cannot be told",
}
#: How the status line shows the answer for all of them.
_LEVELS: dict[str, Literal["done", "warning", "info"]] = {
    "does not agree": "warning",
    "agrees": "done",
    "cannot tell": "info",
}

#: Crops of each environment that are kept for mean crops and examples.
_KEPT_CROPS = 400


@dataclass(frozen=True, eq=False)
class Inputs:
    """Sites, frames and model as they are when the work begins."""

    table: pd.DataFrame
    frames: Frames | None
    model: Model | None
    run: str | None
    elements: dict[str, str]


def has_units(layer: Any) -> bool:
    """Whether the features of a layer name units."""
    return layer is not None and "unit" in layer.features


def cut_range(units: Units) -> tuple[int, int]:
    """Fewest and most units that the slider can leave."""
    from napari_rvae.analysis.units.edit import cut_range as of_tree

    return of_tree(units)


def count_present(units: Units) -> int:
    """Count the units that have sites; those of another movie may have none in this one."""
    return int((units.summary["count"] > 0).sum())


def take_inputs(workspace: Workspace, layer: Any, image: Any) -> Inputs:
    from napari_rvae.analysis.motif import parse_elements
    from napari_rvae.layers import sites_from_layer

    if layer is None:
        raise InputError(NO_SITES)
    if workspace.job("train") is not None:
        raise InputError(BUSY)
    record = record_of(layer)
    model, made_by = workspace.model, record.get("model", "")
    own = model is not None and made_by == model.key
    return Inputs(
        table=sites_from_layer(layer, image),
        frames=None
        if image is None
        else frames_of_model(model if own else None, image, workspace.viewer.layers),
        model=model if own else None,
        # a model that has made the latents since is not that of the run
        run=record.get("run") if not made_by else None,
        elements=parse_elements(str(record.get("elements", ""))),
    )


def model_of(inputs: Inputs) -> tuple[RVAE | None, CropConfig | None]:
    """Model of the latents and how its crops are cut; of the run, where it is not in use."""
    if inputs.model is not None:
        return inputs.model.rvae, inputs.model.crops
    if inputs.run is None:
        return None, None
    from napari_rvae.config import CropConfig
    from napari_rvae.runs import load_run

    try:
        run = load_run(inputs.run)
        if not run.has_model:
            return None, None
        rvae = run.load_model("cpu")
    except NapariRvaeError:  # the run has been moved since
        return None, None
    plan = run.configs.get("CropConfig")
    return rvae, plan if isinstance(plan, CropConfig) else rvae.crop_config


# ---------------------------------------------------------------------- find
def start_find(workspace: Workspace, layer: Any, image: Any, config: UnitConfig) -> Job | None:
    """Find the units of a layer of sites, as :func:`napari_rvae.find_units` says.

    Parameters
    ----------
    workspace
        Where the job runs, and whose model is used, if it made the latents.
    layer
        Points layer.
    image
        Image that the sites lie on: for crops, which tell more than latents; or None.
    config
        Options.

    Raises
    ------
    InputError
        If there are no sites or no latents, or the model is at work.
    """
    from napari_rvae.tables import latent_names

    inputs, before = take_inputs(workspace, layer, image), state_of(layer)
    names = latent_names(inputs.table)
    if not names or not inputs.table[names].notna().any(axis=None):
        raise InputError(NO_LATENTS)
    like = None if before is None else before.now.units

    def work(control: Control) -> Generator[Progress, None, UnitState]:
        yield Progress(0, 0, "looking at the sites")
        from napari_rvae import find_units, with_tracks
        from napari_rvae.device import limit_threads

        with limit_threads(read_preferences().n_threads):
            table = with_tracks(inputs.table, progress=control.ticker("linking sites"))
            rvae, plan = model_of(inputs)
            crops = features = None
            if rvae is not None and plan is not None and inputs.frames is not None:
                crops = cut_crops(rvae, inputs.frames, table, plan, control)
                yield Progress(0, 0, "describing the crops")
                features = rvae.invariants(crops)
            units = find_units(
                table,
                config,
                features=features,
                model=rvae,
                like=like,
                progress=control.ticker("finding units"),
            )
            kept = None if crops is None else _some(crops, units)
            frames_table = None if inputs.frames is None else inputs.frames.table
            material = Material(_with_rings(table), rvae, kept, frames_table, config)
            yield Progress(0, 0, f"drawing {count(len(units), 'card')}")
            cards = _cards(material, units, inputs.elements)
        noted = {"step": "units", "config": config.to_dict(), "crops": features is not None}
        return UnitState(material, Step("units found", units, cards, noted))

    def then(found: UnitState, outcome: Outcome) -> None:
        if before is not None:
            found.past = [*before.past, before.now]
        record_of(layer).pop("halves", None)  # they were about other units
        _show(workspace, layer, found, color=True)
        _tell(workspace, found, outcome)

    return workspace.start("units", "Finding units", work, then)


def _with_rings(table: pd.DataFrame) -> pd.DataFrame:
    """Sites with their rings of bonds, which every edit's cards speak of."""
    from napari_rvae.analysis.stands import site_rings

    rings = site_rings(table)
    return table.assign(**{str(name): rings[name] for name in rings})


def cut_crops(
    rvae: RVAE, frames: Frames, table: pd.DataFrame, plan: CropConfig, control: Control
) -> Crops:
    """Cut the crops as they were that the model was trained on."""
    from napari_rvae.analysis.recut import cut_as_trained

    ticker = control.ticker("cutting crops")
    crops = cut_as_trained(rvae, frames, table, plan, progress=ticker)
    if not len(crops):
        raise InputError(
            "None of these sites has a whole window inside the image: choose more sites, or train "
            "with a smaller window (widget Train)."
        )
    return crops


def _some(crops: Crops, units: Units) -> Crops:
    """Crops of a few sites of each environment, the surest; all would fill the memory."""
    table = units.table[units.table["site_id"].isin(crops.site_id)]
    table = table.sort_values("unit_probability", ascending=False, kind="stable")
    finer = "environment" if "environment" in table else "unit"
    groups = table.groupby(finer)["site_id"]
    # the least sure are shown as well
    chosen = {*groups.head(_KEPT_CROPS), *groups.tail(_KEPT_CROPS // 10)}
    rows = [row for row, site in enumerate(crops.site_id.tolist()) if site in chosen]
    return crops.select(rows)


def _cards(material: Material, units: Units, elements: dict[str, str]) -> tuple[UnitCard, ...]:
    from napari_rvae import unit_cards

    cards = unit_cards(
        units,
        material.table,
        model=material.model,
        crops=material.crops,
        frames_table=material.frames_table,
        elements=elements,
    )
    return tuple(sorted(cards, key=lambda card: -card.count))


def _show(workspace: Workspace, layer: Any, state: UnitState, *, color: bool) -> None:
    """Put units into the layer, if it is still there, and remember them."""
    viewer = workspace.viewer
    if viewer is None or all(layer is not there for there in viewer.layers):
        raise InputError(GONE)
    from napari_rvae.layers import show_units

    show_units(layer, state.now.units, color=color)
    keep_units(layer, state)


def _tell(workspace: Workspace, state: UnitState, outcome: Outcome) -> None:
    units = state.now.units
    known = int((units.table["unit"] >= 0).sum())
    parts = [f"{count(len(units), 'unit')} in {count(known, 'site')}"]
    if none := len(units.table) - known:
        parts.append(f"{count(none, 'site')} without one")
    if state.material.model is None:
        parts.append("no pictures, as the model of these latents is not there")
    elif state.material.crops is None:
        parts.append("no mean crops, as no image is chosen")
    parts.extend(outcome.warnings)
    level: Literal["done", "warning"] = "warning" if outcome.warnings else "done"
    workspace.say("units", "; ".join(parts) + ".", level)


# ---------------------------------------------------------------------- open and edit
def start_open(workspace: Workspace, layer: Any, image: Any) -> Job | None:
    """Draw the cards of units that a layer has already: from its run, or from its features.

    Parameters
    ----------
    workspace
        Where the job runs.
    layer
        Points layer with a column ``unit``.
    image
        Image that the sites lie on, for mean crops; or None.

    Raises
    ------
    InputError
        If there are no sites, or the model is at work.
    """
    inputs = take_inputs(workspace, layer, image)
    from napari_rvae.layers import units_from_layer

    shown = units_from_layer(layer)
    if shown is None:
        raise InputError(NO_UNITS)

    def work(control: Control) -> Generator[Progress, None, UnitState]:
        yield Progress(0, 0, "reading the units")
        from napari_rvae.device import limit_threads

        with limit_threads(read_preferences().n_threads):
            units = _units_of_run(inputs.run, shown) or shown
            rvae, plan = model_of(inputs)
            crops = None
            if rvae is not None and plan is not None and inputs.frames is not None:
                crops = _some(cut_crops(rvae, inputs.frames, inputs.table, plan, control), units)
            frames_table = None if inputs.frames is None else inputs.frames.table
            material = Material(_with_rings(inputs.table), rvae, crops, frames_table)
            yield Progress(0, 0, f"drawing {count(len(units), 'card')}")
            return UnitState(
                material, Step("units opened", units, _cards(material, units, inputs.elements))
            )

    def then(state: UnitState, outcome: Outcome) -> None:
        _show(workspace, layer, state, color=False)
        _tell(workspace, state, outcome)

    return workspace.start("units", "Drawing the cards", work, then)


def _units_of_run(folder: str | None, shown: Units) -> Units | None:
    """Units of a run, if they are those that are shown: they can be merged and split."""
    from napari_rvae.runs import load_run

    if folder is None:
        return None
    try:
        units = load_run(folder).units
    except NapariRvaeError:
        return None
    if units is None:
        return None
    both = units.table[["site_id", "unit"]].merge(shown.table[["site_id", "unit"]], on="site_id")
    return units if len(both) and (both["unit_x"] == both["unit_y"]).all() else None


def start_edit(
    workspace: Workspace, layer: Any, function: str, arguments: tuple[Any, ...], text: str
) -> Job | None:
    """Edit the units of a layer, such as by :func:`napari_rvae.merge_units`, and draw the cards.

    Parameters
    ----------
    workspace
        Where the job runs.
    layer
        Points layer.
    function
        Name of the function that makes new units of the present ones; "" leaves them as they are
        and draws the cards anew.
    arguments
        What it takes beside the units.
    text
        What it does, in words, for undo.

    Raises
    ------
    InputError
        If there are no units yet.
    """
    state = state_of(layer)
    if state is None:
        raise InputError(NO_UNITS)
    elements = take_inputs(workspace, layer, None).elements
    present, material = state.now, state.material
    title = text[0].upper() + text[1:]

    def work(_control: Control) -> Generator[Progress, None, Step]:
        yield Progress(0, 0, text)
        from napari_rvae.device import limit_threads

        with limit_threads(read_preferences().n_threads):
            units = present.units
            if function:
                units = getattr(napari_rvae, function)(units, *arguments)
            done = {"step": "edit", "function": function, "arguments": list(arguments)}
            return Step(text, units, _cards(material, units, elements), done)

    def then(step: Step, _outcome: Outcome) -> None:
        if step.units is present.units:  # only what atoms are called has changed
            state.now = Step(present.text, present.units, step.cards, present.done)
        else:
            state.advance(step)
            _show(workspace, layer, state, color=False)
        now = count(len(step.units), "unit")
        told = len(step.units) == len(present.units) or now in title
        workspace.say("units", f"{title}." if told else f"{title}: {now} now.", "done")

    return workspace.start("units", title, work, then)


def step_back(workspace: Workspace, layer: Any) -> None:
    """Undo the newest edit of the units of a layer."""
    _step(workspace, layer, UnitState.undo, "Undone")


def step_forward(workspace: Workspace, layer: Any) -> None:
    """Do again what was undone last."""
    _step(workspace, layer, UnitState.redo, "Done again")


def _step(workspace: Workspace, layer: Any, move: Callable[[UnitState], str], said: str) -> None:
    state = state_of(layer)
    if state is None:
        raise InputError(NO_UNITS)
    text = move(state)
    _show(workspace, layer, state, color=False)
    workspace.say("units", f"{said}: {text}.", "done")


# ---------------------------------------------------------------------- is it real?
def start_halves(workspace: Workspace, layer: Any, image: Any, config: UnitConfig) -> Job | None:
    """Train on two halves of the data apart, as :func:`napari_rvae.split_half` says.

    Parameters
    ----------
    workspace
        Where the job runs, and whose model is judged.
    layer
        Points layer; its metadata keep the verdicts as ``halves``.
    image
        Image that the sites lie on.
    config
        Options of the units.

    Raises
    ------
    InputError
        If there are no sites, no image, or the model is at work.
    """
    inputs = take_inputs(workspace, layer, image)
    if inputs.frames is None:
        raise InputError(NO_IMAGE)
    frames, preferences = inputs.frames, read_preferences()

    def work(control: Control) -> Generator[Progress, None, SplitHalf]:
        yield Progress(0, 0, "cutting crops")
        from napari_rvae import split_half, with_tracks
        from napari_rvae.device import limit_threads

        with limit_threads(preferences.n_threads):
            rvae, plan = model_of(inputs)
            if rvae is None or plan is None:
                raise InputError(NO_MODEL)
            table = with_tracks(inputs.table, progress=control.ticker("linking sites"))
            crops = cut_crops(rvae, frames, table, plan, control)
            found = split_half(
                crops,
                table,
                rvae.config,
                unit_config=config,
                device=preferences.device,
                progress=control.ticker("training on two halves"),
            )
        return found

    def then(found: SplitHalf, _outcome: Outcome) -> None:
        record_of(layer)["halves"] = [[one.level, one.text, one.advice] for one in found.checks]
        level = _LEVELS[found.answer]
        state = state_of(layer)
        other = "" if state is None else _found_otherwise(found, state.now.units)
        workspace.say("units", f"Is it real? {_answers(found)}{other}; why, see below.", level)

    return workspace.start("units", "Is it real?", work, then)


def _answers(found: SplitHalf) -> str:
    """What two halves of the data say of each result, in a few words."""
    parts = []
    for answer, words in _ANSWERS.items():
        results = [one.result for one in found.verdicts if one.answer == answer]
        if results:
            parts.append(f"{listed(results)} {words}")
    said = ", ".join(parts)
    return said[0].upper() + said[1:]


def _found_otherwise(found: SplitHalf, shown: Units) -> str:
    """How many units the halves found, where these are not as many as there are cards.

    That halves agree says nothing of units that neither of them found.
    """
    own, here = [count_present(one) for one in found.units], count_present(shown)
    if own == [here, here]:
        return ""
    both = f"{own[0]} each" if own[0] == own[1] else f"{own[0]} and {own[1]}"
    return f" (the halves found {both}; here are {here})"


# ---------------------------------------------------------------------- export
def start_export(
    workspace: Workspace,
    layer: Any,
    folder: str | os.PathLike[str],
    *,
    suffix: Literal[".png", ".svg", ".pdf"] = ".png",
    overwrite: bool = False,
) -> Job | None:
    """Write figures and tables of the units, as :func:`napari_rvae.figures.export_units` says."""
    state = state_of(layer)
    if state is None:
        raise InputError(NO_UNITS)
    now = state.now

    def work(_control: Control) -> Generator[Progress, None, list[Path]]:
        yield Progress(0, 0, "writing figures and tables")
        from napari_rvae.figures import export_units

        return export_units(folder, now.units, now.cards, suffix=suffix, overwrite=overwrite)

    def then(paths: list[Path], _outcome: Outcome) -> None:
        workspace.say("units", f"Exported {count(len(paths), 'file')} to {folder}", "done")

    return workspace.start("units", "Exporting the units", work, then)
