"""Kernels of one part of a training set on one device: errors, gradient of the loss, rows of the Jacobian.

The kernels (gpu/kernels/nep_training_kernels.h) hold the factor s_d of each descriptor in the network's weights:
numbers = factor * theta[place]. Numbers of the model come as `geometry.model_arguments`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.gpu.backend import Backend
from hpcthermo.training.geometry import kernel_module, make_geometry, model_arguments
from hpcthermo.training.labels import Labels
from hpcthermo.training.parameters import NepForm


class Workspace:
    """Memory that the kernels of one thread, or of a GPU, write to; it grows with the blocks."""

    def __init__(self, form: NepForm, backend: Backend) -> None:
        self.backend = backend
        rows = backend.xp.zeros(2, dtype=np.int32)
        backend.launch(kernel_module(form, backend), "memory_rows", 0, 2, *model_arguments(form, backend, None, False),
                       rows, per="thread")
        #: lane rows of a batch's memory and of a bundle's scratch
        self.batch_rows, self.scratch_rows = (int(n) for n in backend.to_host(rows))
        #: groups that are at work at the same time
        self.slices = 1 if backend.device == "cpu" else backend.scratch_slices
        n = len(form.kernel_places()[0])
        self.scratch = self._rows(self.slices * self.scratch_rows)
        self.gradient_by_lane = self._rows(self.slices * n)
        self._memory = self._rows(0)

    def _rows(self, n: int) -> Any:
        return self.backend.empty_aligned((n, self.backend.lanes), self.backend.real)

    def memory(self, batches: int) -> Any:
        """Of that many batches."""
        if len(self._memory) < batches * self.batch_rows:
            self._memory = self._rows(batches * self.batch_rows)
        return self._memory


class Block:
    """Structures on a device.

    Parameters
    ----------
    frames : sequence of LabelledFrame
    labels : Labels
        Of these structures.
    weights : (S, 3) float64
        See `evaluation.LossTerms`.
    atom_weights : (N,) float64
    form : NepForm
    backend : Backend
    """

    def __init__(self, frames: Sequence[LabelledFrame], labels: Labels, weights: np.ndarray, atom_weights: np.ndarray,
                 form: NepForm, backend: Backend) -> None:
        self.form, self.backend = form, backend
        self.module = kernel_module(form, backend)
        self.geometry = g = make_geometry(frames, form, backend)
        device, zeros, real = backend.from_host, backend.xp.zeros, backend.real
        self._labels = tuple(device(np.ascontiguousarray(values)) for values in
                             (labels.energies, labels.forces, labels.virials, weights, atom_weights))
        self._sums = (zeros(g.n_structures), zeros((g.n_atoms, 4)), zeros((g.n_structures, 6)))
        self._seeds = (zeros(g.n_structures, dtype=real), zeros((g.n_atoms, 4), dtype=real),
                       zeros((6, g.n_structures), dtype=real))
        self._errors = zeros((g.n_structures, 4))
        # threads hold each other up while they prepare launches
        self._bound_geometry, self._bound_labels = backend.bound(*g.arguments), backend.bound(*self._labels)
        self._bound_results = backend.bound(*self._sums, *self._seeds, self._errors)

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        own = (*self._labels, *self._sums, *self._seeds, self._errors)
        return self.geometry.n_bytes + sum(int(array.nbytes) for array in own)

    @property
    def errors(self) -> np.ndarray:
        """Of the last evaluation, see `evaluation.Evaluation`."""
        return self.backend.to_host(self._errors)

    @property
    def predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies without b1, forces and virials of the last evaluation."""
        energies, forces, virials = (self.backend.to_host(array) for array in self._sums)
        return energies, forces[:, :3], virials

    def evaluate(self, model: tuple[Any, ...], bias: float, with_virial: bool, total: Any, space: Workspace) -> None:
        """Errors, and the gradient of the loss by the kernels' numbers.

        Parameters
        ----------
        model : tuple
            From `model_arguments`.
        bias : float
            b1.
        with_virial : bool
        total : (n,) float64 of the device, or None
            Takes the gradient.
        space : Workspace
        """
        g, backend = self.geometry, self.backend
        labels = (*self._bound_labels, bias, g.n_structures)
        if backend.device == "cpu":
            backend.launch(self.module, "loss_and_gradient", 0, g.n_chunks, *model, *self._bound_geometry,
                           space.memory(g.most_batches_of_chunk), space.scratch, *labels, *self._bound_results,
                           None if total is None else space.gradient_by_lane, total)
            return
        memory, size = space.memory(g.n_batches), space.scratch_rows * backend.lanes
        for array in self._sums:
            array[...] = 0
        backend.launch(self.module, "forward", 0, g.n_bundles, *model, *g.arguments, 0, memory, size, space.scratch,
                       *self._sums, per="scratch")
        eps, force, virial = self._seeds
        virial = virial if with_virial else None
        backend.launch(self.module, "loss_derivatives", 0, g.n_structures, *g.arguments, *labels, *self._sums, eps,
                       force, virial, self._errors)
        if total is None:
            return
        space.gradient_by_lane[...] = 0
        backend.launch(self.module, "backward", 0, g.n_bundles, *model, *g.arguments, 0, memory, size, space.scratch,
                       g.n_structures, eps, force, virial, space.gradient_by_lane, per="scratch")
        backend.launch(self.module, "sum_gradients", 0, space.slices, len(total), space.gradient_by_lane, total)

    def jacobian(self, model: tuple[Any, ...], requests: np.ndarray, space: Workspace) -> np.ndarray:
        """Derivatives of energies per atom, forces and virials per atom by the kernels' numbers.

        Parameters
        ----------
        model : tuple
        requests : (n, 2) int32
            Structure of the block, in ascending order, and what of it: 0 the energy, 1 + 3 i + x a force, -1 - k the
            k-th component of a virial.
        space : Workspace

        Returns
        -------
        (n, n_numbers) float32
        """
        g = self.geometry
        bounds = np.searchsorted(requests[:, 0], g.chunks[:, 2])
        rows = [self._jacobian_of_chunk(model, chunk, requests[bounds[chunk] : bounds[chunk + 1]], space)
                for chunk in range(g.n_chunks)]
        return np.concatenate(rows)

    def _jacobian_of_chunk(self, model: tuple[Any, ...], chunk: int, requests: np.ndarray,
                           space: Workspace) -> np.ndarray:
        g, backend = self.geometry, self.backend
        begin, end = g.chunks[chunk], g.chunks[chunk + 1]
        size, n_numbers = space.scratch_rows * backend.lanes, len(self.form.kernel_places()[0])
        memory = space.memory(g.most_batches_of_chunk if backend.device == "cpu" else g.n_batches)
        n_atoms = int(g.first_atoms[end[2]] - g.first_atoms[begin[2]])
        seed_size = 4 * n_atoms + 7 * g.n_structures
        zeros = backend.xp.zeros
        seeds = zeros(space.slices * seed_size, dtype=backend.real)
        sums = zeros(space.slices * n_numbers)
        rows = backend.xp.empty((len(requests), n_numbers), dtype=np.float32)
        shared = (*model, *g.arguments)
        backend.launch(self.module, "forward", int(begin[0]), int(end[0]), *shared, int(begin[1]), memory, size,
                       space.scratch, *self._sums, per="scratch")
        backend.launch(self.module, "jacobian", 0, len(requests), *shared, chunk, memory, size, space.scratch,
                       g.n_structures, backend.from_host(np.ascontiguousarray(requests)), seed_size, seeds,
                       space.gradient_by_lane, sums, rows, per="scratch")
        return backend.to_host(rows)

    def descriptors(self, theta: np.ndarray, space: Workspace) -> np.ndarray:
        """q_d of all atoms, without factors, (N, D) float64."""
        g, backend = self.geometry, self.backend
        numbers = self.form.kernel_numbers(theta, np.ones(self.form.n_descriptors))
        size = space.batch_rows * 3 * backend.lanes
        memory = backend.empty_aligned((backend.scratch_slices * size,), backend.real)
        q = backend.xp.zeros((g.n_atoms, self.form.n_descriptors))
        backend.launch(self.module, "training_descriptors", 0, g.n_bundles,
                       *model_arguments(self.form, backend, numbers, False), *g.arguments, size, memory, q,
                       per="scratch")
        return backend.to_host(q)
