"""Arrange the numbers of a NEP model as its kernel reads them (gpu/kernels/nep_model.h)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from hpcthermo.gpu.backend import Backend
from hpcthermo.gpu.compile import KERNEL_FOLDER
from hpcthermo.potentials.angular_invariants import cubic_terms, square_weights
from hpcthermo.potentials.nep_file import NepModel

#: terms of f_c = y P(y) and Chebyshev degree of f_c(x) in derivative series, by precision (chebyshev.h)
CUTOFF_TERMS = {"mixed": 7, "double": 14}
CUTOFF_DEGREE = {"mixed": 7, "double": 12}
#: with more types than this a vector of neighbours of one type would be mostly padding
_MOST_SORTED_TYPES = 4
#: entries that may be read after the last row over types (whole registers, a warp)
_ROW_MARGIN = 32


@dataclass(frozen=True)
class KernelShape:
    """Numbers of functions a kernel was compiled for; see Shape in nep_model.h."""

    n_radial: int
    k_radial: int
    n_angular: int
    k_angular: int
    degree: int

    @property
    def kernel(self) -> str:
        """Name of the kernel."""
        return f"nep_{self.n_radial}_{self.k_radial}_{self.n_angular}_{self.k_angular}_{self.degree}"

    @property
    def harmonics(self) -> int:
        """Real angular functions."""
        return (self.degree + 1) ** 2 - 1

    @property
    def cost(self) -> float:
        """Rough arithmetic by atom, for choosing among shapes that cover a model."""
        return 240.0 * 4.0 * self.k_radial + 30.0 * self.n_angular * (6.0 * self.harmonics + 4.0 * self.k_angular)


@cache
def compiled_shapes() -> tuple[KernelShape, ...]:
    """The shapes listed at the end of nep.h."""
    found = re.findall(r"^NEP_KERNEL\(([\d, ]+)\)", (KERNEL_FOLDER / "nep.h").read_text(), re.MULTILINE)
    return tuple(KernelShape(*map(int, numbers.split(","))) for numbers in found)


def shape_of(model: NepModel) -> KernelShape:
    """Cheapest compiled shape that covers a model."""
    n_radial, k_radial = model.radial_coefficients.shape[:2]
    n_angular, k_angular = model.angular_coefficients.shape[:2]
    covering = [
        s for s in compiled_shapes()
        if s.n_radial >= n_radial and s.k_radial >= k_radial and s.n_angular >= n_angular
        and s.k_angular >= k_angular and s.degree >= model.l_max
    ]
    return min(covering, key=lambda s: s.cost)


@dataclass(frozen=True)
class NepParameters:
    """Device arrays of a model for one species table.

    Attributes
    ----------
    shape : KernelShape
    descriptor_index : (D,) int
        Place of each descriptor of the file in the kernel's vector.
    n_types : int
    sorted_lists : bool
        Whether the kernel wants lists sorted by type, or all types together.
    n_descriptors, descriptor_row, neuron_row, series_row : int
        Descriptors in the kernel's vector, and padded lengths of rows.
    arguments : tuple
        Kernel arguments from ``sizes`` to ``screening``.
    """

    shape: KernelShape
    descriptor_index: np.ndarray
    n_types: int
    sorted_lists: bool
    n_descriptors: int
    descriptor_row: int
    neuron_row: int
    series_row: int
    arguments: tuple[Any, ...]


def pair_cutoffs(model: NepModel, types: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radial, angular and inner-list cutoff of each type pair, A, all (T, T)."""
    radial, angular = model.radial_cutoffs[types], model.angular_cutoffs[types]
    radial_pair = 0.5 * (radial[:, None] + radial[None, :])
    angular_pair = 0.5 * (angular[:, None] + angular[None, :])
    reach = angular_pair
    if model.screening is not None:  # repulsion is summed over the angular neighbours
        reach = np.maximum(reach, model.screening[np.ix_(types, types)][..., 3])
    return radial_pair, angular_pair, reach


