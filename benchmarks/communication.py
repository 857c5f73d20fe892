"""Ghosts, messages and bytes per rank and step on 1 to 64 ranks, counted, beside the model of communication.

    python benchmarks/communication.py --record
    python benchmarks/communication.py layered --potential gr_hbn.nep.txt --ranks 1,2,4,8

Any number of ranks may share few cores: what is counted does not depend on speed. Systems: silicon (64,000 atoms) and
layers of about as many, cut as `auto` decides. Without a potential no forces are computed and the halo is 9 A (the 8 A
of a NEP and 1 A of skin), so 64 ranks take a minute on two cores. The model is hpcthermo/performance_model.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from record import write_record

from hpcthermo.performance_model import Box, all_ghosts, message_bytes, peers, remote_ghosts

SYSTEMS = {"silicon": "silicon_64000", "layered": "gr_hbn_multilayer"}
ATOMS = 64_000
RANKS = (1, 2, 4, 8, 16, 32, 64)
CUTOFF_A, SKIN_A, STEPS = 8.0, 1.0, 4
#: ghosts per rank by number of ranks, estimated beforehand for 10 million Si atoms (0.05 per A^3) and a halo of 9 A
TEN_MILLION = {8: 245_000, 64: 65_000, 512: 18_000, 1024: 12_900}


def expected(lengths: np.ndarray, parts: np.ndarray, halo: float, density: float) -> dict[str, float]:
    """Ghosts, messages and bytes of one rank and step by the model.

    Parameters
    ----------
    lengths : (3,) float64
        Edges of a periodic rectangular cell, A.
    parts : (3,) int
        Bricks along each.
    """
    a, b, c = lengths.tolist()
    box = Box((a, b, c), (True, True, True), density * a * b * c, halo)
    bricks = parts.tolist()
    remote = remote_ghosts(box, bricks)
    return {"ghosts": all_ghosts(box, bricks), "messages": 2 * peers(box, bricks), "bytes": message_bytes(remote),
            "virial_bytes": message_bytes(remote, virials_every=1)}


# ---- on the ranks ---------------------------------------------------------------------------------


def count(structure: Path, potential: str | None) -> None:
    """Count on these ranks and print one JSON object on rank 0 (collective)."""
    from engine_overhead import NoForces

    from hpcthermo.domain.comm import abort_on_error, world_communicator
    from hpcthermo.engine import make_engine
    from hpcthermo.gpu.backend import make_backend

    comm = world_communicator()
    with abort_on_error(comm):
        model: Any = NoForces(CUTOFF_A)
        if potential:
            from hpcthermo.potentials.load import load_potential

            model = load_potential(potential)
        snapshot = read(structure) if comm.rank == 0 else None
        engine = make_engine(snapshot, model, comm, make_backend("cpu", "mixed"), SKIN_A)
        engine.compute()
        own = {"owned": engine.system.n_owned, "ghosts": engine.system.n_ghost, "halo": engine.domain.halo_depth}
        for name, work, repeats in (("step", engine.compute, STEPS), ("virial_step", lambda: engine.compute(True), 1),
                                    ("rebuild", engine.rebuild, 1)):
            before = (comm.counters.messages_sent, comm.counters.bytes_sent, comm.counters.collectives)
            for _ in range(repeats):
                work()
            after = (comm.counters.messages_sent, comm.counters.bytes_sent, comm.counters.collectives)
            own[name] = [(b - a) / repeats for a, b in zip(before, after, strict=True)]
        rows = comm.gather(own)
        if rows is not None:
            grid = engine.domain.grid
            parts = [grid.shape[grid.order.index(axis)] for axis in range(3)]
            print(json.dumps({"parts": parts, "rows": rows}), flush=True)


def read(structure: Path) -> Any:
    """Snapshot of the saved arrays; rank 0 alone needs ASE."""
    from hpcthermo.structure.build import make_snapshot

    with np.load(structure) as saved:
        return make_snapshot(saved["cell"], np.array([True] * 3), saved["symbols"], saved["positions"])


# ---- on the outside -------------------------------------------------------------------------------


def counted(ranks: int, structure: Path, potential: str | None) -> dict[str, Any]:
    """Start the ranks and return what they counted."""
    from hpcthermo.launch import find_installation

    arguments = [__file__, "--count", str(structure), *(["--potential", potential] if potential else [])]
    command = [find_installation().launcher, "-n", str(ranks), sys.executable, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        print(f"communication: {ranks} ranks: {last}", file=sys.stderr)
        sys.exit(2)
    return json.loads(done.stdout.splitlines()[-1])


def row(answer: dict[str, Any], lengths: np.ndarray, density: float) -> str:
    """Counted figures, mean over ranks, beside the expected ones."""
    rows, parts = answer["rows"], np.array(answer["parts"])
    model = expected(lengths, parts, rows[0]["halo"], density)
    ghosts = [r["ghosts"] for r in rows]
    steps, virial_steps, rebuilds = (np.mean([r[name] for r in rows], axis=0)
                                     for name in ("step", "virial_step", "rebuild"))
    return (f"{len(rows):5d}  {'x'.join(map(str, parts)):8s}{np.mean([r['owned'] for r in rows]):8.0f}"
            f"{np.mean(ghosts):9.0f} /{model['ghosts']:7.0f}{np.max(ghosts):9.0f}"
            f"{steps[0]:9.1f} /{model['messages']:4.0f}{steps[1] / 1e3:10.1f} /{model['bytes'] / 1e3:7.1f}"
            f"{virial_steps[1] / 1e3:11.1f} /{model['virial_bytes'] / 1e3:7.1f}"
            f"{steps[2]:8.1f}{rebuilds[2]:9.0f}{rebuilds[1] / 1e3:10.1f}")


HEAD = (f"{'ranks':>5s}  {'bricks':8s}{'owned':>8s}{'ghosts /  model':>18s}{'most':>9s}{'messages':>15s}"
        f"{'kB per step':>19s}{'kB with virials':>20s}{'collectives':>13s}{'of rebuild, its kB':>19s}")


def ten_million() -> list[str]:
    """The model for 10 million atoms, where no machine at hand can count."""
    lines = ["10 million Si atoms (0.05 per A^3), halo 9 A: ghosts per rank by the model / estimated beforehand"]
    for ranks, estimate in TEN_MILLION.items():
        edge = (1e7 / 0.05) ** (1.0 / 3.0)
        # as equal as three factors of a power of two can be
        parts = np.array([2 ** ((ranks.bit_length() - 1 + shift) // 3) for shift in range(3)])
        model = expected(np.full(3, edge), parts, CUTOFF_A + SKIN_A, 0.05)
        lines.append(f"{ranks:5d}  {'x'.join(map(str, parts)):8s}{model['ghosts']:10.0f} /{estimate:8d}, "
                     f"{model['messages']} messages, {model['bytes'] / 1e6:.2f} MB sent per rank and step")
    return lines


def rank_counts(text: str) -> tuple[int, ...]:
    """Numbers between commas."""
    counts = [int(word) if word.strip().isdigit() else 0 for word in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError(f"expected positive numbers with commas between, got {text!r}")
    return tuple(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", nargs="?", choices=tuple(SYSTEMS), help="default: both")
    parser.add_argument("--ranks", type=rank_counts, default=RANKS, metavar="N,N,...")
    parser.add_argument("--atoms", type=int, default=ATOMS)
    parser.add_argument("--potential", help="path or embedded name (default: no forces, halo 9 A)")
    parser.add_argument("--record", action="store_true", help="append to results/communication.txt")
    parser.add_argument("--count", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        count(options.count, options.potential)
        return
    from systems import standard_system

    lines: list[str] = []
    for name in [options.system] if options.system else SYSTEMS:
        atoms = standard_system(SYSTEMS[name], options.atoms)
        lengths = atoms.cell.lengths()
        density = len(atoms) / atoms.get_volume()
        lines += [f"{name}: {len(atoms):,} atoms, {density:.4f} per A^3, "
                  f"{' x '.join(f'{length:.1f}' for length in lengths)} A; counted / model, mean over ranks", HEAD]
        with tempfile.TemporaryDirectory() as folder:
            structure = Path(folder) / "structure.npz"
            np.savez(structure, symbols=atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell.array)
            for ranks in options.ranks:
                lines.append(row(counted(ranks, structure, options.potential), lengths, density))
                print(lines[-1], file=sys.stderr, flush=True)
        lines.append("")
    lines += ten_million()
    write_record("communication" if options.record else None,
                 f"communication.py: per rank and step, halo {options.potential or f'{CUTOFF_A + SKIN_A} A'}", lines)


if __name__ == "__main__":
    main()
