"""Runs phono3py and phonopy, in a process of their own, and stores what they find for silicon and rock salt.

    python phonopy_oracle.py FOLDER_WITH_INPUTS OUTPUT.npz
"""

import sys
import warnings
from pathlib import Path

import numpy as np

#: within the first Brillouin zone, where phonopy's sums over reciprocal lattice vectors are complete
POINTS = np.array([[0.5, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.5], [0.1, 0.1, 0.0], [0.1, 0.2, 0.1], [0.0, 0.5, 0.5],
                   [1e-3, 0.0, 0.0], [0.0, 0.0, 0.0], [0.13, -0.21, 0.05], [0.3, 0.1, -0.2], [-0.31, 0.02, 0.17]])
DIRECTIONS = np.array([[1.0, 0.0, 0.0], [1.0, 2.0, 3.0]])


def main(folder: Path, output: Path) -> None:
    """Forces on disk to force constants, frequencies, velocities, Grueneisen tensors."""
    import phono3py
    from phono3py.phonon3.gruneisen import Gruneisen
    from phonopy.physical_units import get_physical_units

    warnings.simplefilter("ignore")
    found = {"points": POINTS, "directions": DIRECTIONS, "to_thz": get_physical_units().DefaultToTHz}
    silicon = phono3py.load(folder / "phono3py_si_pbesol.yaml", forces_fc3_filename=folder / "FORCES_FC3_si_pbesol",
                            produce_fc=False, log_level=0)
    salt = phono3py.load(folder / "phono3py_params_NaCl222.yaml.xz", produce_fc=False, log_level=0)
    for name, peer in (("Si", silicon), ("NaCl", salt)):
        peer.produce_fc2(is_compact_fc=True)
        peer.symmetrize_fc2()
        found |= {f"{name}.{cell}.{what}": value
                  for cell, atoms in (("crystal", peer.primitive), ("supercell", peer.supercell))
                  for what, value in (("cell", atoms.cell), ("positions", atoms.scaled_positions),
                                      ("symbols", atoms.symbols), ("masses", atoms.masses))}
        found |= {f"{name}.fc2": peer.fc2, f"{name}.origins": peer.primitive.p2s_map}
    for method in ("none", "gonze", "wang"):
        for name, peer in (("Si", silicon), ("NaCl", salt)):
            if name == "NaCl" or method == "none":
                found |= phonons(name, method, peer, salt.nac_params)
    found |= {f"NaCl.{key}": np.asarray(salt.nac_params[key]) for key in ("born", "dielectric", "factor")}
    silicon.produce_fc3(is_compact_fc=True)
    silicon.symmetrize_fc3()
    found["Si.fc3"] = silicon.fc3
    for clamped in (False, True):
        gruneisen = Gruneisen(silicon.fc2, silicon.fc3, silicon.supercell, silicon.primitive, ion_clamped=clamped)
        gruneisen.set_qpoints(POINTS)
        gruneisen.run()
        found[f"Si.gruneisen.{clamped}"] = gruneisen.get_gruneisen_parameters()
    np.savez(output, **found)


def phonons(name: str, method: str, peer: object, nac: dict) -> dict:
    """Frequencies and velocities of phonopy."""
    import phonopy

    crystal = phonopy.Phonopy(peer.unitcell, peer.supercell_matrix, primitive_matrix=peer.primitive_matrix, log_level=0)
    crystal.force_constants = peer.fc2
    if method != "none":
        crystal.nac_params = dict(nac, method=method)
    crystal.run_qpoints(POINTS, with_group_velocities=True)
    found = {f"{name}.{method}.frequencies": crystal.qpoints.frequencies,
             f"{name}.{method}.velocities": crystal.qpoints.group_velocities}
    limits = []
    for direction in DIRECTIONS:
        crystal.run_qpoints([[0, 0, 0]], nac_q_direction=direction)
        limits.append(crystal.qpoints.frequencies[0])
    return found | {f"{name}.{method}.limits": np.array(limits)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
