"""The form of a NEP4 model and its numbers as one vector theta, in the order of nep.txt.

    theta = (w0, b0, w1) of type 1, ..., of type T; b1; c radial (n, k, t_i, t_j); c angular

| symbol   | field                                  |                                                  |
|----------|----------------------------------------|--------------------------------------------------|
| T        | n_types                                | elements                                         |
| n, k     | n_radial, k_radial, n_angular, ...     | functions g_n and basis functions f_k, n_max + 1 |
| D        | n_descriptors                          | descriptors q_d of an atom                       |
| s_d      | scaler                                 | factor of q_d, kept while training               |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.potentials.nep_file import (
    EXTRA_INVARIANTS,
    LARGEST_BASIS,
    LARGEST_DEGREE,
    LARGEST_N_MAX,
    LARGEST_NEURONS,
    NepModel,
)


@dataclass(frozen=True)
class NepForm:
    """All of a NEP4 model but the numbers that are trained.

    Attributes
    ----------
    elements : tuple of str
        Symbols of the T types.
    radial_cutoffs, angular_cutoffs : tuple of T floats
        By type, A; a pair uses the mean of its two.
    n_max, basis_size : (radial, angular) int
        There are n_max + 1 functions of basis_size + 1 basis functions each.
    l_max : int
        Largest degree of the three-body invariants.
    extra_invariants : tuple of str
        In the order of `nep_file.EXTRA_INVARIANTS`.
    neurons : int
    screening : (T, T, 12) float64 or None
        Short-range repulsion by type pair (potentials/zbl.py); not trained.

    Raises
    ------
    InputError
        For sizes that nep.txt cannot state.
    """

    elements: tuple[str, ...]
    radial_cutoffs: tuple[float, ...]
    angular_cutoffs: tuple[float, ...]
    n_max: tuple[int, int]
    basis_size: tuple[int, int]
    l_max: int
    extra_invariants: tuple[str, ...]
    neurons: int
    screening: np.ndarray | None = None

    def __post_init__(self) -> None:
        ranges = {"n_max": (*self.n_max, LARGEST_N_MAX, 0), "basis_size": (*self.basis_size, LARGEST_BASIS, 0),
                  "l_max": (self.l_max, self.l_max, LARGEST_DEGREE, 0),
                  "neurons": (self.neurons, self.neurons, LARGEST_NEURONS, 1)}
        for name, (a, b, most, least) in ranges.items():
            if not least <= min(a, b) <= max(a, b) <= most:
                raise InputError(f"{name}: expected integers from {least} to {most}, got {a} and {b}")
        if self.extra_invariants != tuple(e for e in EXTRA_INVARIANTS if e in self.extra_invariants):
            raise InputError(f"extra invariants: expected some of {', '.join(EXTRA_INVARIANTS)} in this order, "
                             f"got {', '.join(self.extra_invariants)}")
        if "1111" in self.extra_invariants and self.l_max < 1:
            raise InputError("extra invariants: 1111 is made of the three-body invariant of degree 1; "
                             "set l_max above 0")

    @property
    def n_types(self) -> int:
        """Number of elements."""
        return len(self.elements)

    @property
    def n_descriptors(self) -> int:
        """Length D of the descriptor vector."""
        return self.n_max[0] + 1 + (self.n_max[1] + 1) * (self.l_max + len(self.extra_invariants))

    @property
    def bias_place(self) -> int:
        """Place of b1 in theta."""
        return self.n_types * (self.n_descriptors + 2) * self.neurons

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        functions = (self.n_max[0] + 1) * (self.basis_size[0] + 1) + (self.n_max[1] + 1) * (self.basis_size[1] + 1)
        return self.bias_place + 1 + self.n_types**2 * functions

    @property
    def pair_cutoffs(self) -> tuple[np.ndarray, np.ndarray]:
        """Radial and angular cutoffs of pairs of types, A, both (T, T)."""
        radial, angular = np.array(self.radial_cutoffs), np.array(self.angular_cutoffs)
        return 0.5 * (radial[:, None] + radial), 0.5 * (angular[:, None] + angular)

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Places in theta of w0 (T, neurons, D), b0, w1 (T, neurons), c radial and angular (n, k, T, T)."""
        t, d, m = self.n_types, self.n_descriptors, self.neurons
        networks = np.arange(self.bias_place).reshape(t, (d + 2) * m)
        shapes = [(n + 1, k + 1, t, t) for n, k in zip(self.n_max, self.basis_size, strict=True)]
        n_radial = int(np.prod(shapes[0]))
        rest = np.arange(self.bias_place + 1, self.n_parameters)
        return (networks[:, : m * d].reshape(t, m, d), networks[:, m * d : m * (d + 1)], networks[:, m * (d + 1) :],
                rest[:n_radial].reshape(shapes[0]), rest[n_radial:].reshape(shapes[1]))

    def kernel_places(self) -> tuple[np.ndarray, np.ndarray]:
        """Order of the kernels: (w0, b0, w1, c (n, t_j, k) radial, angular) by type of centre.

        Returns
        -------
        place : (n,) int
            In theta, of each number of the kernels; all but b1.
        descriptor : (n,) int
            Whose factor it holds, -1 for none.
        """
        return self._kernel_order

    @cached_property
    def _kernel_order(self) -> tuple[np.ndarray, np.ndarray]:
        w0, b0, w1, radial, angular = self._parts
        places, descriptors = [], []
        for t in range(self.n_types):
            coefficients = [c[:, :, t].transpose(0, 2, 1).ravel() for c in (radial, angular)]
            places += [w0[t].ravel(), b0[t], w1[t], *coefficients]
            rest = 2 * self.neurons + sum(len(c) for c in coefficients)
            descriptors += [np.tile(np.arange(self.n_descriptors), self.neurons), np.full(rest, -1)]
        return np.concatenate(places), np.concatenate(descriptors)

    def kernel_factors(self, scaler: np.ndarray) -> np.ndarray:
        """Factor that each number of the kernels holds, (n,) float64."""
        descriptors = self._kernel_order[1]
        return np.where(descriptors >= 0, scaler[descriptors], 1.0)

    def kernel_numbers(self, theta: np.ndarray, scaler: np.ndarray) -> np.ndarray:
        """Numbers in the order of the kernels, (n,) float64."""
        return self.kernel_factors(scaler) * theta[self._kernel_order[0]]

    def start(self, seed: int) -> np.ndarray:
        """Random theta: arguments of tanh of order 1, b1 = 0."""
        random = np.random.default_rng(seed)
        w0, b0, w1, radial, angular = self._parts
        theta = np.zeros(self.n_parameters)
        theta[w0] = random.normal(size=w0.shape) / np.sqrt(self.n_descriptors)
        theta[b0] = random.uniform(-1.0, 1.0, b0.shape)
        theta[w1] = 0.1 * random.normal(size=w1.shape)
        theta[radial] = random.normal(size=radial.shape)
        theta[angular] = random.normal(size=angular.shape)
        return theta

    def model(self, theta: np.ndarray, scaler: np.ndarray, path: str = "trained") -> NepModel:
        """The potential with these numbers.

        Parameters
        ----------
        theta : (n_parameters,) float64
        scaler : (D,) float64
        path : str
            What messages call it.
        """
        w0, b0, w1, radial, angular = self._parts
        return NepModel(path, 4, self.elements, np.array(self.radial_cutoffs), np.array(self.angular_cutoffs),
                        self.l_max, self.extra_invariants, theta[w0], theta[b0], theta[w1],
                        np.full(self.n_types, theta[self.bias_place]), theta[radial], theta[angular], np.array(scaler),
                        self.screening)

    def parameters(self, model: NepModel) -> np.ndarray:
        """Theta of a model of this form.

        Raises
        ------
        InputError
            If the model has biases of its own for the types (NEP5), or other sizes.
        """
        if np.any(model.output_biases != model.output_biases[0]):
            raise InputError(f"{model.path}: expected one bias of all types (nep4), got a nep5 model; "
                             'set element_energies = "own"')
        w0, b0, w1, radial, angular = self._parts
        theta = np.empty(self.n_parameters)
        theta[self.bias_place] = model.output_biases[0]
        values = (model.input_weights, model.neuron_biases, model.output_weights, model.radial_coefficients,
                  model.angular_coefficients)
        for places, value in zip((w0, b0, w1, radial, angular), values, strict=True):
            if places.shape != value.shape:
                raise InputError(f"{model.path}: expected the sizes of the model that is trained, got others; "
                                 "correct n_max, basis_size, l_max or neurons")
            theta[places] = value
        return theta


def form_of(model: NepModel) -> NepForm:
    """The form of a model that was read from a file."""
    n_radial, k_radial = model.radial_coefficients.shape[:2]
    n_angular, k_angular = model.angular_coefficients.shape[:2]
    return NepForm(model.elements, tuple(model.radial_cutoffs.tolist()), tuple(model.angular_cutoffs.tolist()),
                   (n_radial - 1, n_angular - 1), (k_radial - 1, k_angular - 1), model.l_max, model.extra_invariants,
                   model.neuron_biases.shape[1], model.screening)
