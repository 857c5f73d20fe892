"""phono3py (pinned) as an independent implementation, in its own process.

As a script: reads a pickled request {material, calls: {name: settings}} from standard input, and writes to standard
output {inputs, answers: {name: arrays}}. Weights are averaged over degenerate bands, so linewidths do not depend on the
eigenvectors that LAPACK chose among them.

Materials are made of the data in ../shared/data/lattice, beside this checkout.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

DATA = Path(__file__).parents[3] / "shared" / "data" / "lattice"
#: each with its files; the first holds the cells
MATERIALS = {"si": ("phono3py_si_pbesol.yaml", "FORCES_FC3_si_pbesol"), "nacl": ("phono3py_params_NaCl222.yaml.xz",)}


def lattice_data() -> Path:
    """Folder of the inputs; skips the test without it."""
    if not DATA.exists():
        pytest.skip("no forces of silicon and rock salt in ../shared beside this checkout")
    return DATA


@cache
def _ask(request: bytes) -> Any:
    if importlib.util.find_spec("phono3py") is None:
        pytest.skip("phono3py is not installed (pip install 'hpcthermo[test]')")
    done = subprocess.run([sys.executable, __file__, str(lattice_data())], input=request, capture_output=True,
                          timeout=1200, env={**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
                          check=False)
    if done.returncode != 0:
        pytest.fail(f"phono3py failed: {done.stderr.decode()[-1500:]}")
    return pickle.loads(done.stdout)


def phono3py_answers(material: str, setup: dict[str, Any] | None = None, **calls: dict[str, Any]) -> SimpleNamespace:
    """Answers of phono3py to several calls, in one process; the same request is answered once a session.

    Parameters
    ----------
    setup : dict
        Arguments of phono3py.load; and "pair_cutoff" (A), beyond which pairs of displaced atoms are left out;
        "unsymmetric": force constants of the symmetric crystal in one without symmetry.
    calls : dict
        By name: {mesh, nac (default False), sigma, sigma_cutoff, gauge_free (default True), and arguments of
        run_thermal_conductivity}; with "points" imaginary and real parts of the self-energy at the bands of these
        points; with "isotope_points" linewidths by isotopes there.

    Returns
    -------
    SimpleNamespace
        inputs (cells, force constants), and one SimpleNamespace per call.
    """
    answer = _ask(pickle.dumps({"material": material, "setup": setup or {}, "calls": calls}))
    return SimpleNamespace(inputs=SimpleNamespace(**answer["inputs"]),
                           **{name: SimpleNamespace(**arrays) for name, arrays in answer["answers"].items()})


def lattice(inputs: SimpleNamespace, average_origins: bool = True) -> SimpleNamespace:
    """Our crystal, supercell and interactions of what phono3py held, compact or full."""
    from hpcthermo.phonons.crystal import Crystal, Supercell
    from hpcthermo.phonons.harmonic import HarmonicCrystal
    from hpcthermo.phonons.interactions import Interactions

    crystal = Crystal(inputs.cell, inputs.positions, tuple(inputs.symbols), inputs.masses)
    supercell = Supercell.match(crystal, inputs.supercell, inputs.supercell_positions, inputs.supercell_symbols,
                                inputs.origin_of)
    fc2, fc3 = (values[inputs.origin_of] if len(values) > len(inputs.origin_of) else values
                for values in (inputs.fc2, inputs.fc3))
    second = Interactions.second(supercell, fc2)
    return SimpleNamespace(crystal=crystal, supercell=supercell, second=second,
                           harmonic=HarmonicCrystal(crystal, second),
                           third=Interactions.third(supercell, fc3, average_origins))


def _answer(phono3py: Any, settings: dict[str, Any], nac_params: Any) -> dict[str, Any]:
    settings = dict(settings)
    phono3py.nac_params = nac_params if settings.pop("nac", False) else None
    sigma, gauge_free = settings.pop("sigma", None), settings.pop("gauge_free", True)
    phono3py.sigmas = None if sigma is None else [sigma]
    phono3py.sigma_cutoff = settings.pop("sigma_cutoff", None)
    phono3py.mesh_numbers = settings.pop("mesh")
    phono3py.init_phph_interaction(average_degenerate_weights=gauge_free)
    grid = phono3py.grid
    if "isotope_points" in settings:
        from phono3py import Phono3pyIsotope

        points = settings["isotope_points"]
        isotope = Phono3pyIsotope(phono3py.mesh_numbers, phono3py.primitive, sigmas=[sigma],
                                  average_degenerate_weights=gauge_free)
        isotope.init_dynamical_matrix(phono3py.fc2, phono3py.phonon_supercell, phono3py.phonon_primitive)
        isotope.run(points)
        return {"gammas": np.array(isotope.gamma), "q": _q(grid, points)}
    if "points" in settings:
        points, temperatures = settings["points"], settings["temperatures"]
        imaginary = phono3py.run_imag_self_energy(points, temperatures, frequency_points_at_bands=True)
        _, real = phono3py.run_real_self_energy(points, temperatures, frequency_points_at_bands=True, epsilons=[0.05])
        return {"gammas": np.array(imaginary.gammas), "shifts": np.array(real), "q": _q(grid, points)}
    phono3py.run_thermal_conductivity(**settings)
    result = phono3py.thermal_conductivity
    found = {"q": _q(grid, result.grid_points)}
    if settings.get("is_N_U"):
        found["normal"], found["umklapp"] = (np.array(part) for part in result.get_gamma_N_U())
    for name in ("grid_weights", "frequencies", "temperatures", "kappa", "gamma", "gamma_isotope", "group_velocities",
                 "mode_heat_capacities", "gv_by_gv", "mode_kappa", "kappa_RTA", "collision_eigenvalues"):
        value = getattr(result, name, None)
        if value is not None:
            found[name] = np.array(value)
    for name, value in (result.get_extra_kappa_output() or {}).items():
        found[name] = np.array(value)
    return found


def _loaded(material: str, folder: str, setup: dict[str, Any]) -> Any:
    import phono3py

    setup = dict(setup)
    cutoff, unsymmetric = setup.pop("pair_cutoff", None), setup.pop("unsymmetric", False)
    files = [os.path.join(folder, name) for name in MATERIALS[material]]
    given: dict[str, Any] = {"forces_fc3_filename": files[1] if len(files) > 1 else None, "log_level": 0}
    loaded = phono3py.load(files[0], **given, **setup)
    if cutoff is not None:
        forces = loaded.forces
        loaded.generate_displacements(distance=0.03, cutoff_pair_distance=cutoff)
        loaded.forces = forces
        loaded.produce_fc3(symmetrize_fc3r=True, fc_calculator="traditional")
    if unsymmetric:
        bare = phono3py.load(files[0], **given, **setup, is_symmetry=False, produce_fc=False)
        bare.fc2, bare.fc3 = loaded.fc2, loaded.fc3
        return bare
    return loaded


def _q(grid: Any, points: Any) -> np.ndarray:
    return np.array(grid.addresses[points] @ (grid.QDinv.T))


def main() -> None:
    request, folder = pickle.load(sys.stdin.buffer), sys.argv[1]
    output, sys.stdout = sys.stdout.buffer, sys.stderr
    loaded = _loaded(request["material"], folder, request["setup"])
    primitive, supercell = loaded.primitive, loaded.supercell
    inputs = {"cell": primitive.cell, "positions": primitive.scaled_positions, "symbols": primitive.symbols,
              "masses": primitive.masses, "supercell": supercell.cell,
              "supercell_positions": supercell.scaled_positions, "supercell_symbols": supercell.symbols,
              "origin_of": np.array(primitive.p2s_map), "fc2": np.array(loaded.fc2), "fc3": np.array(loaded.fc3)}
    nac_params = loaded.nac_params
    if nac_params is not None:
        inputs |= {name: np.array(nac_params[name]) for name in ("born", "dielectric", "factor")}
    answers = {name: _answer(loaded, settings, nac_params) for name, settings in request["calls"].items()}
    pickle.dump({"inputs": inputs, "answers": answers}, output)


if __name__ == "__main__":
    main()
