"""Frames as the kernels of training want them: positions do not change, so all that depends on them alone is kept.

Atoms of one type come in batches of as many as the processor's vectors have lanes, a lane an atom, within chunks of
structures that one core takes at a time. Pairs of a batch are rows: the k-th neighbour of type t of each of its atoms.
See gpu/kernels/nep_training_model.h for the arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.gpu.backend import Backend
from hpcthermo.gpu.compile import specialised
from hpcthermo.potentials.angular_invariants import square_weights
from hpcthermo.potentials.nep_parameters import product_table
from hpcthermo.training.labels import types_of
from hpcthermo.training.neighbours import Pairs, pairs_of
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.partition import chunk_starts

#: batches of a bundle (BATCHES_TOGETHER in nep_training_model.h)
_BATCHES_TOGETHER = {"cpu": 3, "cuda": 1}
#: degrees of angular functions that kernels are compiled for (BY_DEGREE in nep_training_kernels.h)
_DEGREES = (4, 8)


@dataclass(frozen=True)
class Geometry:
    """Structures with their neighbours and functions of distance and angle.

    Attributes
    ----------
    n_structures, n_atoms, n_batches, n_bundles, n_chunks : int
    first_atoms : (S + 1,) int32
        First atom of each structure.
    chunks : (n_chunks + 1, 3) int32
        First bundle, batch and structure of each chunk.
    most_batches_of_chunk : int
    most_neighbors : (radial, angular) int
        Of any atom.
    arguments : tuple
        Kernel arguments, from ``types`` to ``chunks``.
    """

    n_structures: int
    n_atoms: int
    n_batches: int
    n_bundles: int
    n_chunks: int
    first_atoms: np.ndarray
    chunks: np.ndarray
    most_batches_of_chunk: int
    most_neighbors: tuple[int, int]
    arguments: tuple[Any, ...]

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        return sum(int(array.nbytes) for array in self.arguments)


def degree_of(form: NepForm) -> int:
    """Smallest compiled degree of angular functions that a model needs."""
    needed = max([form.l_max, *(max(map(int, name)) for name in form.extra_invariants)])
    return next(d for d in _DEGREES if d >= needed)


def kernel_module(form: NepForm, backend: Backend) -> str:
    """Name of the kernel module; on a GPU it is compiled for the model's degree alone."""
    return "nep_training" if backend.device == "cpu" else specialised("nep_training_kernels", DEGREE=degree_of(form))


