"""Registry-dependent interlayer potential: LAMMPS, the formula by hand, files, what is refused."""

import numpy as np
import pytest
from ase.build import graphene, molecule
from lammps_oracle import lammps_responses
from one_rank import OneRank
from sample_structures import EMPIRICAL, bilayer, corrugated, flakes, four_layers, perturbed, twisted_flake

from hpcthermo import Calculator
from hpcthermo.errors import InputError
from hpcthermo.potentials.embedded import embedded_potential
from hpcthermo.potentials.ilp import PAIR_TOLERANCE_EV, InterlayerPotential, reaches
from hpcthermo.potentials.ilp_file import PAIR_COLUMNS, parse_gpumd_ilp, parse_lammps_ilp
from hpcthermo.potentials.load import load_potential

needs_files = pytest.mark.skipif(not EMPIRICAL.exists(), reason="no parameter files in ../shared beside this checkout")
#: 1e-8 eV/atom, 1e-7 eV/A, 1e-5 GPa
ENERGY, FORCE, STRESS = 1e-8, 1e-7, 1e-5 / 160.21766208
STRUCTURES = {"bilayer": lambda: bilayer(4, 30.0), "four layers, periodic": four_layers,
              "moire fragment": twisted_flake, "corrugated": corrugated, "flakes": flakes}
SPECIES = ["B", "N", "C"]
ROOM = "neigh_modify one 20000 page 200000"


def assert_same(structures, potential, species, commands):
    responses = lammps_responses(structures, species, commands)
    for atoms, (energy, forces, stress) in zip(structures, responses, strict=True):
        atoms.calc = Calculator(potential)
        assert abs(atoms.get_potential_energy() - energy) < ENERGY * len(atoms)
        assert np.abs(atoms.get_forces() - forces).max() < FORCE
        # a normal that is the z axis does not turn with the atoms, and W is not symmetric: LAMMPS gives W_ab, a <= b
        ours = -atoms.calc.results["virials"].sum(axis=0) / atoms.get_volume()
        assert np.abs(np.triu(ours - stress)).max() < STRESS
        assert np.abs(forces).max() > 0.01


@needs_files
@pytest.mark.oracle
@pytest.mark.parametrize("with_tersoff", [False, True])
def test_same_as_lammps(with_tersoff):
    file, tersoff = EMPIRICAL / "BNCH.ILP", EMPIRICAL / "BNC.tersoff"
    commands = [ROOM, f"pair_style hybrid/overlay {'tersoff' if with_tersoff else ''} ilp/graphene/hbn 16.0 1",
                f"pair_coeff * * ilp/graphene/hbn {file} B N C"]
    potential = [tersoff, file] if with_tersoff else "ilp_gr_hbn"
    if with_tersoff:
        commands.append(f"pair_coeff * * tersoff {tersoff} B N C")
    assert_same([build() for build in STRUCTURES.values()], potential, SPECIES, commands)


def benzene_on_boron_nitride():
    lower, upper = graphene(formula="BN", a=2.5, size=(4, 4, 1)), molecule("C6H6")
    upper.rotate(7.0, "x")
    upper.translate(lower.positions.mean(axis=0) + np.array([0.3, 0.2, 3.3]))
    atoms = lower + upper
    atoms.set_cell([*lower.cell.array[:2], [0.0, 0.0, 25.0]])
    atoms.pbc = True
    atoms.set_array("layer", np.repeat([0, 1], [len(lower), len(upper)]))
    return perturbed(atoms, 0.03)


@needs_files
@pytest.mark.oracle
def test_hydrogen_and_another_cutoff_are_those_of_lammps():
    """The normal of hydrogen comes from carbon atoms beyond its own bond."""
    file = EMPIRICAL / "BNCH.ILP"
    commands = [ROOM, "pair_style hybrid/overlay ilp/graphene/hbn 12.0 1",
                f"pair_coeff * * ilp/graphene/hbn {file} B N C H"]
    assert_same([benzene_on_boron_nitride()], {"name": "ilp_gr_hbn", "cutoff_A": 12.0}, [*SPECIES, "H"], commands)


# ---- without LAMMPS -------------------------------------------------------------------------------


