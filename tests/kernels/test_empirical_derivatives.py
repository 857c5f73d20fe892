"""Empirical potentials and an overlay: derivatives of the energy, precisions, instruction sets, ranges of atoms."""

from itertools import pairwise

import numpy as np
import pytest
from differences import largest_force_error, largest_virial_error
from one_rank import OneRank
from sample_structures import bilayer, flakes, mixed_sheet, sheet, silicon, silicon_carbide, silicon_cluster
from sample_triplets import mixed_stillinger_weber, mixed_tersoff_mod

from hpcthermo import Calculator
from hpcthermo.gpu.backend import CpuBackend
from hpcthermo.gpu.compile import instruction_sets
from hpcthermo.neighbors import pack_positions
from hpcthermo.potentials.base import TOTAL_VIRIAL_ROWS, ForceArrays, settle_forces
from hpcthermo.potentials.load import load_potential

EVERYWHERE_LJ = {"name": "lj_gr_hbn", "between_layers_only": False, "cutoff_A": 7.0}
CASES = {
    "silicon 1989": ("tersoff_si", silicon),
    "silicon with lambda3": ("tersoff_si_1988", silicon),
    "dense silicon": ("tersoff_si_1988", lambda: silicon(a=4.6)),
    "modified silicon": ("tersoff_mod_si", lambda: silicon(a=5.0)),
    "modified, mixed": (mixed_tersoff_mod(), silicon_carbide),
    "Stillinger-Weber": ("sw_si", silicon),
    "Stillinger-Weber, mixed": (mixed_stillinger_weber(), silicon_carbide),
    "graphene": ("tersoff_graphene", sheet),
    "boron nitride": ("tersoff_bnc", lambda: sheet("BN", 2.5)),
    "mixed": ("tersoff_bnc", lambda: mixed_sheet(3)),
    "cluster": ("tersoff_si", silicon_cluster),
    "interlayer": ("lj_gr_hbn", bilayer),
    "overlay": (["tersoff_bnc", "lj_gr_hbn"], bilayer),
    "registry": ("ilp_gr_hbn", bilayer),
    "flakes": (["tersoff_bnc", "ilp_gr_hbn"], flakes),
}


@pytest.mark.parametrize("case", CASES)
def test_forces_are_derivatives_of_the_energy(case):
    potential, build = CASES[case]
    atoms = build()
    atoms.calc = Calculator(potential)
    chosen = np.random.default_rng(2).choice(len(atoms), 3, replace=False)
    assert largest_force_error(atoms, chosen) < 1e-6


@pytest.mark.parametrize("case", [c for c in CASES if c != "cluster"])
def test_virials_are_strain_derivatives_of_the_energy(case):
    potential, build = CASES[case]
    atoms = build()
    atoms.calc = Calculator(potential)
    # with a truncated potential the difference must not span pairs that cross the cutoff
    step = 1e-7 if case in ("interlayer", "overlay") else 1e-4
    assert largest_virial_error(atoms, step) < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_per_atom_virials_add_up_to_the_virial_of_the_force_rows(case):
    potential, build = CASES[case]
    atoms = build()
    r = _one_rank(potential, atoms)
    rows = r.system.n_total + 1
    output = ForceArrays(np.zeros(r.system.n_owned), np.zeros((rows, 4)), np.zeros((rows, 12)),
                         np.zeros((TOTAL_VIRIAL_ROWS, 9)))
    r.bound.compute(r.system, r.packed(), 0, r.system.n_owned, output)
    settle_forces(output, r.system.n_total, r.backend)
    total = output.virials.sum(axis=0).reshape(3, 4)[:, :3].T
    from_rows = r.system.positions.T @ output.forces[:-1, :3] + output.total_virial.sum(axis=0).reshape(3, 3)
    assert np.allclose(from_rows, total, atol=1e-9)
    assert np.allclose(output.forces[:-1].sum(axis=0), 0.0, atol=1e-9)


