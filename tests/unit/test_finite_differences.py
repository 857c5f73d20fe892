"""Finite differences against phono3py with the same potentials, and the conditions that projection must bring."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, graphene
from phono3py_differences import phono3py_responses

from hpcthermo.errors import InputError
from hpcthermo.phonons.crystal import Crystal, Supercell
from hpcthermo.phonons.displacements import (
    DisplacementDataset,
    second_order_displacements,
    shortest_distances,
    third_order_displacements,
)
from hpcthermo.phonons.finite_differences import second_force_constants, third_force_constants
from hpcthermo.phonons.projection import largest_sum, projected
from hpcthermo.phonons.supercells import SpaceGroup, build_supercell, phonopy_atoms

MODELS = Path(__file__).parents[2].parent / "shared" / "data" / "nep"


@pytest.fixture(scope="session")
def oracle():
    """Silicon (64 atoms) and a sheet of h-BN (18 atoms) by phono3py: name -> (response, supercell, space group)."""
    if not MODELS.exists():
        pytest.skip("no models in ../shared beside this checkout")
    silicon = bulk("Si", "diamond", a=5.434, cubic=True)
    sheet = graphene("BN", a=2.5066104275163403, size=(1, 1, 1), vacuum=10)
    sheet.cell[2] = [0, 0, 20.0]
    sheet.center(axis=2)
    sheet.wrap()
    primitive = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    cases = {"si": (silicon, np.diag([2, 2, 2]), primitive, "Si_2022_NEP4_4body.txt", [True] * 3),
             "bn": (sheet, np.diag([3, 3, 1]), np.eye(3), "gr_hbn_liang2025.nep.txt", [True, True, False])}
    requests = [{"cell": atoms.cell.array, "positions": atoms.get_scaled_positions(),
                 "symbols": atoms.get_chemical_symbols(), "matrix": matrix, "primitive": primitive,
                 "potential": str(MODELS / model), "periodic": periodic}
                for atoms, matrix, primitive, model, periodic in cases.values()]
    found = {}
    for name, case, r in zip(cases, cases.values(), phono3py_responses(requests), strict=True):
        crystal = Crystal(r["primitive_cell"], r["primitive_positions"], tuple(r["primitive_symbols"]), r["masses"],
                          tuple(case[4]))
        supercell = Supercell.match(crystal, r["cell"], r["positions"], r["symbols"], r["origin_of"])
        found[name] = r, supercell, SpaceGroup.of(supercell)
    return found


@pytest.mark.parametrize("name", ["si", "bn"])
def test_displacements_and_force_constants_are_those_of_phono3py(oracle, name):
    response, supercell, group = oracle[name]
    dataset = third_order_displacements(supercell, group)
    assert dataset.dense(supercell.n_atoms) == pytest.approx(response["displacements"], abs=1e-12)
    dataset = dataset.with_forces(response["forces"])
    second = second_force_constants(supercell, group, dataset)
    third = third_force_constants(supercell, group, dataset)
    assert np.abs(second - response["fc2"]).max() < 1e-10 * np.abs(second).max()
    assert np.abs(third - response["fc3"]).max() < 1e-10 * np.abs(third).max()


@pytest.mark.parametrize("name", ["si", "bn"])
def test_projection_brings_sum_rules_and_is_that_of_symfc(oracle, name):
    from phonopy.interface.symfc import symmetrize_by_projector
    from phonopy.structure.cells import get_primitive

    response, supercell, group = oracle[name]
    matrix = np.linalg.inv(supercell.cell @ np.linalg.inv(supercell.crystal.cell)).T
    cell = phonopy_atoms(supercell)
    primitive = get_primitive(cell, matrix)
    assert (primitive.p2s_map == supercell.origin_of).all()
    for order, raw in ((2, response["fc2"]), (3, response["fc3"])):
        ours = projected(supercell, group, raw)
        assert largest_sum(ours) < 1e-11
        assert order == 2 or largest_sum(raw) > 1e-3
        assert projected(supercell, group, raw, average_space_group=True) == pytest.approx(ours, abs=1e-11)
        if raw.size < 1e5:
            assert ours == pytest.approx(symmetrize_by_projector(cell, raw, order, primitive=primitive), abs=1e-11)


def test_projection_of_any_array_is_the_nearest_with_all_symmetries(oracle):
    _, supercell, group = oracle["bn"]
    random = np.random.default_rng(1).normal(size=(2, 18, 18, 3, 3, 3))
    result = projected(supercell, group, random, average_space_group=True)
    assert projected(supercell, group, result, average_space_group=True) == pytest.approx(result, abs=1e-12)
    assert np.sum(result * (random - result)) == pytest.approx(0.0, abs=1e-9)  # an orthogonal projection
    assert largest_sum(result) < 1e-12
    assert result == pytest.approx(result.transpose(0, 2, 1, 3, 5, 4), abs=1e-13)


def test_order_of_atoms_does_not_matter(oracle):
    response, supercell, group = oracle["bn"]
    shuffle = np.random.default_rng(3).permutation(supercell.n_atoms)
    shuffled = Supercell.match(supercell.crystal, supercell.cell, supercell.positions[shuffle],
                               [response["symbols"][j] for j in shuffle], np.argsort(shuffle)[supercell.origin_of])
    dataset = third_order_displacements(supercell, group).with_forces(response["forces"])
    moved = replace(dataset, atoms=np.where(dataset.atoms >= 0, np.argsort(shuffle)[dataset.atoms], -1),
                    forces=dataset.forces[:, shuffle])
    ours = third_force_constants(shuffled, SpaceGroup.of(shuffled), moved)
    assert ours == pytest.approx(response["fc3"][:, shuffle][:, :, shuffle], abs=1e-9)


def test_cutoff_leaves_out_cells_and_nothing_near(oracle):
    response, supercell, group = oracle["si"]
    everything = third_order_displacements(supercell, group)
    near = third_order_displacements(supercell, group, cutoff=4.0)
    assert near.n_cells < everything.n_cells
    dense, kept = everything.dense(64), near.dense(64)
    which = [int(np.flatnonzero(np.abs(dense - one).max(axis=(1, 2)) < 1e-12)[0]) for one in kept]
    third = third_force_constants(supercell, group, near.with_forces(response["forces"][which]), cutoff=4.0)
    same = np.abs(third).max(axis=(3, 4, 5)) > 0
    assert third[same] == pytest.approx(response["fc3"][same], abs=1e-9)
    distances = np.array([shortest_distances(supercell, j) for j in range(64)])
    inside = distances <= 4.0
    home = supercell.origin_of
    expected = inside[home][:, :, None] & inside[home][:, None, :] & inside[None, :, :]
    assert not same[~expected].any()
    assert np.abs(response["fc3"][expected & ~same]).max(initial=0.0) < 1e-9


def test_harmonic_springs_come_out_exactly():
    """Forces linear in displacements with known force constants, in a lattice of low symmetry."""
    cell = np.array([[3.0, 0.0, 0.0], [0.4, 3.3, 0.0], [0.2, 0.5, 3.7]])
    crystal = Crystal(cell, np.array([[0.0, 0, 0], [0.4, 0.45, 0.57]]), ("Na", "Cl"), np.ones(2))
    supercell = build_supercell(crystal, np.array([2, 2, 2]))
    group = SpaceGroup.of(supercell)
    known = projected(supercell, group, np.random.default_rng(0).normal(size=(2, 16, 3, 3)), average_space_group=True)
    dataset = second_order_displacements(supercell, group)
    # Phi(J, K) = Phi(origin, K moved along)
    full = np.zeros((16, 16, 3, 3))
    for j in range(16):
        origin = supercell.origin_of[supercell.atom_of[j]]
        shift = supercell.positions[origin] - supercell.positions[j]
        for k in range(16):
            apart = supercell.positions - (supercell.positions[k] + shift)
            apart -= np.rint(apart)
            full[j, k] = known[supercell.atom_of[j], np.linalg.norm(apart, axis=1).argmin()]
    forces = -np.einsum("cja,jkab->ckb", dataset.dense(16), full)
    found = second_force_constants(supercell, group, dataset.with_forces(forces))
    assert found == pytest.approx(known, abs=1e-11)


def test_bad_input_is_refused(oracle):
    _, supercell, group = oracle["bn"]
    dataset = second_order_displacements(supercell, group)
    with pytest.raises(InputError, match="none; calculate the forces"):
        second_force_constants(supercell, group, dataset)
    forces = np.zeros((dataset.n_cells, 18, 3))
    forces[1, 4, 0] = np.nan
    with pytest.raises(InputError, match="first in number 2"):
        dataset.with_forces(forces)
    few = DisplacementDataset(dataset.atoms[:1], dataset.vectors[:1], np.zeros((1, 18, 3)))
    with pytest.raises(InputError, match="displacements: expected"):
        second_force_constants(supercell, group, few)
    with pytest.raises(InputError, match="not periodic"):
        build_supercell(supercell.crystal, np.array([3, 3, 2]))
