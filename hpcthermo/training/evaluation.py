"""Energies, forces and virials of the structures of a training set for any theta, with the gradient of a loss in them.

    loss = sum_s a_s (dE_s/N_s)^2 + b_s sum_i tau_i |dF_i|^2 + c_s sum_ab (dW_s,ab/N_s)^2

The kernels (gpu/kernels/nep_training_kernels.h) hold the factor s_d of each descriptor in the network's weights:
numbers = factor * theta[place]. Chunks of structures are dealt to tasks, whose number does not depend on that of
threads, and sums are added in the order of the tasks: results have the same bits on any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.gpu.backend import Backend
from hpcthermo.training.geometry import Geometry, kernel_module, make_geometry, model_arguments
from hpcthermo.training.parameters import NepForm

#: tasks at most, so threads that can work at the same time
_MOST_TASKS = 64


@dataclass(frozen=True)
class LossTerms:
    """Weights of a loss, by structure and atom.

    Attributes
    ----------
    structures : (S, 3) float64
        a, b and c; below 0 where there is no label.
    atoms : (N,) float64
        tau.
    """

    structures: np.ndarray
    atoms: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """What a model gives for the structures of a training set.

    Attributes
    ----------
    errors : (S, 4) float64
        dE/N (eV), sum tau |dF|^2 and sum |dF|^2 ((eV/A)^2), sum over the six components of (dW/N)^2 (eV^2); 0 where
        there is no label.
    energies : (S,) float64
        eV, without the short-range repulsion, as the next two.
    forces : (N, 3) float64
        eV/A.
    virials : (S, 6) float64 or None
        eV; xx, yy, zz, xy, yz, zx.
    gradient : (n_parameters,) float64 or None
        Of the loss.
    """

    errors: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray | None
    gradient: np.ndarray | None


class TrainingSet:
    """Structures on a device, ready for `evaluate`.

    Parameters
    ----------
    frames : sequence of LabelledFrame
    form : NepForm
    backend : Backend
        Its precision is that of pair arithmetic; sums over a structure are float64.
    threads : int
        Of this process, on a CPU.

    Raises
    ------
    InputError
        For frames with elements that the form does not have.
    """

    def __init__(self, frames: Sequence[LabelledFrame], form: NepForm, backend: Backend, threads: int = 1) -> None:
        self.form, self.backend, self.threads = form, backend, threads
        self.geometry: Geometry = make_geometry(frames, form, backend)
        self._places, self._descriptors = form.kernel_places()
        device, g = backend.from_host, self.geometry
        self._labels = (device(g.labels.energies), device(g.labels.forces), device(g.labels.virials))
        zeros, real = backend.xp.zeros, backend.real
        self._sums = (zeros(g.n_structures), zeros((g.n_atoms, 4)), zeros((g.n_structures, 6)))
        self._seeds = (zeros(g.n_structures, dtype=real), zeros((g.n_atoms, 4), dtype=real),
                       zeros((6, g.n_structures), dtype=real))
        self._errors = zeros((g.n_structures, 4))
        self._pool = ThreadPoolExecutor(threads) if threads > 1 and backend.device == "cpu" else None

    @property
    def module(self) -> str:
        """Kernel module: on a GPU for one degree of angular functions."""
        return kernel_module(self.form, self.backend)

    def numbers(self, theta: np.ndarray, scaler: np.ndarray) -> np.ndarray:
        """Numbers in the order of the kernels, (n,) float64."""
        return self.factors(scaler) * theta[self._places]

    def factors(self, scaler: np.ndarray) -> np.ndarray:
        """Factor of each number of the kernels, (n,) float64."""
        return np.where(self._descriptors >= 0, scaler[self._descriptors], 1.0)

    @property
    def places(self) -> np.ndarray:
        """Place in theta of each number of the kernels, (n,) int."""
        return self._places

    def model(self, theta: np.ndarray, scaler: np.ndarray, with_virial: bool = False) -> tuple[Any, ...]:
        """Kernel arguments of the model."""
        return model_arguments(self.form, self.backend, self.numbers(theta, scaler), with_virial)

    def evaluate(self, theta: np.ndarray, scaler: np.ndarray, terms: LossTerms, gradient: bool = True,
                 parts: Sequence[int] | None = None) -> Evaluation:
        """Errors for a theta, and the gradient of the loss.

        Parameters
        ----------
        theta : (n_parameters,) float64
        scaler : (D,) float64
        terms : LossTerms
        gradient : bool
        parts : sequence of int, optional
            Only these of the `n_parts` parts of the set, on a CPU; what is returned of the others is of no use.
        """
        c = terms.structures[:, 2]
        with_virial = bool(np.any(c > 0.0) or (not gradient and np.any(c >= 0.0)))
        model = self.model(theta, scaler, with_virial)
        device, bias = self.backend.from_host, float(theta[self.form.bias_place])
        labels = (*self._labels, device(np.ascontiguousarray(terms.structures)), device(terms.atoms), bias,
                  self.geometry.n_structures)
        if self.backend.device == "cpu":
            total = self._by_chunks(model, labels, gradient, range(self.n_parts) if parts is None else parts)
        else:
            total = self._by_kernels(model, labels, gradient, with_virial)
        to_host, g = self.backend.to_host, self.geometry
        errors = to_host(self._errors).copy()
        result = None
        if total is not None:
            result = np.zeros(self.form.n_parameters)
            result[self._places] = self.factors(scaler) * total
            a = np.maximum(terms.structures[:, 0], 0.0)
            if parts is not None:
                a = np.where(np.isin(self.part_of_structure, parts), a, 0.0)
            result[self.form.bias_place] = -2.0 * float(np.sum(a * errors[:, 0]))
        energies, forces, virials = self._sums
        return Evaluation(errors, to_host(energies) - g.sizes * bias, to_host(forces)[:, :3].copy(),
                          to_host(virials).copy() if with_virial else None, result)

    # ---- on a CPU ----------------------------------------------------------------------------------

    @cached_property
    def _tasks(self) -> list[tuple[int, int]]:
        """Runs of chunks with about as many atoms each."""
        g = self.geometry
        atoms = g.first_atoms[g.chunks[:, 2]]
        n = min(_MOST_TASKS, g.n_chunks)
        cuts = np.unique(np.searchsorted(atoms, np.linspace(0.0, g.n_atoms, n + 1)))
        return [(int(a), int(b)) for a, b in pairwise(cuts)]

    @cached_property
    def _memory(self) -> list[tuple[Any, Any, Any]]:
        """Memory of a chunk's batches, scratch of a bundle, and gradient by lane, of each thread."""
        batch, scratch = self.memory_rows
        g, backend = self.geometry, self.backend
        return [tuple(backend.empty_aligned((rows, backend.lanes), backend.real)
                      for rows in (g.most_batches_of_chunk * batch, scratch, len(self._places)))
                for _ in range(self.threads)]

    @cached_property
    def memory_rows(self) -> tuple[int, int]:
        """Lane rows of a batch's memory and of a bundle's scratch."""
        rows = self.backend.xp.zeros(2, dtype=np.int32)
        model = model_arguments(self.form, self.backend, None, False)
        self.backend.launch(self.module, "memory_rows", 0, 2, *model, rows, per="thread")
        batch, scratch = self.backend.to_host(rows)
        return int(batch), int(scratch)

    @property
    def n_parts(self) -> int:
        """Parts of about as many atoms each: what threads share out, and what Adam takes one after the other."""
        return len(self._tasks)

    @cached_property
    def part_of_structure(self) -> np.ndarray:
        """(S,) int."""
        first = self.geometry.chunks[:, 2]
        return np.repeat(np.arange(self.n_parts), [first[b] - first[a] for a, b in self._tasks])

    def _by_chunks(self, model: tuple[Any, ...], labels: tuple[Any, ...], gradient: bool,
                   chosen: Sequence[int]) -> np.ndarray | None:
        tasks = [self._tasks[k] for k in chosen]
        parts = np.zeros((len(tasks), len(self._places))) if gradient else None

        def work(thread: int) -> None:
            memory, scratch, by_lane = self._memory[thread]
            for k in range(thread, len(tasks), self.threads):
                self.backend.launch(self.module, "loss_and_gradient", *tasks[k], *model, *self.geometry.arguments,
                                    memory, scratch, *labels, *self._sums, *self._seeds, self._errors,
                                    by_lane if gradient else None, None if parts is None else parts[k])

        if len(tasks) == 1:
            work(0)
        else:
            self.share(work)
        return None if parts is None else parts.sum(axis=0)

    def share(self, work: Any) -> None:
        """Call ``work(thread)`` for all threads, at the same time."""
        if self._pool is None:
            for thread in range(self.threads):
                work(thread)
        else:
            list(self._pool.map(work, range(self.threads)))

    # ---- on a GPU ----------------------------------------------------------------------------------

    def _by_kernels(self, model: tuple[Any, ...], labels: tuple[Any, ...], gradient: bool,
                    with_virial: bool) -> np.ndarray | None:
        g, backend = self.geometry, self.backend
        scratch_rows = self.memory_rows[1]
        memory, scratch, slices = self._device_memory
        for array in self._sums:
            array[...] = 0
        size = scratch_rows * backend.lanes
        backend.launch(self.module, "forward", 0, g.n_bundles, *model, *g.arguments, 0, memory, size, scratch,
                       *self._sums, per="scratch")
        eps, force, virial = self._seeds
        virial = virial if with_virial else None
        backend.launch(self.module, "loss_derivatives", 0, g.n_structures, *g.arguments, *labels, *self._sums, eps,
                       force, virial, self._errors)
        if not gradient:
            return None
        slices[...] = 0
        backend.launch(self.module, "backward", 0, g.n_bundles, *model, *g.arguments, 0, memory, size, scratch,
                       g.n_structures, eps, force, virial, slices, per="scratch")
        total = backend.xp.zeros(len(self._places))
        backend.launch(self.module, "sum_gradients", 0, backend.scratch_slices, len(self._places), slices, total)
        return backend.to_host(total)

    @cached_property
    def _device_memory(self) -> tuple[Any, Any, Any]:
        """Memory of all batches, and scratch and gradient by lane of each group that runs at once."""
        batch, scratch = self.memory_rows
        backend = self.backend
        n = backend.scratch_slices
        return (backend.empty_aligned((self.geometry.n_batches * batch, backend.lanes), backend.real),
                backend.empty_aligned((n * scratch, backend.lanes), backend.real),
                backend.empty_aligned((n * len(self._places), backend.lanes), backend.real))

    # ---- rows of the Jacobian ----------------------------------------------------------------------

    def jacobian(self, model: tuple[Any, ...], chunk: int, requests: np.ndarray, thread: int = 0) -> np.ndarray:
        """Derivatives of energies per atom, forces and virials per atom by the kernels' numbers.

        Parameters
        ----------
        model : tuple
            From `model`.
        chunk : int
        requests : (n, 2) int32
            Structure of the chunk, and what of it: 0 the energy, 1 + 3 i + x a force, -1 - k the k-th component of a
            virial.
        thread : int
            Whose memory is used.

        Returns
        -------
        (n, n_numbers) float32
        """
        g, backend = self.geometry, self.backend
        begin, end = g.chunks[chunk], g.chunks[chunk + 1]
        slices = 1 if backend.device == "cpu" else backend.scratch_slices
        memory, scratch, by_lane = self._memory[thread] if backend.device == "cpu" else self._device_memory
        size = self.memory_rows[1] * backend.lanes
        n_atoms = int(g.first_atoms[end[2]] - g.first_atoms[begin[2]])
        seed_size = 4 * n_atoms + 7 * g.n_structures
        zeros = backend.xp.zeros
        seeds, sums = zeros(slices * seed_size, dtype=backend.real), zeros(slices * len(self._places))
        rows = backend.xp.empty((len(requests), len(self._places)), dtype=np.float32)
        shared = (*model, *g.arguments)
        backend.launch(self.module, "forward", int(begin[0]), int(end[0]), *shared, int(begin[1]), memory, size,
                       scratch, *self._sums, per="scratch")
        backend.launch(self.module, "jacobian", 0, len(requests), *shared, chunk, memory, size, scratch, g.n_structures,
                       backend.from_host(requests), seed_size, seeds, by_lane, sums, rows, per="scratch")
        return backend.to_host(rows)

    # ---- descriptors -------------------------------------------------------------------------------

    def descriptors(self, theta: np.ndarray) -> np.ndarray:
        """q_d of all atoms, without factors, (N, D) float64."""
        g, backend = self.geometry, self.backend
        model = model_arguments(self.form, backend, self.numbers(theta, np.ones(self.form.n_descriptors)), False)
        size = self.memory_rows[0] * 3 * backend.lanes
        memory = backend.empty_aligned((backend.scratch_slices * size,), backend.real)
        q = backend.xp.zeros((g.n_atoms, self.form.n_descriptors))
        backend.launch(self.module, "training_descriptors", 0, g.n_bundles, *model, *g.arguments, size, memory, q,
                       per="scratch")
        return backend.to_host(q)

    def scaler(self) -> np.ndarray:
        """Factors 1/(max - min) of the descriptors when all coefficients are 1, as SNES trainers do, (D,) float64."""
        q = self.descriptors(np.ones(self.form.n_parameters))
        spread = np.ptp(q, axis=0)
        # a descriptor that no structure has stays as it is
        return np.where(spread > 0.0, 1.0 / np.where(spread > 0.0, spread, 1.0), 1.0)
