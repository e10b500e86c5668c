"""The public names, by the module that each comes from."""

from .analysis.baselines import CropGMM, CropPCA, InvariantPCA
from .analysis.cards import UnitCard, unit_cards
from .analysis.descriptors import describe_sites
from .analysis.explain import (
    SiteViews,
    Traversal,
    line_profiles,
    neighbour_direction,
    outlier_scores,
    traverse,
    view_sites,
)
from .analysis.fragments import Fragments, find_fragments
from .analysis.halves import HalfVerdict, SplitHalf, split_half
from .analysis.kinetics.pathways import find_pathways
from .analysis.kinetics.results import Pathways
from .analysis.landscape import (
    FilmStrip,
    Landscape,
    LatentPath,
    film_strip,
    latent_landscape,
    latent_path,
    observed_passages,
    path_agreement,
)
from .analysis.maps import latent_map
from .analysis.meaning import LatentDirection, LatentMeaning, correlate_latents
from .analysis.order import order_parameters
from .analysis.order_parameters import order_parameters, unit_shares
from .analysis.shares import unit_shares
from .analysis.track_quality import track_quality
from .analysis.tracks import link_sites
from .analysis.units import (
    UnitModel,
    Units,
    apply_units,
    cut_units,
    find_units,
    merge_units,
    rename_unit,
    split_unit,
)
from .analysis.windows import WindowComparison, compare_windows
from .config import (
    CropConfig,
    DetectConfig,
    PathwayConfig,
    RVAEConfig,
    SpeciesConfig,
    TrackConfig,
    UnitConfig,
)
from .crops import Crops, concat_crops, extract_crops
from .detect import (
    classify_atoms,
    detect_atoms,
    estimate_detection_time,
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
    show_units,
    sites_from_layer,
    tracks_layer,
    units_from_layer,
    vectors_layer,
)
from .preprocess import (
    LatticeDistortion,
    analyse_frames,
    destripe,
    lattice_distortion,
    measure_drift,
)
from .runs import Run, load_run, save_run
from .synthetic import Simulation, simulate_graphene, simulate_hopping, simulate_perovskite
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
    "FilmStrip",
    "FitProgress",
    "Fragments",
    "Frames",
    "HalfVerdict",
    "InputError",
    "InvariantPCA",
    "Landscape",
    "LatentDirection",
    "LatentMeaning",
    "LatentPath",
    "LatticeDistortion",
    "ModelChecks",
    "ModelFileError",
    "NapariRvaeError",
    "NoLatticeWarning",
    "NotFittedError",
    "PathwayConfig",
    "Pathways",
    "RVAEConfig",
    "ReadError",
    "Run",
    "Simulation",
    "SiteViews",
    "SpeciesConfig",
    "SplitHalf",
    "TrackConfig",
    "Traversal",
    "UnitCard",
    "UnitConfig",
    "UnitModel",
    "Units",
    "WindowComparison",
    "add_layers",
    "analyse_frames",
    "apply_units",
    "as_frames",
    "check_model",
    "classify_atoms",
    "color_points",
    "compare_windows",
    "concat_crops",
    "concat_sites",
    "correlate_latents",
    "cut_units",
    "decoded_symmetry",
    "describe_sites",
    "destripe",
    "detect_atoms",
    "estimate_detection_time",
    "export_table",
    "extract_crops",
    "film_strip",
    "find_fragments",
    "find_pathways",
    "find_units",
    "fold_angle",
    "frames_from_layer",
    "image_layer",
    "iter_detect_atoms",
    "join_latents",
    "latent_landscape",
    "latent_map",
    "latent_path",
    "lattice_distortion",
    "line_profiles",
    "link_sites",
    "load_run",
    "manifold_layer",
    "map_layer",
    "measure_drift",
    "measured_config",
    "merge_units",
    "neighbour_direction",
    "neighbour_distance",
    "observed_passages",
    "order_parameters",
    "outlier_scores",
    "path_agreement",
    "points_layer",
    "read_frames",
    "region_from_layer",
    "rename_unit",
    "renew_sites",
    "run_layers",
    "sample_grid",
    "save_run",
    "set_scale",
    "show_units",
    "simulate_graphene",
    "simulate_hopping",
    "simulate_perovskite",
    "sites_from_layer",
    "split_crops",
    "split_half",
    "split_unit",
    "suggest_n_latents",
    "track_quality",
    "tracks_layer",
    "traverse",
    "unit_cards",
    "unit_shares",
    "unit_shares",
    "units_from_layer",
    "vectors_layer",
    "view_sites",
]
