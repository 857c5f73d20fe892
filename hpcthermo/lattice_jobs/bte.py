"""``kind = "bte"``: thermal conductivity, from force constants or a potential to a report.

results.h5 has, beside the groups of a phonon job (phonon.py),

    mesh          divisions, matrix, wave vectors of the irreducible points and their weights
    modes         frequency, velocity, heat capacity, linewidths, mean free path, phase space: points x bands
    kappa         temperature, rta, lbte, coherence, branch, small_grain: tensors by temperature
    cumulative    conductivity up to a mean free path or a frequency
    spectral      conductivity by frequency
    line_shapes   shifts, linewidths and spectral functions at the wave vectors of [bte.line_shapes]
    checks        the numbers behind the verdicts

What is of the full equation ends in _lbte (and kappa/lbte), and is not a number at temperatures where that has failed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.lattice_jobs.phonon import (
    crystal_quantities,
    facts_of,
    harmonic_checks,
    phonon_quantities,
    require_phonons,
    sum_rule_quantities,
)
from hpcthermo.lattice_jobs.run import LatticeRun
from hpcthermo.lattice_jobs.source import ForceConstants, force_constants_of
from hpcthermo.phonons.modes import heat_capacities
from hpcthermo.results import Quantity, Results, Table, entry, value_text
from hpcthermo.tensors import COMPONENTS
from hpcthermo.transport.bte.four_phonon import CHANNELS
from hpcthermo.transport.bte.kappa_file import kappa_file_name, write_kappa_file
from hpcthermo.transport.bte.solution import MICROMETRE, Given, Solution, solve

if TYPE_CHECKING:
    from hpcthermo.config.lattice_dynamics import BteSection
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.phonons.crystal import Crystal
    from hpcthermo.run import Stop

UNIT = "W m^-1 K^-1"
SMALL_GRAIN_UNIT = "W m^-1 K^-1 nm^-1"
#: A in a nanometre
_NANOMETRE = 10.0
#: the full equation counts as solved up to this relative residual
RESIDUAL = 1e-4
#: tensors in results.h5 and summary.json -> their units
_TENSORS = {"rta": UNIT, "lbte": UNIT, "coherence": UNIT, "rta_three_phonon": UNIT, "small_grain": SMALL_GRAIN_UNIT}
#: of these a terminal shows the diagonal components, at so many temperatures
_MAIN, _SHOWN = ("lbte", "rta", "coherence"), 6
#: the conductivity may change so much, relatively, under rotations of the crystal
SYMMETRY_TOLERANCE = 1e-6
#: force constants may break the symmetry of the crystal by so much, THz: kappa is made of irreducible points
FREQUENCY_ASYMMETRY_THZ = 0.02
#: weights of a finite mesh may leave so much energy, relatively (exact deltas: none)
ENERGY_IMBALANCE = 0.1
#: shared weights may change the conductivity by relaxation times by so much, relatively (on a fine mesh: not at all)
WEIGHTS_CHANGE = 0.05
#: the full solution lies within these multiples of the one by relaxation times; outside, something is wrong
_FULL_BY_RTA = (0.5, 20.0)


def run_bte(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Force constants, phonons, conductivity, to a report."""
    with LatticeRun(job, comm, folder, resume, stop) as run:
        def check(crystal: Crystal) -> None:
            Given.of(crystal, job.bte)
            require_phonons(crystal, job.phonon)

        constants = force_constants_of(run, job.order, check)
        solution = solve(constants.dynamics, job.bte, nac=job.phonon.nac,
                         imaginary_limit_THz=job.phonon.imaginary_limit_THz, threads=run.threads,
                         device=job.execution.device, stage=run.stage, phase_space=True,
                         campaign=run.point_records, seed=job.seed)
        quantities, attributes = phonon_quantities(run, constants, job.phonon)
        quantities |= bte_quantities(solution, constants)
        attributes["kappa"] = {"thickness": str(solution.relaxation_time.thickness or "bulk"),
                               "isotopes": isotopes(job.bte),
                               "full_failures": json.dumps(solution.full_failures),
                               **{f"full_{name}": value for name, value in solution.full_facts.items()}}
        if solution.line_shapes is not None:
            attributes["line_shapes"] = {"shifts": solution.line_shapes.content}
        run.stage("report")
        write_kappa(run, solution, job.bte.boundary_length_um)
        run.finish(quantities, attributes, {**facts_of(job, constants), **bte_facts(job, solution)})