def model_tables(form: NepForm) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Weights of squares, cubic terms (n, 4) and their coefficients, and which extra block is 1111 (-1: none)."""
    blocks = {name: k for k, name in enumerate(form.extra_invariants)}
    terms, coefficients = product_table(blocks)
    return square_weights(form.l_max, degree_of(form)), terms, coefficients, blocks.get("1111", -1)


def make_geometry(frames: Sequence[LabelledFrame], form: NepForm, backend: Backend) -> Geometry:
    """Neighbours and cached functions of frames.

    Raises
    ------
    InputError
        For a frame with an element that the model does not have, or none at all.
    """
    types = types_of(frames, form)
    reach = max(form.radial_cutoffs + form.angular_cutoffs)
    pairs_by_frame = [pairs_of(frame, reach) for frame in frames]
    first_atoms = np.concatenate([[0], np.cumsum([frame.n_atoms for frame in frames])])
    pairs = Pairs(np.concatenate([p.centre + first for p, first in zip(pairs_by_frame, first_atoms, strict=False)]),
                  np.concatenate([p.neighbour + first for p, first in zip(pairs_by_frame, first_atoms, strict=False)]),
                  np.concatenate([p.vectors for p in pairs_by_frame]))
    r = np.linalg.norm(pairs.vectors, axis=1)
    radial_cutoffs, angular_cutoffs = form.pair_cutoffs
    of_pair = types[pairs.centre], types[pairs.neighbour]
    radial, angular = (_chosen(pairs, r < cutoffs[of_pair]) for cutoffs in (radial_cutoffs, angular_cutoffs))
    counts = [np.bincount(p.centre, minlength=len(types)) for p in (radial, angular)]
    order = _Order.of(first_atoms, types, 8 * counts[1] + counts[0], backend.lanes, _BATCHES_TOGETHER[backend.device])
    return _on_device(form, backend, types, first_atoms, order, radial, angular,
                      (int(counts[0].max()), int(counts[1].max())))


def _chosen(pairs: Pairs, chosen: np.ndarray) -> Pairs:
    return Pairs(pairs.centre[chosen], pairs.neighbour[chosen], pairs.vectors[chosen])


@dataclass(frozen=True)
class _Order:
    """Atoms in lanes of batches: by chunk, type, structure and number of neighbours.

    Attributes
    ----------
    slots : (N,) int
        Batch times LANES plus lane of each atom.
    atoms : (batches, LANES) int32
    occupied : (batches, LANES) bool
    batch_types : (batches,) int32
    bundles : (bundles, 2) int32
    chunks : (chunks + 1, 3) int32
    """

    slots: np.ndarray
    atoms: np.ndarray
    occupied: np.ndarray
    batch_types: np.ndarray
    bundles: np.ndarray
    chunks: np.ndarray

    @staticmethod
    def of(first_atoms: np.ndarray, types: np.ndarray, work: np.ndarray, lanes: int, together: int) -> _Order:
        """`work` is the share of each atom, so that atoms of one batch have about as many neighbours."""
        structure = np.repeat(np.arange(len(first_atoms) - 1), np.diff(first_atoms))
        structures = chunk_starts(np.diff(first_atoms))
        chunk_of = np.repeat(np.arange(len(structures) - 1), np.diff(structures))
        order = np.lexsort((work, structure, types, chunk_of[structure]))
        rows: list[np.ndarray] = []
        batch_types: list[int] = []
        bundles: list[tuple[int, int]] = []
        chunks = []
        keys = chunk_of[structure[order]] * (int(types.max()) + 1) + types[order]
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        position = 0
        for chunk in range(len(structures) - 1):
            chunks.append((len(bundles), len(rows), structures[chunk]))
            while position < len(starts) and chunk_of[structure[order[starts[position]]]] == chunk:
                begin = starts[position]
                end = starts[position + 1] if position + 1 < len(starts) else len(order)
                members = [order[k : min(k + lanes, end)] for k in range(begin, end, lanes)]
                bundles += [(len(rows) + k, min(together, len(members) - k)) for k in range(0, len(members), together)]
                batch_types += [types[order[begin]]] * len(members)
                rows += members
                position += 1
        chunks.append((len(bundles), len(rows), structures[-1]))
        atoms = np.empty((len(rows), lanes), dtype=np.int32)
        occupied = np.zeros((len(rows), lanes), dtype=bool)
        slots = np.empty(len(types), dtype=np.int64)
        for k, row in enumerate(rows):
            # unused lanes repeat the last atom
            atoms[k] = row[-1]
            atoms[k, : len(row)] = row
            occupied[k, : len(row)] = True
            slots[row] = k * lanes + np.arange(len(row))
        return _Order(slots, atoms, occupied, np.array(batch_types, dtype=np.int32), np.array(bundles, dtype=np.int32),
                      np.array(chunks, dtype=np.int32))


@dataclass(frozen=True)
class _Rows:
    """Pairs as rows over the lanes of batches.

    Attributes
    ----------
    starts : (batches T + 1,) int32
    index : (rows, LANES) int32
        Neighbours; the atom itself where a lane has no pair.
    vectors : (rows, 3, LANES) float64
        A, 0 where a lane has no pair.
    """

    starts: np.ndarray
    index: np.ndarray
    vectors: np.ndarray

    @staticmethod
    def of(pairs: Pairs, types: np.ndarray, order: _Order, n_types: int) -> _Rows:
        n_batches, lanes = order.atoms.shape
        slot, kind = order.slots[pairs.centre], types[pairs.neighbour]
        sequence = np.argsort(slot * n_types + kind, kind="stable")
        slot, kind = slot[sequence], kind[sequence]
        group = slot * n_types + kind
        counts = np.bincount(group, minlength=n_batches * lanes * n_types)
        rank = np.arange(len(group)) - (np.cumsum(counts) - counts)[group]
        # as many rows as the atom with most neighbours of the type has
        most = counts.reshape(n_batches, lanes, n_types).max(axis=1)
        starts = np.concatenate([[0], np.cumsum(most.ravel())])
        batch, lane = slot // lanes, slot % lanes
        row = starts[batch * n_types + kind] + rank
        batch_of_row = np.repeat(np.arange(n_batches), most.sum(axis=1))
        index = order.atoms[batch_of_row].copy()
        vectors = np.zeros((len(index), 3, lanes))
        index[row, lane] = pairs.neighbour[sequence]
        vectors[row, :, lane] = pairs.vectors[sequence]
        return _Rows(starts.astype(np.int32), index, vectors)


def _on_device(form: NepForm, backend: Backend, types: np.ndarray, first_atoms: np.ndarray, order: _Order,
               radial: Pairs, angular: Pairs, most_neighbors: tuple[int, int]) -> Geometry:
    n_types, degree, lanes = form.n_types, degree_of(form), backend.lanes
    n_batches = len(order.atoms)
    to_device = backend.from_host
    structure = np.repeat(np.arange(len(first_atoms) - 1), np.diff(first_atoms)).astype(np.int32)
    batch_types = to_device(order.batch_types)
    module = kernel_module(form, backend)
    cached: list[tuple[Any, Any, Any]] = []
    sums: Any = None
    cutoffs = form.pair_cutoffs
    for with_functions, pairs in ((False, radial), (True, angular)):
        rows = _Rows.of(pairs, types, order, n_types)
        basis = form.basis_size[with_functions] + 1
        values = backend.empty_aligned((max(1, len(rows.index)), 4 + (1 + with_functions) * basis, lanes), backend.real)
        of_batches = backend.empty_aligned((n_batches, n_types * basis, lanes), backend.real)
        starts = to_device(rows.starts)
        backend.launch(module, "cache_pairs", 0, n_batches, batch_types, n_types, basis,
                       to_device(np.ascontiguousarray(cutoffs[with_functions])), starts, to_device(rows.vectors),
                       int(with_functions), values, of_batches)
        cached.append((starts, values, to_device(rows.index)))
        sums = sums if with_functions else of_batches
    harmonics = (degree + 1) ** 2 - 1
    columns = n_types * (form.basis_size[1] + 1)
    angular_sums = backend.empty_aligned((n_batches, columns, harmonics, lanes), backend.real)
    fixed = (batch_types, to_device(order.bundles), to_device(order.atoms), to_device(structure[order.atoms]),
             to_device(order.occupied.astype(backend.real)), *cached[0], *cached[1], sums, angular_sums,
             to_device(first_atoms.astype(np.int32)), to_device(order.chunks))
    backend.launch(module, "sum_angular", 0, n_batches, *model_arguments(form, backend, None, False), *fixed,
                   angular_sums)
    backend.synchronize()
    return Geometry(len(first_atoms) - 1, len(types), n_batches, len(order.bundles), len(order.chunks) - 1,
                    first_atoms.astype(np.int32), order.chunks, int(np.diff(order.chunks[:, 1]).max()), most_neighbors,
                    fixed)


def model_arguments(form: NepForm, backend: Backend, numbers: np.ndarray | None, with_virial: bool) -> tuple[Any, ...]:
    """Kernel arguments from ``sizes`` to ``term_coefficients``."""
    weights, terms, coefficients, five_body = model_tables(form)
    functions = [size + 1 for pair in zip(form.n_max, form.basis_size, strict=True) for size in pair]
    sizes = np.array([form.n_types, *functions, form.l_max, form.n_descriptors, form.neurons, len(coefficients),
                      len(form.extra_invariants), five_body, with_virial, degree_of(form)], dtype=np.int32)
    to_device = backend.from_host
    return (to_device(sizes), None if numbers is None else to_device(numbers.astype(backend.real)),
            to_device(weights.astype(backend.real)), to_device(terms), to_device(coefficients.astype(backend.real)))
