"""The commands, their help, and what becomes of errors."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

import napari_rvae
from napari_rvae.cli.movies import (
    add_channel,
    add_movie,
    read_again,
    read_if_given,
    read_movie,
)
from napari_rvae.cli.options import (
    add_option_flags,
    explain_leftovers,
    normalise_flags,
    read_options,
)
from napari_rvae.cli.progress import Progress, say, warn
from napari_rvae.cli.units import add_units_command, tell_units
from napari_rvae.cli.walls import add_walls_command, find_walls
from napari_rvae.config import WallConfig
from napari_rvae.errors import InputError, NapariRvaeError, NapariRvaeWarning

if TYPE_CHECKING:
    from napari_rvae.cli.pipeline import Result
    from napari_rvae.cli.viewer import Scene

__all__ = ["main"]

_ABOUT = """\
Structural units in atomically resolved movies, without labels: find the atoms, train a
rotationally invariant variational autoencoder (rVAE) on crops around them, and see angle,
latent variables and units of every atom.

  napari-rvae demo            the whole way on a simulated movie, scored against its truth
  napari-rvae run MOVIE       the whole way on your own movie or image
  napari-rvae view RUN        an earlier result in napari
  napari-rvae check RUN MOVIE what the model of an earlier result has learned, and what not
  napari-rvae units RUN       what the units of an earlier result are, in words and pictures
  napari-rvae pathways RUN    which unit turned into which in an earlier result, and how fast
  napari-rvae walls SCAN      the domain walls in scans of a piezoresponse force microscope
"""

_STEPS = """\
The steps, each with its options below:
  detect   find the atoms and fit their positions; --detect.classify names sublattices
           and species and adds vacancies
  tracks   link the sites of successive frames
  crop     cut a window around every atom, in neighbour distances, so that the
           pixel size does not matter
  rvae     train the model on the crops: an angle and a few latents for each
  units    group the sites into structural units
  pathways follow the units through the frames: events, rates and ways
"""

_FILES = """\
With --out, DIR holds afterwards:
  run.json      names the tables, the model and every option
  report.png    one page of pictures
  units.png     a card of each structural unit
  pathways.png  the network of states, events, rates, landscape and film strips
  metrics.json  the figures of the model's self-checks{metrics}
Without --out nothing is written. --view shows the result in napari, written or not.

"""

_EXIT_CODES = """\
exit codes: 0 done, 1 the input, an option's file or the screen is not usable, 2 wrong usage,
  130 Ctrl-C
"""

_RUN = """\
Find the atoms of a movie or image, train, and find the structural units.

MOVIE is a file (tif, dm3, dm4, emd, mrc, HDF5, zarr, npy, npz, png) or a folder of images of one
frame each.

"""

_RUN_EXAMPLES = """\
examples:
  napari-rvae run movie.tif
  napari-rvae run movie.tif --out results --rvae.epochs 60 --crop.window_nd 4
  napari-rvae run scan.h5 --channel HAADF --detect.contrast dark --out results --overwrite
  napari-rvae run movie.tif --config options.json
  napari-rvae run graphene.png --neighbour-distance-nm 0.142 --out results
  napari-rvae run movie.tif --out results --view
options.json: {"detect": {"min_snr": 4}, "rvae": {"epochs": 60}}; flags win over the file

"""

_DEMO = """\
Simulate a movie of graphene with silicon, vacancies, two grains and a growing hole, go the
whole way, and print how right the result is.

"""

_DEMO_EXAMPLES = """\
examples:
  napari-rvae demo
  napari-rvae demo --out results
  napari-rvae demo --seed 3 --frames 5 --rvae.epochs 10
  napari-rvae demo --view

"""

_VIEW = """\
Show an earlier result in napari: the sites with their latents and units, their directions, and
the widgets to go on from there.

RUN is the folder that --out named, or its run.json. MOVIE is what the run was made from: it lies
under the sites where it is given.
"""

_VIEW_EXAMPLES = """\
examples:
  napari-rvae view results
  napari-rvae view results movie.tif
  napari-rvae view results scan.h5 --channel HAADF

"""

_CHECK = """\
Check the model of an earlier result: whether the angle was learnt and stays out of the latents,
which latents are in use, and whether they follow brightness or position.

RUN is the folder that --out named, or its run.json. MOVIE is what the run was made from.
"""

_CHECK_EXAMPLES = """\
examples:
  napari-rvae check results movie.tif
  napari-rvae check results movie.tif --other results-of-another-seed
  napari-rvae check results movie.tif --split-half

