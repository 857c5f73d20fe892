"""From a job to what computes it: structure, potential, device, engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpcthermo.config.execution import Execution
from hpcthermo.config.structure import Structure
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.gpu import compile as kernel_compile
from hpcthermo.gpu.backend import Backend, make_backend, supported_instruction_set, supports

if TYPE_CHECKING:
    from hpcthermo.config import Job
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.potentials.base import Limits, Potential


def build_structure(structure: Structure, seed: int = 1) -> Snapshot:
    """Snapshot of a [structure] table that gives one structure.

    Raises
    ------
    InputError
        If the file or the parameters do not give a usable structure, or give several.
    ResourceError
        If it does not fit into memory.
    """
    from hpcthermo.building import build_frames

    frames = build_frames(structure, seed)
    if len(frames) != 1:
        raise InputError(f"structure: gives {len(frames)} structures, and a run takes one; `hpcthermo build` writes "
                         "them all, or reduce lists and perturbations to one")
    return frames[0].snapshot


def load_job_potential(job: Job, snapshot: Snapshot | None = None) -> Potential:
    """Potential of a job; with a snapshot also checked to know its species, and the stages to fit it.

    Raises
    ------
    InputError
        If a file is unusable, a name unknown, a species of the structure has no parameters, a stage cannot begin, or
        the potential cannot give the same bits twice where the job asks for that.
    """
    from hpcthermo.potentials.base import limits_of, require_species
    from hpcthermo.potentials.load import load_potential

    potential = load_potential(job.potential_spec, Path.cwd())
    require_order(potential, job.execution)
    if snapshot is not None:
        require_species(potential.style, potential.elements, snapshot.species)
        check_stages(job, snapshot, limits_of(potential))
        describe_truncation(potential, snapshot)
    return potential


def describe_truncation(potential: Potential, snapshot: Snapshot) -> None:
    """Print what the stated cutoffs of a long-ranged model leave out in a structure."""
    from hpcthermo.log import get_logger

    for part in getattr(potential, "parts", (potential,)):
        describe = getattr(getattr(part, "model", None), "describe_truncation", None)
        if describe is not None:
            from ase import Atoms

            symbols = [snapshot.species[kind] for kind in snapshot.types]
            line = describe(Atoms(symbols, snapshot.positions, cell=snapshot.cell, pbc=snapshot.periodic))
            if line is not None:
                get_logger().warning(line)


def require_order(potential: Potential, execution: Execution) -> None:
    """Refuse a potential that cannot give the same bits twice, where that is asked for.

    Raises
    ------
    InputError
        Naming the potential and what to change.
    """
    if execution.deterministic and execution.device == "cuda" and not potential.sums_in_order:
        raise InputError(f"execution.deterministic: {potential.style} forces are added on a GPU in an order that "
                         'changes from run to run; use a NEP potential, device = "cpu" or deterministic = false')


def check_stages(job: Job, snapshot: Snapshot, limits: Limits) -> None:
    """Refuse stages and experiments that cannot begin on a structure, before any of them runs.

    Raises
    ------
    InputError
        If a barostat or a relaxation has no direction to change, the potential lacks the virials that are needed, or
        constant energy begins with atoms at rest.
    """
    from hpcthermo.config import NemdJob
    from hpcthermo.dynamics.cell import free_to_change
    from hpcthermo.dynamics.minimize import components_to_relax

    if isinstance(job, NemdJob) and job.nemd.heat_current:
        limits.require("atom_virials", "nemd.heat_current")
    moving = bool(snapshot.velocities.any())
    for stage in job.stage:
        changes_cell = stage.ensemble == "npt" or (stage.ensemble == "minimize" and stage.free_cell_components)
        if changes_cell:
            limits.require("total_virial", f"stage {stage.name or stage.ensemble!r} changes the cell")
        if stage.ensemble == "npt":
            free_to_change(stage.free_components, snapshot.cell, snapshot.periodic, stage.isotropic)
        if stage.ensemble == "minimize":
            components_to_relax(stage.free_cell_components, snapshot.cell, snapshot.periodic)
        if stage.ensemble == "nve" and stage.temperature_K is None and not moving:
            raise InputError(f"stage {stage.name or stage.ensemble!r}: the atoms have no velocities; "
                             "give temperature_K")
        moving = stage.ensemble != "minimize"


def make_job_backend(execution: Execution, comm: Communicator, device_index: int | None = None,
                     instruction_set: str | None = None) -> Backend:
    """Device of this rank (collective); ranks of one node share its GPUs out in order.

    Parameters
    ----------
    comm : Communicator
        The ranks that compute together; on CPUs all take an instruction set that every one of them has.
    device_index : int, optional
        `local_rank` among all ranks of the run, where `comm` holds those of one replica only.
    instruction_set : str, optional
        Of the run that is continued; taken if all ranks have it.

    Raises
    ------
    ResourceError
        If a GPU is asked for and absent.
    """
    if execution.device != "cpu":
        return make_backend(execution.device, execution.precision,
                            local_rank(comm) if device_index is None else device_index)
    chosen = common_instruction_set(comm)
    if instruction_set is not None and all(comm.allgather(supports(instruction_set))):
        chosen = instruction_set
    return make_backend("cpu", execution.precision, instruction_set=chosen)


def common_instruction_set(comm: Communicator) -> str:
    """The best instruction set that all ranks have (collective): nodes of two kinds then round alike."""
    order = list(kernel_compile.instruction_sets())
    return max(comm.allgather(supported_instruction_set()), key=order.index)


def local_rank(comm: Communicator) -> int:
    """Position of this rank among the ranks of its node (collective)."""
    import platform

    names = comm.allgather(platform.node())
    return names[: comm.rank].count(names[comm.rank])


def skin_of(execution: Execution) -> float:
    """Skin in A before any tuning."""
    from hpcthermo.skin import DEFAULT_SKIN

    return DEFAULT_SKIN if execution.skin_A == "auto" else float(execution.skin_A)


def check_ranks(job: Job, n_ranks: int) -> None:
    """Refuse a decomposition or a number of replicas that does not fit the number of ranks."""
    replicas, layout = job.execution.replicas, job.execution.decomposition
    if replicas > 1 and n_ranks > replicas and n_ranks % replicas:
        raise InputError(f"execution.replicas: {replicas} replicas do not share {n_ranks} ranks out evenly; use a "
                         f"multiple of {replicas} ranks, or fewer")
    per_replica = max(1, n_ranks // replicas)
    if isinstance(layout, tuple) and layout[0] * layout[1] * layout[2] != per_replica:
        raise InputError(f"execution.decomposition: expected three counts with product {per_replica} (the number of "
                         f"ranks of a replica), got {list(layout)}; change them, or use \"auto\"")