def write_kappa(run: LatticeRun, solution: Solution, length_um: float | None) -> None:
    """Write kappa-m*.hdf5, which phono3py's own tools read."""
    run.lock.require()
    write_kappa_file(run.folder / kappa_file_name(solution.mesh), solution.mesh, solution.relaxation_time,
                     solution.linewidths["three_phonon"], solution.linewidths.get("isotope"), solution.full,
                     None if length_um is None else MICROMETRE * length_um, solution.linewidths.get("four_phonon"))


def isotopes(settings: BteSection) -> str:
    """What scatters phonons by its mass, in words."""
    if not settings.isotopes:
        return "none"
    given = ", ".join(f"{element} {variance:g}" for element, variance in settings.mass_variances.items())
    return f"mass variances {given}; other elements natural mixture" if given else "natural mixture"


def bte_facts(job: Any, solution: Solution) -> dict[str, Any]:
    """What must be said with the numbers."""
    mesh = solution.mesh
    facts = {"mesh": " x ".join(str(d) for d in mesh.divisions), "mesh_points": mesh.n_points,
             "irreducible_points": len(mesh.irreducible[0]), "delta": job.bte.delta, "method": job.bte.method,
             "isotopes": isotopes(job.bte),
             "solution_seconds": {name: float(s) for name, s in solution.seconds.items()}}
    if solution.four_phonon is not None:
        facts["four_phonon_samples"] = int(solution.four_phonon.samples.sum())
    if solution.line_shapes is not None:
        facts["line_shapes"] = solution.line_shapes.content
    if solution.relaxation_time.thickness is not None:
        facts["thickness"] = str(solution.relaxation_time.thickness)
    return facts


def bte_quantities(solution: Solution, constants: ForceConstants) -> dict[str, Quantity]:
    """A solution as datasets of results.h5."""
    mesh, rta = solution.mesh, solution.relaxation_time
    points, weights = mesh.irreducible
    temperatures = rta.temperatures
    table: dict[str, tuple[Any, str, str]] = {
        "mesh/divisions": (mesh.divisions, "1", ""),
        "mesh/matrix": (mesh.matrix, "1", "M q is a vector of integers"),
        "mesh/q": (mesh.q[points], "1", "irreducible points, fractional"),
        "mesh/weight": (weights, "1", "points of the mesh that each stands for"),
        "modes/frequency": (rta.frequencies, "THz", "irreducible points, bands"),
        "modes/velocity": (solution.velocities, "A/ps", "irreducible points, bands, x y z"),
        "modes/heat_capacity": (heat_capacities(rta.frequencies, temperatures), "eV/K", "temperatures, points, bands"),
        "modes/mean_free_path": (rta.mean_free_paths, "A", "temperatures, points, bands"),
        "modes/linewidth": (solution.linewidths["three_phonon"].transpose(1, 0, 2), "THz",
                            "of three phonons, half width at half maximum; temperatures, points, bands"),
        "modes/kappa_rta": (rta.modes, UNIT, "contribution of each mode, mean over its star; sum over modes with "
                                             "weights, divided by the points of the mesh, is kappa"),
        "kappa/temperature": (temperatures, "K", ""),
        "kappa/rta": (rta.kappa, UNIT, "relaxation times; temperatures, x y z, x y z"),
        "kappa/branch": (rta.by_branch, UNIT, "relaxation times; temperatures, bands by frequency, tensor"),
        "kappa/small_grain": (_NANOMETRE * solution.small_grains, SMALL_GRAIN_UNIT,
                              "conductivity by the length after which all paths end, as that tends to zero"),
        "checks/lowest_frequency": (float(solution.phonons.frequencies.min()), "THz", "on the mesh"),
        "checks/asymmetry": (solution.soundness["asymmetry"], "1", "change of kappa by rotations of the crystal"),
        "checks/frequency_asymmetry": (solution.soundness["frequency_asymmetry"], "THz",
                                       "largest difference between equivalent points of the mesh"),
        "checks/lowest_eigenvalue": (solution.soundness["lowest_eigenvalue_by_highest"], "1",
                                     "of kappa, by the highest"),
    }
    for name, description in (("normal", "of normal processes"), ("umklapp", "of Umklapp processes")):
        if name in solution.linewidths:
            table[f"modes/{name}_linewidth"] = (solution.linewidths[name].transpose(1, 0, 2), "THz", description)
    for name in ("isotope", "boundary"):
        if name in solution.linewidths:
            table[f"modes/{name}_linewidth"] = (solution.linewidths[name], "THz", "points, bands")
    if solution.phase_space is not None:
        table["modes/phase_space"] = (solution.phase_space.transpose(1, 0, 2), "1/THz^4",
                                      "weighted, of three phonons; temperatures, points, bands")
    if solution.full_facts:
        table["checks/residual"] = (solution.full_facts["residuals"], "1", "of the full equation, by temperature")
        table["checks/energy_imbalance"] = (float(solution.full_facts["energy_imbalance"]), "1", "of the full equation")
        if "weights_change" in solution.full_facts:
            table["checks/weights_change"] = (solution.full_facts["weights_change"], "1",
                                              "of kappa by relaxation times, by shared weights; by temperature")
    if solution.full is not None:
        full = solution.full
        table["kappa/lbte"] = (full.kappa, UNIT, "full equation")
        table["kappa/branch_lbte"] = (full.by_branch, UNIT, "full equation; temperatures, bands by frequency, tensor")
        table["modes/kappa_lbte"] = (full.modes, UNIT, "the same of the full equation")
        table["modes/mean_free_path_lbte"] = (full.mean_free_paths, "A",
                                              "of the full equation, along the group velocity; temperatures, points, "
                                              "bands")
    if solution.coherence is not None:
        table["kappa/coherence"] = (solution.coherence.kappa, UNIT, "between bands (Wigner)")
    table |= _four_phonon(solution) | _cumulative(solution) | _line_shapes(solution)
    found = {name: Quantity(np.asarray(values), unit, text) for name, (values, unit, text) in table.items()}
    return found | crystal_quantities(constants.dynamics.crystal) | sum_rule_quantities(constants)


