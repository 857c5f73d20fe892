"""Operation counts against numbers that count what is done to them, and neighbour counts against all pairs."""

from types import SimpleNamespace

import numpy as np
import pytest

from hpcthermo.potentials import operation_counts as oc
from hpcthermo.potentials.embedded import embedded_potential
from hpcthermo.potentials.load import load_potential


class Counted:
    """A number that counts the operations it takes part in."""

    done = 0

    def __add__(self, other: object) -> "Counted":
        Counted.done += 1
        return Counted()

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__


def operations(work) -> int:
    Counted.done = 0
    work()
    return Counted.done


def harmonics(degree: int):
    """B_lm(z) and (x + i y)^m by the recurrences of solid_harmonics.h."""
    x, y, z = Counted(), Counted(), Counted()
    c, s, b = {1: x}, {1: y}, {}
    for m in range(2, degree + 1):
        c[m], s[m] = x * c[m - 1] - y * s[m - 1], x * s[m - 1] + y * c[m - 1]
    for m in range(degree + 1):
        for l_ in range(m, degree + 1):
            if l_ == m:
                b[l_, m] = Counted()
            elif l_ == m + 1:
                b[l_, m] = 3.0 * z
            else:
                b[l_, m] = (2.0 * z) * b[l_ - 1, m] - 0.5 * b[l_ - 2, m]
    return b, c, s


@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_harmonics(degree):
    def values():
        b, c, s = harmonics(degree)
        for l_ in range(1, degree + 1):
            for m in range(1, l_ + 1):
                _ = b[l_, m] * c[m], b[l_, m] * s[m]

    def gradient():
        for m in range(degree + 1):
            cosine = sine = cosine_z = sine_z = Counted()
            for l_ in range(max(m, 1), degree + 1):
                w, b, b_next = Counted(), Counted(), Counted()
                if m > 0:
                    cosine, sine = cosine + w * b, sine + w * b
                if l_ > m:
                    cosine_z = cosine_z + w * b_next
                    if m > 0:
                        sine_z = sine_z + w * b_next
            v, c, s = Counted(), Counted(), Counted()
            if m > 0:
                v = v + 2.0 * (cosine * c + sine * s)
                v = v + 2.0 * (sine * c - cosine * s)
                v = v + (cosine_z * c + sine_z * s)
            else:
                v = v + cosine_z

    assert oc._harmonic_values(degree) == operations(values)
    # the sum over l of the zonal part has one term less than the first addition to vz adds
    assert oc._harmonic_gradient(degree) == pytest.approx(operations(gradient), abs=1)


@pytest.mark.parametrize("terms", [2, 3, 9, 17])
def test_chebyshev_polynomials_times_the_cutoff(terms):
    def work():
        x, previous = Counted(), Counted()
        present, twice = x * previous, 2.0 * x
        for _ in range(2, terms):
            previous, present = present, twice * present - previous

    assert oc._chebyshev(terms) == operations(work)


def tiny_model() -> SimpleNamespace:
    """Two radial functions of three terms, one angular of two, degree 1, one neuron, one element."""
    return SimpleNamespace(
        elements=("X",), radial_coefficients=np.zeros((2, 3, 1, 1)), angular_coefficients=np.zeros((1, 2, 1, 1)),
        input_weights=np.zeros((1, 1, 3)), l_max=1, extra_invariants=())


def test_a_tiny_nep_by_hand():
    found = oc.nep_operations(tiny_model(), radial=10.0, angular=4.0, n_types=1, precision="mixed")
    assert found == {
        # 3 differences, 3 squares, 2 sums
        "displacements": 10 * 8,
        # argument 8, f_c of 7 terms 14, f_c T_k 4, 3 sums; then 3 terms into 2 functions
        "radial descriptors": 10 * (8 + 14 + 4 + 3) + 2 * 3 * 2,
        # unit vector 3, argument 8, f_c and slope 34, f_c T_k 2, g_n 4; Y: B_10 1, two products; S: 3 multiply-adds
        "angular sums": 4 * (3 + 8 + 34 + 2 + 4 + (1 + 2) + 6),
        # weight S S added for each of 3 harmonics
        "angular descriptors": 9,
        # 3 descriptors into 1 neuron and back; tanh = 4 + e^x (8 + 14)
        "network": 4 * 3 + (26 + 6),
        # series of 3 - 1 + 7 terms, 3 each; 10 to end it, slope, vector 3, forces 6; contraction of 2 functions
        "radial forces": 10 * (27 + 10 + 1 + 3 + 6) + 2 * 2 * 9,
        "angular slopes": 2 * 3 + 1,
        # 4 per (n, a); radial slope 2 x 2 + 20 + 3; gradient 2 + 4 + 14; radial part 7, vector 9, forces 6
        "angular forces": 4 * (12 + 27 + 20 + 7 + 9 + 6),
    }


def test_counts_grow_with_the_precision_and_with_neighbours():
    model = tiny_model()
    mixed, double = (sum(oc.nep_operations(model, 10.0, 4.0, 1, p).values()) for p in ("mixed", "double"))
    assert mixed < double
    more = sum(oc.nep_operations(model, 11.0, 4.0, 1, "mixed").values()) - mixed
    assert more == 8 + 29 + 47


