r"""``hpcthermo check`` of jobs about lattice vibrations: cells, memory and a class of time, without running them.

forces          (displaced cells) x (time of one force call, from a probe) / (workers); memory of the workers as in
                `phonons.forces.campaign_bytes`
rates           (triplets) x (8 N_R B^3 + 16 B^4 operations) at 3e9 operations per second and thread
triplets        about N^2 / (3 G), found once for all three legs and reduced by symmetry
third order     3 arrays of n N_s^2 27 numbers of 8 bytes while they are made

symbol   is
n, N_s   atoms of the primitive cell and of the supercell
N, B     points of the mesh, bands
G        rotations with time reversal
N_R      lattice vectors between two atoms of the third order, about twice the cells of its supercell
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hpcthermo.progress import duration_text

if TYPE_CHECKING:
    from hpcthermo.config import LatticeDynamicsJob
    from hpcthermo.config.lattice_dynamics import BteSection
    from hpcthermo.phonons.crystal import Crystal

#: campaigns whose workers run on other machines
_ELSEWHERE = ("scheduler", "slurm", "slurm_runner")
_PROCESS_BYTES = 150e6
_OPERATIONS_PER_SECOND = 3e9
_START_SECONDS = 5.0
#: share of the triples of bands that conserve energy, roughly, and what the full equation keeps of each
_PROCESS_SHARE, _PROCESS_LIST_BYTES = 0.1, 21.0
#: largest times of a class, s
_CLASSES = ((60.0, "seconds"), (3600.0, "minutes"), (86400.0, "hours"))


@dataclass
class LatticeEstimate:
    """What `check` found.

    Attributes
    ----------
    lines : list of (str, str)
        What and how much.
    memory : float
        Most bytes.
    seconds : float or None
        None without a probe.
    cells : dict of int to int
        Displaced supercells by order.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    memory: float = _PROCESS_BYTES
    seconds: float | None = _START_SECONDS
    cells: dict[int, int] = field(default_factory=dict)

    def add(self, name: str, value: str) -> None:
        """One more line."""
        self.lines.append((name, value))

    def text(self) -> str:
        """The estimate for people."""
        lines = [f"{name:<16}{value}" for name, value in self.lines]
        lines.append(f"{'memory':<16}{self.memory / 2**20:,.0f} MiB")
        if self.seconds is not None:
            name = next((word for limit, word in _CLASSES if self.seconds < limit), "days")
            lines.append(f"{'time':<16}{name} (about {duration_text(self.seconds)}; rough)")
        return "\n".join(lines)


def estimate_lattice_job(job: LatticeDynamicsJob, probe: bool) -> LatticeEstimate:
    """Validate a job with everything it names, and estimate its cost.

    Raises
    ------
    InputError
        If the job cannot be run.
    """
    from hpcthermo.config.job import BoltzmannJob

    found = LatticeEstimate()
    found.add("job", f"{job.kind}{': ' + job.title if job.title else ''} (valid)")
    if not probe:
        found.seconds = None
    bte = job.bte if isinstance(job, BoltzmannJob) else None
    order = job.order if isinstance(job, BoltzmannJob) else 4 if job.kind == "fc" else 3 if job.phonon.grueneisen else 2
    crystal, cells = _from_files(job, found) if job.crystal is not None else _from_structure(job, found, order, probe)
    if bte is not None:
        _boltzmann(bte, crystal, cells, job, found)
    return found


