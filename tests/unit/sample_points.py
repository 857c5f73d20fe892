"""Small problems of three- and four-phonon linewidths; run as a program, a campaign is killed after some tasks.

    python sample_points.py FOLDER TASKS (three | four)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
from sample_interactions import bond_interactions
from spring_crystal import diamond, springs, supercell_of

from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import Processes, Threads
from hpcthermo.phonons.crystal import Crystal
from hpcthermo.phonons.harmonic import HarmonicCrystal
from hpcthermo.phonons.interactions import Interactions
from hpcthermo.transport.bte.conductivity import Conductivity
from hpcthermo.transport.bte.four_phonon_tasks import FourPhononProblem, by_sample
from hpcthermo.transport.bte.mesh import Mesh
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.smearing import fixed_gaussian
from hpcthermo.transport.bte.tasks import RateTasks, ThreePhononProblem


def problem(third=True, divisions=(5, 5, 5)):
    """Diamond with springs; some modes are imaginary and take no part."""
    crystal = diamond()
    supercell = supercell_of(crystal, (2, 2, 2))
    mesh = Mesh.create(crystal, divisions)
    phonons = mesh_phonons(HarmonicCrystal(crystal, Interactions.second(supercell, springs(supercell, 2))), mesh)
    interactions = Interactions.third(supercell, springs(supercell, 3)) if third else None
    return ThreePhononProblem(mesh, phonons, interactions, np.array([50.0, 300.0]))


def four_phonons(crystal=None, length=2.8284271247461903, divisions=(3, 3, 3), seed=5):
    """A crystal (face-centred cubic of one atom without) with anharmonic bonds of some length."""
    crystal = crystal or Crystal(2.0 * (np.ones((3, 3)) - np.eye(3)), np.zeros((1, 3)), ("Ar",), np.array([39.9]))
    second = bond_interactions(crystal, length, lambda e: 8.0 * np.outer(e, e) + 0.5 * np.eye(3))
    fourth = bond_interactions(crystal, length, lambda e: 100.0 * np.einsum("a,b,c,d->abcd", e, e, e, e))
    mesh = Mesh.create(crystal, divisions)
    phonons = HarmonicCrystal(crystal, second).phonons(mesh.q)
    return FourPhononProblem(mesh, phonons, fourth, np.array([60.0, 400.0]),
                             fixed_gaussian(phonons.frequencies.shape, 0.2, 4.0, modes=4), seed)


def conductivity_beside(problem):
    """Conductivity of four-phonon linewidths with 0.01 THz of others, and velocities of a list."""
    mesh, temperatures = problem.mesh, problem.temperatures
    f = problem.phonons.frequencies[mesh.irreducible[0]]
    velocities = np.sin(np.arange(3.0 * f.size)).reshape(*f.shape, 3)

    def conductivity(gamma):
        return Conductivity.relaxation_time(mesh, f, velocities, 0.01 + gamma, temperatures), 0.01 + gamma

    return conductivity


#: relative error of kappa that this sample takes some rounds to reach
TARGET = 0.002


def sampled(problem, **how):
    """Four-phonon linewidths by a sample of several rounds."""
    return by_sample(problem, conductivity_beside(problem), TARGET, 100_000, **how)


def on(workers, folder=None, computed=None):
    """A campaign on workers, which it closes, and a list that is told how many tasks each call computed."""
    def campaign(function, its_tasks):
        try:
            records = run_campaign(function, its_tasks, folder, workers)
        finally:
            workers.close()
        if computed is not None:
            computed.append(records.computed)
        return records

    return campaign


def kept(folder):
    """Batches of tasks in the journal."""
    journal = Path(folder) / "journal.bin"
    return journal.read_bytes().count(b'"keys"') if journal.exists() else 0


def kill_after(folder, batches):
    """End this process without warning when so many batches of tasks are in the journal."""
    def stop():
        if kept(folder) >= batches:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    return stop


def killed(folder, batches, kind):
    """Run until killed; a sample in its second round."""
    if kind == "three":
        function = RateTasks(problem())
        run_campaign(function, function.tasks(), Path(folder), Processes(2), stop=kill_after(folder, batches))
    rounds = []

    def campaign(function, tasks):
        rounds.append(len(tasks))
        stop = kill_after(folder, kept(folder) + batches) if len(rounds) == 2 else None
        return run_campaign(function, tasks, Path(folder), Threads(2), stop=stop)

    sampled(four_phonons(), campaign=campaign)


if __name__ == "__main__":
    killed(sys.argv[1], int(sys.argv[2]), sys.argv[3])
