"""The NEMD experiment on a small stack: energy balance, records, resume, and the scatter of seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hpcthermo.config import NemdJob, parse_job
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.dynamics.integrate import Integrator
from hpcthermo.dynamics.loop import run_stage
from hpcthermo.engine import make_engine
from hpcthermo.errors import InputError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.preparation import build_structure, load_job_potential
from hpcthermo.results import read_results, read_summary
from hpcthermo.transport.layout import nemd_grouping
from hpcthermo.transport.nemd import NemdExperiment, describe_structure, run_nemd
from hpcthermo.transport.observers import Column, SeriesObserver
from hpcthermo.transport.record import record_of

QUICK = Path(__file__).parents[2] / "jobs" / "gr_hbn_itc" / "quick.toml"


def small_job(**changes) -> NemdJob:
    """Two h-BN and two graphene layers of 16 atoms besides a fixed one, between 400 K and 200 K."""
    layers = [{"material": "h-BN", "count": 3, "repeat": [3, 2], "stacking": "AA'"},
              {"material": "graphene", "count": 3, "repeat": [3, 2], "stacking": "AB"}]
    nemd = {"fixed_layers": [0], "sink_layers": [1], "source_layers": [-1], "temperature_K": 300,
            "temperature_difference_K": 200, "coupling_fs": 50, "timestep_fs": 0.5, "duration_ps": 0.4,
            "initial_profile_K": [[1, 210], [5, 390]], "initial_profile_ps": 0.1, "sample_interval_fs": 5,
            "samples_per_average": 4, "heat_current": True, "bin_width_A": 3.0}
    job = {"kind": "nemd", "seed": 3, "potential": ["tersoff_bnc", "lj_gr_hbn"],
           "structure": {"builder": "layered_stack", "layers": layers, "spacing_A": 3.4, "vacuum_A": 20.0},
           "execution": {"skin_A": 1.0, "precision": "double"}, "nemd": nemd}
    for table, values in changes.items():
        job[table] = {**job.get(table, {}), **values} if isinstance(values, dict) else values
    return parse_job(job)


def conserved_series(job: NemdJob, baths: bool, steps: int) -> tuple[np.ndarray, float]:
    """Conserved quantity at every tenth step in eV/atom, and the heat that the baths exchanged."""
    snapshot = build_structure(job.structure)
    layout = describe_structure(job.nemd, snapshot)
    snapshot.fields["groups"] = nemd_grouping(job.nemd, snapshot).labels
    engine = make_engine(snapshot, load_job_potential(job), SingleProcess(), make_backend("cpu", "double"), 1.0)
    experiment = NemdExperiment(job, layout, job.seed)
    for phase in experiment.phases():
        assert phase.prepare is not None
        phase.prepare(engine, 0)
    mover = experiment.phases()[-1].make_mover(engine, 0) if baths else Integrator(engine, job.nemd.timestep_fs)
    column = Column("conserved", "eV", 1, lambda s: s.integrator.conserved(s.engine), averaged=False, replicated=True)
    observer = SeriesObserver("conserved", 10, 1, [column])
    run_stage(engine, mover, [observer], 0, steps)
    exchanged = sum(abs(bath.ledger) for bath in mover.thermostats)
    return observer.series()["conserved"][0] / snapshot.n_atoms, exchanged


def test_energy_minus_ledgers_is_as_constant_as_without_baths() -> None:
    job = small_job()
    free, _ = conserved_series(job, baths=False, steps=1000)
    bathed, exchanged = conserved_series(job, baths=True, steps=1000)
    assert exchanged > 1.0
    # both fluctuate by the same dt^2 term of the integrator; neither drifts
    assert np.std(bathed) < 2.0 * np.std(free)
    drifts = [abs(np.polyfit(np.linspace(0.0, 1.0, len(s)), s, 1)[0]) for s in (free, bathed)]
    assert drifts[1] < max(3.0 * drifts[0], np.std(free))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, plain_figures) -> Path:
    folder = tmp_path_factory.mktemp("nemd") / "run"
    run_nemd(small_job(), SingleProcess(), folder)
    return folder


def test_record_of_a_run(finished: Path) -> None:
    results = read_results(finished / "results.h5")
    record = record_of(results)
    assert record.time == pytest.approx(0.02 * np.arange(1, 21))
    assert record.group_role.tolist() == [1, 3, 0, 0, 0, 2]
    assert record.interface == (2, 3)
    assert np.all(record.group_kinetic_energy[:, 0] == 0.0)
    # the energy of all groups changes by what the baths gave
    total = record.group_energy.sum(axis=1)
    given = record.source_energy + record.sink_energy
    assert np.ptp(total - given) < 0.02 * np.ptp(total)
    heights = record.group_coordinate_sum[-1] / record.group_atoms
    assert np.all(np.diff(heights) > 2.5)
    bins = results.quantities["nemd/bin_atoms"].values
    assert bins.sum(axis=1) == pytest.approx(5 * 24)
    kinetic = results.quantities["nemd/bin_kinetic_energy"].values.sum(axis=1)
    assert kinetic == pytest.approx(record.group_kinetic_energy.sum(axis=1))


def test_summary_of_a_run(finished: Path) -> None:
    summary = read_summary(finished)
    assert {"interfacial_thermal_conductance", "heat_flux_source", "heat_flux_heat_current"} <= set(summary["results"])
    assert {"steady_state", "source_sink_agreement", "energy_balance"} <= set(summary["checks"])
    assert summary["run"]["atoms"] == 144


def test_a_run_that_was_broken_off_ends_with_the_same_rows(finished: Path, tmp_path: Path, monkeypatch) -> None:
    """Broken off in the middle of a row, resumed from the last checkpoint: every number is the same bit for bit."""
    from hpcthermo.progress import Progress

    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    job = small_job(output={"checkpoint_interval_steps": 333})
    update = Progress.update

    def break_off(self: Progress, step: int) -> None:
        update(self, step)
        if step == 777:
            raise RuntimeError("broken off")

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", break_off)
        with pytest.raises(RuntimeError, match="broken off"):
            run_nemd(job, SingleProcess(), tmp_path / "run")
    run_nemd(job, SingleProcess(), tmp_path / "run", resume=True)
    whole, resumed = (read_results(folder / "results.h5") for folder in (finished, tmp_path / "run"))
    assert resumed.run["resumed_from_step"] == 666
    for name, quantity in whole.quantities.items():
        assert np.array_equal(quantity.values, resumed.quantities[name].values), name


def test_the_shortest_job_that_is_accepted_has_enough_rows_for_its_analysis(tmp_path: Path, monkeypatch) -> None:
    """Samples stand at multiples of 10 steps of the whole run; the experiment begins 207 steps into it."""
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])
    stage = [{"ensemble": "langevin", "temperature_K": 300, "timestep_fs": 0.5, "steps": 7}]
    with pytest.raises(InputError, match="at least 10 averages"):
        small_job(stage=stage, nemd={"duration_ps": 0.1995})
    run_nemd(small_job(stage=stage, nemd={"duration_ps": 0.2}), SingleProcess(), tmp_path / "run")
    time = record_of(read_results(tmp_path / "run" / "results.h5")).time
    assert not np.any(np.isclose(time % 0.02, 0.0))
    assert read_summary(tmp_path / "run")["results"]["heat_flux"]["error"] > 0.0


def test_replicas_have_their_own_folders_and_a_common_summary(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("hpcthermo.plots.draw_figures", lambda folder: [])  # tested elsewhere, and slow
    job = small_job(execution={"replicas": 2}, nemd={"duration_ps": 0.2})
    run_nemd(job, SingleProcess(), tmp_path / "run")
    tables = [read_summary(tmp_path / "run" / f"replica_{k:03d}")["results"] for k in range(2)]
    values = [table["interface_temperature_jump"]["value"] for table in tables]
    pooled = read_summary(tmp_path / "run")["results"]["interface_temperature_jump"]
    assert values[0] != values[1]
    assert pooled["value"] == pytest.approx(np.mean(values))
    assert pooled["error"] == pytest.approx(abs(values[0] - values[1]) / 2.0)


def test_jobs_of_the_repository_fit_their_structures(tmp_path: Path) -> None:
    """All jobs load; paper.toml is the published system: 307,828 atoms, 5 + 1.5 million steps, 20 replicas."""
    import tomllib

    for name, atoms in (("quick", 1680), ("tersoff_lj", 4032), ("nep_reduced", 2160), ("paper", 307_828)):
        data = tomllib.loads((QUICK.parent / f"{name}.toml").read_text())
        if "path" in data["potential"]:
            data["potential"]["path"] = str(QUICK)  # the published file is not part of the repository
        job = parse_job(json.loads(json.dumps(data)))
        assert isinstance(job, NemdJob)
        snapshot = build_structure(job.structure)
        assert snapshot.n_atoms == atoms
        grouping = nemd_grouping(job.nemd, snapshot)
        assert describe_structure(job.nemd, snapshot).interface is not None
        if name == "paper":
            assert (len(grouping.with_role(2)), len(grouping.with_role(3)), len(grouping.with_role(1))) == (2, 2, 1)
            assert job.nemd.warmup_steps + job.nemd.n_steps == 5_000_000
            assert [stage.n_steps for stage in job.stage] == [1_000_000, 500_000]
            assert job.execution.replicas == 20


@pytest.mark.slow
def test_five_seeds_scatter_as_their_errors_say(tmp_path: Path) -> None:
    from scipy.stats import chi2

    from hpcthermo.config import load_job

    values, errors = [], []
    for seed in range(1, 6):
        job = load_job(QUICK.with_name("tersoff_lj.toml")).model_copy(update={"seed": seed})
        run_nemd(job, SingleProcess(), tmp_path / str(seed))
        found = read_summary(tmp_path / str(seed))["results"]["interfacial_thermal_conductance"]
        values.append(found["value"])
        errors.append(found["error"])
    weights = 1.0 / np.array(errors) ** 2
    deviation = np.array(values) - np.average(values, weights=weights)
    assert chi2.sf(np.sum(weights * deviation**2), 4) > 0.01
