"""The whole way, from frames to units, by the public API alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from napari_rvae.cli.progress import say, warn
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from napari_rvae import RVAE, Crops, Frames, PathwayConfig, Pathways, Run, SplitHalf, Units
    from napari_rvae.analysis.cards import UnitCard
    from napari_rvae.cli.options import Options
    from napari_rvae.cli.progress import Progress
    from napari_rvae.vae.checks import ModelChecks

__all__ = [
    "Result",
    "analyse_movie",
    "as_run",
    "check_run",
    "halve_result",
    "halve_run",
    "print_checks",
    "print_halves",
    "print_result",
    "write_result",
]

#: What stands before a verdict of each level.
_SIGNS = {"bad": "BAD", "warn": "look", "info": "-", "good": "ok"}


@dataclass(frozen=True, eq=False)
class Result:
    """What comes out of a movie."""

    frames: Frames
    quality: pd.DataFrame  # one row a frame
    sites: pd.DataFrame  # with tracks, latents and units
    crops: Crops
    model: RVAE
    checks: ModelChecks
    units: Units
    pathways: Pathways
    options: Options
    seconds: float
    halves: SplitHalf | None = None  # what two halves of the crops agree on, if that was asked


def analyse_movie(
    frames: Frames,
    options: Options,
    progress: Progress,
    *,
    device: str = "auto",
    neighbour_distance_nm: float | None = None,
) -> Result:
    """Find the atoms of a movie, train on them, and find the structural units.

    Parameters
    ----------
    frames
        The movie, of one channel.
    options
        Configuration of every step.
    progress
        Told how far each step is.
    device
        Where the model is trained.
    neighbour_distance_nm
        Known distance between nearest neighbours: sets the scale of the frames.

    Raises
    ------
    InputError
        If the device is not there, the distance is no length, there are no atoms, they cannot set
        the scale, or no atom has a whole window inside its frame.
    """
    import napari_rvae as nr
    from napari_rvae.device import choose_device
    from napari_rvae.frames import check_length
    from napari_rvae.vae.checks import check_model

    start = perf_counter()
    # what is wrong is said now, not after the atoms were found
    choose_device(device)
    if neighbour_distance_nm is not None:
        check_length(neighbour_distance_nm)
    with progress.step("analysing frames"):
        quality = nr.analyse_frames(frames)
    with progress.step("finding atoms") as tick:
        sites = _find_atoms(frames, options, tick)
    if neighbour_distance_nm is not None:
        frames = nr.set_scale(frames, sites, neighbour_distance=neighbour_distance_nm, unit="nm")
    with progress.step("linking sites") as tick:
        sites = nr.link_sites(sites, options.tracks, progress=tick)
    with progress.step("cutting crops") as tick:
        crops = _cut_crops(frames, sites, options, tick)
    with progress.step("training") as tick:
        model = nr.RVAE(options.rvae, device=device)
        model.fit(crops, callback=lambda record: tick(record.epoch, options.rvae.epochs))
    with progress.step("encoding"):
        sites = nr.join_latents(sites, model.transform(crops))
    with progress.step("checking the model") as tick:
        checks = check_model(model, crops, progress=tick)
    with progress.step("finding units") as tick:
        features = model.invariants(crops)
        units = nr.find_units(sites, options.units, features=features, progress=tick)
    with progress.step("finding pathways") as tick:
        pathways = nr.find_pathways(
            sites, options.pathways, units=units, frames_table=frames.table, progress=tick
        )
    return Result(
        frames=frames,
        quality=quality,
        sites=nr.join_latents(sites, units.table),
        crops=crops,
        model=model,
        checks=checks,
        units=units,
        pathways=pathways,
        options=options,
        seconds=perf_counter() - start,
    )


def _find_atoms(frames: Frames, options: Options, tick: Any) -> pd.DataFrame:
    import napari_rvae as nr
    from napari_rvae.preprocess.noise import is_constant

    sites = nr.detect_atoms(frames, options.detect, progress=tick)
    if not len(sites):
        where = frames.name or "the frames"
        if all(is_constant(frames.frame(number)) for number in range(frames.n_frames)):
            raise InputError(
                f"No atoms were found in {where}: each frame holds one value or none (NaN); look "
                "at the file, or take another of its channels (--channel)."
            )
        other = "bright" if options.detect.contrast == "dark" else "dark"
        raise InputError(
            f"No atoms were found in {where}: try a lower --detect.min_snr, "
            f"or --detect.contrast {other}."
        )
    return sites


def _cut_crops(frames: Frames, sites: pd.DataFrame, options: Options, tick: Any) -> Crops:
    import napari_rvae as nr

    crops = nr.extract_crops(frames, sites, options.crop, progress=tick)
    if not len(crops):
        rows, columns = frames.frame_shape
        raise InputError(
            f"No atom has a whole window of {crops.window_px:.0f} px inside the frame of {rows} x "
            f"{columns} px: choose a smaller --crop.window_nd or --crop.window."
        )
    return crops


def check_run(
    run: Run, frames: Frames, other: Run | None, progress: Progress, *, device: str
) -> ModelChecks:
    """Check the model of a run on its movie, and its agreement with that of another run.

    Raises
    ------
    InputError
        If the run has no sites, or the movie is another one.
    ModelFileError
        If a run has no model.
    """
    from napari_rvae.vae.checks import check_model

    model, crops, _ = _crops_of_run(run, frames, progress, device=device)
    partner = None if other is None else other.load_model(device)
    with progress.step("checking the model") as tick:
        return check_model(model, crops, other=partner, progress=tick)


def _crops_of_run(
    run: Run, frames: Frames, progress: Progress, *, device: str
) -> tuple[RVAE, Crops, pd.DataFrame]:
    """Model of a run, the crops that it was trained on, cut again, and their sites."""
    import napari_rvae as nr
    from napari_rvae.analysis.recut import cut_as_trained

    if run.sites is None:
        raise InputError(f"{run.folder} holds no sites: it was saved without them.")
    run.check_frames(frames)
    model = run.load_model(device)
    options = run.configs.get("CropConfig")
    if not isinstance(options, nr.CropConfig):
        options = model.crop_config
    with progress.step("cutting crops") as tick:
        crops = cut_as_trained(model, frames, run.sites, options, progress=tick)
    return model, crops, run.sites


def halve_run(run: Run, frames: Frames, progress: Progress, *, device: str) -> SplitHalf:
    """Train on two halves of the crops of a run, with its options, and compare them.

    Raises
    ------
    InputError
        If the run has no sites, the movie is another one, or there are too few crops.
    ModelFileError
        If the run has no model.
    """
    import napari_rvae as nr

    model, crops, sites = _crops_of_run(run, frames, progress, device=device)
    units = run.configs.get("UnitConfig")
    with progress.step("training on halves") as tick:
        return nr.split_half(
            crops,
            sites,
            model.config,
            unit_config=units if isinstance(units, nr.UnitConfig) else None,
            device=device,
            progress=tick,
        )


def halve_result(result: Result, progress: Progress, *, device: str) -> Result:
    """Add what two halves of the crops, trained apart, agree on.

    Where they cannot be halved that is said, and the result is kept as it is: it has been trained.
    """
    import napari_rvae as nr

    start = perf_counter()
    with progress.step("training on halves") as tick:
        try:
            halves = nr.split_half(
                result.crops,
                result.sites,
                result.model.config,
                unit_config=result.options.units,
                device=device,
                progress=tick,
            )
        except InputError as error:
            warn(f"is it real? cannot tell. {error}")
            return result
    seconds = result.seconds + perf_counter() - start
    return replace(result, halves=halves, seconds=seconds)


def renew_pathways(
    run: Run, frames: Frames | None, options: PathwayConfig, progress: Progress
) -> Pathways:
    """Find the pathways of a run anew, and save them in it; all else of the run stays.

    Parameters
    ----------
    run
        The run.
    frames
        The movie that it was made from, for times and doses; without it the scale of the
        frames gives times.
    options
        Options of this step.
    progress
        Where to tell what is being done.

    Raises
    ------
    InputError
        If the run has no sites or units, or the movie is another one.
    """
    import napari_rvae as nr

    if run.sites is None:
        raise InputError(f"{run.folder} holds no sites: it was saved without them.")
    if frames is not None:
        run.check_frames(frames)
    known = frames if frames is not None else run.placement_frames()
    sites = run.sites
    if "lattice_track_id" not in sites:
        with progress.step("linking sites") as tick:
            sites = nr.link_sites(sites, progress=tick)
    with progress.step("finding pathways") as tick:
        pathways = nr.find_pathways(
            sites,
            options,
            units=run.units,
            frames_table=None if known is None else known.table,
            progress=tick,
        )
    with progress.step("writing"):
        nr.save_run(
            run.folder,
            frames=run.frames,
            sites=sites,
            model=run.load_model("cpu") if run.has_model else None,
            units=run.units,
            pathways=pathways,
            configs=[*{**run.configs, "PathwayConfig": options}.values()],
            overwrite=True,
        )
    return pathways


def as_run(result: Result) -> Run:
    """Make the run that :func:`write_result` would write, in memory and without its model."""
    from napari_rvae import Run
    from napari_rvae.runs import describe_frames

    return Run(
        folder=Path(result.frames.name or "result"),
        sites=result.sites,
        units=result.units,
        configs={type(config).__name__: config for config in vars(result.options).values()},
        frames=describe_frames(result.frames),
        manifest={"files": {}},
        pathways=result.pathways,
    )


def write_result(
    folder: Path,
    result: Result,
    progress: Progress,
    *,
    overwrite: bool,
    metrics: Mapping[str, float] | None = None,
) -> None:
    """Write the run, the report and the metrics (where the truth is known, with it) to a folder."""
    import napari_rvae as nr
    from napari_rvae.figures import report_figure, save_figure
    from napari_rvae.io import write_json

    with progress.step("writing"):
        page = report_figure(
            result.frames,
            result.sites,
            model=result.model,
            units=result.units,
            metrics=metrics,
            checks=result.checks,
            halves=result.halves,
            seconds=result.seconds,
        )
        nr.save_run(
            folder,
            frames=result.frames,
            sites=result.sites,
            model=result.model,
            units=result.units,
            # nothing changes in one frame: ten empty tables would say so
            pathways=result.pathways if len(result.pathways.states) else None,
            configs=list(vars(result.options).values()),
            overwrite=overwrite,
        )
        save_figure(page, folder / "report.png")
        _write_cards(folder, result)
        figures = {f"check_{name}": value for name, value in result.checks.figures.items()}
        write_json(folder / "metrics.json", {**(metrics or {}), **figures})
    pictures = ("report.png", "units.png", "pathways.png")
    drawn = [name for name in pictures if (folder / name).exists()]
    say(f"written to {folder}: run.json, {', '.join(drawn)}, metrics.json")


def _write_cards(folder: Path, result: Result) -> None:
    """Draw a card of each structural unit, and the page of pathways."""
    from napari_rvae import unit_cards
    from napari_rvae.figures import cards_figure, save_figure

    cards = unit_cards(
        result.units,
        result.sites,
        model=result.model,
        crops=result.crops,
        frames_table=result.frames.table,
    )
    if cards:
        title = f"Structural units of {result.frames.name or 'the movie'}"
        save_figure(cards_figure(cards, title=title), folder / "units.png")
    _write_pathways(folder, result, cards)


def _write_pathways(folder: Path, result: Result, cards: Sequence[UnitCard]) -> None:
    """Draw the page of pathways: networks, landscape, shares, events, rates, film strips."""
    import napari_rvae as nr
    from napari_rvae.analysis.event_sites import event_films, followed_events
    from napari_rvae.figures import pathways_figure, save_figure

    pathways, model = result.pathways, result.model
    (folder / "pathways.png").unlink(missing_ok=True)  # of an earlier run
    if not len(pathways.states):
        return
    landscape = nr.latent_landscape(
        model, result.sites, n_nodes=120, max_sites=4000, pose_free=model.config.rotation
    )
    events = followed_events(pathways)
    page = pathways_figure(
        pathways,
        cards,
        order=nr.order_parameters(
            result.sites, units=result.units, frames_table=result.frames.table
        ),
        landscape=landscape,
        passages=nr.observed_passages(model, landscape, result.sites, events),
        strips=event_films(model, pathways, result.sites, result.crops),
        title=f"Transformation pathways of {result.frames.name or 'the movie'}",
    )
    save_figure(page, folder / "pathways.png")


def print_pathways(pathways: Pathways, *, whole: bool) -> None:
    """Print how many events there are, the rates that rest on a transition, and what to know."""
    events, rates = pathways.events, pathways.rates
    atoms = int((events["tracked"] == "atom").sum())
    say(f"{'events':<12}{len(events):,}, {atoms:,} of them of dopants")
    if not whole:
        return
    say("")
    seen = rates[rates["n_transitions"] >= 1].sort_values("n_transitions", ascending=False)
    for row in seen.itertuples():
        interval = f"{row.rate:.2g} ({row.rate_low:.2g} to {row.rate_high:.2g}) per frame"
        what = f"{row.from_name} > {row.to_name}"
        say(f"  {what:<56}{interval:<40}{row.n_transitions:7.1f}  {row.verdict}")
    for test in pathways.tests.itertuples():
        say(f"  test of {test.test}: p = {test.p_value:.2g}, power {test.power:.2f}")
    for note in pathways.notes["note"]:
        say(f"  note: {note}")


def print_result(result: Result) -> None:
    """Print what was found, a line a fact."""
    import napari_rvae as nr

    frames, crops = result.frames, result.crops
    rows, columns = frames.frame_shape
    noise, blur = (result.quality[name].median() for name in ("noise_sd", "blur"))
    distance = nr.neighbour_distance(result.sites)
    known = result.sites["unit"] >= 0
    n_empty = int((result.sites["kind"] == "vacancy").sum())
    among = f" ({n_empty:,} of them vacancies)" if n_empty else ""
    facts = {
        "frames": f"{frames.n_frames} of {rows} x {columns} px, {_pixel(frames)}",
        "noise": f"{noise:.3g} standard deviation, atoms {blur:.2f} px wide",
        "sites": f"{len(result.sites):,}{among}, nearest neighbours {distance:.2f} px apart",
        "crops": f"{len(crops):,}, each {crops.window_px:.1f} px wide",
        "model": f"{result.model.n_latents_} latents, trained on {result.model.device_}",
        "units": f"{len(result.units.summary)} in {int(known.sum()):,} sites",
    }
    say("")
    for name, text in facts.items():
        say(f"{name:<12}{text}")
    summary = result.units.summary
    width = max((len(name) for name in summary["name"]), default=0)
    for unit, name, count, share in summary[["unit", "name", "count", "share"]].to_numpy():
        say(f"  {unit:>3}  {name:<{width}}{count:>10,}{share:>9.2%}")
    print_pathways(result.pathways, whole=False)
    say(f"{'seconds':<12}{result.seconds:.1f}")
    print_checks(result.checks)
    if result.halves is not None:
        print_halves(result.halves)


def _pixel(frames: Frames) -> str:
    """Say how large a pixel is."""
    height, width = frames.pixel_size
    unit = frames.units[-1]
    if unit == "pixel":
        return "of unknown size"
    size = f"{width:.4g}" if math.isclose(height, width) else f"{height:.4g} x {width:.4g}"
    return f"each {size} {unit}"


def print_checks(checks: ModelChecks) -> None:
    """Print what the self-checks of a model found, the most serious first."""
    say(f"\nself-checks of the model, on {checks.n_crops:,} crops")
    for verdict in checks.verdicts:
        say(f"  {_SIGNS[verdict.level]:<6}{verdict.text}")
        if verdict.level in ("bad", "warn") and verdict.advice:
            say(f"        {verdict.advice}")


def print_halves(halves: SplitHalf) -> None:
    """Print what two halves of the data agree on."""
    say(f"\nis it real? two halves trained apart: {halves.answer} ({halves.halves})")
    for verdict in halves.verdicts:
        say(f"  {verdict}")