def nep_parameters(model: NepModel, types: np.ndarray, backend: Backend) -> NepParameters:
    """Arrays for the species whose model types are `types`.

    Parameters
    ----------
    types : (T,) int
        Model type of each species.
    """
    shape = shape_of(model)
    radial_pair, angular_pair, reach = pair_cutoffs(model, types)
    sorted_lists = len(types) <= _MOST_SORTED_TYPES
    cutoffs = np.stack([radial_pair, 1.0 / radial_pair, 1.0 / angular_pair, reach], axis=1)
    radial = polynomial_coefficients(model.radial_coefficients, types, shape.n_radial, shape.k_radial)
    angular = polynomial_coefficients(model.angular_coefficients, types, shape.n_angular, shape.k_angular)
    series = pad_last(derivative_series(radial, radial_pair, CUTOFF_DEGREE[backend.precision]), backend.lanes)
    descriptor_index, blocks, n_descriptors = descriptor_layout(model, shape)
    products, coefficients = product_table(blocks)
    network = network_arrays(model, types, descriptor_index, n_descriptors, backend)
    five_body = blocks.get("1111", -1)
    neurons = model.neuron_biases.shape[1]
    sizes = np.array([len(types), n_descriptors, network.descriptor_row, neurons, network.neuron_row,
                      len(coefficients), five_body, sorted_lists], dtype=np.int32)

    def real(array: np.ndarray) -> Any:
        return aligned_copy(backend, array.astype(backend.real))

    def rows_over_types(array: np.ndarray) -> Any:
        return real(np.concatenate([array.ravel(), np.zeros(_ROW_MARGIN)]))

    if sorted_lists:
        radial_table = real(pad_last(radial.transpose(0, 1, 3, 2), backend.lanes))
    else:
        radial_table = rows_over_types(radial.transpose(0, 3, 2, 1))
    screening = None if model.screening is None else real(model.screening[np.ix_(types, types)])
    arguments = (
        backend.xp.asarray(sizes), rows_over_types(cutoffs), real(cutoff_polynomial(CUTOFF_TERMS[backend.precision])),
        radial_table, real(series), rows_over_types(angular.transpose(0, 3, 2, 1)),
        real(square_weights(model.l_max, shape.degree)),
        backend.xp.asarray(products), real(coefficients),
        real(network.input_weights), real(network.input_weights_back), real(network.biases),
        real(network.output_weights), real(network.output_biases), screening,
    )
    return NepParameters(shape, descriptor_index, len(types), sorted_lists, n_descriptors, network.descriptor_row,
                         network.neuron_row, series.shape[-1], arguments)


def aligned_copy(backend: Backend, array: np.ndarray) -> Any:
    """Device copy that starts on a 64-byte boundary, so that no vector load crosses a cache line."""
    target = backend.empty_aligned(array.shape, array.dtype)
    target[...] = backend.xp.asarray(array)
    return target


def cutoff_polynomial(n_terms: int) -> np.ndarray:
    """Coefficients of P in f_c = sin^2(pi s/2) = y P(y), y = s^2 in [0, 1]."""
    if n_terms >= 14:  # Taylor series of (1 - cos(pi s))/2; the next term is below 1e-17
        powers = np.arange(1, n_terms + 1)
        factorials = np.array([math.factorial(2 * int(p)) for p in powers], dtype=np.float64)
        signs = np.where(powers % 2 == 1, 1.0, -1.0)
        return signs * np.pi ** (2 * powers) / (2.0 * factorials)
    nodes = 0.5 * (1.0 - np.cos(np.pi * (np.arange(n_terms) + 0.5) / n_terms))
    values = np.sin(0.5 * np.pi * np.sqrt(nodes)) ** 2 / nodes
    return np.linalg.solve(np.vander(nodes, increasing=True), values)


def polynomial_coefficients(c: np.ndarray, types: np.ndarray, n: int, k: int) -> np.ndarray:
    """From g = f_c sum_k c_k (T_k + 1)/2 to g = f_c sum_k c'_k T_k.

    Returns
    -------
    (T, T, n, k) float64, zero beyond the model's own sizes.
    """
    c = c[:, :, types][:, :, :, types].transpose(2, 3, 0, 1)
    result = np.zeros((*c.shape[:2], n, k))
    result[:, :, : c.shape[2], : c.shape[3]] = 0.5 * c
    result[:, :, : c.shape[2], 0] += 0.5 * c.sum(axis=-1)
    return result


