"""ASE calculator over the engine, in this process, without MPI.

Results, in the order of the atoms: energy (eV), energies (N,) site energies (eV), forces (N, 3) (eV/A), virials
(N, 3, 3) neighbour-centred per-atom virials W_i = sum_j r_ij (x) dU_j/dr_ji (eV; first index position, second force),
and for cells with a volume stress = -sum_i W_i / V (eV/A^3; xx, yy, zz, yz, xz, xy).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.grid import frame_cell
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import Engine, make_engine
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.base import limits_of
from hpcthermo.potentials.load import load_potential

_SKIN_A = 1.0
#: what makes a new engine necessary
_IDENTITY = ("numbers", "pbc", "layers")


class Calculator(AseCalculator):
    """Energies, forces, stress and per-atom virials of ASE atoms.

    Parameters
    ----------
    potential : str, Path, dict, Potential, or list of these
        A path, an embedded name (`hpcthermo.potentials.embedded.embedded_names`), a table as in a job file, or a list
        for an overlay; see `hpcthermo.potentials.load.load_potential`.
    precision : {"double", "mixed"}
    device : {"cpu", "cuda"}

    Raises
    ------
    InputError
        If the potential is unusable or has no parameters for a species.
    ResourceError
        If the device is not there.

    Notes
    -----
    Any cell works: smaller than the cutoff, triclinic, with vacuum, without periodic axes, without a cell. An integer
    array ``layer`` of the atoms numbers the layers for potentials that act between layers only. A potential that has no
    per-atom virials or no stress (docs/ase_bridge.md) leaves them out of ``implemented_properties``.
    """

    implemented_properties: list[str] = ["energy", "free_energy", "energies", "forces", "stress", "virials"]  # noqa: RUF012

    def __init__(self, potential: Any, *, precision: str = "double", device: str = "cpu", **options: Any) -> None:
        super().__init__(**options)
        self._potential = load_potential(potential, Path.cwd())
        limits = limits_of(self._potential)
        lacking = {"virials": limits.atom_virials, "stress": limits.total_virial}
        self.implemented_properties = [name for name in type(self).implemented_properties if lacking.get(name) is None]
        self._backend = make_backend(device, precision)
        self._engine: Engine | None = None
        self._identity: dict[str, np.ndarray] = {}

    def calculate(self, atoms: Atoms | None = None, properties: list[str] | None = None,
                  system_changes: list[str] = all_changes) -> None:
        """Compute all results for the atoms.

        Raises
        ------
        InputError
            For positions or cells that are not usable.
        """
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        wanted = properties or []
        has_volume = self.atoms.cell.rank == 3
        if "stress" in wanted and not has_volume:
            raise PropertyNotImplementedError("stress needs a cell with a volume")
        if len(self.atoms) == 0:
            self.results = {"energy": 0.0, "free_energy": 0.0, "energies": np.zeros(0), "forces": np.zeros((0, 3)),
                            "virials": np.zeros((0, 3, 3))}
            return
        engine = self._engine_for(self.atoms)
        site_virials = engine.limits.atom_virials is None
        engine.compute(virials=site_virials)
        self.results = self._results(engine)
        if has_volume and (site_virials or engine.limits.total_virial is None):
            total = self.results["virials"].sum(axis=0) if site_virials else engine.virial_total()
            self.results["stress"] = full_3x3_to_voigt_6_stress(-total / self.atoms.get_volume())

    def _engine_for(self, atoms: Atoms) -> Engine:
        """The engine with the positions and cell of the atoms; a new one if it is another system."""
        identity = {"numbers": atoms.numbers.copy(), "pbc": atoms.pbc.copy(), "layers": _layers(atoms)}
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            raise InputError("atoms: expected finite positions and cell, got a value that is not a number")
        same = self._engine is not None and all(np.array_equal(identity[k], self._identity[k]) for k in _IDENTITY)
        if self._engine is None or not same:
            snapshot = snapshot_of(atoms, identity["layers"])
            self._engine = make_engine(snapshot, self._potential, SingleProcess(), self._backend, _SKIN_A)
            self._identity = identity
            return self._engine
        self._move(self._engine, atoms)
        return self._engine

    def _move(self, engine: Engine, atoms: Atoms) -> None:
        system, host = engine.system, self._backend.to_host
        n = system.n_owned
        cell = frame_cell(atoms.cell.array)
        system.cell = atoms.cell.array.copy()
        positions = atoms.positions[host(system.tags[:n])] - host(system.images[:n]) @ cell
        system.positions[:n] = self._backend.xp.asarray(positions)

    def _results(self, engine: Engine) -> dict[str, Any]:
        system, host = engine.system, self._backend.to_host
        n = system.n_owned
        order = np.argsort(host(system.tags[:n]))
        energies = host(engine.energies)[order]
        energy = float(energies.sum())
        results = {"energy": energy, "free_energy": energy, "energies": energies,
                   "forces": host(system.forces)[:n, :3][order]}
        return results if engine.virials is None else results | {"virials": host(engine.virials)[order]}


def _layers(atoms: Atoms) -> np.ndarray:
    if "layer" not in atoms.arrays:
        return np.full(len(atoms), -1, dtype=np.int32)
    layers = atoms.arrays["layer"]
    if layers.shape != (len(atoms),) or layers.dtype.kind not in "iu":
        raise InputError("atoms: expected one integer per atom in the array 'layer', "
                         f"got {layers.dtype} {layers.shape}")
    return layers.astype(np.int32)


def snapshot_of(atoms: Atoms, layers: np.ndarray) -> Snapshot:
    """ASE atoms as the engine takes them, with a layer (N,) of each atom (-1: none)."""
    symbols = atoms.get_chemical_symbols()
    species = tuple(dict.fromkeys(symbols))
    types = np.array([species.index(s) for s in symbols], dtype=np.int32)
    masses = np.array([max(float(atoms.get_masses()[symbols.index(s)]), 1e-3) for s in species])
    return Snapshot.create(atoms.cell.array, atoms.pbc, species, masses, atoms.positions, types, layers=layers)
