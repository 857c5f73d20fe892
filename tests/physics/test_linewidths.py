"""Three-phonon linewidths: sums without symmetry, exact properties, and phono3py."""

from dataclasses import replace

import numpy as np
import pytest
from dense_strength import DenseStrength
from phono3py_oracle import lattice, phono3py_answers
from scipy.interpolate import BSpline

from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.dielectric import DielectricResponse
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.phonons.modes import CUTOFF_FREQUENCY_THZ, occupations
from hpcthermo.phonons.nonanalytic import NonAnalytic
from hpcthermo.transport.bte.linear_algebra import one_thread
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.rates import PhaseSpace, ThreePhononRates, sum_in_order, three_phonon_linewidths
from hpcthermo.transport.bte.smearing import adaptive_gaussian, fixed_gaussian
from hpcthermo.transport.bte.tetrahedron import neighbour_places, tetrahedron_cuts
from hpcthermo.transport.bte.triplets import TripletSymmetry, count_triplets, is_normal

SILICON = Crystal(2.73 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]), np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]),
                  ("Si", "Si"), np.array([28.0855, 28.0855]))
WURTZITE = Crystal(np.array([[3.2, 0, 0], [-1.6, 1.6 * np.sqrt(3), 0], [0, 0, 5.2]]),
                   np.array([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.88]]),
                   ("Al", "Al", "N", "N"), np.array([27.0, 27.0, 14.0, 14.0]))
TRICLINIC = Crystal(np.array([[3.0, 0.1, 0.2], [0.4, 3.3, -0.1], [-0.3, 0.2, 3.7]]),
                    np.array([[0.0, 0, 0], [0.41, 0.53, 0.46]]), ("Na", "Cl"), np.array([23.0, 35.4]))
GENERALISED = np.array([[-3, 3, 3], [3, -3, 3], [3, 3, -3]])


@pytest.fixture(scope="session")
def silicon_by_phono3py():
    plain = {"mesh": [4, 4, 4], "temperatures": [300.0]}
    return phono3py_answers("si", split={**plain, "temperatures": [100.0, 300.0, 1000.0], "is_N_U": True},
                            gaussian={**plain, "sigma": 0.1}, truncated={**plain, "sigma": 0.1, "sigma_cutoff": 3})


def problem(inputs, mesh, nac=False):
    """Mesh, phonons, plain strengths and third-order force constants of phono3py."""
    found = lattice(inputs)
    mesh, harmonic = Mesh.create(found.crystal, mesh), found.harmonic
    if nac:
        response = DielectricResponse(inputs.born, inputs.dielectric, float(inputs.factor))
        harmonic = HarmonicCrystal(found.crystal, found.second, NonAnalytic(response, found.supercell))
    phonons = harmonic.phonons(mesh.q)
    return mesh, phonons, DenseStrength(phonons, found.third, found.crystal.masses), found.third


def assert_same_linewidths(mesh, ours, run, gamma):
    """Ours (I, n_T, B) against phono3py's (1, n_T, I, B) at its own irreducible points."""
    points, _ = mesh.irreducible
    index = mesh.index(np.rint(run.q @ mesh.matrix.T).astype(int))
    slots = np.searchsorted(points, mesh.representative[index])
    theirs = gamma[0].transpose(1, 0, 2)
    apart = np.abs(ours[slots] - theirs) - 1e-5 * np.abs(theirs) - 1e-7
    apart[slots == 0, :, :3] = 0  # acoustic modes at Gamma
    assert apart.max() <= 0
    assert theirs.max() > 1e-3


def toy(crystal, mesh, seed=3):
    """Random springs and random cubic terms; the latter symmetric under permutation of the legs."""
    random = np.random.default_rng(seed)
    n = crystal.n_atoms
    mesh = Mesh.create(crystal, mesh)
    squares = random.uniform(1.0, 90.0, (mesh.n_points, 3 * n))
    squares = np.sort((squares + squares[mesh.index(-mesh.addresses)]) / 2)
    vectors = np.linalg.qr(random.normal(size=(mesh.n_points, 3 * n, 3 * n)) + 0j)[0]
    mirrored = mesh.index(-mesh.addresses)
    vectors = np.where((mirrored < np.arange(mesh.n_points))[:, None, None], vectors[mirrored].conj(), vectors)
    phonons = Phonons(mesh.q, np.sqrt(squares), vectors)
    atoms = random.integers(0, n, (12, 3))
    lattice = np.concatenate([np.zeros((12, 1, 3), dtype=int), random.integers(-1, 2, (12, 2, 3))], axis=1)
    values = random.normal(size=(12, 3, 3, 3))
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    moved = [lattice[:, list(o)] for o in orders]
    third = Interactions.merged(np.concatenate([atoms[:, list(o)] for o in orders]),
                                np.concatenate([m[:, 1:] - m[:, :1] for m in moved]),
                                np.concatenate([values.transpose(0, *(1 + x for x in o)) for o in orders]))
    return mesh, phonons, DenseStrength(phonons, third, crystal.masses)


