"""The user's preferences for this plugin, from napari's preferences dialog."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Preferences", "read_preferences"]

#: Name of the plugin, of the group of its settings.
PLUGIN, GROUP = "napari-rvae", "defaults"


@dataclass(frozen=True)
class Preferences:
    """Values that the widgets start with.

    Attributes
    ----------
    device
        Where models are trained.
    threads
        Most CPU threads to compute with; 0 leaves one processor free for the viewer.
    window
        Side of a crop in neighbour distances.
    """

    device: str = "auto"
    threads: int = 0
    window: float = 3.5

    @property
    def n_threads(self) -> int:
        """Number of threads to compute with, 1 or more."""
        return self.threads or max(1, (os.cpu_count() or 1) - 1)


def read_preferences() -> Preferences:
    """Read the preferences; the defaults where napari knows of none."""
    from napari.settings import get_plugin_settings

    try:
        group = getattr(get_plugin_settings(PLUGIN), GROUP)
    except (KeyError, AttributeError):  # the plugin is used without being installed
        return Preferences()
    plain = Preferences()
    return Preferences(
        device=str(getattr(group, "device", plain.device)),
        threads=int(getattr(group, "threads", plain.threads)),
        window=float(getattr(group, "window", plain.window)),
    )