def derivative_series(coefficients: np.ndarray, cutoffs: np.ndarray, cutoff_degree: int) -> np.ndarray:
    """Chebyshev coefficients in x of dg/dx (-4/rc), so that dg/dr = s times the series."""
    def cutoff(x: np.ndarray) -> np.ndarray:
        return np.sin(0.5 * np.pi * np.sqrt(np.maximum(0.5 * (x + 1.0), 0.0))) ** 2

    f_c = np.asarray(chebyshev.chebinterpolate(cutoff, 40), dtype=np.float64)[: cutoff_degree + 1]  # type: ignore[type-var]
    t1, t2, n, k = coefficients.shape
    series = np.empty((t1, t2, n, k - 1 + cutoff_degree))
    for i, j, m in np.ndindex(t1, t2, n):
        product = np.zeros(k + cutoff_degree)
        part = np.asarray(chebyshev.chebmul(f_c, coefficients[i, j, m]), dtype=np.float64)
        product[: len(part)] = part
        series[i, j, m] = chebyshev.chebder(product) * (-4.0 / cutoffs[i, j])
    return series


def descriptor_layout(model: NepModel, shape: KernelShape) -> tuple[np.ndarray, dict[str, int], int]:
    """Kernel place of each descriptor of the file; angular block of each extra invariant; vector length."""
    n_radial, n_angular = model.radial_coefficients.shape[0], model.angular_coefficients.shape[0]
    extra_blocks = {name: shape.degree + k for k, name in enumerate(model.extra_invariants)}
    index = list(range(n_radial))
    for block in [*range(model.l_max), *extra_blocks.values()]:
        index += [shape.n_radial + block * shape.n_angular + n for n in range(n_angular)]
    length = shape.n_radial + shape.n_angular * (shape.degree + len(extra_blocks))
    return np.array(index), extra_blocks, length


def product_table(blocks: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cubic invariants as rows (a, b, c, block) and coefficients."""
    rows, coefficients = [], []
    for name, block in blocks.items():
        if len(name) == 3:
            for a, b, c, value in cubic_terms(*map(int, name)):
                rows.append((a, b, c, block))
                coefficients.append(value)
    return np.array(rows, dtype=np.int32).reshape(-1, 4), np.array(coefficients)


@dataclass(frozen=True)
class NetworkArrays:
    """Weights as the kernels read them (NepModel in nep_model.h), on the host."""

    input_weights: np.ndarray
    input_weights_back: np.ndarray
    biases: np.ndarray
    output_weights: np.ndarray
    output_biases: np.ndarray
    descriptor_row: int
    neuron_row: int


def network_arrays(model: NepModel, types: np.ndarray, index: np.ndarray, n_descriptors: int,
                   backend: Backend) -> NetworkArrays:
    """Weights of the species' networks, rows padded to the lanes; `index` places descriptors as `descriptor_layout`."""
    neurons = model.neuron_biases.shape[1]
    descriptor_row = -(-n_descriptors // backend.lanes) * backend.lanes
    neuron_row = -(-neurons // backend.lanes) * backend.lanes
    weights = model.input_weights[types] * model.scaler
    forward = np.zeros((len(types), n_descriptors, neuron_row))
    forward[:, index, :neurons] = weights.transpose(0, 2, 1)
    back = np.zeros((len(types), neurons, descriptor_row))
    back[:, :, index] = weights
    biases, output_weights = -model.neuron_biases[types], model.output_weights[types]
    return NetworkArrays(forward, back, pad_last(biases, neuron_row), pad_last(output_weights, neuron_row),
                    model.output_biases[types], descriptor_row, neuron_row)


def pad_last(array: np.ndarray, multiple: int) -> np.ndarray:
    """Zeros at the end of the last axis, up to a multiple."""
    length = -(-array.shape[-1] // multiple) * multiple
    return np.concatenate([array, np.zeros((*array.shape[:-1], length - array.shape[-1]))], axis=-1)
