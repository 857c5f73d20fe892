"""Rotation invariants of the NEP angular sums S_a = sum_j g(r_ij) Y_a(u_ij) as tables of numbers.

The kernel's real functions (solid_harmonics.h) are Y = B_lm(z) {cos, sin}, B_lm = d^m P_l/dz^m, in the order
a = l^2 - 1 + {0: m = 0; 2m - 1: cosine m; 2m: sine m}. The complex sums are, for m >= 0,

    A_lm = N_lm (S_c + i S_s),    A_l,-m = (-1)^m conj(A_lm),
    N_lm = (-1)^m sqrt((2l + 1)/(4 pi) (l - m)!/(l + m)!)
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cache
from itertools import product

import numpy as np


def harmonic_index(degree: int, order: int, sine: bool = False) -> int:
    """Place of a real angular function in rows over a."""
    return degree * degree - 1 + (0 if order == 0 else 2 * order - (0 if sine else 1))


def _norm(degree: int, order: int) -> float:
    ratio = math.factorial(degree - order) / math.factorial(degree + order)
    return (-1) ** order * math.sqrt((2 * degree + 1) / (4.0 * math.pi) * ratio)


def square_weights(l_max: int, largest_degree: int) -> np.ndarray:
    """Weights of q_l = sum_m |A_lm|^2 = sum_a weight_a S_a^2, zero for l > l_max.

    Returns
    -------
    ((largest_degree + 1)^2 - 1,) float64
    """
    weights = np.zeros((largest_degree + 1) ** 2 - 1)
    for degree in range(1, l_max + 1):
        weights[harmonic_index(degree, 0)] = _norm(degree, 0) ** 2
        for order in range(1, degree + 1):
            for sine in (False, True):
                weights[harmonic_index(degree, order, sine)] = 2.0 * _norm(degree, order) ** 2
    return weights


@cache
def cubic_terms(l1: int, l2: int, l3: int) -> tuple[tuple[int, int, int, float], ...]:
    """Terms (a, b, c, coefficient) of q = sum 3j(l1 l2 l3; m1 m2 m3) A_l1m1 A_l2m2 A_l3m3."""
    terms: dict[tuple[int, int, int], complex] = defaultdict(complex)
    for m1, m2 in product(range(-l1, l1 + 1), range(-l2, l2 + 1)):
        m3 = -m1 - m2
        if abs(m3) > l3:
            continue
        symbol = wigner_3j(l1, l2, l3, m1, m2, m3)
        for (a, x), (b, y), (c, z) in product(_complex_sum(l1, m1), _complex_sum(l2, m2), _complex_sum(l3, m3)):
            i, j, k = sorted((a, b, c))
            terms[i, j, k] += symbol * x * y * z
    return tuple((*abc, value.real) for abc, value in sorted(terms.items()) if abs(value) > 1e-14)


def _complex_sum(degree: int, order: int) -> list[tuple[int, complex]]:
    """A_lm as a combination of the real sums."""
    m = abs(order)
    norm = _norm(degree, m)
    if m == 0:
        return [(harmonic_index(degree, 0), norm)]
    sign = 1.0 if order > 0 else (-1.0) ** m
    imaginary = 1j if order > 0 else -1j
    return [(harmonic_index(degree, m), sign * norm), (harmonic_index(degree, m, sine=True), sign * norm * imaginary)]


def wigner_3j(l1: int, l2: int, l3: int, m1: int, m2: int, m3: int) -> float:
    """Wigner 3j symbol of integers by the Racah formula."""
    if m1 + m2 + m3 != 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    if abs(m1) > l1 or abs(m2) > l2 or abs(m3) > l3:
        return 0.0
    f = math.factorial
    triangle = f(l1 + l2 - l3) * f(l1 - l2 + l3) * f(-l1 + l2 + l3) / f(l1 + l2 + l3 + 1)
    projections = f(l1 + m1) * f(l1 - m1) * f(l2 + m2) * f(l2 - m2) * f(l3 + m3) * f(l3 - m3)
    total = 0.0
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        total += (-1) ** k / (
            f(k) * f(l1 + l2 - l3 - k) * f(l1 - m1 - k) * f(l2 + m2 - k) * f(l3 - l2 + m1 + k) * f(l3 - l1 - m2 + k)
        )
    return (-1) ** (l1 - l2 - m3) * math.sqrt(triangle * projections) * total
