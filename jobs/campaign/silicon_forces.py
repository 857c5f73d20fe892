"""Forces of a thousand displaced silicon cells, on this machine or across the nodes of a Slurm job.

    python silicon_forces.py --out forces                            # processes of this machine
    srun python silicon_forces.py --out forces --where slurm_runner  # campaign.slurm

Kill it when you like and start it again: finished cells are not computed again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk

from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import start_workers
from hpcthermo.config.campaign import CampaignSection
from hpcthermo.dynamics.stop import StopFlag
from hpcthermo.errors import HpcthermoError
from hpcthermo.phonons.forces import SupercellForces, displacement_task


def main() -> None:
    """Compute what is missing, and save all forces."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--where", default="local")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--potential", default="tersoff_si", help="embedded name or absolute path")
    options = parser.parse_args()

    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(3)
    function = SupercellForces(atoms.cell.array, atoms.positions, tuple(atoms.symbols), options.potential)
    # atom 0 along x, and every atom along each direction, both ways
    steps = [(other, axis, sign) for other in range(1, len(atoms)) for axis in range(3) for sign in (0.03, -0.03)]
    tasks = [displacement_task([0, other], [[0.03, 0.0, 0.0], sign * np.eye(3)[axis]]) for other, axis, sign in steps]

    section = CampaignSection(where=options.where, workers=options.workers or "auto")
    workers = start_workers(section, function, options.out)  # with slurm_runner, most processes stay in here
    try:
        with StopFlag() as stop:
            forces = run_campaign(function, tasks, options.out, workers, stop=stop).stack("forces")
    finally:
        workers.close()
    np.save(options.out / "forces.npy", forces)
    print(f"{len(tasks)} cells, largest force {np.abs(forces).max():.4f} eV/A")


if __name__ == "__main__":
    try:
        main()
    except HpcthermoError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
