"""The public names, by the module that each comes from."""

from .analysis.baselines import CropGMM, CropPCA, InvariantPCA
from .analysis.explain import (
    SiteViews,
    Traversal,
    line_profiles,
    neighbour_direction,
    outlier_scores,
    traverse,
    view_sites,
)
from .analysis.maps import latent_map
from .analysis.tracks import link_sites
from .analysis.units import Units, find_units
from .config import (
    CropConfig,
    DetectConfig,
    RVAEConfig,
    SpeciesConfig,
    TrackConfig,
    UnitConfig,
)
from .crops import Crops, concat_crops, extract_crops
from .detect import (
    classify_atoms,
    detect_atoms,
    iter_detect_atoms,
    measured_config,
    sample_grid,
)
from .errors import (
    Cancelled,
    InputError,
    ModelFileError,
    NapariRvaeError,
    NoLatticeWarning,
    NotFittedError,
    ReadError,
)
from .frames import Frames, as_frames, set_scale
from .io import export_table, read_frames
from .layers import (
    add_layers,
    color_points,
    frames_from_layer,
    image_layer,
    manifold_layer,
    map_layer,
    points_layer,
    region_from_layer,
    renew_sites,
    run_layers,
    sites_from_layer,
    tracks_layer,
    vectors_layer,
)
from .preprocess import LatticeDistortion, analyse_frames, destripe, lattice_distortion
from .runs import Run, load_run, save_run
from .synthetic import Simulation, simulate_graphene, simulate_perovskite
from .tables import concat_sites, fold_angle, join_latents, neighbour_distance
from .vae import (
    RVAE,
    Check,
    EpochRecord,
    FitProgress,
    ModelChecks,
    check_model,
    decoded_symmetry,
    split_crops,
    suggest_n_latents,
)

__version__: str

__all__ = [
    "RVAE",
    "Cancelled",
    "Check",
    "CropConfig",
    "CropGMM",
    "CropPCA",
    "Crops",
    "DetectConfig",
    "EpochRecord",
    "FitProgress",
    "Frames",
    "InputError",
    "InvariantPCA",
    "LatticeDistortion",
    "ModelChecks",
    "ModelFileError",
    "NapariRvaeError",
    "NoLatticeWarning",
    "NotFittedError",
    "RVAEConfig",
    "ReadError",
    "Run",
    "Simulation",
    "SiteViews",
    "SpeciesConfig",
    "TrackConfig",
    "Traversal",
    "UnitConfig",
    "Units",
    "add_layers",
    "analyse_frames",
    "as_frames",
    "check_model",
    "classify_atoms",
    "color_points",
    "concat_crops",
    "concat_sites",
    "decoded_symmetry",
    "destripe",
    "detect_atoms",
    "export_table",
    "extract_crops",
    "find_units",
    "fold_angle",
    "frames_from_layer",
    "image_layer",
    "iter_detect_atoms",
    "join_latents",
    "latent_map",
    "lattice_distortion",
    "line_profiles",
    "link_sites",
    "load_run",
    "manifold_layer",
    "map_layer",
    "measured_config",
    "neighbour_direction",
    "neighbour_distance",
    "outlier_scores",
    "points_layer",
    "read_frames",
    "region_from_layer",
    "renew_sites",
    "run_layers",
    "sample_grid",
    "save_run",
    "set_scale",
    "simulate_graphene",
    "simulate_perovskite",
    "sites_from_layer",
    "split_crops",
    "suggest_n_latents",
    "tracks_layer",
    "traverse",
    "vectors_layer",
    "view_sites",
]