def pair_by_hand(model, first, second, r, rho):
    """The pair energy of two atoms whose normals are both rho away from the other."""
    i, j = model.elements.index(first), model.elements.index(second)
    p = dict(zip(PAIR_COLUMNS, model.parameters[i, j], strict=True))
    x = r / model.cutoff
    taper = 20 * x**7 - 70 * x**6 + 84 * x**5 - 35 * x**4 + 1
    sideways = np.exp(-((rho / p["gamma"]) ** 2))
    repulsion = np.exp(-p["alpha"] * (r / p["beta"] - 1)) * (p["epsilon"] + 2 * p["C"] * sideways)
    damping = 1 / (1 + np.exp(-p["d"] * (r / (p["sR"] * p["reff"]) - 1)))
    return taper * (repulsion - damping * p["C6"] / r**6)


def test_two_atoms_by_hand():
    """Atoms without neighbours in their layer have normals along z."""
    potential = embedded_potential("ilp_gr_hbn")
    for across, up in ((0.0, 3.3), (1.7, 3.1), (5.0, 6.6), (2.0, 13.0)):
        r = OneRank(potential, ["C", "N"], [[0.0, 0.0, 0.0], [0.6 * across, 0.8 * across, up]], np.eye(3) * 60.0,
                    (False,) * 3, layers=[0, 1])
        expected = pair_by_hand(potential.model, "C", "N", np.hypot(across, up), across)
        assert abs(r.run()[0].sum() - expected) < 1e-11


def test_pairs_may_be_switched_off():
    """A file whose S is 0 for a pair: neither energy nor force, and the others are as before."""
    off = f"C C {ROW}\nB B {ROW}\nC B {ROW.replace(' 1.0 2.0', ' 0.0 2.0')}\nB C {ROW.replace(' 1.0 2.0', ' 0.0 2.0')}"
    potential = InterlayerPotential(parse_lammps_ilp(off, "pairs.ilp"))
    for precision in ("double", "mixed"):
        energies = []
        for symbols in ("CC", "CB"):
            r = OneRank(potential, list(symbols), [[0.0, 0.0, 0.0], [0.3, 0.2, 3.3]], np.eye(3) * 60.0, (False,) * 3,
                        layers=[0, 1], species=("B", "C"), precision=precision)
            energy, forces, _ = r.run()
            energies.append(energy.sum())
            assert (np.abs(forces).max() > 1e-3) == (symbols == "CC")
        assert abs(energies[0]) > 1e-3
        assert energies[1] == 0.0


def test_terms_that_are_left_out_are_below_the_tolerance():
    """On a chain of distances the energy differs from the whole formula by no more than the terms left out."""
    potential = embedded_potential("ilp_gr_hbn")
    for precision in ("double", "mixed"):
        tolerance = PAIR_TOLERANCE_EV[precision]
        near = reaches(potential.model.parameters, potential.model.cutoff, tolerance)
        assert all((reach < potential.model.cutoff).all() for reach in (near.damping, near.repulsion))
        # pairs that do not see each other
        distances, places = np.linspace(3.0, 15.9, 60), 40.0 * np.stack(np.divmod(np.arange(60), 8), axis=1)
        lower, upper = np.c_[places, np.zeros(60)], np.c_[places, distances]
        r = OneRank(potential, ["N"] * 120, np.concatenate([lower, upper]), np.eye(3) * 400.0, (False,) * 3,
                    layers=np.repeat([0, 1], 60), precision=precision)
        energies = r.run()[0].reshape(2, 60).sum(axis=0)
        for z, energy in zip(distances, energies, strict=True):
            expected = pair_by_hand(potential.model, "N", "N", z, 0.0)
            rounding = 2e-6 * abs(expected) if precision == "mixed" else 1e-15
            assert abs(energy - expected) < 3.0 * tolerance + rounding