def _four_phonon(solution: Solution) -> dict[str, tuple[Any, str, str]]:
    found = solution.four_phonon
    if found is None:
        return {}
    return {
        "modes/four_phonon_linewidth": (found.gamma.transpose(1, 0, 2), "THz", "temperatures, points, bands"),
        "modes/four_phonon_error": (found.errors.transpose(1, 0, 2), "THz", "standard error of the sample"),
        "modes/four_phonon_channels": (found.channels.transpose(0, 2, 1, 3), "THz", ", ".join(CHANNELS)),
        "mesh/four_phonon_samples": (found.samples, "1", "pairs of wave vectors drawn for each point"),
        "kappa/rta_error": (found.kappa_error, UNIT, "standard error of rta by the sample of four-phonon processes"),
        "kappa/rta_three_phonon": (solution.without_four_phonon, UNIT, "rta without scattering by four phonons"),
        "checks/four_phonon_error": (found.relative_error, "1", "of the trace of rta, at the worst temperature"),
        "checks/four_phonon_reached": (float(found.reached), "1", "whether the sample reached its target"),
    }


def _cumulative(solution: Solution) -> dict[str, tuple[Any, str, str]]:
    rta = solution.relaxation_time
    solved = {"": rta} if solution.full is None else {"": rta, "_lbte": solution.full}
    paths = np.concatenate([found.mean_free_paths[found.mean_free_paths > 0.0] for found in solved.values()])
    lengths = np.geomspace(max(paths.min(), 1e-2), paths.max() * 1.001, 200) if len(paths) else np.ones(1)
    frequencies = np.linspace(0.0, 1.001 * rta.frequencies.max(), 200)
    table: dict[str, tuple[Any, str, str]] = {
        "cumulative/path": (0.1 * lengths, "nm", ""),
        "cumulative/frequency": (frequencies, "THz", ""),
    }
    for suffix, found in solved.items():
        middles, spectrum = found.spectral(solution.mesh)
        table |= {
            "spectral/frequency": (middles, "THz", "middles of bins"),
            f"spectral/kappa{suffix}": (spectrum, "W m^-1 K^-1 THz^-1", "temperatures, bins, tensor; its sum times the "
                                                                        "width of a bin is kappa"),
            f"cumulative/path_kappa{suffix}": (found.cumulative_by_path(lengths), UNIT, "temperatures, paths, tensor"),
            f"cumulative/frequency_kappa{suffix}": (found.cumulative_by_frequency(frequencies), UNIT,
                                                    "temperatures, frequencies, tensor"),
        }
    return table