def _from_files(job: LatticeDynamicsJob, found: LatticeEstimate) -> tuple[Crystal, int]:
    from hpcthermo.phonons.files.load import load_lattice_dynamics

    assert job.crystal is not None
    dynamics = load_lattice_dynamics(**job.crystal.files, periodic=job.crystal.periodic)
    _describe(dynamics.crystal, found)
    cells = 1
    for order, constants in sorted(dynamics.force_constants.items()):
        found.memory += 3.0 * constants.values.nbytes
        supercell = dynamics.supercell(order)
        size = "" if supercell is None else f", supercell of {supercell.n_atoms} atoms"
        found.add(f"order {order}", f"{constants.values.nbytes / 2**20:,.1f} MiB{size}")
        cells = max(cells, 1 if supercell is None else supercell.n_atoms // dynamics.crystal.n_atoms)
    return dynamics.crystal, cells


def _from_structure(job: LatticeDynamicsJob, found: LatticeEstimate, order: int, probe: bool) -> tuple[Crystal, int]:
    from hpcthermo.lattice_jobs.source import displaced_cells, force_function, seconds_per_call, structure_and_potential
    from hpcthermo.phonons.forces import campaign_bytes
    from hpcthermo.phonons.relaxed_crystal import primitive_crystal
    from hpcthermo.phonons.requirements import Cost
    from hpcthermo.potentials.base import require_species

    snapshot, potential = structure_and_potential(job)
    require_species(potential.style, potential.elements, snapshot.species)
    unrelaxed = primitive_crystal(snapshot, job.force_constants.primitive)
    crystal = unrelaxed.crystal
    _describe(crystal, found)
    section, local = job.force_constants, job.campaign.where not in _ELSEWHERE
    cells, campaign = 1, 0.0
    for n in range(2, min(order, section.order) + 1):
        displaced = displaced_cells(unrelaxed, section, n)
        count = displaced.dataset.n_cells
        cost = Cost.of_cells(displaced.supercell, {n: count}, section.cutoff3_A)
        found.cells[n], cells = count, cost.n_atoms // crystal.n_atoms
        # while they are made, the third order of a site holds changes of the second order of the whole supercell
        found.memory += 3.0 * cost.compact_third_bytes + (5.0 * 8.0 * 9.0 * cost.n_atoms**2 * 3.0 if n == 3 else 0.0)
        campaign = max(campaign, campaign_bytes(cost.n_atoms, count, _workers(job) if local else 0))
        kept = f", {cost.compact_third_bytes / 2**20:,.1f} MiB" if n == 3 else ""
        if n == 3 and section.cutoff3_A is not None:
            kept += f", {100.0 * cost.third_share:.1f} % of them within the cutoff"
        found.add(f"order {n}", f"{count:,} displaced cells of {cost.n_atoms:,} atoms{kept}")
        if probe and found.seconds is not None:
            found.seconds += count * seconds_per_call(
                force_function(job, displaced, unrelaxed.layers)) / _workers(job)
    found.memory = max(found.memory, campaign)
    return crystal, cells


def _describe(crystal: Crystal, found: LatticeEstimate) -> None:
    counts = {name: crystal.symbols.count(name) for name in dict.fromkeys(crystal.symbols)}
    along = [name for name, periodic in zip("abc", crystal.periodic, strict=True) if periodic]
    found.add("primitive cell", f"{crystal.n_atoms} atoms ({', '.join(f'{c} {s}' for s, c in counts.items())}), "
                                f"{crystal.volume:.2f} A^3, periodic {', '.join(along)}")
    found.add("bands", str(crystal.n_bands))


def _workers(job: LatticeDynamicsJob) -> int:
    asked = job.campaign.workers
    return len(os.sched_getaffinity(0)) if asked == "auto" else int(asked)


def _boltzmann(bte: BteSection, crystal: Crystal, cells: int, job: LatticeDynamicsJob, found: LatticeEstimate) -> None:
    from hpcthermo.transport.bte.rates import strength_bytes, task_count
    from hpcthermo.transport.bte.solution import Given

    mesh = Given.of(crystal, bte).mesh
    n, bands = mesh.n_points, crystal.n_bands
    rotations = len(mesh.rotations)
    triplets = n * n / (3.0 * rotations)
    found.add("mesh", f"{' x '.join(str(d) for d in mesh.divisions)}: {n:,} points, "
                      f"{len(mesh.irreducible[0]):,} irreducible")
    found.add("triplets", f"about {triplets:,.0f}")
    tasks = task_count(len(mesh.irreducible[0]), 2 if bte.normal_umklapp and bte.method == "rta" else 1, bands,
                       len(bte.temperatures_K))
    on_workers = job.campaign.where != "local" or job.campaign.workers != "auto"
    threads = job.execution.threads or len(os.sched_getaffinity(0))
    place = f"the workers of [campaign] ({job.campaign.where})" if on_workers else f"{threads} threads of this process"
    found.add("q-point tasks", f"{tasks:,} on {place}")
    strengths = strength_bytes(job.execution.device, bands, triplets / len(mesh.irreducible[0]))
    held = 1 if job.execution.device == "cuda" else threads
    found.memory += held * strengths
    found.add("strengths", f"{strengths / 2**20:,.1f} MiB at a time in each of {held} threads")
    work = triplets * (16.0 * cells * bands**3 + 16.0 * bands**4)
    found.memory += 16.0 * n * bands**2 + 4.0 * n * rotations
    if bte.method == "lbte":
        processes = _PROCESS_SHARE * triplets * 3.0 * bands**3
        found.memory += _PROCESS_LIST_BYTES * processes
        found.add("processes", f"about {processes:,.0f}, {_PROCESS_LIST_BYTES * processes / 2**20:,.0f} MiB in memory"
                               f"{' and on disk' if on_workers else ''}")
    if found.seconds is not None:
        found.seconds += work / (_OPERATIONS_PER_SECOND * threads)
