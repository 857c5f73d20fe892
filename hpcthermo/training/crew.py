"""What computes a training: device, threads, memory, and the ranks that share structures out.

Rank 0 runs the program: it reads, optimises and writes. The others hold parts of training sets (share.py) and do what
it tells them; every order is a broadcast, and what comes back is put together in the order of the ranks.

    with Crew(comm, "cpu", threads) as crew:
        if crew.leads:
            loss = Loss(frames, form, crew=crew)       # an order: all ranks make their share
            loss.value_and_gradient(theta)             # another one
        else:
            crew.serve()
"""

from __future__ import annotations

import os
import platform
from types import TracebackType
from typing import Any, Self

import numpy as np

from hpcthermo.domain.comm import Communicator, SingleProcess
from hpcthermo.errors import HpcthermoError, ResourceError
from hpcthermo.gpu.backend import Backend, make_backend
from hpcthermo.training.memory import MemoryBudget, automatic_limit
from hpcthermo.training.share import Share

_GIB = 2.0**30


class Crew:
    """Processes that evaluate training sets (collective).

    Parameters
    ----------
    comm : Communicator, optional
        One process without it.
    device : {"cpu", "cuda"}
        Ranks of one node share its GPUs out in order.
    threads : int
        Of each rank, on a CPU; 0: all cores, shared by the ranks that may use the same ones.
    memory_GiB : float, optional
        For the cached geometry of structures, in each rank; by default 60 % of what is free. What does not fit is
        computed anew for every evaluation.
    """

    def __init__(self, comm: Communicator | None = None, device: str = "cpu", threads: int = 1,
                 memory_GiB: float | None = None) -> None:
        self.comm = comm = comm or SingleProcess()
        self.device = device
        cores = frozenset(os.sched_getaffinity(0))
        places = comm.allgather((platform.node(), cores))
        node = platform.node()
        #: threads of this rank
        self.threads = threads or max(1, len(cores) // places.count((node, cores)))
        self._nodes = [place for place, _ in places]
        self._backends: dict[str, Backend] = {}
        self._budget = None if memory_GiB is None else MemoryBudget(memory_GiB * _GIB)
        self._shares: dict[int, Share] = {}
        self._made = 0
        self._dropped: list[int] = []
        self._busy = False

    @property
    def leads(self) -> bool:
        """Whether this rank runs the program."""
        return self.comm.rank == 0

    @property
    def size(self) -> int:
        """Ranks."""
        return self.comm.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None,
                 _traceback: TracebackType | None) -> None:
        # after an error within an order the others are somewhere else: domain.comm.abort_on_error ends them
        if self.leads and not self._busy:
            known = error is None or isinstance(error, HpcthermoError)
            self.comm.bcast(("end", error if known else ResourceError(f"rank 0 has failed: {error}")))

    def serve(self) -> None:
        """Do what rank 0 says until it has finished; raises what made it stop."""
        while True:
            name, *arguments = self.comm.bcast(None)
            if name == "end":
                if arguments[0] is not None:
                    raise arguments[0]
                return
            self._do(name, arguments)

    def make_share(self, *arguments: Any) -> int:
        """Make a `Share` on every rank, of its first five arguments and the precision; its number."""
        self._made += 1
        self._order("make", self._made, *arguments)
        return self._made

    def drop_share(self, number: int) -> None:
        """Forget a share, with the next order; may be called at any time."""
        self._dropped.append(number)

    def call(self, number: int, method: str, *arguments: Any) -> tuple[np.ndarray, ...]:
        """What all ranks' shares return, put together."""
        return self._order("call", number, method, *arguments)

    def _order(self, name: str, *arguments: Any) -> tuple[np.ndarray, ...]:
        self._busy = True
        dropped, self._dropped = self._dropped, []
        if self.comm.size > 1:
            self.comm.bcast((name, dropped, *arguments))
        found = self._do(name, [dropped, *arguments])
        self._busy = False
        return found

    def _do(self, name: str, arguments: list[Any]) -> tuple[np.ndarray, ...]:
        for number in arguments[0]:
            self._shares.pop(number).close()
        number, rest = arguments[1], arguments[2:]
        if name == "make":
            frames, partition, form, weights, atom_weights, precision = rest
            backend = self.backend(precision)
            self._shares[number] = Share(frames, partition, form, weights, atom_weights, backend, self.threads,
                                         self._budget_on(backend), self.comm)
            return ()
        found = getattr(self._shares[number], rest[0])(*rest[1:])
        return tuple(_together(self.comm, array) for array in found)

    def backend(self, precision: str) -> Backend:
        """Of this rank; when it is first asked for by all ranks."""
        if precision not in self._backends:
            if self.device == "cpu" and self.comm.size == 1:
                self._backends[precision] = make_backend("cpu", precision)
            elif self.device == "cpu":
                from hpcthermo.preparation import common_instruction_set

                self._backends[precision] = make_backend("cpu", precision,
                                                         instruction_set=common_instruction_set(self.comm))
            else:
                index = self._nodes[: self.comm.rank].count(self._nodes[self.comm.rank])
                self._backends[precision] = make_backend(self.device, precision, index)
        return self._backends[precision]

    def memory_limit(self, precision: str) -> float:
        """Bytes of this rank that are left for cached geometry."""
        return self._budget_on(self.backend(precision)).left

    def _budget_on(self, backend: Backend) -> MemoryBudget:
        if self._budget is None:
            together = self._nodes.count(self._nodes[self.comm.rank]) if self.device == "cpu" else 1
            self._budget = MemoryBudget(automatic_limit(backend.free_memory(), together))
        return self._budget


def _together(comm: Communicator, array: np.ndarray) -> np.ndarray:
    """Arrays of all ranks one after the other, on rank 0; elsewhere the own one."""
    if comm.size == 1:
        return array
    gathered = comm.gatherv(array)
    return array if gathered is None else gathered
