"""NEP energies written directly from the formulas, slowly, and synthetic model files.

Independent of the kernel and of its tables: complex spherical harmonics from SciPy, 3j symbols from
Gaunt integrals by quadrature, the cutoff by cosines.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import eval_chebyt, sph_harm_y


@cache
def gaunt_3j(l1, l2, l3, m1, m2, m3):
    """3j symbol for even l1 + l2 + l3 from the integral of three spherical harmonics."""
    x, wx = np.polynomial.legendre.leggauss(24)
    phi = 2 * np.pi * np.arange(32) / 32
    theta, phi = np.meshgrid(np.arccos(x), phi, indexing="ij")
    integral = np.sum(wx[:, None] * (2 * np.pi / 32) * sph_harm_y(l1, m1, theta, phi)
                      * sph_harm_y(l2, m2, theta, phi) * sph_harm_y(l3, m3, theta, phi)).real
    zero = np.sum(wx * np.prod([np.polynomial.legendre.Legendre.basis(n)(x) for n in (l1, l2, l3)], axis=0)) / 2
    # sign of 3j(000) is (-1)^(sum/2); its square is half the integral of three Legendre polynomials
    zero = (-1) ** ((l1 + l2 + l3) // 2) * np.sqrt(zero)
    return integral / (np.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * np.pi)) * zero)


def radial_functions(coefficients, r, cutoff):
    """g_n(r), (n, neighbours), zero beyond the cutoff."""
    fc = np.where(r < cutoff, 0.5 * (1 + np.cos(np.pi * r / cutoff)), 0.0)
    x = np.clip(2 * (r / cutoff - 1) ** 2 - 1, -1, 1)
    f = np.array([(eval_chebyt(k, x) + 1) / 2 * fc for k in range(coefficients.shape[1])])
    return coefficients @ f


def descriptors_of_atom(model, ti, types, vectors):
    """Unscaled descriptors of one atom."""
    r = np.linalg.norm(vectors, axis=1)
    n_types = len(model.elements)
    radial = np.zeros(model.radial_coefficients.shape[0])
    n_angular = model.angular_coefficients.shape[0]
    g = np.zeros((n_angular, len(r)))
    for tj in range(n_types):
        of_type = types == tj
        rc = 0.5 * (model.radial_cutoffs[ti] + model.radial_cutoffs[tj])
        ra = 0.5 * (model.angular_cutoffs[ti] + model.angular_cutoffs[tj])
        radial += radial_functions(model.radial_coefficients[:, :, ti, tj], r[of_type], rc).sum(axis=1)
        g[:, of_type] = radial_functions(model.angular_coefficients[:, :, ti, tj], r[of_type], ra)
    theta, phi = np.arccos(np.clip(vectors[:, 2] / r, -1, 1)), np.arctan2(vectors[:, 1], vectors[:, 0])
    sums = {(degree, m): g @ sph_harm_y(degree, m, theta, phi)
            for degree in range(1, max(model.l_max, 4) + 1) for m in range(-degree, degree + 1)}
    q = [radial]
    for degree in range(1, model.l_max + 1):
        q.append(sum(abs(sums[degree, m]) ** 2 for m in range(-degree, degree + 1)))
    for name in model.extra_invariants:
        if name == "1111":
            q.append(7 / 15 * q[1] ** 2)
            continue
        l1, l2, l3 = map(int, name)
        value = np.zeros(n_angular, complex)
        for m1 in range(-l1, l1 + 1):
            for m2 in range(-l2, l2 + 1):
                if abs(m1 + m2) <= l3:
                    value += gaunt_3j(l1, l2, l3, m1, m2, -m1 - m2) * sums[l1, m1] * sums[l2, m2] * sums[l3, -m1 - m2]
        q.append(value.real)
    return np.concatenate(q)


def repulsion_of_atom(model, ti, types, r):
    """Half the short-range repulsion of one atom, written out."""
    energy = 0.0
    for tj, rij in zip(types, r, strict=True):
        charge, inverse_length, r1, r2, *phi = model.screening[ti, tj]
        if rij >= r2:
            continue
        w = 1.0 if rij < r1 else 0.5 * (1 + np.cos(np.pi * (rij - r1) / (r2 - r1)))
        x = rij * inverse_length
        energy += 0.5 * charge / rij * w * sum(phi[2 * k] * np.exp(-phi[2 * k + 1] * x) for k in range(4))
    return energy


def energies(model, types, rows, n_owned):
    """Site energies of the first n_owned rows; `types` index the elements of the model."""
    result = np.zeros(n_owned)
    longest = max(model.radial_cutoffs.max(), model.angular_cutoffs.max())
    for i in range(n_owned):
        vectors = rows - rows[i]
        r = np.linalg.norm(vectors, axis=1)
        near = (r < longest) & (np.arange(len(rows)) != i)
        q = descriptors_of_atom(model, types[i], types[near], vectors[near]) * model.scaler
        hidden = np.tanh(model.input_weights[types[i]] @ q - model.neuron_biases[types[i]])
        result[i] = model.output_weights[types[i]] @ hidden - model.output_biases[types[i]]
        if model.screening is not None:
            result[i] += repulsion_of_atom(model, types[i], types[near], r[near])
    return result


def write_model(path, kind="nep4", elements=("B", "C", "N"), cutoff="5 4", n_max=(4, 4), basis=(8, 8), flags=(4, 1, 1),
                neurons=10, zbl=None, seed=1, counts=" 100 50"):
    """A synthetic nep.txt with smooth random parameters; returns its path."""
    random = np.random.default_rng(seed)
    t, nr, na = len(elements), n_max[0] + 1, n_max[1] + 1
    d = nr + na * (flags[0] + sum(1 for f in flags[1:] if f))
    numbers = []
    for _ in range(1 if kind.startswith("nep3") else t):
        numbers += [random.normal(0, 1 / np.sqrt(d), neurons * d), random.normal(0, 0.5, neurons),
                    random.normal(0, 0.5, neurons)]
        if kind.startswith("nep5"):
            numbers.append(random.normal(0, 1, 1))
    numbers.append([0.3])
    numbers += [random.normal(0, 0.4, t * t * nr * (basis[0] + 1)), random.normal(0, 0.4, t * t * na * (basis[1] + 1))]
    numbers.append(random.uniform(0.2, 0.6, d))
    if zbl == "zbl 0 0":
        phi = [0.18, 3.2, 0.51, 0.94, 0.28, 0.4, 0.03, 0.2]
        numbers += [[0.6 + 0.1 * random.random(), 1.9 + 0.3 * random.random(), *phi] for _ in range(t * (t + 1) // 2)]
    lines = [f"{kind} {t} {' '.join(elements)}", *([zbl] if zbl else []), f"cutoff {cutoff}{counts}",
             f"n_max {n_max[0]} {n_max[1]}", f"basis_size {basis[0]} {basis[1]}", "l_max " + " ".join(map(str, flags)),
             f"ANN {neurons} 0", *(f"{x:.9e}" for x in np.concatenate([np.ravel(n) for n in numbers]))]
    path.write_text("\n".join(lines) + "\n")
    return path
