"""Structures: layered stacks from four-atom cells, and files read through ASE behind limits."""

from hpcthermo.structure.build import layered_stack_snapshot, make_snapshot, structure_from_file
from hpcthermo.structure.layered_stack import LayerBlock, StackedLayers, build_layered_stack
from hpcthermo.structure.layers import detect_layers

__all__ = [
    "LayerBlock", "StackedLayers", "build_layered_stack", "detect_layers", "layered_stack_snapshot", "make_snapshot",
    "structure_from_file",
]