def spline_weight(values, target):
    """Share of the first vertex of a tetrahedron in delta(target - values)."""
    knots = np.sort(np.append(values, values[0]))
    if not knots[0] < target < knots[-1]:
        return 0.0
    return float(BSpline.basis_element(knots)(target)) / (knots[-1] - knots[0])


def plain_linewidth(mesh, phonons, strength, temperature, point, band, weight):
    """gamma of a mode by a sum over all points and bands, without any symmetry."""
    f = phonons.frequencies
    partner = mesh.index(-mesh.addresses[point] - mesh.addresses)
    n = occupations(f, [temperature])[0]
    s = strength.of(point, np.arange(mesh.n_points), partner)[:, band]
    total = 0.0
    for q1, q2 in enumerate(partner):
        for b in range(f.shape[1]):
            for c in range(f.shape[1]):
                decay, absorb_b, absorb_c = (weight(point, band, q1, b, q2, c, kind) for kind in range(3))
                total += s[q1, b, c] * ((n[q1, b] + n[q2, c] + 1) * decay
                                        + (n[q1, b] - n[q2, c]) * (absorb_b - absorb_c))
    return total * np.pi / (2 * 4.135667696e-3**2 * mesh.n_points)


@pytest.mark.parametrize("delta", ["tetrahedra", "gaussian"])
def test_linewidths_are_the_plain_sum_over_all_points_and_bands(delta):
    mesh, phonons, strength = toy(TRICLINIC, (3, 2, 2))
    f = phonons.frequencies
    signs = ((1, 1), (-1, 1), (1, -1))
    cut = tetrahedron_cuts(mesh)[0]
    steps = neighbour_places(cut)
    paths = [(0, 1 << i, (1 << i) + (1 << j), 7) for i in range(3) for j in range(3) if i != j]
    corners = [[steps[v] - steps[own] for v in (own, *(x for x in path if x != own))] for path in paths for own in path]
    gaussian = fixed_gaussian(f.shape, 0.4, 3.0)

    def by_tetrahedra(point, a, q1, b, q2, c, kind):
        s1, s2 = signs[kind]
        values = [[s1 * f[mesh.index(mesh.addresses[q1] + t), b] + s2 * f[mesh.index(mesh.addresses[q2] - t), c]
                   for t in tetrahedron] for tetrahedron in corners]
        return sum(spline_weight(v, f[point, a]) for v in values) / 6

    def by_gaussian(point, a, q1, b, q2, c, kind):
        x = (f[point, a] - signs[kind][0] * f[q1, b] - signs[kind][1] * f[q2, c]) / 0.4
        return np.exp(-x * x / 2) / (0.4 * np.sqrt(2 * np.pi) * gaussian.integral) if abs(x) < 3 else 0.0

    ours = three_phonon_linewidths(mesh, phonons, strength, [300.0],
                                   gaussian=None if delta == "tetrahedra" else gaussian,
                                   backend=make_backend("cpu", "double"))
    points, _ = mesh.irreducible
    weight = by_tetrahedra if delta == "tetrahedra" else by_gaussian
    slot, band = len(points) - 1, 5
    expected = plain_linewidth(mesh, phonons, strength, 300.0, points[slot], band, weight)
    assert expected > 0
    assert ours[slot, 0, band] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("crystal", "mesh"), [(SILICON, (4, 4, 4)), (SILICON, (5, 5, 5)), (SILICON, GENERALISED),
                                               (WURTZITE, (4, 4, 3)), (WURTZITE, (6, 6, 1)), (TRICLINIC, (3, 4, 2)),
                                               (SILICON, (1, 1, 1))])
