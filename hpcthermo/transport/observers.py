"""Time series measured while a simulation runs: a table of columns, one reduction over ranks per sample.

A column is a function of a `Sample` that returns this rank's share of a sum over atoms (or, for `replicated` columns,
the value that all ranks know). Columns are averaged over the samples of a row or taken at the row's last sample. All
ranks hold the same rows, so a checkpoint may be read by any number of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hpcthermo.engine import Engine
from hpcthermo.errors import PhysicsError
from hpcthermo.units import BOLTZMANN_EV_PER_K, POWER_EV_PER_PS, PRESSURE_GPA


class Sample:
    """Per-atom quantities of one step on one rank, made when first asked for.

    Parameters
    ----------
    engine : Engine
    integrator : object
        What moves the atoms; columns about baths read it.
    step : int
        Steps done.
    axis : int
        Direction of profiles and heat current.
    n_groups : int
        Groups of the experiment.
    reference_energies : (n_types,) float64
        Zero of the site energy of each species in the heat current, eV.
    """

    def __init__(self, engine: Engine, integrator: Any, step: int, axis: int = 2, n_groups: int = 0,
                 reference_energies: np.ndarray | None = None) -> None:
        self.engine = engine
        self.integrator = integrator
        self.step = step
        self.axis = axis
        self.n_groups = n_groups
        self._reference_energies = reference_energies
        self._xp = engine.backend.xp
        self._system = engine.system
        self._n = engine.system.n_owned

    def by_group(self, values: Any | None = None) -> np.ndarray:
        """(groups,) float64 sum of (n_owned,) values, or the number of atoms, on the host."""
        return self.sum_by(self._system.groups[: self._n], self.n_groups, values)

    def sum_by(self, labels: Any, count: int, values: Any | None = None) -> np.ndarray:
        """(count,) float64 sum of (n_owned,) values by label; labels outside the range are left out."""
        inside = (labels >= 0) & (labels < count)
        weights = None if values is None else self._xp.where(inside, values, 0.0)
        shifted = self._xp.where(inside, labels, count)
        if values is None or self.engine.backend.device == "cpu":
            sums = self._xp.bincount(shifted, weights=weights, minlength=count + 1)
        else:
            sums = self._sums_in_any_order(shifted, weights, count + 1)
        return self.engine.backend.to_host(sums)[:count].astype(np.float64)

    def _sums_in_any_order(self, labels: Any, weights: Any, count: int) -> Any:
        """Sums by label where threads add in a changing order: of multiples of 2^-20 and, for the rest, of 2^-50.

        Such sums are exact in float64, so the same in any order, below 2^33 and 2^3: 2^24 atoms with |weight| < 512.
        """
        xp = self._xp
        coarse = xp.rint(weights * 2.0**20) * 2.0**-20
        fine = xp.rint((weights - coarse) * 2.0**50) * 2.0**-50
        return sum(xp.bincount(labels, weights=part, minlength=count) for part in (coarse, fine))

    @cached_property
    def moving(self) -> Any:
        """(n_owned,) bool, atoms that are not frozen."""
        frozen = self._xp.asarray(sorted(self._system.frozen_groups), dtype=np.int32)
        return ~self._xp.isin(self._system.groups[: self._n], frozen)

    @cached_property
    def masses(self) -> Any:
        """(n_owned,) amu."""
        return self._xp.asarray(self._system.masses)[self._system.types[: self._n]]

    @cached_property
    def kinetic_energies(self) -> Any:
        """(n_owned,) eV."""
        return 0.5 * self.masses * (self._system.velocities[: self._n] ** 2).sum(axis=1)

    @cached_property
    def energies(self) -> Any:
        """(n_owned,) kinetic plus site energy, eV."""
        return self.kinetic_energies + self.engine.energies[: self._n]

    @cached_property
    def coordinates(self) -> Any:
        """(n_owned,) unwrapped coordinate along the axis, A."""
        images = self._system.images[: self._n] @ self._xp.asarray(self._system.cell[:, self.axis])
        return self._system.positions[: self._n, self.axis] + images

    @cached_property
    def heat_currents(self) -> Any:
        """(n_owned,) component along the axis of (E_i - E_ref) v_i + W_i . v_i, eV A / natural time.

        W_i (a, b): position a, force b. A constant added to the energy of a species does not change the mean heat
        flux through a solid; without it the vibration of atoms at E_i = -7 eV would drown the current in noise.
        """
        velocities = self._system.velocities[: self._n]
        reference = self._xp.asarray(self._reference_energies)[self._system.types[: self._n]]
        flux = (self.energies - reference) * velocities[:, self.axis]
        virials: Any = self.engine.virials
        return flux + (virials[: self._n, self.axis, :] * velocities).sum(axis=1)


@dataclass(frozen=True)
class Column:
    """One measured quantity.

    Attributes
    ----------
    name, unit : str
    size : int
        Numbers per sample.
    measure : callable
        Sample -> (size,) float64 or number; None if the system has no such quantity, which leaves the column out.
    averaged : bool
        Mean over the samples of a row instead of the value at its end.
    replicated : bool
        All ranks measure the same value; otherwise ranks are summed.
    """

    name: str
    unit: str
    size: int
    measure: Callable[[Sample], Any]
    averaged: bool = True
    replicated: bool = False


class SeriesObserver:
    """Samples columns and stores rows.

    Parameters
    ----------
    name : str
        Name of the series in results.
    every : int
        Steps between samples.
    samples_per_row : int
    columns : sequence of Column
    make_sample : callable
        (engine, integrator, step) -> Sample.
    needs_virials : bool
        Whether a column reads per-atom virials.
    """

    def __init__(self, name: str, every: int, samples_per_row: int, columns: Sequence[Column],
                 make_sample: Callable[[Engine, Any, int], Sample] = Sample, needs_virials: bool = False) -> None:
        self.name = name
        self.every = every
        self.samples_per_row = samples_per_row
        self.columns = tuple(columns)
        self.needs_virials = needs_virials
        self._make_sample = make_sample
        self._width = sum(column.size for column in self.columns)
        self._averaged = self._mask("averaged")
        self._replicated = self._mask("replicated")
        self._absent = np.zeros(len(self.columns), dtype=bool)
        self._sums = np.zeros(self._width)
        self._samples = 0
        self._rows: list[np.ndarray] = []
        self._steps: list[int] = []

    def _mask(self, attribute: str) -> np.ndarray:
        return np.repeat([getattr(c, attribute) for c in self.columns], [c.size for c in self.columns])

    def sample(self, step: int, engine: Engine, integrator: Any) -> None:
        """Measure at this step (collective)."""
        sample = self._make_sample(engine, integrator, step)
        completes = self._samples + 1 == self.samples_per_row
        values = self._measure(sample, completes)
        totals = values
        if not self._replicated.all():
            sums = engine.comm.allreduce_sum(np.where(self._replicated, 0.0, values))
            totals = np.where(self._replicated, values, sums)
        if not np.isfinite(totals).all():
            raise PhysicsError(f"{self.name}: a measured quantity is not finite at step {step}; reduce the timestep")
        self._sums = np.where(self._averaged, self._sums + totals, totals)
        self._samples += 1
        if completes:
            self._rows.append(np.where(self._averaged, self._sums / self._samples, self._sums))
            self._steps.append(step)
            self._sums, self._samples = np.zeros(self._width), 0

    def _measure(self, sample: Sample, completes: bool) -> np.ndarray:
        parts = []
        for k, column in enumerate(self.columns):
            value = column.measure(sample) if column.averaged or completes else np.zeros(column.size)
            self._absent[k] |= value is None
            parts.append(np.zeros(column.size) if value is None else np.atleast_1d(np.asarray(value, np.float64)))
        return np.concatenate(parts)

    @property
    def steps(self) -> np.ndarray:
        """(rows,) int64 step at the end of each row."""
        return np.array(self._steps, dtype=np.int64)

    def series(self) -> dict[str, tuple[np.ndarray, str]]:
        """Name -> ((rows,) or (rows, size) float64, unit)."""
        rows = np.array(self._rows).reshape(len(self._rows), self._width)
        result, start = {}, 0
        for column, absent in zip(self.columns, self._absent, strict=True):
            values = rows[:, start : start + column.size]
            if not absent:
                result[column.name] = (values[:, 0] if column.size == 1 else values, column.unit)
            start += column.size
        return result

    def state(self) -> dict[str, np.ndarray]:
        """All that later rows depend on, and the rows so far; the same on all ranks."""
        return {
            "sums": self._sums.copy(),
            "samples": np.array(self._samples),
            "rows": np.array(self._rows).reshape(len(self._rows), self._width),
            "steps": self.steps,
            "absent": self._absent.copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from `state`."""
        self._sums = np.array(state["sums"], dtype=np.float64)
        self._samples = int(state["samples"])
        self._rows = list(np.array(state["rows"], dtype=np.float64).reshape(-1, self._width))
        self._steps = [int(step) for step in np.atleast_1d(state["steps"])]
        self._absent = np.array(state["absent"], dtype=bool)