"""

_PATHWAYS = """\
Find the events and rates of an earlier result anew: which unit turned into which, where and when,
how fast and by which way. They are printed, and replace those in the run.

RUN is the folder that --out named, or its run.json. MOVIE is what the run was made from: its times
and doses give rates per second and per dose.

"""

_PATHWAYS_EXAMPLES = """\
examples:
  napari-rvae pathways results
  napari-rvae pathways results movie.tif --pathways.follow atoms --pathways.split sublattice

"""


class _Parser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to look, and stop."""
        warn(f"{message} (see {self.prog} --help)")
        sys.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``napari-rvae``.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process when left out.

    Returns
    -------
    int
        Exit code: 0 done, 1 an error, 2 wrong usage, 130 stopped by Ctrl-C.

    Examples
    --------
    >>> from napari_rvae.cli import main
    >>> main(["--version"])
    napari-rvae 0.1.0
    0
    """
    # waiting threads that spin take the time of those that work; read when torch is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # joblib, below scikit-learn, prints a traceback where it cannot count physical cores
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(os.cpu_count() or 1))
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parse(given)
    except SystemExit as stop:  # help, version, wrong usage
        return int(stop.code or 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NapariRvaeWarning)
        # joblib, below scikit-learn, on systems that do not tell; nothing here depends on it
        warnings.filterwarnings("ignore", "Could not find the number of physical cores")
        code = _guarded(arguments.command, arguments)
    if code == 0:  # an error is told alone
        for text in dict.fromkeys(str(warning.message) for warning in caught):
            warn(f"warning: {text}")
        if arguments.scene is not None:
            code = _guarded(_show, arguments)
    return code


def _parse(given: list[str]) -> argparse.Namespace:
    parser, flags = _parser(advanced="--help-all" in given), normalise_flags(given)
    arguments, leftovers = parser.parse_known_args(flags)
    if leftovers:
        own = _Parser(prog=f"{parser.prog} {arguments.name}")  # its help lists what there is
        own.error(explain_leftovers(flags, leftovers))
    return arguments


def _guarded(command: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run a command; turn what it raises into one line and an exit code."""
    try:
        command(arguments)
    except KeyboardInterrupt:
        warn("stopped; no file is half written.")
        return 130
    except _UsageError as error:
        warn(f"{error} (see napari-rvae {arguments.name} --help)")
        return 2
    except NapariRvaeError as error:
        warn(str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence
        if arguments.debug:
            traceback.print_exc()
        elif isinstance(error, OSError):
            warn(f"{error.filename or 'a file'}: {error.strerror or error}.")
        else:
            kind = type(error).__name__
            warn(f"unexpected {kind}: {error} (--debug shows where; please report it)")
        return 1
    return 0


class _UsageError(Exception):
    """A flag's value is not allowed."""


def _parser(*, advanced: bool) -> argparse.ArgumentParser:
    """Make the parser of all commands; `advanced` adds the options that are rarely needed."""
    parser = _Parser(
        prog="napari-rvae",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"napari-rvae {napari_rvae.__version__}"
    )
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_Parser
    )
    _add_run(commands, advanced=advanced)
    _add_demo(commands, advanced=advanced)
    _add_view(commands)
    _add_check(commands)
    _add_units(commands)
    _add_pathways(commands, advanced=advanced)
    _add_walls(commands, advanced=advanced)
    parser.set_defaults(scene=None)
    return parser


