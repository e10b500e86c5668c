"""``python -m napari_rvae.cli``: the command line where its script is not installed."""

import sys

from napari_rvae.cli.command import main

sys.exit(main())
