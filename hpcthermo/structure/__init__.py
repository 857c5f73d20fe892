"""Structures: layers, twisted and matched bilayers, lateral domains, crystals, interfaces, and files through ASE."""

from hpcthermo.structure.build import layered_stack_snapshot, make_snapshot, structure_from_file
from hpcthermo.structure.coincidence import coincidences, find_coincidence
from hpcthermo.structure.heterobilayer import build_heterobilayer
from hpcthermo.structure.interface import CrystalSide, build_interface
from hpcthermo.structure.lateral import Domain, build_lateral
from hpcthermo.structure.layered_stack import LayerBlock, StackedLayers, build_layered_stack
from hpcthermo.structure.layers import detect_layers
from hpcthermo.structure.moire import moire_repeats
from hpcthermo.structure.twist import Twist, build_twisted_bilayer, find_twist, twists_between

__all__ = [
    "CrystalSide", "Domain", "LayerBlock", "StackedLayers", "Twist", "build_heterobilayer", "build_interface",
    "build_lateral", "build_layered_stack", "build_twisted_bilayer", "coincidences", "detect_layers",
    "find_coincidence", "find_twist", "layered_stack_snapshot", "make_snapshot", "moire_repeats",
    "structure_from_file", "twists_between",
]
