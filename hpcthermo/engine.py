"""Forces, energies and virials of a decomposed system, step after step.

Virial of the cell from force rows before ghosts go home, W = sum_rows r (x) F; with owners' rows after
that, W = sum_owned r (x) F + sum_ghosts (n C) (x) F_ghost, n the lattice vector of the copy. Potentials that
put no forces on ghost rows add what it lacks (`ForceArrays.total_virial`).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.domain.decomposition import Domain, HaloFieldExchange
from hpcthermo.domain.grid import Layout, RankGrid, frame_cell
from hpcthermo.domain.migrate import owned_fields
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.gpu.backend import Backend
from hpcthermo.list_criterion import STRAIN_LIMIT, ListCriterion, Look
from hpcthermo.neighbors import PackedPositions, empty_rows, packing_frame
from hpcthermo.potentials.base import TOTAL_VIRIAL_ROWS, ForceArrays, Potential, limits_of, settle_forces
from hpcthermo.system import ATOM_FIELDS, System

#: rows per partial sum, CHUNK of kernels/halo.h
_CHUNK = 512
#: interior atoms computed between two looks at the messages in flight
_PROGRESS_ATOMS = 4096

State = dict[str, np.ndarray]


class Engine:
    """A system, its potential and its domain.

    Parameters
    ----------
    system : System
        Owned atoms, as from `Domain.distribute`.
    potential : Potential
    domain : Domain
        Its halo depth is set to the ghost depth of the potential plus the skin.
    backend : Backend
    skin : float
        A.

    Attributes
    ----------
    system : System
        Its arrays are replaced at each rebuild.
    bound : BoundPotential
        The potential on this backend.
    limits : Limits
        What the potential cannot do.
    energies : (n_owned,) float64
        Site energies, eV, of the last `compute`.
    virials : (n_owned, 3, 3) float64 or None
        Neighbour-centred per-atom virials, eV, if the last `compute` was asked for them.
    n_atoms : int
        Atoms of the whole system.
    rebuilds : int
        Rebuilds so far; per-atom arrays kept outside must be made again when it changes.
    looks_late : bool
        Whether `compute` reads the largest displacement after the forces, so that neither a GPU nor other ranks are
        waited for; the same on all ranks. Results do not depend on it.
    repeated : int
        Force calls that were done twice because of that.
    timings : dict of str to float
        Seconds spent in check, rebuild, forward, force and reverse.

    Raises
    ------
    InputError
        On all ranks, if there are several and the potential cannot be decomposed.
    """

    def __init__(self, system: System, potential: Potential, domain: Domain, backend: Backend, skin: float) -> None:
        self.system = system
        self.domain = domain
        self.backend = backend
        self.comm: Communicator = domain.comm
        self.skin = float(skin)
        self.limits = limits_of(potential)
        if self.comm.size > 1:
            self.limits.require("decomposition", f"{self.comm.size} ranks")
        self.bound = potential.bind(system.species, backend)
        self.n_atoms = domain.n_atoms
        self.rebuilds = 0
        self.looks_late = backend.device == "cuda"
        self.repeated = 0
        self.timings = dict.fromkeys(("check", "rebuild", "forward", "force", "reverse"), 0.0)
        self.energies: Any = backend.xp.zeros(system.n_owned)
        self.virials: Any | None = None
        self._masses = backend.xp.asarray(system.masses)
        self._criterion = ListCriterion(backend, self.comm, self.bound.cutoff, system.cell)
        self._virial: np.ndarray | None = None
        self._total_virial = backend.xp.zeros((TOTAL_VIRIAL_ROWS, 9))
        self._potential_energy: float | None = None
        self.set_skin(self.skin)

    @property
    def packed(self) -> PackedPositions:
        """Positions as kernels read them, of the last `compute`."""
        return self._packed

    @property
    def largest_displacement(self) -> float:
        """Of any atom of the system from its place at the last rebuild, A, when `compute` was last called."""
        return self._criterion.displacement

    # ---- neighbour lists -------------------------------------------------------------------------

    def set_skin(self, skin: float) -> None:
        """Use another skin, A; the next `compute` rebuilds (same value on all ranks)."""
        self.skin = float(skin)
        self.domain.halo_depth = self.bound.ghost_depth + self.skin
        self._criterion.forget()

    def rebuild(self) -> None:
        """Migrate, order, make ghosts and neighbour lists (collective); forces are then those of `compute` to come."""
        start = time.perf_counter()
        self.domain.rebuild(self.system)
        self._after_ghosts()
        self.rebuilds += 1
        self.timings["rebuild"] += time.perf_counter() - start

    def _after_ghosts(self) -> None:
        """Everything that is made from the positions of a rebuild."""
        system = self.system
        self.backend.forget()
        self._criterion.begin(system, self.skin)
        self.bound.build_lists(system, self.skin)
        corners = float(np.linalg.norm(frame_cell(system.cell), axis=1).sum())
        reach = self.bound.cutoff + self.skin
        self._frame = packing_frame(system, self.backend, reach, self.skin + 1.1 * STRAIN_LIMIT * (corners + reach))
        self._packed = PackedPositions(empty_rows(system, self.backend), self._frame.scale)
        self._begin_ghosts()
        self.energies = self.backend.xp.zeros(system.n_owned)
        self._virial_rows: Any | None = None
        self.virials = None

    # ---- forces ----------------------------------------------------------------------------------

    def compute(self, virials: bool = False, flag: int = 0) -> int:
        """Forces and energies at the present positions and cell (collective).

        Parameters
        ----------
        virials : bool
            Also the per-atom virials.
        flag : int
            Any number of the caller (a signal that arrived on one rank), reduced for free.

        Returns
        -------
        int
            The largest flag of all ranks.

        Raises
        ------
        InputError
            If virials are asked for and the potential has none.
        PhysicsError
            On all ranks, if a position is not finite.
        """
        if virials:
            self.limits.require("atom_virials", "per-atom virials")
        if self._criterion.reference is None:
            flag = int(self.comm.allreduce_max(float(flag)))
            self._rebuild_and_evaluate(virials)
            return flag
        start = time.perf_counter()
        self._begin()
        look = self._criterion.look(flag)
        late = self.looks_late and not self._criterion.nearly_over()
        if late:
            self.timings["check"] += time.perf_counter() - start
            self._evaluate(virials, look)
            start = time.perf_counter()
        ended = look.ended()
        self.timings["check"] += time.perf_counter() - start
        if ended:
            self.repeated += late
            self._rebuild_and_evaluate(virials)
        elif not late:
            self._evaluate(virials)
        return look.flag

    def _rebuild_and_evaluate(self, virials: bool) -> None:
        self.rebuild()
        self._begin()
        self._evaluate(virials)

    def _begin(self) -> None:
        """Pack the owned atoms, clear what forces are added to, and measure how far atoms have moved: one kernel."""
        system, criterion, more = self.system, self._criterion, self._total_virial.size
        criterion.follow(system.cell)
        criterion.slot = 1 - criterion.slot
        self.backend.launch("halo", "begin_owned", 0, max(system.n_owned, more), system.n_owned, system.n_total,
                            system.positions, system.types, criterion.reference, criterion.deformation,
                            self._frame.values, self._packed.rows, self.energies, system.forces, more,
                            self._total_virial, criterion.slot, criterion.largest, per="thread")

    def _begin_ghosts(self) -> None:
        """The same for ghosts, whose positions have arrived, and for the rows of padding slots."""
        system = self.system
        self.backend.launch("halo", "begin_ghosts", system.n_owned, system.n_total + 1, system.n_total,
                            system.positions, system.types, self._frame.values, self._packed.rows, system.forces,
                            per="thread")

    def _evaluate(self, virials: bool, look: Look | None = None) -> None:
        """Forces with the present lists; a look that is under way is sent to the other ranks when it is known."""
        output = self._output(virials)
        if self.comm.size == 1 and not self.bound.exchanges_fields:
            self.domain.halo.follow(self.system.cell)
            self.backend.repeat((id(self), virials), lambda: self._compute_at_once(output))
        elif self.bound.exchanges_fields:
            self._compute_at_once(output)
        else:
            self._compute_overlapped(output, look)
        self._virial = self._potential_energy = None
        self.virials = None
        if output.virials is not None:
            n = self.system.n_owned
            self.virials = output.virials[:n].reshape(n, 3, 4)[:, :, :3].transpose(0, 2, 1)

    def _output(self, virials: bool) -> ForceArrays:
        if virials:
            if self._virial_rows is None:
                self._virial_rows = self.backend.empty_aligned((self.system.n_total + 1, 12), np.dtype(np.float64))
            self._virial_rows.fill(0.0)
        return ForceArrays(self.energies, self.system.forces, self._virial_rows if virials else None,
                           self._total_virial)

    def _compute_at_once(self, output: ForceArrays) -> None:
        """Ghosts, all atoms, ghosts back; for one rank or a potential that exchanges fields."""
        system, halo, clock = self.system, self.domain.halo, time.perf_counter
        start = clock()
        halo.forward_positions_begin(system.positions, system.cell)
        halo.forward_finish()
        self._begin_ghosts()
        ready = clock()
        exchange = HaloFieldExchange(halo) if self.bound.exchanges_fields else None
        self.bound.compute(system, self._packed, 0, system.n_owned, output, exchange)
        computed = clock()
        self._reverse_begin(output)
        self._reverse_finish(output)
        self._add_times(ready - start, computed - ready, clock() - computed)

    def _compute_overlapped(self, output: ForceArrays, look: Look | None) -> None:
        """Half of the interior while positions fly out, the boundary, the rest while forces fly back."""
        system, halo, clock = self.system, self.domain.halo, time.perf_counter
        n, n_interior = system.n_owned, self.domain.n_interior
        half = n_interior // 2
        start = clock()
        halo.forward_positions_begin(system.positions, system.cell)
        sent = clock()
        self._compute_interior(output, 0, half)
        first = clock()
        if look is not None:
            look.reduce()  # waits for the measured displacement, so a GPU has work by now
        halo.forward_finish()
        self._begin_ghosts()
        arrived = clock()
        self.bound.compute(system, self._packed, n_interior, n, output)
        boundary = clock()
        self._reverse_begin(output)
        returning = clock()
        self._compute_interior(output, half, n_interior)
        second = clock()
        self._reverse_finish(output)
        force = (first - sent) + (boundary - arrived) + (second - returning)
        self._add_times((sent - start) + (arrived - first), force, (returning - boundary) + (clock() - second))

    def _compute_interior(self, output: ForceArrays, begin: int, end: int) -> None:
        # a GPU computes while the host waits for messages, so it gets its atoms in one launch
        step = _PROGRESS_ATOMS if self.backend.device == "cpu" else max(end - begin, 1)
        for first in range(begin, end, step):
            self.bound.compute(self.system, self._packed, first, min(first + step, end), output)
            self.domain.halo.progress()

    def _reverse_begin(self, output: ForceArrays) -> None:
        self.domain.halo.reverse_begin(output.forces if output.virials is None else output.virials)

    def _reverse_finish(self, output: ForceArrays) -> None:
        self.domain.halo.reverse_finish()
        if output.virials is not None:
            settle_forces(output, self.system.n_total, self.backend)

    def _add_times(self, forward: float, force: float, reverse: float) -> None:
        self.timings["forward"] += forward
        self.timings["force"] += force
        self.timings["reverse"] += reverse

    # ---- sums over the system --------------------------------------------------------------------

    def potential_energy(self) -> float:
        """Potential energy of the whole system, eV (collective)."""
        if self._potential_energy is None:
            self._potential_energy = self.comm.allreduce_sum(float(self.energies.sum()))
        return self._potential_energy

    def kinetic_energy(self) -> float:
        """Kinetic energy of the whole system, eV (collective)."""
        system = self.system
        chunks = -(-system.n_owned // _CHUNK)
        partial = self.backend.xp.zeros(max(chunks, 1))
        self.backend.launch("halo", "kinetic_sum", 0, chunks, system.n_owned, system.velocities, system.types,
                            self._masses, partial, per="thread")
        return self.comm.allreduce_sum(float(partial.sum()))

    def virial_total(self) -> np.ndarray:
        """Virial sum over rows of r (x) F, (3, 3) eV, of the last `compute` (collective).

        Call it while positions, cell and forces are still those of that `compute`.

        Raises
        ------
        InputError
            If the potential cannot give it.
        """
        self.limits.require("total_virial", "virial of the system")
        return self.comm.allreduce_sum(self._local_virial())

    def _local_virial(self) -> np.ndarray:
        if self._virial is None:
            system = self.system
            n = system.n_owned
            shifts = self.domain.ghost_shifts(system.cell)
            self._virial = (self._outer_sum(system.positions[:n], system.forces[:n])
                            + self._outer_sum(shifts, system.forces[n:system.n_total])
                            + self.backend.to_host(self._total_virial.sum(axis=0)).reshape(3, 3))
        return self._virial

    def _outer_sum(self, vectors: Any, forces: Any) -> np.ndarray:
        n = len(vectors)
        chunks = -(-n // _CHUNK)
        partial = self.backend.xp.zeros((max(chunks, 1), 9))
        self.backend.launch("halo", "outer_sum", 0, chunks, n, vectors, forces, partial, per="thread")
        return self.backend.to_host(partial.sum(axis=0)).reshape(3, 3)

    # ---- exact continuation ----------------------------------------------------------------------

    def state(self) -> State:
        """Host arrays from which `restore` continues to the same bits on the same ranks (not collective).

        Call it after `compute`, while its virial is still valid.
        """
        if self._criterion.reference is None:
            raise ValueError("the engine has no state before its first compute")
        system, grid, host = self.system, self.domain.grid, self.backend.to_host
        state = {name: value.copy() for name, value in owned_fields(system, self.backend).items()}
        state.update(
            energies=host(self.energies).copy(),
            cell=system.cell.copy(),
            virial=self._local_virial().copy(),
            reference_positions=host(self._criterion.reference).copy(),
            reference_cell=self._criterion.reference_cell.copy(),
            skin=np.array(self.skin),
            n_interior=np.array(self.domain.n_interior),
            rebuilds=np.array(self.rebuilds),
            grid_order=np.array(grid.order),
            grid_shape=np.array(grid.shape),
        )
        state.update({f"cuts_{level}": cuts.copy() for level, cuts in enumerate(grid.cuts)})
        return state

    def restore(self, state: State) -> None:
        """Continue from a `state` of the same rank in a run on the same number of ranks (collective).

        Lists and ghosts are made again from the positions of the last rebuild, so their order is the same.
        """
        system, domain = self.system, self.domain
        self.set_skin(float(state["skin"]))
        domain.grid = _grid_of(state)
        domain.n_interior = int(state["n_interior"])
        fields = {name: np.array(state[name]) for name in ATOM_FIELDS}
        system.cell = np.array(state["reference_cell"])
        domain.set_owned(system, {**fields, "positions": np.array(state["reference_positions"])})
        domain.make_ghosts(system)
        self._after_ghosts()
        self.rebuilds = int(state["rebuilds"])
        system.cell = np.array(state["cell"])
        system.positions[:system.n_owned] = self.backend.from_host(fields["positions"])
        self.energies[...] = self.backend.from_host(np.asarray(state["energies"]))
        self._potential_energy = None
        self._virial = np.array(state["virial"])


def _grid_of(state: State) -> RankGrid:
    order, shape = (tuple(int(v) for v in state[name]) for name in ("grid_order", "grid_shape"))
    cuts = tuple(np.array(state[f"cuts_{level}"]) for level in range(3))
    return RankGrid((order[0], order[1], order[2]), (shape[0], shape[1], shape[2]), (cuts[0], cuts[1], cuts[2]))


def make_engine(snapshot: Snapshot | None, potential: Potential, comm: Communicator, backend: Backend,
                skin: float = 1.0, layout: Layout = "auto") -> Engine:
    """Distribute a snapshot (given on rank 0) and put an engine on it (collective)."""
    domain = Domain(comm, backend, halo_depth=10.0, layout=layout)
    return Engine(domain.distribute(snapshot), potential, domain, backend, skin)