def test_lennard_jones_by_counting():
    def pair():
        square, shift, r, on_centre = Counted(), Counted(), [Counted()] * 3, [Counted()] * 3
        inverse = 1.0 / square
        s2 = Counted() * inverse
        s6 = s2 * s2 * s2
        e6 = Counted() * s6
        energy = e6 * (s6 - 1.0) - shift
        slope = e6 * (6.0 - 12.0 * s6) * inverse
        _ = Counted() + energy
        for a in range(3):
            on_centre[a] = on_centre[a] + slope * r[a]

    counted = oc.lennard_jones_operations(10.0)
    assert counted == {"displacements": 80.0, "pairs": 10.0 * operations(pair)}


def test_far_interlayer_pairs_by_counting():
    degree = 10  # of ilp.h in mixed precision

    def far():
        square, scale, shift, c = Counted(), Counted(), Counted(), Counted()
        u = scale * square + shift
        w = u * u
        even = odd = c
        even_slope, odd_slope = c, c  # the first multiply-add is a copy
        for k in range(degree - 2, -1, -2):
            if k < degree - 2:
                even_slope = even_slope * w + even
            even = even * w + c
        for k in range(degree - 3, -1, -2):
            if k < degree - 3:
                odd_slope = odd_slope * w + odd
            odd = odd * w + c
        _ = even + u * odd
        _ = scale * (odd + 2.0 * (u * even_slope + w * odd_slope))

    far_only = oc.interlayer_operations(11.0, 0.0, 0.0, 0.0, 0.0, "mixed")
    near_too = oc.interlayer_operations(11.0, 1.0, 0.0, 0.0, 0.0, "mixed")
    assert far_only["far"] - near_too["far"] == operations(far)
    assert near_too["near"] > operations(far) / 2


def test_stillinger_weber_by_counting():
    exponential = oc._exp("mixed")

    def bond():
        r, inverse_r, gap, sigma, unit = Counted(), Counted(), Counted(), Counted(), [Counted()] * 3
        inverse_gap, s = 1.0 / (r - gap), sigma * inverse_r
        decay, weight = sigma * inverse_gap, Counted() * inverse_gap  # exponents
        square = s * s
        repulsion = Counted() * square * square
        slope = 4.0 * repulsion
        depth, rate = Counted() * decay, inverse_gap * inverse_gap
        value = depth * (repulsion - 1.0)
        radial = depth * slope * inverse_r + value * sigma * rate
        _ = Counted() + value, [radial * u for u in unit], Counted() * rate * weight

    def angle():
        a, b, fa, fb = [Counted()] * 3, [Counted()] * 3, [Counted()] * 3, [Counted()] * 3
        cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
        x = cosine - Counted()
        strength = Counted() * x
        square, both = strength * x, Counted() * Counted()
        _ = Counted() + square * both
        across = 2.0 * strength * both
        turns = [across * Counted() for _ in "ab"]
        along = [square * Counted() * Counted() - cosine * turn for turn in turns]
        for k in range(3):
            _ = fa[k] + along[0] * a[k] + turns[0] * b[k], fb[k] + along[1] * b[k] + turns[1] * a[k]

    counted = oc.stillinger_weber_operations(4.0, 6.0, True, "mixed")
    assert counted["two-body terms"] == 4.0 * (operations(bond) + 2 * exponential)
    assert counted["three-body terms"] == 6.0 * operations(angle)
    assert counted["displacements"] + counted["scatter"] == 4.0 * (8 + 5 + 6)
    unusual = oc.stillinger_weber_operations(4.0, 6.0, False, "mixed")["two-body terms"]
    assert unusual > counted["two-body terms"] + 4.0 * 2 * exponential
    alone = oc.operations_per_atom(embedded_potential("sw_si"), {"angular": oc.NeighborCount(4.0, 6.0)}, 1, "mixed")
    assert alone == counted


def test_neighbours_are_those_of_all_pairs():
    rng = np.random.default_rng(1)
    n, n_owned = 300, 120
    positions, types = rng.uniform(0.0, 14.0, (n, 3)), rng.integers(0, 2, n)
    layers = (positions[:, 2] // 3.5).astype(int)
    potential = load_potential(["tersoff_bnc", "lj_gr_hbn"])
    sums = oc.count_neighbors(potential, ("C", "B"), positions, types, layers, n_owned)
    counts = oc.mean_counts(sums)
    distance = np.linalg.norm(positions[:n_owned, None] - positions[None], axis=-1)
    distance[np.arange(n_owned), np.arange(n_owned)] = np.inf
    between = (distance < 10.0) & (layers[:n_owned, None] != layers[None])
    assert counts["lennard_jones 2 radial"].mean == pytest.approx(between.sum() / n_owned)
    bond = np.array([[2.1, 2.05], [2.05, 2.1]])  # R + D of CC, CB, BB
    z = (distance < bond[types[:n_owned, None], types[None]]).sum(axis=1)
    assert counts["tersoff 1 angular"].mean == pytest.approx(z.mean())
    assert counts["tersoff 1 angular"].pairs == pytest.approx((z * (z - 1) / 2).mean())


def test_an_overlay_is_the_sum_of_its_parts():
    counts = {"angular": oc.NeighborCount(3.0, 3.0)}
    alone = oc.operations_per_atom(embedded_potential("tersoff_graphene"), counts, 1, "mixed")
    overlay = load_potential(["tersoff_graphene", "lj_gr_hbn"])
    both = oc.operations_per_atom(overlay, {"tersoff 1 angular": counts["angular"],
                                            "lennard_jones 2 radial": oc.NeighborCount(100.0, 0.0)}, 1, "mixed")
    assert sum(both.values()) == pytest.approx(
        sum(alone.values()) + sum(oc.lennard_jones_operations(100.0).values()))
