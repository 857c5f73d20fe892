"""Energies while the layers above a gap stand at one place after the other over those below.

A sweep has the face of an integrator (`hpcthermo.dynamics.loop.Mover`): a step is one place. So it shows progress,
stops on signals and resumes as every run does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.relax import relax
from hpcthermo.engine import Engine, make_engine
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.potentials.base import Potential
from hpcthermo.simulation import Phase
from hpcthermo.structure.perturb import replaced

State = dict[str, np.ndarray]
#: search for the distance at which the mean normal force vanishes: first step and most steps
_FIRST_STEP_A, _MOST_STEPS = 0.02, 60
_LONGEST_STEP_A = 0.3


class LayerSweep:
    """Moves the layers above a gap to one place after the other.

    Parameters
    ----------
    engine : Engine
    gap : int
        Layers with a larger number move.
    shifts : (P, 2) float64
        In the plane, from where the layers are at first, A.
    distances : (P,) float64, optional
        Distances to go to; without them the layers keep their height, or that to which they have relaxed.
    relaxation : {"none", "distance", "z"}
        What relaxes at each place: nothing, the distance of the two rigid parts, every atom along z.
    force_tolerance : float
        eV/A.

    Attributes
    ----------
    energies : (P,) float64
        Of the whole system, eV.
    distances : (P,) float64
        Of the mean heights of the two layers at the gap, A.
    calls : int
        Force calls so far.

    Raises
    ------
    InputError
        If the structure has no such gap, or is periodic along z without room for the largest distance.
    """

    def __init__(self, engine: Engine, gap: int, shifts: np.ndarray, distances: np.ndarray | None = None,
                 relaxation: str = "none", force_tolerance: float = 1e-4) -> None:
        top = int(engine.comm.allreduce_max(float(_highest_layer(engine))))
        if not 0 <= gap < top:
            raise InputError(f"gap: expected 0 ... {top - 1} in a structure of {top + 1} layers, got {gap}; correct it"
                             if top > 0 else "gap: the structure has one layer or none, so nothing can move; give a "
                             "structure with layers, or an integer array 'layer' in its file")
        self._gap, self._shifts, self._wanted = gap, np.asarray(shifts, dtype=np.float64), distances
        self._relaxation, self._tolerance = relaxation, force_tolerance
        self.energies, self.distances = (np.full(len(self._shifts), np.nan) for _ in range(2))
        self.calls = 0
        self._done = 0
        if distances is not None and engine.system.periodic[2]:
            self._require_room(engine, float(np.max(distances)))

    def step(self, engine: Engine, step: int, virials: bool = False, flag: int = 0) -> int:
        """Go to the next place (collective); arguments and result as for `Integrator.step`."""
        k = self._done
        move = np.zeros(3)
        move[:2] = self._shifts[k] - (self._shifts[k - 1] if k else 0.0)
        if self._wanted is not None:
            move[2] = self._wanted[k] - self.distance(engine)
        self._move(engine, move)
        if self._relaxation == "distance":
            self._find_distance(engine)
        elif self._relaxation == "z":
            self.calls += relax(engine, atom_axes="z", force_tolerance_eV_per_A=self._tolerance).steps
        flag = engine.compute(virials, flag)
        self.calls += 1
        self.energies[k] = engine.potential_energy()
        self.distances[k] = self.distance(engine)
        self._done += 1
        return flag

    def distance(self, engine: Engine) -> float:
        """Mean height of the layer above the gap minus that of the layer below, A (collective)."""
        system, n, heights = engine.system, engine.system.n_owned, self._heights(engine)
        sums = []
        for layer in (self._gap, self._gap + 1):
            chosen = system.layers[:n] == layer
            sums += [float(heights[chosen].sum()), float(chosen.sum())]
        total = engine.comm.allreduce_sum(np.array(sums))
        return float(total[2] / total[3] - total[0] / total[1])

    def conserved(self, engine: Engine) -> float:
        """The potential energy, eV (collective)."""
        return engine.potential_energy()

    def state(self) -> State:
        """What has been found and where the layers stand."""
        return {"energies": self.energies, "distances": self.distances, "done": np.array([self._done, self.calls])}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self.energies, self.distances = state["energies"].copy(), state["distances"].copy()
        self._done, self.calls = (int(v) for v in state["done"])

    def _require_room(self, engine: Engine, largest: float) -> None:
        """Refuse distances at which the upper layers come near the periodic image of the lower ones (collective)."""
        heights = self._heights(engine)
        ends = np.array([float(heights.max()), -float(heights.min())]) if len(heights) else np.full(2, -np.inf)
        extent = float(engine.comm.allreduce_max(ends).sum()) + largest - self.distance(engine)
        room, needed = float(engine.system.cell[2, 2]) - extent, engine.bound.cutoff
        if room < needed:
            raise InputError(f"distances: z is periodic, and at a distance of {largest:g} A the layers are "
                             f"{room:.2f} A from their periodic image, expected at least the cutoff {needed:g} A; "
                             "use vacuum_A, a higher cell or shorter distances")

    def _heights(self, engine: Engine) -> Any:
        """(n_owned,) heights of the atoms where they are in the structure, not wrapped into the cell, A."""
        system, n = engine.system, engine.system.n_owned
        return system.positions[:n, 2] + system.images[:n] @ engine.backend.xp.asarray(system.cell[:, 2])

    def _upper(self, engine: Engine) -> Any:
        return engine.system.layers[:engine.system.n_owned] > self._gap

    def _move(self, engine: Engine, shift: np.ndarray) -> None:
        xp = engine.backend.xp
        engine.system.positions[:engine.system.n_owned][self._upper(engine)] += xp.asarray(shift)

    def _force(self, engine: Engine) -> float:
        """Force on the upper part along z per moving atom, eV/A (collective)."""
        engine.compute()
        self.calls += 1
        chosen = self._upper(engine)
        sums = np.array([float(engine.system.forces[:engine.system.n_owned, 2][chosen].sum()), float(chosen.sum())])
        total = engine.comm.allreduce_sum(sums)
        return float(total[0] / total[1])

    def _find_distance(self, engine: Engine) -> None:
        """Secant search for the distance at which the force between the two rigid parts vanishes."""
        step, before = 0.0, self._force(engine)
        if abs(before) < self._tolerance:
            return
        step = float(np.sign(before)) * _FIRST_STEP_A  # an attractive force pulls down
        for _ in range(_MOST_STEPS):
            self._move(engine, np.array([0.0, 0.0, step]))
            force = self._force(engine)
            if abs(force) < self._tolerance:
                return
            curvature = (before - force) / step
            # beyond the inflection point the secant leads away from the minimum: walk downhill
            step = force / curvature if curvature > 0.0 else float(np.sign(force)) * _LONGEST_STEP_A
            step = float(np.clip(step, -_LONGEST_STEP_A, _LONGEST_STEP_A))
            before = force
        raise PhysicsError("sliding_surface: no distance found at which the two parts attract and repel equally "
                           f"(force {before:.3g} eV/A per atom after {_MOST_STEPS} steps); begin nearer to it, or use "
                           'relax = "none"')


def _highest_layer(engine: Engine) -> int:
    layers = engine.system.layers[:engine.system.n_owned]
    return int(layers.max()) if len(layers) else -1


def site_energies(engine: Engine) -> np.ndarray | None:
    """Site energies (N,) of the last `compute` in the order of tags on rank 0, None elsewhere, eV (collective)."""
    system, host = engine.system, engine.backend.to_host
    rows = np.column_stack([host(system.tags[:system.n_owned]).astype(np.float64), host(engine.energies)])
    gathered = engine.comm.gatherv(rows)
    if gathered is None:
        return None
    energies = np.empty(len(gathered))
    energies[gathered[:, 0].astype(np.int64)] = gathered[:, 1]
    return energies


def energies_apart(snapshot: Snapshot | None, gap: int, potential: Potential, engine: Engine) -> np.ndarray | None:
    """Site energies (N,) of the two parts of a structure, each alone in the same cell (collective).

    Parameters
    ----------
    snapshot : Snapshot or None
        The structure on rank 0.
    engine : Engine
        Whose ranks, device and skin are used.

    Returns
    -------
    (N,) float64 on rank 0, None elsewhere
        eV.
    """
    comm: Communicator = engine.comm
    found = np.empty(snapshot.n_atoms) if snapshot is not None else None
    for above in (False, True):
        chosen = None if snapshot is None else (snapshot.layers > gap) == above
        part = make_engine(None if snapshot is None else replaced(snapshot, kept=chosen), potential, comm,
                           engine.backend, engine.skin)
        part.compute()
        energies = site_energies(part)
        if found is not None and energies is not None:
            found[chosen] = energies
    return found


def sweep_phase(name: str, gap: int, shifts: np.ndarray, distances: np.ndarray | None, relaxation: str = "none",
                force_tolerance: float = 1e-4) -> tuple[Phase, list[LayerSweep]]:
    """A sweep as a phase of a simulation, and a list that holds it once the phase has begun."""
    sweeps: list[LayerSweep] = []

    def make(engine: Engine, first: int) -> LayerSweep:
        sweeps.append(LayerSweep(engine, gap, shifts, distances, relaxation, force_tolerance))
        return sweeps[0]

    return Phase(name=name, n_steps=len(shifts), timestep_fs=0.0, make_mover=make), sweeps
