"""The command line, over the public API."""

from napari_rvae.cli.command import main

__all__ = ["main"]