def group_columns(n_groups: int, heat_current: bool) -> list[Column]:
    """Profile of an experiment by group: kinetic energy, height, total energy, and heat current if asked for."""
    columns = [
        Column("group_kinetic_energy", "eV", n_groups, lambda s: s.by_group(s.kinetic_energies)),
        Column("group_coordinate_sum", "A", n_groups, lambda s: s.by_group(s.coordinates)),
        Column("group_energy", "eV", n_groups, lambda s: s.by_group(s.energies), averaged=False),
    ]
    if heat_current:
        columns.append(Column(
            "group_heat_current", "eV A/ps", n_groups, lambda s: s.by_group(s.heat_currents) * POWER_EV_PER_PS))
    return columns


def bin_columns(low: float, width: float, count: int) -> list[Column]:
    """Kinetic energy and number of moving atoms by present coordinate, in `count` bins from `low` on, A."""

    def labels(sample: Sample) -> Any:
        xp = sample.engine.backend.xp
        return xp.floor((sample.coordinates - low) / width).astype(np.int32)

    return [
        Column("bin_kinetic_energy", "eV", count, lambda s: s.sum_by(labels(s), count, s.kinetic_energies)),
        Column("bin_atoms", "1", count, lambda s: s.sum_by(labels(s), count, s.moving * 1.0)),
    ]