def _line_shapes(solution: Solution) -> dict[str, tuple[Any, str, str]]:
    found = solution.line_shapes
    if found is None:
        return {}
    axes = "THz", "wave vectors, temperatures, bands"
    table: dict[str, tuple[Any, str, str]] = {
        "line_shapes/q": (found.q, "1", "fractional"),
        "line_shapes/temperature": (found.temperatures, "K", ""),
        "line_shapes/harmonic_frequency": (found.bands, "THz", "wave vectors, bands"),
        "line_shapes/bubble_shift": (found.bubble, *axes),
        "line_shapes/tadpole_shift": (found.tadpole, *axes),
        "line_shapes/linewidth": (found.gamma, "THz", "half width at half maximum at the harmonic frequency; wave "
                                                      "vectors, temperatures, bands"),
        "line_shapes/frequency": (found.frequencies, "THz", ""),
        "line_shapes/spectral_function": (found.spectral_functions, "1/THz",
                                          "with all shifts; wave vectors, temperatures, bands, frequencies"),
    }
    return table if found.loop is None else table | {"line_shapes/loop_shift": (found.loop, *axes)}


# ---- from results.h5 to summary.json -------------------------------------------------------------


def analyze_bte(results: Results) -> tuple[Table, Table]:
    """Conductivities by component and temperature, and the checks that go with them."""
    kappa = {name: quantity.values for name, quantity in results.group("kappa").items()}
    table: Table = {}
    for name, unit in _TENSORS.items():
        if name in kappa:
            for t in np.flatnonzero(_solved(kappa[name])):
                for component, (row, column) in COMPONENTS.items():
                    key = f"kappa_{name}_{component}_{kappa['temperature'][t]:g}K"
                    error = kappa.get(f"{name}_error")
                    table[key] = entry(float(kappa[name][t, row, column]), unit,
                                       None if error is None else float(error[t, row, column]))
    return table | _carriers(results, kappa), harmonic_checks(results) | _kappa_checks(results, kappa)


def main_results(table: Table) -> list[tuple[str, str]]:
    """Diagonal components by method and temperature (some of many), for a terminal."""
    lines = []
    for name in _MAIN:
        stem = f"kappa_{name}_xx_"
        temperatures = [key.removeprefix(stem) for key in table if key.startswith(stem)]
        shown = sorted({int(k) for k in np.linspace(0, len(temperatures) - 1, min(len(temperatures), _SHOWN))})
        for temperature in (temperatures[k] for k in shown):
            diagonal = {c: table[f"kappa_{name}_{c}_{temperature}"] for c in ("xx", "yy", "zz")}
            values = np.array([result["value"] for result in diagonal.values()])
            if np.ptp(values) <= SYMMETRY_TOLERANCE * np.abs(values).max():
                text = f"{value_text(diagonal['xx'])} (xx = yy = zz)"
            else:
                text = ", ".join(f"{component} {value_text(result)}" for component, result in diagonal.items())
            lines.append((f"kappa_{name}_{temperature}", text))
    return lines


def _solved(kappa: np.ndarray) -> np.ndarray:
    """At which temperatures (n_T,) tensors (n_T, 3, 3) are numbers."""
    there: np.ndarray = np.isfinite(kappa).all(axis=(1, 2))
    return there


def _carriers(results: Results, kappa: dict[str, np.ndarray]) -> Table:
    """What carries the conductivity: the three lowest bands, and paths of half of it."""
    cumulative = {name: quantity.values for name, quantity in results.group("cumulative").items()}
    table: Table = {}
    for ending in ("", "_lbte"):
        if f"branch{ending}" not in kappa:
            continue
        share = np.trace(kappa[f"branch{ending}"], axis1=2, axis2=3)
        upto = np.trace(cumulative[f"path_kappa{ending}"], axis1=2, axis2=3)
        for t, temperature in enumerate(kappa["temperature"]):
            if share[t].sum() > 0.0:  # not where the full equation was not solved
                table[f"lowest_three_bands_share{ending}_{temperature:g}K"] = entry(
                    100.0 * float(share[t, :3].sum() / share[t].sum()), "%")
                table[f"half_of_kappa_mean_free_path{ending}_{temperature:g}K"] = entry(
                    _path_of_half(cumulative["path"], upto[t]), "nm")
    return table


def _path_of_half(paths: np.ndarray, upto: np.ndarray) -> float:
    """Where a cumulative conductivity (L,) reaches half of its last value, on straight lines over log(path)."""
    end = max(1, int((upto >= 0.5 * upto[-1]).argmax()))
    around = slice(end - 1, end + 1)
    return float(np.exp(np.interp(0.5 * upto[-1], upto[around], np.log(paths[around]))))


