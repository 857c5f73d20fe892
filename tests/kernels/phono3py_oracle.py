"""phono3py (pinned) as an independent implementation, in its own process.

As a script: loads a material, writes its pickled cells and force constants to standard output, then reads pickled calls
{name: settings} from standard input and answers each with {name: arrays}, until its input ends. One process for each
material serves all tests of a session. Weights are averaged over degenerate bands, so linewidths do not depend on the
eigenvectors that LAPACK chose among them.

Materials are made of the data in ../shared/data/lattice, beside this checkout.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
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


class _Phono3py:
    """A process that holds a material."""

    def __init__(self, material: str, setup: bytes) -> None:
        if importlib.util.find_spec("phono3py") is None:
            pytest.skip("phono3py is not installed (pip install 'hpcthermo[test]')")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [sys.executable, __file__, material, str(lattice_data())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, env={**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"})
        atexit.register(self._process.kill)
        self._answers: dict[bytes, dict[str, dict[str, Any]]] = {}
        self.inputs = self._exchange(setup)

    def _exchange(self, request: bytes) -> dict[str, Any]:
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            self._errors.seek(0)
            pytest.fail(f"phono3py failed: {self._errors.read().decode()[-1500:]}")

    def ask(self, calls: bytes) -> dict[str, dict[str, Any]]:
        if calls not in self._answers:
            self._answers[calls] = self._exchange(calls)
        return self._answers[calls]


_process = cache(_Phono3py)


def phono3py_answers(material: str, setup: dict[str, Any] | None = None, **calls: dict[str, Any]) -> SimpleNamespace:
    """Answers of phono3py to several calls; the same request is answered once a session.

    Parameters
    ----------
    setup : dict
        Arguments of phono3py.load; and "pair_cutoff" (A), beyond which pairs of displaced atoms are left out;
        "unsymmetric": force constants of the symmetric crystal in one without symmetry.
    calls : dict
        By name: {mesh, nac (default False), sigma, sigma_cutoff, gauge_free (default True), symmetrised (tetrahedra,
        default False), and arguments of run_thermal_conductivity}; with "points" imaginary and real parts of the
        self-energy at the bands of these points (by the number in the regular mesh with "regular", else in phono3py's
        first Brillouin zone); with "isotope_points" linewidths by isotopes there.

    Returns
    -------
    SimpleNamespace
        inputs (cells, force constants), and one SimpleNamespace per call.
    """
    process = _process(material, pickle.dumps(setup or {}))
    answers = process.ask(pickle.dumps(calls)) if calls else {}
    return SimpleNamespace(inputs=SimpleNamespace(**process.inputs),
                           **{name: SimpleNamespace(**arrays) for name, arrays in answers.items()})


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
    phono3py.init_phph_interaction(average_degenerate_weights=gauge_free,
                                   symmetrize_tetrahedra=settings.pop("symmetrised", False))
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
        points = grid.grg2bzg[points] if settings.get("regular", False) else points
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
    material, folder = sys.argv[1:]
    output, sys.stdout = sys.stdout.buffer, sys.stderr
    loaded = _loaded(material, folder, pickle.load(sys.stdin.buffer))
    primitive, supercell = loaded.primitive, loaded.supercell
    inputs = {"cell": primitive.cell, "positions": primitive.scaled_positions, "symbols": primitive.symbols,
              "masses": primitive.masses, "supercell": supercell.cell,
              "supercell_positions": supercell.scaled_positions, "supercell_symbols": supercell.symbols,
              "origin_of": np.array(primitive.p2s_map), "fc2": np.array(loaded.fc2), "fc3": np.array(loaded.fc3)}
    nac_params = loaded.nac_params
    if nac_params is not None:
        inputs |= {name: np.array(nac_params[name]) for name in ("born", "dielectric", "factor")}
    pickle.dump(inputs, output)
    output.flush()
    while sys.stdin.buffer.peek(1):
        calls = pickle.load(sys.stdin.buffer)
        pickle.dump({name: _answer(loaded, settings, nac_params) for name, settings in calls.items()}, output)
        output.flush()


if __name__ == "__main__":
    main()