def test_neighbour_centred_virial_of_a_trimer_by_hand():
    """W_j = -sum_i r_ij (x) dU_i/dr_ij, with dU_i/dr_ij from differences of the site energy of i alone."""
    atoms = silicon_cluster()[:3]
    atoms.calc = Calculator("tersoff_si")
    atoms.get_forces()
    expected = np.zeros((3, 3, 3))
    for j in range(3):
        for axis in range(3):
            slope = _site_slopes(atoms, j, axis)
            for i in range(3):
                if i != j:  # U_i depends on r_j through r_ij only
                    expected[j, :, axis] -= (atoms.positions[j] - atoms.positions[i]) * slope[i]
    assert np.abs(atoms.calc.results["virials"] - expected).max() < 1e-7


def _site_slopes(atoms, j, axis, step=1e-4):
    energies = []
    for shift in (-step, step):
        moved = atoms.copy()
        moved.calc = Calculator("tersoff_si")
        moved.positions[j, axis] += shift
        moved.get_potential_energy()
        energies.append(moved.calc.results["energies"])
    return (energies[1] - energies[0]) / (2 * step)


@pytest.mark.parametrize("instruction_set", instruction_sets())
@pytest.mark.parametrize("case", ["dense silicon", "mixed", "overlay", "modified silicon", "modified, mixed",
                                  "Stillinger-Weber", "Stillinger-Weber, mixed", "registry", "flakes"])
def test_instruction_sets_and_precisions_agree(case, instruction_set):
    available = list(instruction_sets())
    if available.index(instruction_set) < available.index(CpuBackend("double").instruction_set):
        pytest.skip(f"this processor has no {instruction_set}")
    potential, build = CASES[case]
    atoms = build()
    results = {}
    for precision, used in (("double", None), ("double", instruction_set), ("mixed", instruction_set)):
        results[precision, used] = _one_rank(potential, atoms, precision=precision, instruction_set=used).run()
    energies, forces, virials = results["double", None]
    same, mixed = results["double", instruction_set], results["mixed", instruction_set]
    assert np.abs(same[1] - forces).max() < 1e-10
    assert np.abs(same[2] - virials).max() < 1e-10
    assert np.abs(mixed[1] - forces).max() < 1e-4 + 3e-6 * np.abs(forces).max()
    assert np.abs(mixed[2] - virials).max() < 1e-4 + 3e-6 * np.abs(virials).max()
    assert np.abs(mixed[0] - energies).max() < 1e-4


@pytest.mark.parametrize("case", ["mixed", "overlay", "registry"])
def test_ranges_of_atoms_add_up(case):
    """Interior and boundary atoms are computed in separate calls; tiles need not line up with them."""
    potential, build = CASES[case]
    atoms = build().repeat((4, 4, 1))
    r = _one_rank(potential, atoms)
    packed = pack_positions(r.system, r.backend, r.bound.cutoff + r.skin)
    n = r.system.n_owned
    outputs = []
    for cuts in ([0, n], [0, 1, 77, n // 2, n // 2, n - 3, n]):
        output = ForceArrays(np.zeros(n), np.zeros((r.system.n_total + 1, 4)), np.zeros((r.system.n_total + 1, 12)))
        for begin, end in pairwise(cuts):
            r.bound.compute(r.system, packed, begin, end, output)
        outputs.append(output)
    for name in ("energies", "forces", "virials"):
        assert np.abs(getattr(outputs[0], name) - getattr(outputs[1], name)).max() < 1e-11


def test_pairs_within_a_layer_are_left_out_and_layers_are_required():
    atoms = bilayer()
    between, everywhere = Calculator("lj_gr_hbn"), Calculator(EVERYWHERE_LJ)
    single = atoms[atoms.arrays["layer"] == 0]
    assert between.get_potential_energy(single) == 0.0
    assert everywhere.get_potential_energy(single) > 1.0
    del atoms.arrays["layer"]
    with pytest.raises(Exception, match="needs the layer of every atom"):
        between.get_potential_energy(atoms)


def _one_rank(potential, atoms, **options):
    periodic = atoms.cell.rank == 3
    cell = atoms.cell.array if periodic else np.eye(3) * 30.0
    return OneRank(load_potential(potential), atoms.get_chemical_symbols(), atoms.positions, cell,
                   tuple(atoms.pbc) if periodic else (False,) * 3, layers=atoms.arrays.get("layer"), **options)
