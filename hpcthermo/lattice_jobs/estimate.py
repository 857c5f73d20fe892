r"""``hpcthermo check`` of jobs about lattice vibrations: cells, memory and a class of time, without running them.

forces          (displaced cells) x (time of one force call, from a probe) / (workers); memory of the workers as in
                `phonons.forces.campaign_bytes`
third order     3 arrays of n N_s^2 27 numbers of 8 bytes while they are made
fourth order    7 kB for each quadruple of near atoms while they are made
fits            27 n N_s^2 (400 + 1000 s) bytes; within a factor of two of what symfc took for 50 to 128 atoms
rates           as in `transport.bte.cost` and `.four_phonon_cost`, on threads of this process or on workers, of
                which those that are processes here have tables and lists of force constants of their own
line shapes     as in `transport.bte.line_shapes_cost`, on one thread

symbol   is
n, N_s   atoms of the primitive cell and of the supercell
s        share of the third order within its cutoff
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpcthermo.progress import duration_text

if TYPE_CHECKING:
    import numpy as np

    from hpcthermo.config import LatticeDynamicsJob
    from hpcthermo.config.lattice_dynamics import BteSection, ForceConstantsSection, LineShapesSection
    from hpcthermo.phonons.crystal import Crystal
    from hpcthermo.phonons.relaxed_crystal import RelaxedCrystal
    from hpcthermo.transport.bte.mesh import Mesh
    from hpcthermo.transport.bte.quartic_strength import QuarticSize

#: campaigns whose workers run on other machines
_ELSEWHERE = ("scheduler", "slurm", "slurm_runner")
_PROCESS_BYTES = 150e6
_START_SECONDS = 5.0
#: of a fit, for each of its numbers, without a cutoff and besides
_FIT_BYTES = (1000.0, 400.0)
#: of the fourth order, for each quadruple of near atoms: bytes and seconds until it obeys the sum rules (silicon)
_QUADRUPLE_BYTES, _QUADRUPLE_SECONDS = 7e3, 2.5e-4
#: of a quadruple in the list
_LISTED_QUADRUPLE_BYTES = 8.0 * (81 + 4 + 9)
#: what a job of convergence varies of [force_constants]
_SECTION_KEYS = {"cutoffs3_A": "cutoff3_A", "supercells": "supercell", "displacements_A": "displacement_A"}
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
        Displaced supercells by order; random ones under the highest order that is fitted.
    quartic : QuarticSize or None
        Of the fourth order, where it is needed.
    forces : float
        Most bytes while forces are computed.
    list_bytes : float
        Lists of force constants, at most; each process that computes rates has them.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    memory: float = _PROCESS_BYTES
    seconds: float | None = _START_SECONDS
    cells: dict[int, int] = field(default_factory=dict)
    quartic: QuarticSize | None = None
    forces: float = 0.0
    list_bytes: float = 0.0

    def add(self, name: str, value: str) -> None:
        """One more line."""
        self.lines.append((name, value))

    def text(self) -> str:
        """The estimate for people."""
        lines = [f"{name:<16}{value}" for name, value in self.lines]
        lines.append(f"{'memory':<16}{self.memory / 2**20:,.0f} MiB")
        if self.seconds is not None:
            name = next((word for limit, word in _CLASSES if self.seconds < limit), "days")
            lines.append(f"{'time':<16}{name} (about {duration_text(self.seconds)}; within a factor of two)")
        return "\n".join(lines)


def estimate_lattice_job(job: LatticeDynamicsJob, probe: bool) -> LatticeEstimate:
    """Validate a job with everything it names, and estimate its cost.

    Raises
    ------
    InputError
        If the job cannot be run.
    """
    from hpcthermo.campaign.workers import require_packages
    from hpcthermo.config.job import BoltzmannJob
    from hpcthermo.lattice_jobs.phonon import require_phonons

    require_packages(job.campaign)
    found = LatticeEstimate()
    found.add("job", f"{job.kind}{': ' + job.title if job.title else ''} (valid)")
    if not probe:
        found.seconds = None
    bte = job.bte if isinstance(job, BoltzmannJob) else None
    order = job.order if isinstance(job, BoltzmannJob) else 4 if job.kind == "fc" else 3 if job.phonon.grueneisen else 2
    if job.crystal is not None:
        crystal = _from_files(job, found, 2 if bte is None else order)
    else:
        crystal = _from_structure(job, found, order, probe)
    if job.kind != "bte_convergence":
        require_phonons(crystal, job.phonon)
    if bte is not None:
        _boltzmann(bte, crystal, job, found)
    found.memory = max(found.memory, found.forces)
    return found


def _from_files(job: LatticeDynamicsJob, found: LatticeEstimate, needed: int) -> Crystal:
    from hpcthermo.lattice_jobs.source import require_orders
    from hpcthermo.phonons.files.load import load_lattice_dynamics
    from hpcthermo.transport.bte.quartic_strength import QuarticSize

    assert job.crystal is not None
    dynamics = load_lattice_dynamics(**job.crystal.files, periodic=job.crystal.periodic)
    require_orders(dynamics, needed)
    _describe(dynamics.crystal, found)
    for order, constants in sorted(dynamics.force_constants.items()):
        found.memory += 3.0 * constants.values.nbytes
        found.list_bytes += constants.values.nbytes if order > 2 else 0.0
        supercell = dynamics.supercell(order)
        size = "" if supercell is None else f", supercell of {supercell.n_atoms} atoms"
        if order == 4:
            found.quartic = QuarticSize.of_interactions(dynamics.crystal.n_bands, dynamics.fourth)
        found.add(f"order {order}", f"{constants.values.nbytes / 2**20:,.1f} MiB{size}")
    return dynamics.crystal


def _from_structure(job: LatticeDynamicsJob, found: LatticeEstimate, order: int, probe: bool) -> Crystal:
    from hpcthermo.lattice_jobs.source import structure_and_potential
    from hpcthermo.phonons.relaxed_crystal import primitive_crystal, relaxed_crystal
    from hpcthermo.potentials.base import require_species

    snapshot, potential = structure_and_potential(job)
    require_species(potential.style, potential.elements, snapshot.species)
    if job.relaxation.relax:
        unrelaxed = primitive_crystal(snapshot, job.force_constants.primitive)
    else:  # which a run refuses if it is not at rest; a login node has no GPU
        unrelaxed = relaxed_crystal(snapshot, potential, job.relaxation, job.force_constants.primitive)
    _describe(unrelaxed.crystal, found)
    memory = []
    for name, section in _sections(job):
        if job.kind == "bte_convergence":
            found.add("forces", f"of {name}")
        memory.append(_displaced(job, section, unrelaxed, order, probe, found))
    found.memory += max(memory)
    return unrelaxed.crystal


def _sections(job: LatticeDynamicsJob) -> list[tuple[str, ForceConstantsSection]]:
    """[force_constants], and what a job of convergence makes of it with further forces, by name."""
    sections, convergence = [("[force_constants]", job.force_constants)], getattr(job, "convergence", None)
    for name, key in _SECTION_KEYS.items() if convergence is not None else ():
        values = getattr(convergence, name) or ()
        values = (max(values),) if values and name == "cutoffs3_A" else values  # forces of the largest are those of all
        changed = [(f"{key} = {_value_text(value)}", job.force_constants.model_copy(update={key: value}))
                   for value in values]
        sections += [(name, section) for name, section in changed if section != job.force_constants]
    return sections


def _displaced(job: LatticeDynamicsJob, section: ForceConstantsSection, unrelaxed: RelaxedCrystal, order: int,
               probe: bool, found: LatticeEstimate) -> float:
    """Lines about displaced cells, and their time; returns the memory besides this process, bytes."""
    from hpcthermo.lattice_jobs.source import (
        displaced_cells,
        force_function,
        force_tasks,
        randomly_displaced_cells,
        seconds_per_call,
    )
    from hpcthermo.phonons.forces import campaign_bytes
    from hpcthermo.phonons.requirements import Cost
    from hpcthermo.transport.bte.quartic_strength import QuarticSize

    order, random = min(order, section.order), section.method == "random"
    processes = 0 if job.campaign.where in _ELSEWHERE else _workers(job)
    memory, lists = 0.0, 0.0
    for n in [order] if random else range(2, order + 1):
        displaced = (randomly_displaced_cells(unrelaxed, section, job.seed) if random
                     else displaced_cells(unrelaxed, section, n))
        count = displaced.dataset.n_cells
        cost = Cost.of_cells(displaced.supercell, {n: count}, section.cutoff3_A)
        found.cells[n] = count
        memory += 3.0 * cost.compact_third_bytes
        if n == 3:
            # differences: the third order of a site holds changes of the second order of the whole supercell
            memory += (cost.compact_third_bytes / 8.0 * (_FIT_BYTES[0] * cost.third_share + _FIT_BYTES[1]) if random
                       else 5.0 * 8.0 * 9.0 * cost.n_atoms**2 * 3.0)
        lists += cost.compact_third_bytes * cost.third_share
        found.forces = max(found.forces, campaign_bytes(cost.n_atoms, count, processes))
        kept = f", {cost.compact_third_bytes / 2**20:,.1f} MiB" if n == 3 else ""
        if displaced.fourth is not None:
            quadruples = displaced.fourth.n_quadruples
            memory += _QUADRUPLE_BYTES * quadruples
            lists += _LISTED_QUADRUPLE_BYTES * quadruples
            found.quartic = QuarticSize.of_cutoff(displaced.supercell, displaced.fourth.near)
            kept = f", {quadruples:,} quadruples, {_QUADRUPLE_BYTES * quadruples / 2**20:,.1f} MiB at work"
            if found.seconds is not None:
                found.seconds += _QUADRUPLE_SECONDS * quadruples
        if n == 3 and section.cutoff3_A is not None:
            kept += f", {100.0 * cost.third_share:.1f} % of them within the cutoff"
        name, what = ("random cells", "randomly displaced") if random else (f"order {n}", "displaced")
        tasks = force_tasks(displaced.dataset)
        found.add(name, f"{count:,} {what} cells of {cost.n_atoms:,} atoms (with the undisplaced one {tasks:,} tasks)"
                        f"{kept}")
        if probe and found.seconds is not None:
            found.seconds += tasks * seconds_per_call(
                force_function(job, displaced, unrelaxed.layers)) / _workers(job)
    found.list_bytes = max(found.list_bytes, lists)
    return memory


def _describe(crystal: Crystal, found: LatticeEstimate) -> None:
    counts = {name: crystal.symbols.count(name) for name in dict.fromkeys(crystal.symbols)}
    along = [name for name, periodic in zip("abc", crystal.periodic, strict=True) if periodic]
    found.add("primitive cell", f"{crystal.n_atoms} atoms ({', '.join(f'{c} {s}' for s, c in counts.items())}), "
                                f"{crystal.volume:.2f} A^3, periodic {', '.join(along)}")
    found.add("bands", str(crystal.n_bands))


def _workers(job: LatticeDynamicsJob) -> int:
    asked = job.campaign.workers
    return len(os.sched_getaffinity(0)) if asked == "auto" else int(asked)


def _boltzmann(bte: BteSection, crystal: Crystal, job: LatticeDynamicsJob, found: LatticeEstimate) -> None:
    """The meshes of the job, one after the other: the time of all, the memory of the largest."""
    convergence = getattr(job, "convergence", None)
    if convergence is None:
        found.memory += _mesh(bte, 1, crystal, job, found)
        return
    others = [f"{len(values)} {name}" for name in _SECTION_KEYS if (values := getattr(convergence, name)) is not None]
    solutions = [(f"mesh of [bte], for {', '.join(others)}", bte,
                  sum(len(getattr(convergence, name) or ()) for name in _SECTION_KEYS))] if others else []
    solutions += [(f"mesh = {_value_text(mesh)}", bte.model_copy(update={"mesh": mesh, "mesh_length_A": None}), 1)
                  for mesh in convergence.meshes or ()]
    memory = []
    for name, settings, times in solutions:
        found.add("solution", name)
        memory.append(_mesh(settings, times, crystal, job, found))
    found.memory += max(memory)


def _value_text(value: Any) -> str:
    """A value as the job file has it."""
    return f"[{', '.join(map(_value_text, value))}]" if isinstance(value, tuple) else f"{value:g}"


def _mesh(bte: BteSection, times: int, crystal: Crystal, job: LatticeDynamicsJob, found: LatticeEstimate) -> float:
    """Lines about one mesh, and the time of so many solutions; returns the memory, bytes."""
    from hpcthermo.transport.bte.cost import RateCost
    from hpcthermo.transport.bte.rates import task_count
    from hpcthermo.transport.bte.solution import Given

    given = Given.of(crystal, bte)
    mesh = given.mesh
    full, irreducible = bte.method == "lbte", len(mesh.irreducible[0])
    cost = RateCost(mesh, len(bte.temperatures_K), bte.delta == "tetrahedron", bte.symmetrised_tetrahedra,
                    bte.normal_umklapp)
    found.add("mesh", f"{' x '.join(str(d) for d in mesh.divisions)}: {mesh.n_points:,} points, "
                      f"{irreducible:,} irreducible")
    found.add("triplets", f"{cost.n_triplets:,}")
    tasks = task_count(irreducible, 2 if bte.normal_umklapp and not full else 1, cost.n_bands, cost.n_temperatures)
    on_workers = job.campaign.where != "local" or job.campaign.workers != "auto"
    threads, processes = _places(job, job.execution.device == "cpu")
    place = f"the workers of [campaign] ({job.campaign.where})" if on_workers else f"{threads} threads of this process"
    found.add("q-point tasks", f"{tasks:,} on {place}")
    strengths = cost.strength_bytes(job.execution.device)
    held = min(1, threads) if job.execution.device == "cuda" else threads
    holders = f"{processes} processes" if processes else f"{held} threads" if threads else "the workers elsewhere"
    found.add("strengths", f"{strengths / 2**20:,.1f} MiB at a time in each of {holders}")
    # phase spaces have weights of their own, and so have normal and Umklapp processes beside a list
    passes = (1 if full and bte.normal_umklapp else 0) + (1 if job.kind == "bte" else 0)
    seconds = cost.strength_seconds + (1 + passes) * cost.weight_seconds
    if full:
        found.add("processes", f"about {cost.n_processes:,.0f}, {cost.full_bytes / 2**20:,.0f} MiB in memory"
                               f"{' and on disk' if on_workers else ''}")
        seconds += cost.full_seconds + (cost.strength_seconds if bte.normal_umklapp else 0.0)
    workers = _workers(job) if on_workers else threads
    besides = 0.0 if bte.four_phonon is None else _four_phonons(bte, times, mesh, job, workers, found)
    if found.seconds is not None:
        found.seconds += times * seconds / workers
    if bte.line_shapes is not None:
        besides += _lines(bte.line_shapes, times, mesh, given.line_points,
                          len(bte.line_shapes.temperatures_K or bte.temperatures_K), found)
    of_process = _PROCESS_BYTES + cost.table_bytes(1) + strengths + 2.0 * found.list_bytes
    return (besides + cost.table_bytes(threads) + held * strengths + processes * of_process
            + (cost.full_bytes if full else 0.0))


def _lines(settings: LineShapesSection, times: int, mesh: Mesh, points: np.ndarray, n_temperatures: int,
           found: LatticeEstimate) -> float:
    """A line about line shapes, and their time on one thread; returns the memory, bytes."""
    from hpcthermo.transport.bte.line_shapes_cost import LineShapesCost

    cost = LineShapesCost(mesh, points, n_temperatures, settings.frequencies)
    found.add("line shapes", f"{len(points):,} wave vectors, about {duration_text(cost.seconds)} of one core, "
                             f"{cost.memory_bytes / 2**20:,.1f} MiB")
    if found.seconds is not None:
        found.seconds += times * cost.seconds
    return cost.memory_bytes


def _places(job: LatticeDynamicsJob, thread_safe: bool) -> tuple[int, int]:
    """Threads of this process, and further processes on this machine, that compute tasks of q-points.

    They are those of `campaign.workers.start_workers`.
    """
    section = job.campaign
    if section.where in _ELSEWHERE:
        return 0, 0
    if section.where == "local" and section.workers == "auto":
        return job.execution.threads or len(os.sched_getaffinity(0)), 0
    count = _workers(job)
    here = section.where == "threads" or (section.where == "local" and (thread_safe or count == 1))
    return (count, 0) if here else (0, count)


def _four_phonons(bte: BteSection, times: int, mesh: Mesh, job: LatticeDynamicsJob, workers: int,
                  found: LatticeEstimate) -> float:
    """Lines about four phonons, and their time; returns the memory, bytes."""
    from hpcthermo.transport.bte.four_phonon_cost import FourPhononCost

    assert bte.four_phonon is not None
    assert found.quartic is not None
    settings = bte.four_phonon
    cost = FourPhononCost(mesh, found.quartic, len(bte.temperatures_K), settings.all_processes, settings.most_samples)
    least, most = (cost.n_points * pairs for pairs in cost.pairs_of_point)
    limit = "" if least == most else f" at least, {most:,.0f} at most"
    found.add("four phonons", f"{least:,.0f} pairs of wave vectors{limit}, about {duration_text(cost.core_seconds)} of "
                              f"one core; {cost.thread_bytes / 2**20:,.1f} MiB in each thread")
    if found.seconds is not None:
        found.seconds += times * cost.core_seconds / workers
    threads, processes = _places(job, thread_safe=True)
    return (1 + processes) * cost.table_bytes + (threads + processes) * cost.thread_bytes
