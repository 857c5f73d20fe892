"""A small problem of three-phonon linewidths; run as a program, its campaign is killed after some tasks.

    python sample_points.py FOLDER TASKS
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
from spring_crystal import diamond, springs, supercell_of

from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import Processes
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.tasks import RateTasks, ThreePhononProblem


def problem(third=True, divisions=(5, 5, 5)):
    """Diamond with springs; some modes are imaginary and take no part."""
    crystal = diamond()
    supercell = supercell_of(crystal, (2, 2, 2))
    mesh = Mesh.create(crystal, divisions)
    phonons = mesh_phonons(HarmonicCrystal(crystal, Interactions.second(supercell, springs(supercell, 2))), mesh)
    interactions = Interactions.third(supercell, springs(supercell, 3)) if third else None
    return ThreePhononProblem(mesh, phonons, interactions, np.array([50.0, 300.0]))


def kill_after(folder, tasks):
    """End this process without warning when so many tasks are in the journal."""
    def stop():
        journal = Path(folder) / "journal.bin"
        if journal.exists() and journal.read_bytes().count(b'"keys"') >= tasks:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    return stop


if __name__ == "__main__":
    function = RateTasks(problem())
    workers = Processes(2)
    run_campaign(function, function.tasks(), Path(sys.argv[1]), workers, stop=kill_after(sys.argv[1], int(sys.argv[2])))
