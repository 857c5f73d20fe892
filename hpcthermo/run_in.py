"""GPUMD's run.in to a job file: what has an equivalent is converted, everything else is named line by line.

GPUMD counts coupling times in steps and takes its structure from model.xyz; ``heat_*`` ensembles hold the source at
T + dT and the sink at T - dT. Most keywords act on the next ``run`` only; ``time_step`` stays. Meaning of the keywords:
the documentation of GPUMD.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.gpumd_keywords import keyword_lines
from hpcthermo.tensors import VOIGT

#: GPUMD's thermostat -> ours, and what differs
_THERMOSTATS: dict[str, tuple[str, str | None]] = {
    "ber": ("velocity_rescaling", "Berendsen's thermostat samples no ensemble; stochastic velocity rescaling instead"),
    "nhc": ("nose_hoover", None),
    "bdp": ("velocity_rescaling", None),
    "lan": ("langevin", None),
    "bao": ("langevin", None),
}
#: needed nowhere in a job
_IMPLIED = {
    "correct_velocity": "momentum is removed when velocities are drawn",
    "neighbor": "the skin of the lists is tuned (execution.skin_A)",
}
_HEAT_FLUX_QUANTITIES = ("jp", "jk")


@dataclass(frozen=True)
class Remark:
    """What became of a line that has no exact equivalent.

    Attributes
    ----------
    line : int
        Counted from 1.
    text : str
        The line without comment.
    reason : str
    """

    line: int
    text: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line} ({self.text}): {self.reason}"


@dataclass(frozen=True)
class Conversion:
    """A job and what it leaves out.

    Attributes
    ----------
    job : dict
        Tables of the job file.
    remarks : tuple of Remark
    """

    job: dict[str, Any]
    remarks: tuple[Remark, ...]

    def text(self, source: str) -> str:
        """The job file, with the remarks as comments."""
        head = [f"# Converted from {source}.", *(f"# {remark}" for remark in self.remarks)]
        return "\n".join([*head, "", *_toml(self.job)]) + "\n"


@dataclass
class _Line:
    number: int
    words: list[str]

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass
class _Run:
    """What is said before one ``run``."""

    ensemble: _Line | None = None
    fixed_group: int | None = None
    computes: list[_Line] = field(default_factory=list)
    steps: int = 0
    timestep_fs: float = 1.0


def is_run_in(path: Path) -> bool:
    """Whether a file is a GPUMD run.in: by its ending, or by the keyword that it begins with."""
    if path.suffix == ".in":
        return True
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    words = [line.split("#")[0].split() for line in head.splitlines()]
    first = next((line[0] for line in words if line), "")
    return first in ("potential", "velocity", "replicate", "ensemble") and path.suffix not in (".toml", ".xyz")


def convert_run_in(path: Path, structure_file: str, snapshot: Snapshot | None) -> Conversion:
    """Job of a run.in.

    Parameters
    ----------
    path : Path
    structure_file : str
        As the job will name it.
    snapshot : Snapshot, optional
        That structure, if it is at hand: says where groups and vacuum are.

    Raises
    ------
    InputError
        If a line is not understood or no ``run`` can be converted.
    """
    return _Converter(path, structure_file, snapshot).convert([_Line(*line) for line in keyword_lines(path, "run.in")])


class _Converter:
    """Reads the lines in order; a method for each keyword that has an equivalent."""

    def __init__(self, path: Path, structure_file: str, snapshot: Snapshot | None) -> None:
        self._path, self._snapshot = path, snapshot
        self._remarks: list[Remark] = []
        self._structure: dict[str, Any] = {"file": structure_file}
        self._potentials: list[str] = []
        self._output: dict[str, Any] = {}
        self._temperature: float | None = None
        self._seed: int | None = None
        self._run = _Run()
        self._stages: list[dict[str, Any]] = []
        self._nemd: dict[str, Any] | None = None
        self._keywords: dict[str, Callable[[_Line], None]] = {
            "potential": self._on_potential, "velocity": self._on_velocity, "time_step": self._on_time_step,
            "ensemble": self._on_ensemble, "fix": self._on_fix, "run": self._on_run, "minimize": self._on_minimize,
            "replicate": self._on_replicate, "compute": self._on_compute, "dump_thermo": self._on_dump_thermo,
            "dump_restart": self._on_dump_restart, "dump_position": self._on_dump_frames,
            "dump_exyz": self._on_dump_frames, "dump_xyz": self._on_dump_frames, "dump_netcdf": self._on_dump_frames,
            "dump_velocity": self._on_dump_frames,
        }

    def convert(self, lines: Sequence[_Line]) -> Conversion:
        for line in lines:
            keyword = line.words[0]
            if keyword in self._keywords:
                self._keywords[keyword](line)
            else:
                self._remark(line, _IMPLIED.get(keyword, "no equivalent, left out"))
        if not self._potentials:
            raise InputError(f"{self._path}: no potential is named; expected a line \"potential FILE\"")
        if not self._stages and self._nemd is None:
            reasons = "; ".join(str(remark) for remark in self._remarks) or 'there is no line "run STEPS" or "minimize"'
            raise InputError(f"{self._path}: no run could be converted: {reasons}; correct the file")
        job: dict[str, Any] = {"kind": "md" if self._nemd is None else "nemd", "seed": self._seed or 1,
                               "structure": self._structure}
        potentials = [{"path": name} for name in self._potentials]
        job["potential"] = potentials[0] if len(potentials) == 1 else potentials
        job |= {"stage": self._stages} if self._stages else {}
        job |= {"nemd": self._nemd} if self._nemd is not None else {}
        job |= {"output": self._output} if self._output else {}
        return Conversion(job, tuple(self._remarks))

    # ---- keywords ------------------------------------------------------------------------------------

    def _on_potential(self, line: _Line) -> None:
        self._potentials.append(self._word(line, 1))

    def _on_velocity(self, line: _Line) -> None:
        self._temperature = self._number(line, 1)
        if "seed" in line.words[2:]:
            self._seed = self._integer(line, line.words.index("seed") + 1)

    def _on_time_step(self, line: _Line) -> None:
        self._run.timestep_fs = self._number(line, 1)
        if len(line.words) > 2:
            self._remark(line, "the limit on displacements is left out")

    def _on_ensemble(self, line: _Line) -> None:
        self._run.ensemble = line

    def _on_fix(self, line: _Line) -> None:
        self._run.fixed_group = self._integer(line, 1)

    def _on_compute(self, line: _Line) -> None:
        self._run.computes.append(line)

    def _on_replicate(self, line: _Line) -> None:
        self._structure["repeat"] = [self._integer(line, k) for k in (1, 2, 3)]

    def _on_dump_thermo(self, line: _Line) -> None:
        self._output["series_interval_steps"] = self._integer(line, 1)

    def _on_dump_restart(self, line: _Line) -> None:
        self._output["checkpoint_interval_steps"] = self._integer(line, 1)

    def _on_dump_frames(self, line: _Line) -> None:
        # dump_xyz has its interval behind two numbers of the group
        interval = self._number(line, 3 if line.words[0] == "dump_xyz" else 1)
        velocities = line.words[0] == "dump_velocity" or "velocity" in line.words or (
            line.words[0] == "dump_exyz" and line.words[2:3] == ["1"])
        self._output["trajectory"] = {"interval_ps": interval * self._run.timestep_fs / 1e3, "velocities": velocities}

    def _on_minimize(self, line: _Line) -> None:
        if self._word(line, 1) != "fire":
            self._remark(line, "FIRE instead")
        self._stages.append({"name": f"line {line.number}", "ensemble": "minimize",
                             "force_tolerance_eV_per_A": self._number(line, 2), "steps": self._integer(line, 3)})

    def _on_run(self, line: _Line) -> None:
        run, self._run = self._run, _Run(timestep_fs=self._run.timestep_fs)
        run.steps = self._integer(line, 1)
        if self._nemd is not None:
            raise InputError(f"{self._path}: line {line.number}: a run after a heat_* ensemble has no equivalent in "
                             "one job; split the file there")
        if run.ensemble is None:
            self._remark(line, "no ensemble is given for it, left out")
            return
        name = self._word(run.ensemble, 1)
        base = {"name": f"line {run.ensemble.number}", "timestep_fs": run.timestep_fs, "steps": run.steps}
        if name.startswith("heat_"):
            self._nemd = self._heat(run, line)
            return
        stage = self._stage(run, name)
        if stage is None:
            self._remark(run.ensemble, "no equivalent, its run is left out")
            return
        if run.fixed_group is not None:
            self._remark(run.ensemble, f"group {run.fixed_group} is fixed by fix in GPUMD, free in this stage")
        for compute in run.computes:
            self._remark(compute, "no equivalent outside a heat_* ensemble, left out")
        self._stages.append({**base, **stage})

    # ---- ensembles -----------------------------------------------------------------------------------

    def _stage(self, run: _Run, name: str) -> dict[str, Any] | None:
        assert run.ensemble is not None
        if name == "nve":
            start = {"temperature_K": self._temperature} if self._temperature and not self._stages else {}
            return {"ensemble": "nve", **start}
        family, _, method = name.partition("_")
        if family == "nvt" and method in _THERMOSTATS:
            return self._thermostat(run, method)
        if family == "npt" and method in ("ber", "scr"):
            return self._barostat(run, method)
        return None

    def _thermostat(self, run: _Run, method: str) -> dict[str, Any]:
        line = run.ensemble
        assert line is not None
        ensemble, difference = _THERMOSTATS[method]
        if difference:
            self._remark(line, difference)
        return {"ensemble": ensemble, **self._temperatures(run, line)}

    def _temperatures(self, run: _Run, line: _Line) -> dict[str, Any]:
        first, last = self._number(line, 2), self._number(line, 3)
        return {"temperature_K": first if first == last else [first, last],
                "coupling_fs": self._number(line, 4) * run.timestep_fs}

    def _barostat(self, run: _Run, method: str) -> dict[str, Any] | None:
        line = run.ensemble
        assert line is not None
        values = [self._number(line, k) for k in range(5, len(line.words))]
        n = {3: 1, 7: 3, 13: 6}.get(len(values))
        if n is None:
            raise InputError(f"{self._path}: line {line.number}: expected 1, 3 or 6 pressures, as many moduli and a "
                             f"coupling time after the temperatures, got {len(values)} numbers; correct the line")
        if method == "ber":
            self._remark(line, "Berendsen's barostat samples no ensemble; stochastic cell rescaling instead")
        pressures, moduli = values[:n], values[n:2 * n]
        if n == 6 and any(pressures[3:]):
            self._remark(line, "shear pressures have no equivalent, 0 instead")
        return {
            "ensemble": "npt", **self._temperatures(run, line),
            "pressure_GPa": pressures[0] if n == 1 else pressures[:3],
            "pressure_coupling_fs": values[-1] * run.timestep_fs,
            "free_components": self._free_components(line, VOIGT[:max(n, 3)]), "isotropic": n == 1,
            "bulk_modulus_GPa": float(np.mean(moduli)),
        }

    def _free_components(self, line: _Line, wanted: Sequence[str]) -> list[str]:
        """Without those along directions that are not periodic."""
        if self._snapshot is None:
            return list(wanted)
        kept = [c for c in wanted if all(self._snapshot.periodic["xyz".index(axis)] for axis in c)]
        if len(kept) < len(wanted):
            self._remark(line, f"only {', '.join(kept)} change, the other directions are not periodic")
        return kept

    def _heat(self, run: _Run, line: _Line) -> dict[str, Any]:
        ensemble = run.ensemble
        assert ensemble is not None
        if ensemble.words[1] != "heat_lan":
            self._remark(ensemble, "Langevin baths instead")
        temperature, coupling, half = (self._number(ensemble, k) for k in (2, 3, 4))
        source, sink = (self._integer(ensemble, k) for k in (5, 6))
        table: dict[str, Any] = {"axis": self._axis(ensemble, source, sink)}
        if run.fixed_group is not None:
            table["fixed_groups"] = [run.fixed_group]
        table |= {
            "source_groups": [source], "sink_groups": [sink], "temperature_K": temperature,
            "temperature_difference_K": 2.0 * half, "coupling_fs": coupling * run.timestep_fs,
            "timestep_fs": run.timestep_fs, "duration_ps": run.steps * run.timestep_fs / 1e3,
        }
        for compute in run.computes:
            if "temperature" not in compute.words[4:]:
                self._remark(compute, "temperatures, bath energies and flux are always sampled; other quantities are "
                                      "left out")
            table["sample_interval_fs"] = self._number(compute, 2) * run.timestep_fs
            table["samples_per_average"] = self._integer(compute, 3)
            if set(_HEAT_FLUX_QUANTITIES) & set(compute.words[4:]):
                table["heat_current"] = True
        self._remark(line, "GPUMD analyses the steady part by hand: set warmup_ps to the transient")
        return table

    def _axis(self, line: _Line, source: int, sink: int) -> str:
        """Direction in which source and sink are farthest apart."""
        snapshot = self._snapshot
        if snapshot is None:
            self._remark(line, 'structure not at hand: the heat flux is taken to be along z (nemd.axis)')
            return "z"
        for group in (source, sink):
            if not (snapshot.groups == group).any():
                raise InputError(f"{self._path}: line {line.number}: no atom of the structure is in group {group}; "
                                 "give the model.xyz with the groups")
        centres = [snapshot.positions[snapshot.groups == group].mean(axis=0) for group in (source, sink)]
        return "xyz"[int(np.abs(centres[0] - centres[1]).argmax())]

    # ---- words ---------------------------------------------------------------------------------------

    def _remark(self, line: _Line, reason: str) -> None:
        self._remarks.append(Remark(line.number, line.text, reason))

    def _word(self, line: _Line, k: int) -> str:
        if k >= len(line.words):
            raise InputError(f"{self._path}: line {line.number}: expected at least {k} words after "
                             f"{line.words[0]!r}, got {len(line.words) - 1}; correct the line")
        return line.words[k]

    def _integer(self, line: _Line, k: int) -> int:
        value = self._number(line, k)
        if value != int(value):
            raise InputError(f"{self._path}: line {line.number}: expected an integer, got {line.words[k][:40]!r}; "
                             "correct the line")
        return int(value)

    def _number(self, line: _Line, k: int) -> float:
        word = self._word(line, k)
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise InputError(f"{self._path}: line {line.number}: expected a number, got {word[:40]!r}; "
                             "correct the line")
        return value


def _toml(table: dict[str, Any], prefix: str = "") -> list[str]:
    """Lines of a table: plain values first, then tables and lists of tables."""
    def is_table(value: Any) -> bool:
        return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))

    lines = [f"{key} = {_toml_value(value)}" for key, value in table.items() if not is_table(value)]
    for key, value in table.items():
        name = f"{prefix}{key}"
        for single in (value if isinstance(value, list) else [value]) if is_table(value) else []:
            header = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
            lines += ["", header, *_toml(single, f"{name}.")]
    return lines


def _toml_value(value: Any) -> str:
    """Numbers without needless decimals, the rest as JSON has it, which TOML reads."""
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:.10g}" if value != int(value) or abs(value) > 1e15 else f"{value:.1f}"
    return json.dumps(value)