def _add_run(commands: Any, *, advanced: bool) -> None:
    run = commands.add_parser(
        "run",
        help="analyse a movie or image",
        usage="napari-rvae run MOVIE [--out DIR] [options]",
        description=_RUN + _STEPS,
        epilog=_RUN_EXAMPLES + _FILES.format(metrics="") + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument("movie", metavar="MOVIE", help="file or folder")
    run.add_argument(
        "--neighbour-distance-nm",
        metavar="X",
        type=float,
        help="known distance of nearest neighbours in nm (graphene: 0.142): sets the scale",
    )
    add_channel(run)
    run.set_defaults(command=_run, name="run")
    _add_common(run, advanced=advanced)


def _add_demo(commands: Any, *, advanced: bool) -> None:
    demo = commands.add_parser(
        "demo",
        help="simulate a movie and analyse it",
        usage="napari-rvae demo [--out DIR] [--seed N] [options]",
        description=_DEMO + _STEPS,
        epilog=_DEMO_EXAMPLES
        + _FILES.format(metrics=", and how right the result is")
        + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    demo.add_argument("--seed", metavar="N", type=int, default=0, help="of the movie (default: 0)")
    demo.add_argument("--frames", metavar="N", type=int, default=20, help="number (default: 20)")
    demo.add_argument(
        "--size", metavar="PX", type=int, default=512, help="side of a frame (default: 512)"
    )
    demo.set_defaults(command=_demo, name="demo")
    _add_common(demo, advanced=advanced)


def _add_units(commands: Any) -> None:
    units = add_units_command(commands, _EXIT_CODES)
    add_movie(units)
    _add_debug(units)
    units.set_defaults(command=_units, name="units")


def _add_walls(commands: Any, *, advanced: bool) -> None:
    walls = add_walls_command(commands, _EXIT_CODES)
    _add_device(walls)
    _add_debug(walls)
    walls.add_argument("--help-all", action="help", help="show the rarely needed options too")
    steps = ("walls", "crop", "rvae", "units")
    # the side of a window is --window: walls have no neighbour distance
    sides = ("crop.window", "crop.window_nd")
    add_option_flags(walls, advanced=advanced, only=steps, without=sides)
    walls.set_defaults(command=_walls, name="walls", config=None, view=False)


def _add_view(commands: Any) -> None:
    view = commands.add_parser(
        "view",
        help="show an earlier result in napari",
        usage="napari-rvae view RUN [MOVIE ...] [options]",
        description=_VIEW,
        epilog=_VIEW_EXAMPLES + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    view.add_argument("run", metavar="RUN", type=Path, help="folder of the run, or its run.json")
    add_movie(view)
    _add_debug(view)
    view.set_defaults(command=_view, name="view")


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="check the model of an earlier result",
        usage="napari-rvae check RUN MOVIE [MOVIE ...] [--other RUN] [options]",
        description=_CHECK,
        epilog=_CHECK_EXAMPLES + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    check.add_argument("run", metavar="RUN", type=Path, help="folder of the run, or its run.json")
    add_movie(check, needed=True)
    check.add_argument(
        "--other", metavar="RUN", type=Path, help="run of another seed: do both models agree?"
    )
    _add_split_half(check)
    _add_device(check)
    _add_debug(check)
    check.set_defaults(command=_check, name="check")


def _add_pathways(commands: Any, *, advanced: bool) -> None:
    pathways = commands.add_parser(
        "pathways",
        help="events and rates of an earlier result",
        usage="napari-rvae pathways RUN [MOVIE ...] [options]",
        description=_PATHWAYS,
        epilog=_PATHWAYS_EXAMPLES + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    pathways.add_argument(
        "run", metavar="RUN", type=Path, help="folder of the run, or its run.json"
    )
    add_movie(pathways)
    _add_debug(pathways)
    pathways.add_argument("--help-all", action="help", help="show the rarely needed options too")
    add_option_flags(pathways, advanced=advanced, only=("pathways",))
    pathways.set_defaults(command=_pathways, name="pathways", config=None)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", metavar="D", default="auto", help="auto, cpu, cuda, mps (default: auto)"
    )


def _add_split_half(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split-half",
        action="store_true",
        help="train on two halves of the data, too: do units, angles and latents come back?",
    )


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _add_common(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder to write the run to")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    parser.add_argument("--config", metavar="FILE", type=Path, help="JSON file of options")
    _add_device(parser)
    parser.add_argument("--view", action="store_true", help="show the result in napari")
    _add_split_half(parser)
    _add_debug(parser)
    parser.add_argument("--help-all", action="help", help="show the rarely needed options too")
    add_option_flags(parser, advanced=advanced)


def _options(arguments: argparse.Namespace) -> Any:
    """Put the options together; what is wrong with a flag is wrong usage."""
    read_options({}, arguments.config)  # the file's own mistakes first
    try:
        return read_options(vars(arguments), arguments.config)
    except InputError as error:
        raise _UsageError(str(error)) from None


def _run(arguments: argparse.Namespace) -> None:
    options = _options(arguments)
    _check_target(arguments)
    from napari_rvae.cli.pipeline import analyse_movie, halve_result, print_result, write_result

    frames = read_movie(arguments.movie, arguments.channel)
    progress = Progress()
    result = analyse_movie(
        frames,
        options,
        progress,
        device=arguments.device,
        neighbour_distance_nm=arguments.neighbour_distance_nm,
    )
    if arguments.split_half:
        result = halve_result(result, progress, device=arguments.device)
    if arguments.out is not None:
        write_result(arguments.out, result, progress, overwrite=arguments.overwrite)
    print_result(result)
    if arguments.out is None:
        say("nothing was written; --out DIR writes the tables, the model and a report")
    if arguments.view:
        arguments.scene = _scene_of(result, arguments.out)


def _demo(arguments: argparse.Namespace) -> None:
    start = perf_counter()
    options = _options(arguments)
    _check_target(arguments)
    from napari_rvae import simulate_graphene
    from napari_rvae.cli.demo import print_metrics, truth_metrics
    from napari_rvae.cli.pipeline import analyse_movie, halve_result, print_result, write_result

    progress = Progress()
    with progress.step("simulating"):
        simulation = simulate_graphene(
            n_frames=arguments.frames, size=arguments.size, seed=arguments.seed
        )
    result = analyse_movie(simulation.frames, options, progress, device=arguments.device)
    if arguments.split_half:
        result = halve_result(result, progress, device=arguments.device)
    with progress.step("scoring"):
        metrics = truth_metrics(simulation, result.sites)
    metrics["seconds"] = perf_counter() - start
    result = dataclasses.replace(result, seconds=metrics["seconds"])
    print_result(result)
    print_metrics(metrics)
    if arguments.out is not None:
        write_result(
            arguments.out, result, progress, overwrite=arguments.overwrite, metrics=metrics
        )
    if arguments.view:
        arguments.scene = _scene_of(result, arguments.out)


def _view(arguments: argparse.Namespace) -> None:
    from napari_rvae import load_run
    from napari_rvae.cli.viewer import Scene, check_viewer

    run = load_run(arguments.run)
    check_viewer()
    arguments.scene = Scene.of(run, read_if_given(run, arguments.movie, arguments.channel))


def _check(arguments: argparse.Namespace) -> None:
    from napari_rvae import load_run
    from napari_rvae.cli.pipeline import check_run, halve_run, print_checks, print_halves

    run = load_run(arguments.run)
    other = None if arguments.other is None else load_run(arguments.other)
    frames = read_again(run, arguments.movie, arguments.channel)
    progress = Progress()
    print_checks(check_run(run, frames, other, progress, device=arguments.device))
    if arguments.split_half:
        print_halves(halve_run(run, frames, progress, device=arguments.device))


def _units(arguments: argparse.Namespace) -> None:
    from napari_rvae import load_run

    run = load_run(arguments.run)
    tell_units(run, arguments, read_if_given(run, arguments.movie, arguments.channel))


def _pathways(arguments: argparse.Namespace) -> None:
    from napari_rvae import load_run
    from napari_rvae.cli.pipeline import print_pathways, renew_pathways

    options = _options(arguments).pathways
    run = load_run(arguments.run)
    found = renew_pathways(
        run, read_if_given(run, arguments.movie, arguments.channel), options, Progress()
    )
    print_pathways(found, whole=True)


def _walls(arguments: argparse.Namespace) -> None:
    options = _options(arguments)
    given = {
        name.partition(".")[2]: value
        for name, value in vars(arguments).items()
        if name.startswith("walls.")
    }
    trained = [name for name in vars(arguments) if name.startswith(("crop.", "rvae.", "units."))]
    if trained and arguments.window is None:
        raise _UsageError(f"--{trained[0]} needs --window: without it nothing is trained")
    try:
        config = WallConfig.from_dict(given)
    except InputError as error:
        raise _UsageError(str(error)) from None
    _check_target(arguments)
    find_walls(arguments, config, options)


def _scene_of(result: Result, folder: Path | None) -> Scene:
    from napari_rvae import load_run
    from napari_rvae.cli.pipeline import as_run
    from napari_rvae.cli.viewer import Scene

    run = as_run(result) if folder is None else load_run(folder)
    return Scene.of(run, result.frames, result.model)


def _show(arguments: argparse.Namespace) -> None:
    from napari_rvae.cli.viewer import show_scene

    show_scene(arguments.scene)


def _check_target(arguments: argparse.Namespace) -> None:
    """Say now, not after a minute's work, that a folder or a viewer is not to be had."""
    folder = arguments.out
    if folder is not None:
        if (folder / "run.json").exists() and not arguments.overwrite:
            raise InputError(
                f"{folder} already holds a run: add --overwrite, or choose another folder."
            )
        from napari_rvae.io import check_writable
        from napari_rvae.runs import check_run_folder

        check_run_folder(folder, overwrite=arguments.overwrite)
        check_writable(folder)
    if arguments.view:
        from napari_rvae.cli.viewer import check_viewer

        check_viewer()