def test_a_tilted_stack_has_the_energy_of_a_flat_one():
    """Normals turn with the layers."""
    from differences import rotation

    atoms, turn = flakes(), rotation(3)
    energies = []
    for positions in (atoms.positions, atoms.positions @ turn):
        # one bond or none leaves the z axis as a normal, which does not turn
        bonds = (np.linalg.norm(positions[:, None] - positions, axis=2) < 2.0).sum(axis=1) - 1
        kept = bonds >= 2
        while True:
            inside = (np.linalg.norm(positions[kept][:, None] - positions[kept], axis=2) < 2.0).sum(axis=1) - 1
            if (inside >= 2).all():
                break
            kept[np.flatnonzero(kept)[inside < 2]] = False
        symbols = np.array(atoms.get_chemical_symbols())[kept]
        r = OneRank(load_potential("ilp_gr_hbn"), symbols, positions[kept], np.eye(3) * 80.0, (False,) * 3,
                    layers=atoms.arrays["layer"][kept])
        energies.append(r.run()[0].sum())
    assert energies[0] < -0.1
    assert abs(energies[0] - energies[1]) < 1e-9


@needs_files
def test_files_hold_the_embedded_parameters():
    embedded = embedded_potential("ilp_gr_hbn").model
    for file in ("BNCH.ILP", "ILP_gr_hbn_Ouyang2018.gpumd.txt"):
        model = load_potential(EMPIRICAL / file).model
        index = np.ix_(*[[embedded.elements.index(e) for e in model.elements]] * 2)
        assert np.allclose(model.parameters, embedded.parameters[index], rtol=1e-6, atol=1e-11)
        assert np.array_equal(model.bond_cutoff, embedded.bond_cutoff[index])
        assert model.cutoff == embedded.cutoff == 16.0


ROW = "3.2 7.5 1.2 0.1 37.5 15.5 0.8 3.7 25000.0 1.0 2.0"
OTHER = ROW.replace("7.5", "7.6")


@pytest.mark.parametrize(("text", "words"), [
    (f"C C {ROW}\nC N {ROW}\nN N {ROW}", "C N and N C differ or one is missing"),
    (f"C C {ROW}\nC N {ROW}\nN C {OTHER}\nN N {ROW}", "C N and N C differ"),
    (f"C C {ROW} 1.0", "expected lines of 2 symbols and 11 numbers"),
    (f"C C {ROW}\nC C {ROW}", "appears twice"),
    (f"C C {ROW.replace('3.2', '-3.2')}", "beta, gamma, sR and reff above 0"),
    (f"C C {ROW.replace('2.0', '9.0')}", "rcut between 0 and 5"),
    (f"C C {ROW.replace('37.5', 'x')}", "expected a finite number, got 'x'"),
])
def test_bad_files_are_refused_in_one_line(text, words):
    with pytest.raises(InputError, match=words):
        parse_lammps_ilp(text, "pairs.ilp")


def test_gpumd_file():
    text = f"tersoff_ilp 1 C\n0\n{ROW} 14.0"
    assert parse_gpumd_ilp(text, "gpumd.txt").cutoff == 14.0
    assert parse_gpumd_ilp(text, "gpumd.txt", cutoff=12.0).cutoff == 12.0
    with pytest.raises(InputError, match="a line with the grouping method"):
        parse_gpumd_ilp(text + "\n1 2 3", "gpumd.txt")
    with pytest.raises(InputError, match="expected a cutoff above 0"):
        parse_gpumd_ilp(text, "gpumd.txt", cutoff=-1.0)


def test_missing_pairs_layers_and_crowded_atoms_are_refused():
    only_carbon = InterlayerPotential(parse_lammps_ilp(f"C C {ROW}\nN N {ROW}", "pairs.ilp"))
    atoms = bilayer(3, 20.0)
    with pytest.raises(InputError, match="no parameters for the pair C N"):
        only_carbon.bind(("C", "N"), OneRank(only_carbon, ["C"], [[0.0] * 3], np.eye(3) * 40, layers=[0]).backend)
    crowded = atoms.copy()
    crowded.arrays["layer"][:] = 0
    crowded.positions[:, 2] *= 0.4
    with pytest.raises(InputError, match="neighbours within 2 A in its layer, expected at most 3"):
        Calculator("ilp_gr_hbn").get_potential_energy(crowded)
    del atoms.arrays["layer"]
    with pytest.raises(InputError, match="the interlayer potential needs the layer of every atom"):
        Calculator("ilp_gr_hbn").get_potential_energy(atoms)
