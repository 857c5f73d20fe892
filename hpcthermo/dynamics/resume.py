"""What a checkpoint holds, and how a run goes on from it.

A shard has the parts ``engine/``, ``integrator/`` and ``observers/<name>/``. On the ranks that wrote it each takes its
shard and goes on to the same bits. On another number of ranks the atoms are gathered by tag and distributed anew;
keys that end in ``_share`` add up over the old ranks, everything else is the same in all shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.domain.decomposition import Domain
from hpcthermo.domain.grid import Layout
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.dynamics.checkpoint import Generation, Shard
from hpcthermo.engine import Engine, make_engine
from hpcthermo.gpu.backend import Backend
from hpcthermo.potentials.base import Potential
from hpcthermo.system import ATOM_FIELDS, System

#: what does not depend on the atom, by key under ``system/``
_SYSTEM_KEYS = ("periodic", "masses", "species", "frozen_groups", "n_atoms")


def arithmetic(backend: Backend) -> dict[str, str]:
    """What decides the bits of a force, for the facts of a checkpoint."""
    return {"device": backend.device, "precision": backend.precision, "instruction_set": backend.instruction_set}


def collect(engine: Engine, integrator: Any, observers: Sequence[Any]) -> Shard:
    """The complete state of this rank, between two steps."""
    system = engine.system
    parts: dict[str, dict[str, Any]] = {
        "system": {
            "periodic": system.periodic, "masses": system.masses, "n_atoms": np.array(engine.n_atoms),
            "species": np.array([name.encode() for name in system.species], dtype=np.bytes_),
            "frozen_groups": np.array(sorted(system.frozen_groups), dtype=np.int64),
        },
        "engine": engine.state(),
        "integrator": integrator.state(),
        **{f"observers/{observer.name}": observer.state() for observer in observers},
    }
    return {f"{part}/{key}": np.asarray(value) for part, values in parts.items() for key, value in values.items()}


class Resumption:
    """A run that goes on from a checkpoint (collective).

    Parameters
    ----------
    generation : Generation
        From `CheckpointStore.newest`.
    potential, comm, backend, layout
        As for `hpcthermo.engine.make_engine`; the layout counts only on another number of ranks.

    Attributes
    ----------
    engine : Engine
    step : int
        Steps of the whole job done.
    facts : dict
        What the run remembered beside its state.
    exact : bool
        True on as many ranks as wrote it, on the same device, with the same precision and instruction set: the run then
        goes on to the same bits.
    """

    def __init__(self, generation: Generation, potential: Potential, comm: Communicator, backend: Backend,
                 layout: Layout = "auto") -> None:
        self.step = generation.step
        self.facts = generation.facts
        same_ranks = generation.n_ranks == comm.size
        self.exact = same_ranks and self.facts.get("arithmetic", arithmetic(backend)) == arithmetic(backend)
        if same_ranks:
            self._shard = generation.read_shard(comm.rank)
            self.engine = _restored_engine(self._shard, potential, comm, backend)
            return
        snapshot: Snapshot | None = None
        rest: Shard = {}
        skin = 0.0
        if comm.rank == 0:
            shards = [generation.read_shard(rank) for rank in range(generation.n_ranks)]
            snapshot = gathered_snapshot(shards)
            skin = float(shards[0]["engine/skin"])
            rest = _merged(shards)
        rest, skin = comm.bcast((rest, skin))
        if comm.rank != 0:
            rest = {key: np.zeros_like(value) if key.endswith("_share") else value for key, value in rest.items()}
        self._shard = rest
        self.engine = make_engine(snapshot, potential, comm, backend, skin, layout)

    def restore(self, integrator: Any, observers: Sequence[Any]) -> None:
        """Give integrator and observers, made as for a fresh start, their state."""
        integrator.restore(_part(self._shard, "integrator"))
        for observer in observers:
            observer.restore(_part(self._shard, f"observers/{observer.name}"))


def gathered_snapshot(shards: Sequence[Shard]) -> Snapshot:
    """The whole system from the shards of all ranks, sorted by tag."""
    fields = {name: np.concatenate([shard[f"engine/{name}"] for shard in shards]) for name in ATOM_FIELDS}
    order = np.argsort(fields["tags"], kind="stable")
    system = _part(shards[0], "system")
    return Snapshot(
        np.array(shards[0]["engine/cell"]), np.array(system["periodic"], dtype=bool),
        tuple(name.decode() for name in system["species"]), np.array(system["masses"]),
        {name: value[order] for name, value in fields.items()}, _frozen_groups(system),
    )


def _restored_engine(shard: Shard, potential: Potential, comm: Communicator, backend: Backend) -> Engine:
    xp, values = backend.xp, _part(shard, "system")
    empty = {name: xp.zeros((0,) if k == 1 else (0, k), dtype=dtype) for name, (dtype, k) in ATOM_FIELDS.items()}
    system = System(np.array(shard["engine/cell"]), np.array(values["periodic"], dtype=bool),
                    tuple(name.decode() for name in values["species"]), np.array(values["masses"]), 0, 0,
                    frozen_groups=_frozen_groups(values), **empty)
    skin = float(shard["engine/skin"])
    domain = Domain(comm, backend, skin)
    domain.n_atoms = int(values["n_atoms"])
    engine = Engine(system, potential, domain, backend, skin)
    engine.restore(_part(shard, "engine"))
    return engine


def _frozen_groups(values: Shard) -> frozenset[int]:
    return frozenset(int(group) for group in values["frozen_groups"])


def _part(shard: Shard, name: str) -> Shard:
    return {key.removeprefix(f"{name}/"): value for key, value in shard.items() if key.startswith(f"{name}/")}


def _merged(shards: Sequence[Shard]) -> Shard:
    """Integrator and observers of all old ranks as one."""
    kept = [key for key in shards[0] if key.startswith(("integrator/", "observers/"))]
    return {key: np.sum([s[key] for s in shards], axis=0) if key.endswith("_share") else shards[0][key] for key in kept}
