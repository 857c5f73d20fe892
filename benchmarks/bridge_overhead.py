"""What the bridge to other codes costs: a step over clusters with halos against the code itself on the whole system.

    python benchmarks/bridge_overhead.py lj --repeat 8
    python benchmarks/bridge_overhead.py mace MODEL --repeat 4        # also gap, deepmd
    mpiexec -n 2 python benchmarks/bridge_overhead.py gap MODEL

Three times on the same atoms, one after the other in every round, medians of the ratios: a force call of the engine (on
all ranks), the code alone on the same cluster, and the code alone on the periodic system (rank 0, others wait).
Expected are 1 for engine / cluster, and cluster atoms / atoms for engine / periodic if the code is linear in atoms.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from record import write_record

from hpcthermo.domain.comm import abort_on_error, world_communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.load import load_potential

LJ = {"sigma": 1.4, "epsilon": 0.1, "rc": 3.0, "smooth": True, "ro": 2.5}


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of one call, which other work on the machine hardly changes; set OMP_NUM_THREADS=1."""
    start = time.process_time()
    work()
    return time.process_time() - start


def own_calculator(style: str, path: Path | None) -> Any:
    """The code itself, as its users call it."""
    if style == "mace":
        from mace.calculators import MACECalculator

        return MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")
    if style == "gap":
        from quippy.potential import Potential

        return Potential(param_filename=str(path))
    if style == "deepmd":
        from deepmd.calculator import DP

        return DP(str(path))
    return LennardJones(**LJ)


def table_of(style: str, path: Path | None) -> dict[str, Any]:
    """Its potential table."""
    if path is None:
        return {"style": "ase", "calculator": "ase.calculators.lj:LennardJones", "elements": ["B", "N"],
                "arguments": LJ, "receptive_field_A": LJ["rc"]}
    trust = {} if style == "gap" else {"trusted_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {"style": style, "path": str(path), **trust}


def main() -> None:
    """Print a line on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("style", choices=["lj", "mace", "gap", "deepmd"])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--repeat", type=int, default=4, help="cubic cells of 8 atoms of BN along each edge")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    comm = world_communicator()
    with abort_on_error(comm):
        atoms = bulk("BN", "zincblende", a=3.6155, cubic=True).repeat(options.repeat)
        atoms.positions += np.random.default_rng(1).normal(0.0, 0.05, (len(atoms), 3))
        snapshot = Snapshot.create(atoms.cell.array, atoms.pbc, ("B", "N"), [10.81, 14.007], atoms.positions,
                                   (atoms.numbers == 7).astype(int))
        potential = load_potential(table_of(options.style, options.model))
        engine = make_engine(snapshot if comm.rank == 0 else None, potential, comm, make_backend("cpu", "double"), 0.5)
        engine.compute()
        clusters = recorded_clusters(engine)
        whole = atoms.copy()
        whole.calc = own_calculator(options.style, options.model)
        whole.get_forces()
        rounds = []
        for _ in range(options.rounds):
            comm.barrier()
            bridged = comm.allreduce_max(seconds(engine.compute))
            alone = comm.allreduce_max(seconds(lambda: engine.bound._model.evaluate(*clusters[-1])))
            periodic = 0.0
            if comm.rank == 0:
                whole.positions += 1e-6
                periodic = seconds(whole.get_forces)
            rounds.append((bridged, alone, comm.allreduce_max(periodic)))
        most = comm.allreduce_max(float(len(clusters[-1][0])))
        if comm.rank == 0:
            report(options.style, np.array(rounds), len(atoms), comm.size, most, potential.model.halo,
                   options.record)


def recorded_clusters(engine: Any) -> list[tuple[Atoms, int, bool]]:
    """Arguments of the model's calls, from one more force call (collective)."""
    calls: list[tuple[Atoms, int, bool]] = []
    model, evaluate = engine.bound._model, engine.bound._model.evaluate
    model.evaluate = lambda *arguments: (calls.append(arguments), evaluate(*arguments))[1]
    engine.compute()
    model.evaluate = evaluate
    return calls


def report(style: str, rounds: np.ndarray, n_atoms: int, ranks: int, cluster: float, halo: float, record: bool) -> None:
    """Sizes, times, ratios."""
    bridged, alone, periodic = np.median(rounds, axis=0)
    over_cluster, over_whole = np.median(rounds[:, 0] / rounds[:, 1]), np.median(rounds[:, 0] / rounds[:, 2])
    write_record("bridge_overhead" if record else None, f"bridge_overhead.py {style}: {len(rounds)} rounds", [
        f"{n_atoms} atoms on {ranks} rank(s), halo {halo:g} A, largest cluster {cluster:.0f} atoms "
        f"({cluster * ranks / n_atoms:.2f} per atom of the system, all ranks)",
        f"processor time: engine {bridged * 1e3:.1f} ms, code on the cluster {alone * 1e3:.1f} ms, on the periodic "
        f"system {periodic * 1e3:.1f} ms",
        f"engine / cluster {over_cluster:.3f} (expected 1), engine / periodic {over_whole:.2f} "
        f"(expected {cluster / n_atoms:.2f})"])


if __name__ == "__main__":
    main()