@pytest.mark.parametrize("permute", [True, False])
def test_deposits_are_the_sums_over_all_triplets(crystal, mesh, permute):
    mesh = Mesh.create(crystal, mesh)
    symmetry = TripletSymmetry(mesh, permute)
    points, _ = mesh.irreducible
    random = np.random.default_rng(1).uniform(size=mesh.n_points)

    def invariant(q0, q1, q2):
        return sum(random[p[q0]] * random[p[q1]] * random[p[q2]] for p in mesh.permutations)

    expected = [invariant(q0, np.arange(mesh.n_points), symmetry.partner(q0)).sum() for q0 in points]
    found, count, kept = np.zeros(len(points)), np.zeros(len(points)), 0
    for slot in range(len(points)):
        triplets = symmetry.of(slot)
        kept += len(triplets)
        values = invariant(triplets.point0, triplets.point1, triplets.point2)
        for leg in range(3):
            there = triplets.slots[:, leg] >= 0
            np.add.at(found, triplets.slots[there, leg], (triplets.multiplicities[:, leg] * values)[there])
            np.add.at(count, triplets.slots[there, leg], triplets.multiplicities[there, leg])
    assert count == pytest.approx(mesh.n_points, abs=1e-9)
    assert found == pytest.approx(np.array(expected), rel=1e-12)
    assert kept == count_triplets(mesh) or not permute


def test_multiplicities_of_silicon_are_the_known_ones():
    symmetry = TripletSymmetry(Mesh.create(SILICON, (4, 4, 4)), permute=False)
    lists = [sorted(symmetry.of(slot).multiplicities[:, 0].tolist()) for slot in range(symmetry.n_irreducible)]
    assert [2, 2, 6, 6, 6, 6, 6, 6, 12, 12] in lists


def test_linewidths_of_silicon_are_those_of_phono3py(silicon_by_phono3py):
    mesh, phonons, strength, third = problem(silicon_by_phono3py.inputs, (4, 4, 4))
    run = silicon_by_phono3py.split
    rates = ThreePhononRates(mesh, phonons, strength, [100.0, 300.0, 1000.0], split=True)
    normal, umklapp = np.split(rates.linewidths(sum_in_order(rates)), 2)
    for ours, theirs in zip((normal + umklapp, normal, umklapp), [run.gamma, run.normal, run.umklapp], strict=True):
        assert_same_linewidths(mesh, ours, run, theirs)
    for theirs, gaussian in ((silicon_by_phono3py.gaussian, fixed_gaussian(phonons.frequencies.shape, 0.1)),
                             (silicon_by_phono3py.truncated,
                              fixed_gaussian(phonons.frequencies.shape, 0.1, 3.0, keep_integral=False))):
        ours = three_phonon_linewidths(mesh, phonons, third, [300.0], gaussian=gaussian)
        assert_same_linewidths(mesh, ours, theirs, theirs.gamma)


@pytest.mark.slow
def test_linewidths_on_larger_meshes_are_those_of_phono3py():
    for material, nac, divisions in (("si", False, 11), ("nacl", False, 9), ("nacl", True, 9)):
        answers = phono3py_answers(material, run={"mesh": [divisions] * 3, "temperatures": [300.0], "nac": nac})
        mesh, phonons, _, third = problem(answers.inputs, (divisions,) * 3, nac)
        run = answers.run
        for precision in ("double", "mixed"):
            ours = three_phonon_linewidths(mesh, phonons, third, [300.0], threads=2,
                                           backend=make_backend("cpu", precision))
            assert_same_linewidths(mesh, ours, run, run.gamma)


def test_any_number_of_threads_gives_the_same_bits_and_temperatures_do_not_meet(silicon_by_phono3py):
    mesh, phonons, strength, _ = problem(silicon_by_phono3py.inputs, (4, 4, 4))
    several = ThreePhononRates(mesh, phonons, strength, [50.0, 300.0, 310.0, 700.0, 900.0])
    one = sum_in_order(several)
    assert all((sum_in_order(several, threads) == one).all() for threads in (2, 4))
    alone = three_phonon_linewidths(mesh, phonons, strength, [700.0])
    assert several.linewidths(one)[:, 3] == pytest.approx(alone[:, 0], rel=1e-13)


