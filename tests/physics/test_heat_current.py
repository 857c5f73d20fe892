"""The atomic heat current is the rate of change of sum_i r_i E_i, and the observer adds it up by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.engine import Engine, make_engine
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.base import Potential
from hpcthermo.potentials.load import load_potential
from hpcthermo.structure import LayerBlock, build_layered_stack, make_snapshot
from hpcthermo.transport.observers import Sample, SeriesObserver, group_columns, momentum_column
from hpcthermo.units import BOLTZMANN_EV_PER_K, POWER_EV_PER_PS

NEP = Path(__file__).parents[2].parent / "shared" / "data" / "nep" / "gr_hbn_liang2025.nep.txt"


def cluster() -> Snapshot:
    """Two graphene and one h-BN flake in vacuum, hot and out of order."""
    stack = build_layered_stack([LayerBlock("h-BN", 1, (2, 2)), LayerBlock("graphene", 2, (2, 2), "AB")], 3.3, 20.0)
    rng = np.random.default_rng(3)
    n = len(stack.layers)
    snapshot = make_snapshot(
        np.diag([60.0, 60.0, 60.0]), np.array([False] * 3), stack.symbols.tolist(),
        stack.positions + 20.0 + 0.05 * rng.standard_normal((n, 3)), layers=stack.layers, groups=stack.layers,
    )
    masses = snapshot.masses[snapshot.types]
    speed = np.sqrt(BOLTZMANN_EV_PER_K * 600.0 / masses)
    snapshot.fields["velocities"] = speed[:, None] * rng.standard_normal((n, 3))
    return snapshot


def engine_of(snapshot: Snapshot, potential: Potential) -> Engine:
    return make_engine(snapshot, potential, SingleProcess(), make_backend("cpu", "double"), 1.0)


def potential_by_name(name: str | list[str]) -> Potential:
    if name == "nep":
        if not NEP.exists():
            pytest.skip("reference data folder ../shared is absent")
        from hpcthermo.potentials.nep import read_nep

        return read_nep(NEP)
    return load_potential(name, Path.cwd())


@pytest.mark.parametrize("name", ["nep", ["tersoff_bnc", "lj_gr_hbn"]], ids=["nep", "tersoff and lennard_jones"])
def test_heat_current_is_the_rate_of_the_energy_moment(name: str | list[str]) -> None:
    potential, snapshot = potential_by_name(name), cluster()
    engine = engine_of(snapshot, potential)
    engine.compute(virials=True)
    sample = Sample(engine, None, 0, 2, 3, np.zeros(len(snapshot.species)))
    current = float(np.sum(sample.heat_currents))

    def moment(time: float) -> float:
        """sum_i z_i U_i at r + v t; the kinetic part changes by z_i F_i . v_i."""
        moved = Snapshot.create(
            snapshot.cell, snapshot.periodic, snapshot.species, snapshot.masses,
            snapshot.positions + time * snapshot.velocities, snapshot.types, layers=snapshot.layers,
        )
        at = engine_of(moved, potential)
        at.compute()
        return float(np.sum(at.system.positions[: at.system.n_owned, 2] * at.energies))

    step = 1e-4
    potential_rate = (moment(step) - moment(-step)) / (2.0 * step)
    system = engine.system
    n = system.n_owned
    kinetic = float(np.sum(sample.kinetic_energies * system.velocities[:n, 2]))
    power = np.sum(system.forces[:n, :3] * system.velocities[:n], axis=1)
    work = float(np.sum(system.positions[:n, 2] * power))
    assert current == pytest.approx(potential_rate + kinetic + work, rel=1e-6)
    assert abs(current) > 1e-2


def test_observer_adds_up_by_group() -> None:
    snapshot = cluster()
    engine = engine_of(snapshot, potential_by_name("nep"))
    columns = [*group_columns(3, heat_current=True), momentum_column()]
    reference = np.array([-7.0, -8.0, -9.0])
    observer = SeriesObserver("nemd", 5, 2, columns, lambda e, i, s: Sample(e, i, s, 2, 3, reference), True)
    engine.compute(virials=True)
    for step in (5, 10, 15):
        observer.sample(step, engine, None)
    series = observer.series()
    masses = snapshot.masses[snapshot.types]
    kinetic = 0.5 * masses * np.sum(snapshot.velocities**2, axis=1)
    expected = [kinetic[snapshot.layers == k].sum() for k in range(3)]
    assert series["group_kinetic_energy"][0] == pytest.approx(np.array([expected]))
    heights = [snapshot.positions[snapshot.layers == k, 2].sum() for k in range(3)]
    assert series["group_coordinate_sum"][0][0] == pytest.approx(heights)
    total = engine.potential_energy() + engine.kinetic_energy()
    assert series["group_energy"][0].sum() == pytest.approx(total)
    direct = Sample(engine, None, 0, 2, 3, reference)
    assert series["group_heat_current"][0].sum() == pytest.approx(np.sum(direct.heat_currents) * POWER_EV_PER_PS)
    assert series["momentum"][0][0] == pytest.approx((masses[:, None] * snapshot.velocities).sum(axis=0))
    assert observer.steps.tolist() == [10]

    # a state taken in the middle of a row continues it
    other = SeriesObserver("nemd", 5, 2, columns, lambda e, i, s: Sample(e, i, s, 2, 3, reference), True)
    other.restore(observer.state())
    for each in (observer, other):
        each.sample(20, engine, None)
    for name, (values, _) in observer.series().items():
        assert np.array_equal(values, other.series()[name][0])
    assert other.steps.tolist() == [10, 20]
