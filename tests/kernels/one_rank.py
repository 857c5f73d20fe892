"""Evaluate a potential on one rank with ghosts made by brute force: no engine, no domain."""

from __future__ import annotations

from itertools import product

import numpy as np

from hpcthermo.gpu.backend import Backend, CpuBackend
from hpcthermo.neighbors import pack_positions
from hpcthermo.potentials.base import ForceArrays, settle_forces
from hpcthermo.system import System


def system_with_ghosts(symbols, positions, cell, periodic=(True, True, True), depth=9.0, species=None):
    """System whose ghosts are all periodic images within `depth` of any owned atom, and the owner of each row."""
    species = tuple(sorted(set(symbols))) if species is None else tuple(species)
    types = np.array([species.index(s) for s in symbols], dtype=np.int32)
    positions, cell = np.asarray(positions, float), np.asarray(cell, float)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    fractional = positions @ np.linalg.inv(cell)
    low, high = fractional.min(axis=0), fractional.max(axis=0)
    reach = [int(np.ceil(depth / h + (b - a))) if p else 0
             for h, p, a, b in zip(heights, periodic, low, high, strict=True)]
    rows, owners = [positions], [np.arange(len(positions))]
    for shift in product(*(range(-r, r + 1) for r in reach)):
        if shift == (0, 0, 0):
            continue
        f = fractional + shift
        near = np.all((f > low - depth / heights - 1e-9) & (f < high + depth / heights + 1e-9), axis=1)
        rows.append(positions[near] + np.array(shift) @ cell)
        owners.append(np.flatnonzero(near))
    rows, owners = np.concatenate(rows), np.concatenate(owners)
    n, total = len(positions), len(rows)
    return System(
        cell=cell, periodic=np.array(periodic), species=species, masses=np.ones(len(species)), n_owned=n,
        n_ghost=total - n, positions=np.ascontiguousarray(rows), velocities=np.zeros((n, 3)),
        forces=np.zeros((total + 1, 4)), types=np.ascontiguousarray(types[owners]), tags=owners.astype(np.int64),
        layers=np.full(total, -1, np.int32), images=np.zeros((n, 3), np.int32), groups=np.full(n, -1, np.int32),
    ), owners


class GhostCopies:
    """Exchange of fields with ghosts made by `system_with_ghosts`."""

    def __init__(self, owners, backend):
        self.owners = backend.xp.asarray(owners.astype(np.int32))

    def forward(self, field):
        field[:len(self.owners)] = field[self.owners]


class OneRank:
    """A potential bound to one cell; `run` gives energies (n,), forces (n, 3), virials (n, 3, 3)."""

    def __init__(self, potential, symbols, positions, cell, periodic=(True, True, True), precision="double",
                 instruction_set=None, skin=0.5, species=None, backend: Backend | None = None, layers=None):
        self.backend = backend or CpuBackend(precision, instruction_set)
        species = tuple(sorted(set(symbols))) if species is None else tuple(species)
        self.bound = potential.bind(species, self.backend)
        self.system, self.owners = system_with_ghosts(
            symbols, positions, cell, periodic, self.bound.ghost_depth + skin, species)
        if layers is not None:
            self.system.layers[:] = np.asarray(layers)[self.owners]
        self.skin = skin
        xp = self.backend.xp
        for name in ("positions", "types", "layers"):
            setattr(self.system, name, xp.asarray(getattr(self.system, name)))
        self.bound.build_lists(self.system, skin)

    def packed(self):
        return pack_positions(self.system, self.backend, self.bound.cutoff + self.skin)

    def run(self, virials=True):
        xp, s = self.backend.xp, self.system
        out = ForceArrays(xp.zeros(s.n_owned), xp.zeros((s.n_total + 1, 4)),
                          xp.zeros((s.n_total + 1, 12)) if virials else None)
        self.bound.compute(s, self.packed(), 0, s.n_owned, out, GhostCopies(self.owners, self.backend))
        return self.settled(out)

    def settled(self, out):
        """Energies, forces and virials (or None) of the owned atoms, ghost rows added to their owners' rows."""
        s = self.system
        if out.virials is not None:
            settle_forces(out, s.n_total, self.backend)
        energies = self.backend.to_host(out.energies).copy()
        forces = np.zeros((s.n_owned, 3))
        np.add.at(forces, self.owners, self.backend.to_host(out.forces)[: s.n_total, :3])
        if out.virials is None:
            return energies, forces, None
        w = np.zeros((s.n_owned, 3, 4))
        np.add.at(w, self.owners, self.backend.to_host(out.virials)[: s.n_total].reshape(-1, 3, 4))
        return energies, forces, w[:, :, :3].transpose(0, 2, 1)