def test_listed_processes_make_up_the_linewidths(silicon_by_phono3py):
    mesh, phonons, strength, _ = problem(silicon_by_phono3py.inputs, (4, 4, 4))
    rates = ThreePhononRates(mesh, phonons, strength, [300.0])
    n = occupations(phonons.frequencies, [300.0])[0]
    deposits = np.zeros((rates.symmetry.n_irreducible, 6, 1))
    listed = []
    with one_thread():  # as in sums over tasks: the plain strengths are products of matrices
        total = sum(rates.task(task, listed.append) for task in range(rates.n_tasks))
    assert (total == sum_in_order(rates)).all()
    for processes in listed:
        triplet, leg, kind, a, b, c = processes.decoded(6)
        t = processes.triplets
        points = np.stack([np.full(len(t), t.point0), t.point1, t.point2], axis=1)
        n1, n2 = n[points[triplet, (leg + 1) % 3], b], n[points[triplet, (leg + 2) % 3], c]
        occupation = np.choose(kind, [n1 + n2 + 1, n1 - n2, n2 - n1])
        np.add.at(deposits[..., 0], (t.slots[triplet, leg], a), processes.amounts * occupation)
    assert deposits == pytest.approx(total, rel=1e-11)


@pytest.mark.parametrize(("crystal", "mesh"), [(WURTZITE, (4, 4, 3)), (SILICON, GENERALISED)])
def test_off_face_centred_meshes_the_cut_into_tetrahedra_decides_whether_permuted_legs_agree(crystal, mesh):
    mesh = Mesh.create(crystal, mesh)
    shape = (mesh.n_points, crystal.n_bands)
    # frequencies with the symmetry of the crystal; phase space needs nothing else
    random = np.random.default_rng(5).uniform(3.0, 12.0, shape)
    frequencies = np.sort(random[mesh.permutations].mean(axis=0) * 3 - 15, axis=1)
    phonons = Phonons(mesh.q, frequencies, np.zeros((*shape, crystal.n_bands), dtype=complex))

    def difference(symmetrised):
        found = [three_phonon_linewidths(mesh, phonons, PhaseSpace(phonons), [300.0], permute=permute,
                                         symmetrised=symmetrised, backend=make_backend("cpu", "double"))
                 for permute in (True, False)]
        return np.abs(found[0] - found[1]).max() / found[1].max()

    assert len(tetrahedron_cuts(mesh, symmetrised=True)) > 1
    assert len(tetrahedron_cuts(Mesh.create(SILICON, (4, 4, 4)), symmetrised=True)) == 1
    assert difference(True) < 1e-12
    assert difference(False) > 1e-4


def test_a_sheet_and_a_single_point_have_linewidths():
    for divisions in ((5, 5, 1), (1, 1, 1)):
        mesh, phonons, strength = toy(TRICLINIC, divisions)
        gamma = three_phonon_linewidths(mesh, phonons, strength, [300.0])
        assert np.isfinite(gamma).all()
        assert (gamma.max() > 0) == (mesh.n_points > 1)


def test_adaptive_widths_are_those_of_linear_bands_over_a_cell():
    mesh = Mesh.create(SILICON, (6, 6, 6))
    velocities = np.zeros((mesh.n_points, 6, 3))
    velocities[:, 1] = [3.0, 4.0, 0.0]
    gaussian = adaptive_gaussian(mesh, velocities, scale=2.0, least_THz=0.05)
    edge = (1 / (SILICON.volume * 216)) ** (1 / 3)
    assert gaussian.widths[0, :2] == pytest.approx([0.05, 2 * 5 * edge / np.sqrt(12)])
    with pytest.raises(InputError, match="scale"):
        adaptive_gaussian(mesh, velocities, scale=0.0)


def test_processes_within_the_first_zone_are_normal():
    mesh = Mesh.create(SILICON, (4, 4, 4))
    triplets = TripletSymmetry(mesh, permute=False).of(0)
    # q, -q and Gamma
    assert is_normal(mesh, triplets).all()
    zone_edge = TripletSymmetry(mesh, permute=False)
    normal = np.concatenate([is_normal(mesh, zone_edge.of(slot)) for slot in range(zone_edge.n_irreducible)])
    assert 0.2 < normal.mean() < 0.95


def test_phonons_of_another_mesh_and_senseless_temperatures_are_refused():
    mesh, phonons, strength = toy(TRICLINIC, (2, 2, 1))
    short = replace(phonons, frequencies=phonons.frequencies[:2])
    with pytest.raises(InputError, match="points of the mesh"):
        ThreePhononRates(mesh, short, strength, [300.0])
    with pytest.raises(InputError, match="temperatures"):
        ThreePhononRates(mesh, phonons, strength, [-3.0])
    assert phonons.frequencies.min() > CUTOFF_FREQUENCY_THZ
