"""Movies with a known truth: graphene with silicon, a polarised perovskite, domain walls."""

from napari_rvae.synthetic.domains import DomainConfig
from napari_rvae.synthetic.graphene import GrapheneConfig, simulate_graphene
from napari_rvae.synthetic.hopping import HoppingConfig, simulate_hopping
from napari_rvae.synthetic.perovskite import PerovskiteConfig, simulate_perovskite
from napari_rvae.synthetic.scan import ScanConfig
from napari_rvae.synthetic.simulation import Simulation
from napari_rvae.synthetic.walls import simulate_walls

__all__ = [
    "DomainConfig",
    "GrapheneConfig",
    "HoppingConfig",
    "PerovskiteConfig",
    "ScanConfig",
    "Simulation",
    "simulate_graphene",
    "simulate_hopping",
    "simulate_perovskite",
    "simulate_walls",
]
