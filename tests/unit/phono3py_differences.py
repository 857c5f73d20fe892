"""phono3py as an independent implementation of finite differences, in its own process.

As a script: reads pickled requests [{cell, positions, symbols, periodic, matrix, primitive, potential}, ...] from
standard input, lets phono3py drive our potential, and writes a list of dicts of arrays to standard output: the
supercell, displacements (C, N_s, 3), forces less residual ones (C, N_s, 3), compact fc2 and fc3 as they come (no
symmetrisation).
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest


def phono3py_responses(requests):
    """Responses for all requests, of one process; skips the test without phono3py."""
    if importlib.util.find_spec("phono3py") is None:
        pytest.skip("phono3py is not installed (pip install 'hpcthermo[test]')")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, __file__], input=pickle.dumps(requests), capture_output=True, timeout=300,
                          env=environment, check=False)
    if done.returncode != 0:
        pytest.fail(f"phono3py failed: {done.stderr.decode()[-1500:]}")
    return pickle.loads(done.stdout[done.stdout.index(b"RESULT") + 6:])


def _run(request):
    from ase import Atoms
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

    from hpcthermo.calculator import Calculator

    unit = PhonopyAtoms(symbols=request["symbols"], cell=request["cell"], scaled_positions=request["positions"])
    driver = Phono3py(unit, supercell_matrix=request["matrix"], primitive_matrix=request["primitive"])
    driver.generate_displacements(distance=0.03)
    cell, primitive = driver.supercell, driver.primitive
    atoms = Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=request["periodic"],
                  calculator=Calculator(request["potential"]))
    residual, places = atoms.get_forces(), atoms.positions.copy()
    displacements = np.array([c.positions - cell.positions for c in driver.supercells_with_displacements])
    forces = []
    for displacement in displacements:
        atoms.positions = places + displacement
        forces.append(atoms.get_forces() - residual)
    driver.forces = np.array(forces)
    driver.produce_fc3(symmetrize_fc3r=False, fc_calculator="traditional")
    return {"cell": cell.cell, "positions": cell.scaled_positions, "symbols": list(cell.symbols),
            "primitive_cell": primitive.cell, "primitive_positions": primitive.scaled_positions,
            "primitive_symbols": list(primitive.symbols), "masses": primitive.masses, "origin_of": primitive.p2s_map,
            "displacements": displacements, "forces": driver.forces, "fc2": driver.fc2, "fc3": driver.fc3}


if __name__ == "__main__":
    answers = [_run(request) for request in pickle.load(sys.stdin.buffer)]
    sys.stdout.buffer.write(b"RESULT" + pickle.dumps(answers))
