"""phono3py's force constants and conductivities for the inputs in ../shared, in its own process.

As a script: reads pickled requests [(material, [run, ...]), ...] from standard input and writes a list of dicts. A run
is a dict with `mesh` and optionally `temperatures`, `sigma`, `sigma_cutoff`, `split`, `symmetrised`, `lbte`; without
the non-analytic correction unless `nac` is set, and with weights averaged over degenerate bands.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

LATTICE = Path(__file__).parents[2].parent / "shared" / "data" / "lattice"


def phono3py_transport(requests):
    """Answers to all requests, of one process; skips the test without phono3py or without the inputs."""
    if importlib.util.find_spec("phono3py") is None:
        pytest.skip("phono3py is not installed (pip install 'hpcthermo[test]')")
    if not LATTICE.exists():
        pytest.skip("no inputs in ../shared/data/lattice beside this checkout")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, __file__], input=pickle.dumps(requests), capture_output=True, timeout=600,
                          env=environment, check=False)
    if done.returncode != 0:
        pytest.fail(f"phono3py failed: {done.stderr.decode()[-1500:]}")
    return pickle.loads(done.stdout[done.stdout.index(b"RESULT") + 6:])


def _answer(material, runs):
    import phono3py

    if material == "si":
        driver = phono3py.load(str(LATTICE / "phono3py_si_pbesol.yaml"), log_level=0, produce_fc=False,
                               forces_fc3_filename=str(LATTICE / "FORCES_FC3_si_pbesol"))
    else:
        driver = phono3py.load(str(LATTICE / "phono3py_params_NaCl222.yaml.xz"), log_level=0, produce_fc=False)
    driver.produce_fc3(symmetrize_fc3r=True, is_compact_fc=True, fc_calculator="traditional")
    driver.produce_fc2(symmetrize_fc2=True, is_compact_fc=True, fc_calculator="traditional")
    cell, primitive, nac = driver.supercell, driver.primitive, driver.nac_params
    answer = {"cell": cell.cell, "positions": cell.scaled_positions, "symbols": list(cell.symbols),
              "primitive_cell": primitive.cell, "primitive_positions": primitive.scaled_positions,
              "primitive_symbols": list(primitive.symbols), "masses": primitive.masses, "origin_of": primitive.p2s_map,
              "fc2": driver.fc2, "fc3": driver.fc3, "nac": nac, "runs": []}
    for run in runs:
        driver.mesh_numbers = run["mesh"]
        driver.sigmas = [run["sigma"]] if "sigma" in run else None
        driver.sigma_cutoff = run.get("sigma_cutoff")
        driver.nac_params = nac if run.get("nac") else None
        driver.init_phph_interaction(average_degenerate_weights=True,
                                      symmetrize_tetrahedra=run.get("symmetrised", False))
        driver.run_thermal_conductivity(temperatures=run.get("temperatures", [300.0]), is_N_U=run.get("split", False),
                                        is_LBTE=run.get("lbte", False))
        found = driver.thermal_conductivity
        answer["runs"].append({"q": found.qpoints, "frequencies": found.frequencies, "gamma": found.gamma[0],
                               "kappa": found.kappa[0]})
        if run.get("split"):
            answer["runs"][-1]["split"] = [part[0] for part in found.get_gamma_N_U()]
    return answer


if __name__ == "__main__":
    answers = [_answer(*request) for request in pickle.load(sys.stdin.buffer)]
    sys.stdout.buffer.write(b"RESULT" + pickle.dumps(answers))
