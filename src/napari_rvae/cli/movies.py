"""The movie of a command, and that of an earlier result read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_rvae.cli.progress import say
from napari_rvae.cli.walls import read_response
from napari_rvae.config import WallConfig

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from napari_rvae import Frames, Run

__all__ = ["add_channel", "add_movie", "read_again", "read_if_given", "read_movie"]


def add_movie(parser: argparse.ArgumentParser, *, needed: bool = False) -> None:
    """Add the movie of an earlier result, and its channel."""
    parser.add_argument(
        "movie",
        metavar="MOVIE",
        nargs="+" if needed else "*",
        help="file or folder that the run was made from; the scans, in their order, of walls",
    )
    add_channel(parser)


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Add the channel of a movie."""
    parser.add_argument("--channel", metavar="C", help="name or number of the channel to take")


def read_movie(path: str | Sequence[str], channel: str | None) -> Frames:
    """Read a movie, of one channel."""
    from napari_rvae import read_frames

    chosen: int | str | None = channel
    if channel is not None and channel.lstrip("-").isdigit():
        chosen = int(channel)
    frames = read_frames(path, channel=chosen)
    if frames.n_channels > 1:
        names = ", ".join(frames.channels)
        say(f"taking the channel {frames.channels[0]!r} of {names}; --channel takes another")
        frames = frames.select_channel(0)
    return frames


def read_again(run: Run, paths: Sequence[str], channel: str | None) -> Frames:
    """Read what a run was made from: a movie, or the scans of walls as their response."""
    config = run.configs.get("WallConfig")
    if isinstance(config, WallConfig):
        return read_response(list(paths), config, channel)
    return read_movie(paths[0] if len(paths) == 1 else paths, channel)


def read_if_given(run: Run, paths: Sequence[str], channel: str | None) -> Frames | None:
    """The same, None where nothing is given."""
    return read_again(run, paths, channel) if paths else None
