"""The standard systems of the benchmarks, as ASE atoms or extended XYZ files.

    python benchmarks/systems.py                                    what there is
    python benchmarks/systems.py gr_hbn_multilayer -o stack.xyz
    python benchmarks/systems.py gr_hbn_multilayer --atoms 100000 -o large.xyz
    python benchmarks/systems.py gr_hbn_column --vacuum 200 -o half_empty.xyz

Every system has a number of atoms of its own; ``--atoms`` asks for another one and gives the nearest that fills a
cell. Layered systems carry an integer array ``layer``, numbered from the bottom.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.build
import ase.io
import numpy as np
from ase import Atoms

from hpcthermo.structure.layered_stack import LayerBlock, StackedLayers, build_layered_stack

PAPER_JOB = Path(__file__).parents[1] / "jobs" / "gr_hbn_itc" / "paper.toml"
#: in-plane lattice constants that both materials share in small cells, and layer spacings, A
NEP_LATTICE_A, NEP_SPACING_A = 2.4829, 3.35
TERSOFF_LATTICE_A, TERSOFF_SPACING_A = 2.4922, 3.35
SILICON_A, DIAMOND_A, ALUMINIUM_A = 5.432, 3.567, 4.05
#: face-centred cubic cell of the alloy; its third shell (4.96 A) straddles the angular cutoff of UNEP
ALLOY_A = 4.05
ALLOY_ELEMENTS = ("Ag", "Al", "Au", "Cr", "Cu", "Mg", "Mo", "Ni", "Pb", "Pd", "Pt", "Ta", "Ti", "V", "W", "Zr")
#: standard deviation of each coordinate about its lattice site, A
DISPLACEMENT_A = 0.03


@dataclass(frozen=True)
class StandardSystem:
    """One entry of the table.

    Attributes
    ----------
    atoms : int
        Number of atoms it has unless another is asked for.
    build : callable
        Number of atoms wanted to `ase.Atoms` with the nearest number that fills a cell.
    about : str
        One line.
    """

    atoms: int
    build: Callable[[int], Atoms]
    about: str


def standard_system(name: str, atoms: int | None = None, vacuum: float = 0.0, displaced: bool = True) -> Atoms:
    """A system by name.

    Parameters
    ----------
    atoms : int, optional
        Number of atoms wanted.
    vacuum : float
        Empty height added above the atoms, A; the cell stays periodic, so the atoms fill its lower part only.
    displaced : bool
        Move each atom off its site at random, as in a warm crystal; without, all sit on their sites.
    """
    if name not in SYSTEMS:
        raise ValueError(f"no system {name!r}; expected one of {', '.join(SYSTEMS)}")
    system = SYSTEMS[name]
    if atoms is not None and atoms < 1:
        raise ValueError(f"--atoms: expected a positive number, got {atoms}")
    built = system.build(system.atoms if atoms is None else atoms)
    if displaced:
        built.positions += np.random.default_rng(0).normal(0.0, DISPLACEMENT_A, built.positions.shape)
    if vacuum:
        built.cell[2, 2] += vacuum
    return built


# ---- layers ---------------------------------------------------------------------------------------


def rectangle(cells: float) -> tuple[int, int]:
    """Counts of rectangular cells (a, sqrt(3) a) along x and y that make a near square of about `cells`."""
    along_y = max(1, round(math.sqrt(cells / math.sqrt(3.0))))
    return max(1, round(cells / along_y)), along_y


def alternating_stack(wanted: int, layers: int, lattice: float, spacing: float) -> Atoms:
    """Graphene below and h-BN above, half the layers each, one lattice constant, AB."""
    repeat = rectangle(wanted / (4 * layers))
    edges = (repeat[0] * lattice, repeat[1] * math.sqrt(3.0) * lattice)
    blocks = [LayerBlock(material, layers // 2, repeat, "AB") for material in ("graphene", "h-BN")]
    return as_atoms(build_layered_stack(blocks, spacing, 0.0, edges))


def alternating(layers: int, lattice: float, spacing: float) -> Callable[[int], Atoms]:
    return functools.partial(alternating_stack, layers=layers, lattice=lattice, spacing=spacing)


def moire_bilayer(wanted: int) -> Atoms:
    """56 x 56 cells of graphene on 55 x 55 of h-BN, z open; larger by repeating in the plane."""
    blocks = [LayerBlock("h-BN", 1, (55, 55)), LayerBlock("graphene", 1, (56, 56))]
    return repeated(as_atoms(build_layered_stack(blocks, 3.5, 60.0)), wanted)


def paper_stack(wanted: int) -> Atoms:
    """The structure of jobs/gr_hbn_itc/paper.toml; larger by repeating in the plane."""
    table = tomllib.loads(PAPER_JOB.read_text())["structure"]
    blocks = [LayerBlock(**{**block, "repeat": tuple(block["repeat"])}) for block in table["layers"]]
    stack = build_layered_stack(blocks, table["spacing_A"], table["vacuum_A"], table["lattice"])
    return repeated(as_atoms(stack), wanted)


def as_atoms(stack: StackedLayers) -> Atoms:
    atoms = Atoms(stack.symbols.tolist(), positions=stack.positions, cell=stack.cell, pbc=stack.periodic)
    atoms.set_array("layer", stack.layers)
    return atoms


def repeated(atoms: Atoms, wanted: int) -> Atoms:
    """Copies side by side in the plane, about as many atoms as wanted."""
    copies = max(1, round(wanted / len(atoms)))
    along_y = max(1, round(math.sqrt(copies * atoms.cell[0, 0] / atoms.cell[1, 1])))
    return atoms.repeat((max(1, round(copies / along_y)), along_y, 1))


# ---- crystals -------------------------------------------------------------------------------------


def cube(cells: float) -> tuple[int, int, int]:
    """Three counts, as equal as can be, whose product is about `cells`."""
    edge = max(1, round(cells ** (1.0 / 3.0)))
    return edge, edge, max(1, round(cells / edge**2))


def crystal(element: str, structure: str, lattice: float) -> Callable[[int], Atoms]:
    def build(wanted: int) -> Atoms:
        cell = ase.build.bulk(element, structure, a=lattice, cubic=True)
        return cell.repeat(cube(wanted / len(cell)))

    return build


def alloy(wanted: int) -> Atoms:
    """Random face-centred cubic alloy with equal numbers of 16 elements."""
    atoms = ase.build.bulk("Al", "fcc", a=ALLOY_A, cubic=True).repeat(cube(wanted / 4))
    symbols = np.resize(ALLOY_ELEMENTS, len(atoms))
    atoms.symbols[:] = np.random.default_rng(16).permutation(symbols)
    return atoms


SYSTEMS = {
    "gr_hbn_multilayer": StandardSystem(7_680, alternating(8, NEP_LATTICE_A, NEP_SPACING_A),
                                        "8 layers graphene/h-BN, periodic, 245 neighbours in 8 A"),
    "gr_hbn_column": StandardSystem(99_840, alternating(64, NEP_LATTICE_A, NEP_SPACING_A),
                                    "64 layers graphene/h-BN, periodic, longest along z"),
    "gr_hbn_bilayer": StandardSystem(24_644, moire_bilayer, "graphene on h-BN, 56:55 moire cell, z open"),
    "gr_hbn_stack": StandardSystem(307_828, paper_stack, "12 graphene on 13 h-BN layers of jobs/gr_hbn_itc, z open"),
    "silicon": StandardSystem(8_000, crystal("Si", "diamond", SILICON_A), "diamond structure"),
    "silicon_64000": StandardSystem(64_000, crystal("Si", "diamond", SILICON_A), "diamond structure"),
    "diamond": StandardSystem(8_000, crystal("C", "diamond", DIAMOND_A), "carbon"),
    "alloy": StandardSystem(4_000, alloy, "random alloy of the 16 elements of UNEP, face-centred cubic"),
    "aluminium": StandardSystem(4_000, crystal("Al", "fcc", ALUMINIUM_A), "face-centred cubic"),
    "bnc_layers": StandardSystem(15_360, alternating(4, TERSOFF_LATTICE_A, TERSOFF_SPACING_A),
                                 "4 layers graphene/h-BN, periodic, for Tersoff and interlayer pairs"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--atoms", type=int)
    parser.add_argument("--vacuum", type=float, default=0.0, metavar="A")
    parser.add_argument("--on-sites", action="store_true", help="no random displacements")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.name is None:
        print("\n".join(f"{name:18s}{system.atoms:8,d} atoms  {system.about}" for name, system in SYSTEMS.items()))
        return
    if options.output is None:
        parser.error("give -o FILE")
    try:
        atoms = standard_system(options.name, options.atoms, options.vacuum, not options.on_sites)
        ase.io.write(options.output, atoms, format="extxyz")
    except (ValueError, OSError) as error:
        print(f"systems: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{options.output}: {len(atoms):,} atoms, {' x '.join(f'{edge:.1f}' for edge in atoms.cell.lengths())} A")


if __name__ == "__main__":
    main()