def momentum_column() -> Column:
    """Total momentum, sqrt(amu eV)."""

    def measure(sample: Sample) -> np.ndarray:
        system = sample.engine.system
        momentum = (sample.masses[:, None] * system.velocities[: system.n_owned]).sum(axis=0)
        return sample.engine.backend.to_host(momentum)

    return Column("momentum", "sqrt(amu eV)", 3, measure, averaged=False)


def thermodynamic_columns() -> list[Column]:
    """Temperature, energies, pressure and cell of the whole system; a moving atom has three degrees of freedom."""

    def temperature(sample: Sample) -> float:
        moving = sample.engine.comm.allreduce_sum(float(sample.moving.sum()))
        return 2.0 * sample.engine.kinetic_energy() / (3.0 * max(moving, 1.0) * BOLTZMANN_EV_PER_K)

    def pressure(sample: Sample) -> np.ndarray | None:
        """xx, yy, zz, yz, xz, xy of (sum m v v + W) / V; a cluster has no volume, some potentials have no virial."""
        system = sample.engine.system
        if system.volume == 0.0 or sample.engine.limits.total_virial is not None:
            return None
        velocities = system.velocities[: system.n_owned]
        kinetic = sample.engine.backend.to_host((sample.masses[:, None] * velocities).T @ velocities)
        total = sample.engine.comm.allreduce_sum(np.ascontiguousarray(kinetic)) + sample.engine.virial_total()
        total = 0.5 * (total + total.T) * PRESSURE_GPA / system.volume
        return total[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    def replicated(name: str, unit: str, size: int, measure: Callable[[Sample], Any]) -> Column:
        return Column(name, unit, size, measure, averaged=False, replicated=True)

    return [
        replicated("temperature", "K", 1, temperature),
        replicated("kinetic_energy", "eV", 1, lambda s: s.engine.kinetic_energy()),
        replicated("potential_energy", "eV", 1, lambda s: s.engine.potential_energy()),
        replicated("conserved", "eV", 1, lambda s: s.integrator.conserved(s.engine)),
        replicated("pressure", "GPa", 6, pressure),
        replicated("cell", "A", 9, lambda s: s.engine.system.cell.reshape(9).copy()),
    ]
