"""The command that finds domain walls in scans of a force microscope."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rvae.cli.progress import Progress, say
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from napari_rvae import RVAE, Frames, Units, WallConfig
    from napari_rvae.cli.options import Options

__all__ = ["add_walls_command", "find_walls", "read_response"]

_WALLS = """\
Find the domain walls in scans of a piezoresponse force microscope and, with --window, train on
windows around them and find their structural units.

SCAN is a file with amplitude and phase (ibw, gwy, pyNSID HDF5, tif, ...); several files of one
place are laid on one grid and are the frames of a movie.

"""

_EXAMPLES = """\
examples:
  napari-rvae walls scan.ibw
  napari-rvae walls scan.h5 --channels AmplitudeRetrace,PhaseRetrace --walls.spacing 2 --out walls
  napari-rvae walls first.h5 second.h5 --walls.ferroelastic off --window 24 --out walls

With --out, DIR holds run.json with the table of sites (and the model and units), walls.csv with
lengths in nm and angles in degrees, and junctions.csv, in pixels. Of several frames the sites have
displacements, and switched_area.csv, new_domains.csv and (from five frames on) pinning.csv tell,
in pixels and frames, what switches, where it begins and what holds it.

"""


#: Tables of what switches, written where there are several frames.
_CHANGES = ("switched_area", "new_domains", "pinning")


def add_walls_command(commands: Any, epilog: str) -> argparse.ArgumentParser:
    """Add the command's flags; the caller adds those that several commands share."""
    walls: argparse.ArgumentParser = commands.add_parser(
        "walls",
        help="find the domain walls in scans of a force microscope",
        usage="napari-rvae walls SCAN [SCAN ...] [--out DIR] [options]",
        description=_WALLS,
        epilog=_EXAMPLES + epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    walls.add_argument("scans", metavar="SCAN", nargs="+", help="file of a scan or a movie")
    walls.add_argument(
        "--channels",
        metavar="A,P[,H]",
        help="names or numbers of amplitude, phase and height (default: by their names)",
    )
    walls.add_argument(
        "--window", metavar="PX", type=float, help="train on windows of this side, in pixels"
    )
    walls.add_argument("--out", metavar="DIR", type=Path, help="folder to write the run to")
    walls.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    return walls


def find_walls(arguments: argparse.Namespace, config: WallConfig, options: Options) -> None:
    """Find walls, say what was found, train on them if asked to, and write it.

    Raises
    ------
    InputError
        If the channels are not there, or no wall has a whole window inside its frame.
    """
    import napari_rvae as nr
    from napari_rvae.io import write_output

    progress = Progress()
    channels = _channels(arguments.channels)
    frames = _read(arguments.scans)
    with progress.step("signed response"):
        response = _response(frames, config, channels)
    with progress.step("finding walls") as tick:
        sites = nr.detect_walls(frames, config, channels=channels, progress=tick)
    junctions = nr.find_junctions(sites)
    _tell(response, sites, junctions)
    sites, changes = _in_motion(response, sites, progress)
    configs: list[Any] = [config]
    model, units = None, None
    if arguments.window is not None:
        crop = dataclasses.replace(options.crop, window=arguments.window)
        options = dataclasses.replace(options, crop=crop)
        sites, model, units = _trained(response, sites, options, progress, arguments.device)
        configs += [options.crop, options.rvae, options.units]
    if arguments.out is None:
        say("nothing was written; --out DIR writes the tables")
        return
    nr.save_run(
        arguments.out,
        frames=response,
        sites=sites,
        model=model,
        units=units,
        configs=configs,
        overwrite=arguments.overwrite,
    )
    written = arguments.out / "walls.csv"
    nr.export_table(sites, written, frames=response, overwrite=arguments.overwrite)
    for name in _CHANGES:
        (arguments.out / f"{name}.csv").unlink(missing_ok=True)  # of an earlier run
    for name, table in {"junctions": junctions, **changes}.items():
        write_output(arguments.out / f"{name}.csv", table.to_csv(index=False).encode())
    say(f"written to {arguments.out}")


def read_response(paths: list[str], config: WallConfig, channels: str | None) -> Frames:
    """Read the scans that a run of this command was made from, as the run knows them.

    Parameters
    ----------
    paths
        Files of the scans, in the order that they had then.
    config
        How the walls were found.
    channels
        What ``--channels`` was, None for nothing.
    """
    frames = _read(paths)
    with Progress().step("signed response"):
        return _response(frames, config, _channels(channels))


def _response(frames: Frames, config: WallConfig, channels: list[str | int] | None) -> Frames:
    """Return the signed response, which crops are cut from."""
    import napari_rvae as nr

    signals = 4 if config.modality == "vector" else 2
    pair = None if channels is None else channels[:signals]
    return nr.signed_response(
        frames, channels=pair, modality=config.modality, phase_unit=config.phase_unit
    )


def _channels(text: str | None) -> list[str | int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    return [int(part) if part.isdigit() else part for part in parts]


def _read(paths: list[str]) -> Frames:
    """One file as it is; several, registered."""
    import napari_rvae as nr

    scans = [nr.read_frames(path) for path in paths]
    if len(scans) == 1:
        return scans[0]
    both = nr.register_scans(scans)
    for number, row in enumerate(both.table.itertuples()):
        say(
            f"{scans[number].name}: moved by ({row.shift_y:.1f}, {row.shift_x:.1f}) px, "
            f"match {row.match:.2f}"
        )
    return both


def _tell(response: Frames, sites: pd.DataFrame, junctions: pd.DataFrame) -> None:
    """Print what there is in each frame."""
    say("")
    other = "90" if "polarization_turn" in sites else "ferroelastic"
    named = f"{'90-degree' if other == '90' else other} walls"
    say(f"frame  domains  180-degree walls  {named:>18}  junctions")
    domains = response.table.get("domains")
    for frame in range(response.n_frames):
        here = sites[sites["frame"] == frame]
        number = {
            kind: here.loc[here["wall_type"] == kind, "wall_id"].nunique()
            for kind in ("180", other)
        }
        told = "" if domains is None else str(domains.iloc[frame])
        say(
            f"{frame:5d}  {told:>7}  {number['180']:16d}  "
            f"{number[other]:18d}  {(junctions['frame'] == frame).sum():9d}"
        )
    say(f"{len(sites)} sites along the walls")


def _in_motion(
    response: Frames, sites: pd.DataFrame, progress: Progress
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Sites with their displacements, and what switches; of one frame there is nothing to add."""
    import napari_rvae as nr

    if response.n_frames < 2 or not len(sites):
        return sites, {}
    with progress.step("following walls"):
        moved = nr.wall_motion(sites, response)
    sites = sites.merge(moved, on="site_id", how="left", validate="1:1")
    if "response" not in response.channels:  # a vector has no sign that switches
        return sites, {}
    new = nr.nucleation_sites(response)
    changes = {"switched_area": nr.switched_area(response), "new_domains": new}
    told = [f"median displacement {moved['displacement'].abs().median():.2f} px"]
    told.append(f"new domains: {len(new)}")
    try:
        with progress.step("looking for what holds walls"):
            changes["pinning"] = nr.pinning_centres(response)
        told.append(f"pinning centres: {len(changes['pinning'])}")
    except InputError as error:  # too few frames, or nothing moves
        told.append(str(error))
    say("; ".join(told))
    return sites, changes


def _trained(
    response: Frames, sites: pd.DataFrame, options: Options, progress: Progress, device: str
) -> tuple[pd.DataFrame, RVAE, Units]:
    """Sites with latents and units, the model, and the units."""
    import napari_rvae as nr

    with progress.step("cutting crops") as tick:
        names = [name for name in response.channels if "response" in name]
        picture = response.select_channel(names[0]) if len(names) == 1 else response
        wanted = None if len(names) == 1 else names
        crops = nr.extract_crops(picture, sites, options.crop, channels=wanted, progress=tick)
    if not len(crops):
        raise InputError(
            f"No wall has a whole window of {options.crop.window:g} px inside its frame: choose a "
            "smaller --window, or there are no walls."
        )
    with progress.step("training") as tick:
        model = nr.RVAE(options.rvae, device=device)
        model.fit(crops, callback=lambda record: tick(record.epoch, options.rvae.epochs))
    sites = nr.join_latents(sites, model.transform(crops))
    with progress.step("finding units") as tick:
        features = model.invariants(crops)
        units = nr.find_units(sites, options.units, features=features, progress=tick)
    for row in units.summary.itertuples():
        say(f"unit {row.unit}: {row.name}, {row.count} sites")
    return nr.join_latents(sites, units.table), model, units