def _kappa_checks(results: Results, kappa: dict[str, np.ndarray]) -> Table:
    checks: Table = {}
    found = {name: float(quantity.values) for name, quantity in results.group("checks").items()
             if quantity.values.ndim == 0}

    def check(name: str, passed: bool, detail: str) -> None:
        checks[name] = {"passed": bool(passed), "detail": detail}

    check("tensor_symmetry", found["asymmetry"] <= SYMMETRY_TOLERANCE,
          f"rotations of the crystal change the conductivity by {found['asymmetry']:.1e} of its norm")
    if "frequency_asymmetry" in found:
        check("force_constants_symmetry", found["frequency_asymmetry"] <= FREQUENCY_ASYMMETRY_THZ,
              f"frequencies of equivalent points differ by {found['frequency_asymmetry']:.1e} THz, limit "
              f"{FREQUENCY_ASYMMETRY_THZ:g} THz")
    check("positivity", found["lowest_eigenvalue"] > -SYMMETRY_TOLERANCE
          and all((np.linalg.eigvalsh(kappa[name][_solved(kappa[name])]) > -1e-6).all() for name in ("rta", "lbte")
                  if name in kappa),
          f"lowest eigenvalue {found['lowest_eigenvalue']:.3g} of the highest")
    linewidths = results.quantities["modes/linewidth"].values
    negative, positive = int((linewidths < 0.0).sum()), int((linewidths > 0.0).sum())
    check("linewidths", negative == 0 and positive > 0 and bool(np.isfinite(linewidths).all()),
          f"{positive:,} of {linewidths.size:,} three-phonon linewidths are positive, {negative:,} negative")
    if "four_phonon_error" in found:
        check("four_phonon_sample", found["four_phonon_reached"] == 1.0,
              f"standard error of the conductivity by the sample {100.0 * found['four_phonon_error']:.2f} %")
    if "energy_imbalance" in found:
        _check_full_equation(results, kappa, check)
        imbalance = found["energy_imbalance"]
        check("energy_conservation", imbalance <= ENERGY_IMBALANCE,
              f"processes leave {100.0 * imbalance:.2f} % of the energy that modes lose, limit "
              f"{100.0 * ENERGY_IMBALANCE:g} %")
    if "checks/weights_change" in results.quantities:
        change = results.quantities["checks/weights_change"].values
        beyond = kappa["temperature"][~(change <= WEIGHTS_CHANGE)]
        at = f", beyond it at {', '.join(f'{temperature:g}' for temperature in beyond)} K" if len(beyond) else ""
        check("shared_weights", not len(beyond), "one weight for the three legs of a process changes what relaxation "
              f"times give by {100.0 * change.max():.2f} % at most, limit {100.0 * WEIGHTS_CHANGE:g} %{at}")
    return checks


def _check_full_equation(results: Results, kappa: dict[str, np.ndarray],
                         check: Callable[[str, bool, str], None]) -> None:
    """Whether the full equation was solved at each temperature, and lies near relaxation times."""
    temperatures, residuals = kappa["temperature"], results.quantities["checks/residual"].values
    failures = {int(t): str(reason) for t, reason in json.loads(str(results.attributes["kappa"]["full_failures"])
                                                                ).items()}
    solved = np.array([t not in failures for t in range(len(temperatures))])
    details = [f"relative residual {residuals[solved].max():.1e}"] if solved.any() else []
    if failures:
        failed = ", ".join(f"{temperatures[t]:g}" for t in failures)
        first, reason = next(iter(failures.items()))
        details.append(f"no solution at {failed} K, where its conductivity is left out (at {temperatures[first]:g} K: "
                       f"{reason})")
    check("lbte_solved", bool(solved.all() and residuals.max() <= RESIDUAL), "; ".join(details))
    if solved.any():
        carried = np.flatnonzero(results.quantities["crystal/periodic"].values)
        ratios = (np.trace(kappa["lbte"][solved][:, carried][:, :, carried], axis1=1, axis2=2)
                  / np.trace(kappa["rta"][solved][:, carried][:, :, carried], axis1=1, axis2=2))
        inside = ((ratios > _FULL_BY_RTA[0]) & (ratios < _FULL_BY_RTA[1])).all()
        shown = ", ".join(f"{r:.4f} at {t:g} K"
                          for r, t in zip(ratios[:5], temperatures[solved][:5], strict=False))
        check("rta_against_lbte", inside, f"full equation by relaxation times: {shown}")
