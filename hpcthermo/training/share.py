"""The parts of a training set that one process has: each a block on its device, kept in memory or made anew.

All processes of a crew call the same method at the same time; what comes back has an axis of parts, structures or
atoms in front, and that of one rank follows that of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.domain.comm import Communicator
from hpcthermo.gpu.backend import Backend
from hpcthermo.training.block import Block, Workspace
from hpcthermo.training.geometry import model_arguments
from hpcthermo.training.labels import labels_of
from hpcthermo.training.memory import MemoryBudget
from hpcthermo.training.parameters import NepForm
from hpcthermo.training.partition import Partition
from hpcthermo.transport.bte.linear_algebra import one_thread

#: strips of the Gauss-Newton matrix that threads and ranks take; fixed, as parts are
_STRIPS = 8


class Share:
    """Blocks of some parts of a set.

    Parameters
    ----------
    frames : sequence of LabelledFrame
        All of the set.
    partition : Partition
        Of the set.
    form : NepForm
    weights : (S, 3) float64
        Of the structures in the loss, see `evaluation.LossTerms`.
    atom_weights : (N,) float64
    backend : Backend
    threads : int
        Of this process, on a CPU.
    budget : MemoryBudget
        Blocks that do not fit are made anew whenever they are needed.
    comm : Communicator
    """

    def __init__(self, frames: Sequence[LabelledFrame], partition: Partition, form: NepForm, weights: np.ndarray,
                 atom_weights: np.ndarray, backend: Backend, threads: int, budget: MemoryBudget,
                 comm: Communicator) -> None:
        self._parts = partition.of_rank(comm.rank, comm.size)
        first = partition.parts[self._parts.start]
        last = partition.parts[self._parts.stop]
        atoms = slice(int(partition.sizes[:first].sum()), int(partition.sizes[:last].sum()))
        #: first structure and atom of each part, from those of the first
        self._structures = partition.parts[self._parts.start : self._parts.stop + 1] - first
        self._atoms = np.concatenate([[0], np.cumsum(partition.sizes[first:last])])[self._structures]
        self._first = int(first)
        self._frames, self._form, self._backend, self._comm = list(frames[first:last]), form, backend, comm
        self._weights, self._atom_weights = weights[first:last], atom_weights[atoms]
        self._budget, self._blocks = budget, dict[int, Block]()
        self._threads = threads if backend.device == "cpu" else 1
        self._spaces = [Workspace(form, backend) for _ in range(self._threads)]
        self._pool = ThreadPoolExecutor(self._threads - 1) if self._threads > 1 else None
        self._known_bytes = 0
        self._most_neighbors = np.zeros((len(self._parts), 2), dtype=np.int64)
        for k in range(len(self._parts)):
            block = self._made(k)
            self._most_neighbors[k] = block.geometry.most_neighbors
            if budget.take(block.n_bytes):
                self._known_bytes += block.n_bytes
                self._blocks[k] = block

    def close(self) -> None:
        """Give memory back."""
        self._budget.give(self._known_bytes)
        self._blocks, self._known_bytes = {}, 0
        if self._pool is not None:
            self._pool.shutdown()

    def _made(self, k: int) -> Block:
        a, b = self._structures[k : k + 2]
        i, j = self._atoms[k : k + 2]
        frames = self._frames[a:b]
        return Block(frames, labels_of(frames, self._form), self._weights[a:b], self._atom_weights[i:j], self._form,
                     self._backend)

    def _block(self, k: int) -> Block:
        return self._blocks.get(k) or self._made(k)

    def _for_all(self, items: Sequence[int], work: Callable[[int, Workspace], None]) -> None:
        """Work on items; a thread that has done one takes the next."""
        left = iter(items)

        def of_thread(thread: int) -> None:
            for item in left:
                work(item, self._spaces[thread])

        others = [] if self._pool is None or len(items) == 1 else [
            self._pool.submit(of_thread, thread) for thread in range(1, self._threads)]
        of_thread(0)
        for other in others:
            other.result()

    # ---- what crews call ---------------------------------------------------------------------------

    def facts(self) -> tuple[np.ndarray, ...]:
        """Largest numbers of neighbours, and whether the block is kept, by part."""
        kept = np.array([[k in self._blocks] for k in range(len(self._parts))], dtype=np.int64).reshape(-1, 1)
        return self._most_neighbors, kept

    def evaluate(self, theta: np.ndarray, scaler: np.ndarray, with_virial: bool, gradient: bool, predictions: bool,
                 parts: Sequence[int] | None) -> tuple[np.ndarray, ...]:
        """Errors (S, 4), then the gradient by part (P, n), then energies (S, 1), forces (N, 3) and virials (S, 6).

        Parameters
        ----------
        with_virial, gradient, predictions : bool
            What is wanted.
        parts : sequence of int, optional
            Only these; errors of the others are 0.
        """
        form, backend = self._form, self._backend
        model = model_arguments(form, backend, form.kernel_numbers(theta, scaler), with_virial)
        bound_model = backend.bound(*model)
        chosen = [k for k, part in enumerate(self._parts) if parts is None or part in parts]
        n, n_atoms = len(self._frames), int(self._atoms[-1])
        errors, numbers = np.zeros((n, 4)), len(form.kernel_places()[0])
        total = backend.xp.zeros((len(chosen), numbers)) if gradient else None
        found = (np.zeros((n, 1)), np.zeros((n_atoms, 3)), np.zeros((n, 6)))
        blocks: dict[int, Block] = {}

        def work(item: int, space: Workspace) -> None:
            k = chosen[item]
            block = self._block(k)
            block.evaluate(bound_model, float(theta[form.bias_place]), with_virial,
                           None if total is None else total[item], space)
            if k in self._blocks:
                blocks[k] = block
            else:
                read(k, block)

        def read(k: int, block: Block) -> None:
            structures, atoms = (slice(*bounds[k : k + 2]) for bounds in (self._structures, self._atoms))
            errors[structures] = block.errors
            if predictions:
                energies, forces, virials = block.predictions
                found[0][structures, 0], found[1][atoms], found[2][structures] = energies, forces, virials

        self._for_all(range(len(chosen)), work)
        # a GPU is not waited for before all has been given to it
        for k, block in blocks.items():
            read(k, block)
        gradients = () if total is None else (backend.to_host(total),)
        return (errors, *gradients, *(found if predictions else ()))

    def descriptor_range(self, theta: np.ndarray) -> tuple[np.ndarray, ...]:
        """Smallest and largest value of each descriptor over the atoms of each part, (P, 2, D)."""
        ranges = np.zeros((len(self._parts), 2, self._form.n_descriptors))

        def work(k: int, space: Workspace) -> None:
            q = self._block(k).descriptors(theta, space)
            ranges[k] = q.min(axis=0), q.max(axis=0)

        self._for_all(range(len(self._parts)), work)
        return (ranges,)

    def gram(self, theta: np.ndarray, scaler: np.ndarray,
             groups: Sequence[dict[int, tuple[np.ndarray, np.ndarray]]]) -> tuple[np.ndarray, ...]:
        """Rows of the upper triangle of J^T J, b1 last; each rank's strip of them.

        Parameters
        ----------
        groups : sequence of dict
            Parts whose rows of J are in memory at the same time: requests (see `Block.jacobian`, structures of the
            set) and roots of the weights of the rows.
        """
        form = self._form
        model = model_arguments(form, self._backend, form.kernel_numbers(theta, scaler), False)
        factors = form.kernel_factors(scaler).astype(np.float32)
        n = len(factors) + 1
        # as much work in each: row k of a triangle has n - k columns
        bounds = (n * (1.0 - np.sqrt(1.0 - np.linspace(0.0, 1.0, _STRIPS + 1)))).astype(int)
        cuts = np.linspace(0, _STRIPS, self._comm.size + 1).astype(int)[self._comm.rank :][:2]
        strips = list(pairwise(bounds[cuts[0] : cuts[1] + 1]))
        gram = np.zeros((bounds[cuts[1]] - bounds[cuts[0]], n), dtype=np.float32)
        for group in groups:
            mine = [k for k, part in enumerate(self._parts) if part in group]
            rows = [np.zeros((0, n), dtype=np.float32)] * (len(mine) + 1)

            def fill(item: int, space: Workspace, mine: list[int] = mine, rows: list[np.ndarray] = rows,
                     group: dict[int, tuple[np.ndarray, np.ndarray]] = group) -> None:
                requests, weights = group[self._parts[mine[item]]]
                local = requests - np.array([self._first + self._structures[mine[item]], 0], dtype=np.int32)
                part = np.empty((len(requests), n), dtype=np.float32)
                part[:, :-1] = self._block(mine[item]).jacobian(model, local, space)
                part[:, :-1] *= weights[:, None] * factors
                # E/N falls by b1
                part[:, -1] = np.where(requests[:, 1] == 0, -weights, 0.0)
                rows[item] = part

            with one_thread():
                self._for_all(range(len(mine)), fill)
                jacobian = np.concatenate(self._comm.allgather(np.concatenate(rows)))

                def multiply(k: int, _space: Workspace, jacobian: np.ndarray = jacobian) -> None:
                    a, b = strips[k]
                    gram[a - bounds[cuts[0]] : b - bounds[cuts[0]], a:] += jacobian[:, a:b].T @ jacobian[:, a:]

                self._for_all(range(len(strips)), multiply)
        return (gram,)
