"""The landscape of decoded pictures: where sites are dense, ways between units, film strips."""

from napari_rvae.analysis.landscape.density import Landscape, latent_landscape
from napari_rvae.analysis.landscape.film import FilmStrip, film_strip
from napari_rvae.analysis.landscape.passages import observed_passages
from napari_rvae.analysis.landscape.paths import LatentPath, latent_path, path_agreement

__all__ = [
    "FilmStrip",
    "Landscape",
    "LatentPath",
    "film_strip",
    "latent_landscape",
    "latent_path",
    "observed_passages",
    "path_agreement",
]
