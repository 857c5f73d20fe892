"""One rank's part of the system: distribution, migration with a canonical order, and its halo."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator, Transport
from hpcthermo.domain.grid import Layout, RankGrid, choose_layout, frame_cell, heights, make_grid, wrap
from hpcthermo.domain.halo import Halo, plan_sends
from hpcthermo.domain.migrate import Fields, migrate, owned_fields, pack_records, send_to_owners, unpack_records
from hpcthermo.domain.rebuild import canonical_order, fractional_coordinates, lattice_shifts, wrap_atoms
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import HpcthermoError, InputError, PhysicsError
from hpcthermo.gpu.backend import Backend
from hpcthermo.system import ATOM_FIELDS, System


class Domain:
    """The brick of this rank.

    Parameters
    ----------
    comm : Communicator
    backend : Backend
    halo_depth : float
        How far ghosts reach beyond the brick, A: ghost depth of the potential plus skin.
    layout : "auto", "slab" or (pa, pb, pc)
        Bricks along the cell vectors.

    Attributes
    ----------
    grid : RankGrid
        Bricks of all ranks (after `distribute`).
    n_atoms : int
        Atoms of the whole system.
    n_interior : int
        Owned rows [0, n_interior) have no ghost within the halo depth.
    ghost_images : (n_ghost, 3) int32
        Lattice vectors from owners to ghosts.
    """

    def __init__(self, comm: Communicator, backend: Backend, halo_depth: float, layout: Layout = "auto") -> None:
        self.comm = comm
        self.backend = backend
        self.halo_depth = halo_depth
        self.layout = layout
        self.grid: RankGrid
        self.halo: Halo
        self.n_atoms = 0
        self.n_interior = 0
        self.ghost_images: Any = None
        self._transport = Transport(comm, backend)

    # ---- whole system <-> ranks ------------------------------------------------------------------

    def distribute(self, snapshot: Snapshot | None) -> System:
        """Cut the system of rank 0 into bricks and give each rank its atoms (no ghosts yet).

        Parameters
        ----------
        snapshot : Snapshot
            On rank 0; ignored elsewhere.

        Raises
        ------
        InputError
            On all ranks, for a layout that does not fit the number of ranks or a flat cell.
        """
        plan: tuple[Any, ...] | HpcthermoError | None = None
        owners = np.zeros(0, np.int64)
        if self.comm.rank == 0:
            try:
                if snapshot is None:
                    raise InputError("rank 0 has no structure to distribute")
                self.grid, owners = self._cut(snapshot)
                plan = (self.grid, snapshot.n_atoms, snapshot.cell, snapshot.periodic, snapshot.species,
                        snapshot.masses, snapshot.frozen_groups)
            except HpcthermoError as error:
                plan = error
        plan = self.comm.bcast(plan)
        if isinstance(plan, HpcthermoError):
            raise plan
        assert plan is not None
        self.grid, self.n_atoms, cell, periodic, species, masses, frozen_groups = plan
        fields = snapshot.fields if self.comm.rank == 0 and snapshot is not None else unpack_records(pack_records({
            name: np.zeros((0, components), dtype) for name, (dtype, components) in ATOM_FIELDS.items()}))
        own = send_to_owners(fields, owners, self.comm)
        return self._system(own, np.array(cell), np.array(periodic), species, np.array(masses), frozen_groups)

    def gather(self, system: System, fields: tuple[str, ...] = tuple(ATOM_FIELDS)) -> Snapshot | None:
        """The whole system on rank 0, sorted by tag; None on the other ranks (collective).

        Parameters
        ----------
        fields : tuple of str
            Per-atom fields to keep.
        """
        records = self.comm.gatherv(pack_records(owned_fields(system, self.backend)))
        if records is None:
            return None
        gathered = unpack_records(records)
        order = np.argsort(gathered["tags"], kind="stable")
        kept = {name: gathered[name][order] for name in ATOM_FIELDS if name in fields}
        return Snapshot(system.cell.copy(), system.periodic.copy(), system.species, system.masses.copy(), kept,
                        system.frozen_groups)

    def _cut(self, snapshot: Snapshot) -> tuple[RankGrid, np.ndarray]:
        cell = frame_cell(snapshot.cell)
        _, fractional, _ = wrap(snapshot.positions, cell, snapshot.periodic)
        extent = np.ptp(fractional, axis=0) if len(fractional) else np.zeros(3)
        lengths = heights(cell) * np.where(snapshot.periodic, 1.0, extent)
        parts = choose_layout(self.comm.size, self.layout, lengths, snapshot.periodic, self.halo_depth)
        grid = make_grid(fractional, parts, snapshot.periodic)
        return grid, grid.owners(fractional)

    def _system(self, fields: Fields, cell: np.ndarray, periodic: np.ndarray, species: tuple[str, ...],
                masses: np.ndarray, frozen_groups: frozenset[int]) -> System:
        """A System of owned atoms, given by host arrays, in the given order."""
        device = self._on_device(fields)
        return System(cell, periodic, species, masses, len(device["tags"]), 0, frozen_groups=frozen_groups, **device)

    def _on_device(self, fields: Fields) -> Fields:
        device = {name: self.backend.from_host(np.ascontiguousarray(value)) for name, value in fields.items()}
        xp = self.backend.xp
        return device | {"forces": xp.concatenate([device["forces"], xp.zeros((1, 4))])}

    # ---- rebuild ---------------------------------------------------------------------------------

    def rebuild(self, system: System) -> None:
        """Wrap, hand atoms to their owners, put them into canonical order and make new ghosts (collective).

        The order is: interior atoms first, then by cell of space, then by tag; so it depends on positions,
        cell and cuts only.

        Raises
        ------
        PhysicsError
            On all ranks, if a position is not finite or an atom was lost.
        """
        xp, cell = self.backend.xp, frame_cell(system.cell)
        fields = {name: getattr(system, name)[:system.n_owned] for name in ATOM_FIELDS}
        self._require_finite(fields)
        fractional = wrap_atoms(fields["positions"], fields["images"], cell, system.periodic, self.backend)
        if self.comm.size > 1:
            fields = migrate(fields, fractional, self.grid, self.comm, self.backend)
            self._require_all(len(fields["tags"]))
        order, self.n_interior = self._canonical_order(fields, cell)
        self._replace_owned(system, {name: xp.take(value, order, axis=0) for name, value in fields.items()})
        self.make_ghosts(system)

    def set_owned(self, system: System, fields: Fields) -> None:
        """Replace the owned atoms of `system`, without ghosts, by host arrays in the given order."""
        self._replace_owned(system, self._on_device(fields))

    def _replace_owned(self, system: System, fields: Fields) -> None:
        system.n_owned, system.n_ghost = len(fields["tags"]), 0
        for name in ATOM_FIELDS:
            setattr(system, name, fields[name])

    def make_ghosts(self, system: System) -> None:
        """Plan the halo from the present positions of the owned atoms, append ghost rows and fill them."""
        xp, n = self.backend.xp, system.n_owned
        cell = frame_cell(system.cell)
        fractional = fractional_coordinates(system.positions[:n], cell, self.backend)
        plan = plan_sends(fractional, self.grid, self.comm.rank, cell, system.periodic, self.halo_depth, self.backend)
        halo = Halo(plan, n, self.comm, self.backend, self._transport)
        ghosts = halo.exchange_ghosts(plan, *(getattr(system, name)[:n] for name in ("types", "layers", "tags")))
        system.n_ghost = halo.n_ghost
        for name in ("types", "layers", "tags"):
            setattr(system, name, xp.concatenate([getattr(system, name)[:n], getattr(ghosts, name)]))
        rows = xp.empty((system.n_total, 3), dtype=np.float64)
        rows[:n] = system.positions[:n]
        system.positions = rows
        # a row that lies across two cache lines costs a scatter twice the time
        forces = self.backend.empty_aligned((system.n_total + 1, 4), np.dtype(np.float64))
        forces[:n], forces[n:] = system.forces[:n], 0.0
        system.forces = forces
        self.halo, self.ghost_images = halo, ghosts.images
        halo.forward_positions_begin(system.positions, system.cell)
        halo.forward_finish()

    def ghost_shifts(self, cell: np.ndarray) -> Any:
        """Vectors (n_ghost, 3) float64 from owners to ghosts in a cell, A."""
        shifts = self.backend.xp.empty((len(self.ghost_images), 3))
        lattice_shifts(self.ghost_images, cell, shifts, self.backend)
        return shifts

    def _canonical_order(self, fields: Fields, cell: np.ndarray) -> tuple[Any, int]:
        fractional = fractional_coordinates(fields["positions"], cell, self.backend)
        lower, upper = (bound[self.comm.rank] for bound in self.grid.bounds())
        between_faces = heights(cell)
        return canonical_order(fractional, fields["tags"], lower, upper, self.halo_depth / between_faces,
                               between_faces, self.backend)

    def _require_finite(self, fields: Fields) -> None:
        xp = self.backend.xp
        sound = bool(xp.isfinite(fields["positions"]).all())
        if self.comm.allreduce_max(float(not sound)) == 0.0:
            return
        bad = np.flatnonzero(~np.isfinite(self.backend.to_host(fields["positions"])).all(axis=1))
        n_bad = self.comm.allreduce_sum(float(len(bad)))
        tags = self.backend.to_host(fields["tags"])
        first = self.comm.allreduce_max(float(tags[bad[0]]) if len(bad) else -1.0)
        raise PhysicsError(f"positions of {n_bad:.0f} atoms are not finite (atom {first:.0f} among them); "
                           "reduce the timestep or relax the structure first")

    def _require_all(self, n_owned: int) -> None:
        total = self.comm.allreduce_sum(float(n_owned))
        if total != self.n_atoms:
            raise PhysicsError(f"migration: expected {self.n_atoms} atoms on all ranks, got {total:.0f}; "
                               "please report this with the job file")


class HaloFieldExchange:
    """`hpcthermo.potentials.base.FieldExchange` over the halo of a domain."""

    def __init__(self, halo: Halo) -> None:
        self._halo = halo

    def forward(self, field: Any) -> None:
        """Fill the ghost rows of a float64 field (n_total, k)."""
        self._halo.forward_begin(field)
        self._halo.forward_finish()

    def reverse(self, field: Any) -> None:
        """Add the ghost rows of a float64 field (n_total, k) to their owners' rows."""
        self._halo.reverse_begin(field)
        self._halo.reverse_finish()
