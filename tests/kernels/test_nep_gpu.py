"""The GPU form of NEP, run by the warp emulator, against the CPU kernel: models, ways of adding forces, order."""

import nep_reference
import numpy as np
import pytest
from emulated_gpu import EmulatedGpuBackend
from one_rank import OneRank
from test_nep import SYNTHETIC, cluster, crystal

from hpcthermo.potentials.base import ForceArrays
from hpcthermo.potentials.nep import read_nep
from hpcthermo.potentials.nep_gpu import BoundNepOnGpu


class WithOptions:
    """A NEP model whose GPU form takes the given options."""

    def __init__(self, potential, **options):
        self.potential, self.options = potential, options

    def bind(self, species, backend):
        types = np.array([self.potential.elements.index(s) for s in species])
        return BoundNepOnGpu(self.potential.model, types, backend, **self.options)


def emulated(potential, structure, precision="double", from_last=False, **options):
    return OneRank(WithOptions(potential, **options), *structure, backend=EmulatedGpuBackend(precision, from_last))


def cleared(rank, virials=True):
    """Output rows of zeros on the device."""
    xp, s = rank.backend.xp, rank.system
    rows = xp.zeros((s.n_total + 1, 12)) if virials else None
    return ForceArrays(xp.zeros(s.n_owned), xp.zeros((s.n_total + 1, 4)), rows)


def assert_near(found, expected, tolerance):
    scale = max(1.0, np.abs(expected[1]).max())
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("case", list(SYNTHETIC))
def test_models(case, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", **SYNTHETIC[case]))
    structure = cluster(("B", "C", "N"))
    assert_near(emulated(potential, structure).run(), OneRank(potential, *structure).run(), 1e-10)


@pytest.mark.parametrize(("gather", "fixed_point"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("precision", "tolerance"), [("double", 1e-10), ("mixed", 1e-5)])
def test_ways_of_adding_forces(gather, fixed_point, precision, tolerance, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt"))
    structure = cluster(("B", "C", "N"))
    found = emulated(potential, structure, precision, gather=gather, fixed_point=fixed_point).run()
    assert_near(found, OneRank(potential, *structure).run(), tolerance)


@pytest.mark.parametrize("gather", [True, False])
def test_sums_do_not_depend_on_the_order(gather, tmp_path):
    """Lanes, warps and blocks in opposite orders give the same bits."""
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt"))
    structure = cluster(("B", "C", "N"))
    first, second = (emulated(potential, structure, "mixed", from_last, gather=gather).run() for from_last in (0, 1))
    for a, b in zip(first, second, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("fixed_point", [True, False])
def test_ranges_add_up_and_steps_repeat(fixed_point, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt"))
    rank = emulated(potential, cluster(("B", "C", "N")), "double", fixed_point=fixed_point)
    whole, s = rank.run(), rank.system
    for _ in range(2):
        out, host = cleared(rank), rank.backend.to_host
        for begin, end in ((0, 5), (5, 5), (5, 6), (6, s.n_owned)):
            rank.bound.compute(s, rank.packed(), begin, end, out)
        np.testing.assert_allclose(host(out.energies), whole[0], rtol=1e-13)
        for part, value in zip(rank.settled(out)[1:], whole[1:], strict=True):
            np.testing.assert_allclose(part, value, atol=1e-11)


def test_ghost_rows_are_complete_before_the_last_range(tmp_path):
    """What goes back to other ranks may leave when the atoms with ghost neighbours are done."""
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt"))
    symbols, positions, _ = cluster(("B", "C", "N"))
    structure = [*symbols, "C"], np.concatenate([positions, [[40.0, 40, 40]]]), np.diag([80.0, 80, 2.7])
    rank = emulated(potential, structure)
    s = rank.system
    out, host = cleared(rank, virials=False), rank.backend.to_host
    rank.bound.compute(s, rank.packed(), 0, s.n_owned - 1, out)
    early = host(out.forces)[s.n_owned : s.n_total]
    far = rank.owners[s.n_owned :] == s.n_owned - 1
    rank.bound.compute(s, rank.packed(), s.n_owned - 1, s.n_owned, out)
    late = host(out.forces)[s.n_owned : s.n_total]
    np.testing.assert_array_equal(early[~far], late[~far])
    assert np.abs(early[~far]).max() > 0.01


def test_more_angular_neighbours_than_lanes(tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", cutoff="5 4.5"))
    structure = cluster(("B", "C", "N"))
    rank = emulated(potential, structure)
    assert rank.backend.to_host(rank.bound._list.inner).sum(axis=1).max() > 64
    assert_near(rank.run(), OneRank(potential, *structure).run(), 1e-10)


def test_lists_longer_than_shared_memory_holds(tmp_path):
    """The gather then takes a row in parts."""
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", cutoff="12.5 3"))
    structure = crystal(("C", "B", "N"))
    rank = emulated(potential, structure)
    masks = rank.backend.to_host(rank.bound._list.segments)[:, -1]
    assert rank.bound._list.stride >= masks.max() > 1024 + 32
    assert_near(rank.run(), OneRank(potential, *structure).run(), 1e-10)


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_a_pair_force_beyond_the_range_of_integers_is_no_number(precision, tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", kind="nep4_zbl", zbl="zbl 0.9 1.8"))
    structure = ["C", "C"], np.array([[5.0, 5, 5], [5.0, 5, 5.004]]), np.diag([30.0, 30, 30])
    assert np.abs(OneRank(potential, *structure).run()[1]).max() > 16384
    assert np.isnan(emulated(potential, structure, precision).run()[1]).any()


def test_descriptors(tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt", flags=(4, 1, 1, 1, 1, 1, 1)))
    structure = crystal(("C", "B", "N"))
    gpu, cpu = emulated(potential, structure), OneRank(potential, *structure)
    found, expected = (r.bound.descriptors(r.system, r.packed()) for r in (gpu, cpu))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_stage_cycles_change_nothing(tmp_path):
    potential = read_nep(nep_reference.write_model(tmp_path / "nep.txt"))
    rank = emulated(potential, cluster(("B", "C", "N")))
    plain = rank.run()
    rank.bound.stage_cycles = rank.backend.xp.zeros(len(rank.bound.STAGES))
    for a, b in zip(rank.run(), plain, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (rank.backend.to_host(rank.bound.stage_cycles) > 0).all()
