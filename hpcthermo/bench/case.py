"""What is measured, from the options of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcthermo.config.execution import Execution
from hpcthermo.errors import InputError
from hpcthermo.performance_model import BANDWIDTH, LATENCY, Network

DEFAULT_POTENTIAL, DEFAULT_STRUCTURE = ("tersoff_graphene", "lj_gr_hbn"), "graphite"
WIDEST_SKIN_A = 20.0


@dataclass(frozen=True)
class BenchCase:
    """What is measured.

    Attributes
    ----------
    potential : str, dict or list of these
        As `load_potential` takes it.
    structure : str or a [structure] table
        File, or name of `structure.samples`.
    execution : Execution
        Device, precision, skin, decomposition.
    steps, warm_up : int
        Steps that are timed, and steps before them.
    temperature_K : float
        Of atoms that are at rest in the structure.
    timestep_fs : float
    virials_every : int
        Steps from one sample of per-atom virials to the next; 0 for none.
    seed : int
        Of the structure.
    """

    potential: Any
    structure: Any
    execution: Execution
    steps: int = 50
    warm_up: int = 10
    temperature_K: float = 300.0
    timestep_fs: float = 0.5
    virials_every: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.virials_every > self.steps:
            raise InputError(f"--virials-every: expected at most the {self.steps} measured steps, got "
                             f"{self.virials_every}; give more --steps, or 0 for no samples")

    def samples(self, step: int) -> bool:
        """Whether this step makes per-atom virials."""
        return self.virials_every > 0 and (step + 1) % self.virials_every == 0

    def potential_text(self) -> str:
        """The potential for people."""
        parts = self.potential if isinstance(self.potential, list | tuple) else [self.potential]
        return ",".join(part if isinstance(part, str) else str(part.get("path") or part.get("name")) for part in parts)

    def structure_text(self) -> str:
        """The structure for people."""
        if isinstance(self.structure, str):
            return self.structure
        return str(getattr(self.structure, "file", None) or getattr(self.structure, "builder", ""))


def make_case(job: Path | None, potential: str | None, structure: str | None, device: str | None,
              precision: str | None, skin: str, **options: Any) -> BenchCase:
    """The case that the options of the command line ask for.

    Raises
    ------
    InputError
        If they do not fit together.
    """
    skin_A = _skin(skin)
    for name, value, known in (("device", device, ("cpu", "cuda")), ("precision", precision, ("mixed", "double"))):
        if value is not None and value not in known:
            raise InputError(f"--{name}: expected {' or '.join(known)}, got {value!r}")
    if job is not None:
        if potential is not None or structure is not None:
            raise InputError("bench: a job file names potential and structure; give it or the two options, not both")
        from hpcthermo.config import TaskJob, load_job

        loaded = load_job(job)
        if isinstance(loaded, TaskJob):
            raise InputError(f"{job}: expected a job that moves atoms, got kind {loaded.kind}; give --potential and "
                             "--structure")
        given = {name: value for name, value in (("device", device), ("precision", precision)) if value is not None}
        if skin_A != "auto":
            given["skin_A"] = skin_A
        execution = loaded.execution.model_copy(update=given)
        return BenchCase(loaded.potential_spec, loaded.structure, execution, seed=loaded.seed, **options)
    if (potential is None) != (structure is None):
        raise InputError("bench: expected both --potential and --structure (or neither, for graphite with embedded "
                         "potentials)")
    parts = list(DEFAULT_POTENTIAL) if potential is None else _names(potential)
    if structure is not None and not structure.strip():
        raise InputError(f"--structure: expected a file or the name of a built-in crystal, got {structure!r}")
    execution = Execution(device=device or "cpu", precision=precision or "mixed", skin_A=skin_A)  # type: ignore[arg-type]
    return BenchCase(parts[0] if len(parts) == 1 else parts, structure or DEFAULT_STRUCTURE, execution, **options)


def make_network(model: bool, measured: bool, latency_us: float | None, bandwidth_gb: float | None) -> Network | None:
    """The network of the model; None if no model is asked for.

    Parameters
    ----------
    measured : bool
        Whether it will be measured between the ranks instead.
    latency_us : float, optional
        Microseconds per message pair.
    bandwidth_gb : float, optional
        GB/s per rank.

    Raises
    ------
    InputError
        If a network is described or measured without a model, or both described and measured.
    """
    described = [name for name, value in (("--latency", latency_us), ("--bandwidth", bandwidth_gb))
                 if value is not None]
    if not model:
        if described or measured:
            name = "--measure-network" if measured else described[0]
            raise InputError(f"{name}: only the model has a network; add --model or leave {name} out")
        return None
    if measured and described:
        raise InputError(f"{described[0]}: expected a given or a measured network, got both; leave {described[0]} or "
                         "--measure-network out")
    return Network(LATENCY if latency_us is None else latency_us / 1e6,
                   BANDWIDTH if bandwidth_gb is None else bandwidth_gb * 1e9)


def _names(text: str) -> list[str]:
    """Potentials between commas."""
    names = text.split(",")
    if not all(name.strip() for name in names):
        raise InputError(f"--potential: expected a file or an embedded name, several with one comma between, got "
                         f"{text!r}")
    return names


def _skin(text: str) -> Any:
    if text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= WIDEST_SKIN_A:
        raise InputError(f"--skin: expected 'auto' or 0 to {WIDEST_SKIN_A:g} A, got {text!r}")
    return value
