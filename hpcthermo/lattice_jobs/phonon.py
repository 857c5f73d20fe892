"""``kind = "fc"`` and ``kind = "phonon"``: force constants and harmonic phonons, to a report.

results.h5 has

    crystal       cell, positions, symbols, masses, periodic
    dispersion    frequencies, group velocities and mode Grueneisen parameters along the path
    dos           densities of states, in total and by element
    thermal       heat capacity, entropy, free energy and thermal Grueneisen parameters by temperature
    checks        the numbers behind the verdicts
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.lattice_jobs.run import LatticeRun
from hpcthermo.lattice_jobs.source import (
    SUM_RULE,
    ForceConstants,
    ForceRun,
    force_constants_of,
    harmonic_at_volumes,
    write_force_constants,
)
from hpcthermo.phonons.density_of_states import density_of_states, shares_of_atoms
from hpcthermo.phonons.dispersion import Path, dispersion, flexural_exponent, standard_path
from hpcthermo.phonons.gruneisen import gruneisen_from_volumes, gruneisen_tensors, of_volume, total_gruneisen
from hpcthermo.phonons.harmonic import HarmonicCrystal, Phonons
from hpcthermo.phonons.modes import heat_capacities
from hpcthermo.phonons.stability import correction_text, harmonic_crystal
from hpcthermo.phonons.thermal import thermal_properties
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.transport.bte.mesh_phonons import mesh_phonons
from hpcthermo.transport.bte.solution import mesh_of
from hpcthermo.transport.bte.tetrahedron import mesh_tetrahedra
from hpcthermo.units import JOULE_PER_MOL

if TYPE_CHECKING:
    from hpcthermo.config.lattice_dynamics import PhononSection
    from hpcthermo.domain.comm import Communicator
    from hpcthermo.phonons.crystal import Crystal
    from hpcthermo.phonons.lattice_dynamics import LatticeDynamics
    from hpcthermo.run import Stop

Quantities = dict[str, Quantity]
Attributes = dict[str, dict[str, Any]]

#: fitted force constants predict forces of cells that were held out to this part
HELD_OUT_LIMIT = 0.05
#: before projection force constants break the acoustic sum rules by no more of the largest one: beyond, cutoffs or
#: displacements are not good, and what projection does to force constants is no correction
SUM_RULE_BEFORE = 0.2
#: the three acoustic modes at the centre of the zone lie this close to zero, THz
ACOUSTIC_LIMIT_THZ = 0.05
#: modes below have Grueneisen parameters that are quotients of two zeros, THz
SOFT_THZ = 0.05
#: parameters from the third order and from two volumes differ by no more, by their root mean square
GRUENEISEN_AGREEMENT = 0.05
#: where the ZA branch of a sheet is fitted, 1/A (with 2 pi): layers that slide easily bend one by one beyond.
#: Further out if its eigenvalues are at rounding there (`flexural_exponent`)
FLEXURAL_SPAN = (2e-4, 6e-4)
#: a quadratic branch has an exponent within
FLEXURAL_LIMITS = (1.9, 2.1)


def run_force_constants(job: Any, comm: Communicator, folder: FilePath, resume: bool, stop: Stop) -> None:
    """Force constants, their files, and the phonons that show whether they are any good."""
    with LatticeRun(job, comm, folder, resume, stop) as run:
        constants = force_constants_of(run, 2 if job.crystal is not None else job.force_constants.order,
                                       lambda crystal: require_phonons(crystal, job.phonon))
        if job.crystal is not None:
            write_force_constants(run, constants)
        quantities, attributes = phonon_quantities(run, constants, job.phonon)
        quantities |= crystal_quantities(constants.dynamics.crystal) | sum_rule_quantities(constants)
        run.finish(quantities, attributes, facts_of(job, constants))


def run_phonon(job: Any, comm: Communicator, folder: FilePath, resume: bool, stop: Stop) -> None:
    """Harmonic phonons, and Grueneisen parameters where there are third-order force constants."""
    with LatticeRun(job, comm, folder, resume, stop) as run:
        computed = 3 if job.phonon.grueneisen and job.force_constants.order > 2 else 2
        constants = force_constants_of(run, 2 if job.crystal is not None else computed,
                                       lambda crystal: require_phonons(crystal, job.phonon))
        quantities, attributes = phonon_quantities(run, constants, job.phonon)
        quantities |= crystal_quantities(constants.dynamics.crystal) | sum_rule_quantities(constants)
        run.finish(quantities, attributes, facts_of(job, constants))


def facts_of(job: Any, constants: ForceConstants) -> dict[str, Any]:
    """What must be said of force constants and the phonons they give."""
    return {**constants.facts, "nonanalytic_correction": correction_text(constants.dynamics, job.phonon.nac)}


# ---- what goes into results.h5 -------------------------------------------------------------------


def phonon_quantities(run: ForceRun, constants: ForceConstants,
                      settings: PhononSection) -> tuple[Quantities, Attributes]:
    """Dispersion with velocities and Grueneisen parameters, and the acoustic modes at the centre of the zone."""
    run.stage("dispersion")
    dynamics = constants.dynamics
    harmonic = harmonic_crystal(dynamics, settings.nac)
    found = dispersion(harmonic, path_of(dynamics.crystal, settings.path), settings.points_per_line)
    table: dict[str, tuple[Any, str, str]] = {
        "dispersion/q": (found.q, "1", "fractional"),
        "dispersion/distance": (found.distances, "1/A", "along the path, without 2 pi"),
        "dispersion/line": (found.lines, "1", "line of the path"),
        "dispersion/frequency": (found.frequencies, "THz", "points, bands; imaginary ones negative"),
        "dispersion/branch": (found.branches, "1", "place of each branch in the order of frequencies"),
        "dispersion/velocity": (found.velocities, "A/ps", "points, bands, x y z"),
        "checks/acoustic_frequencies": (harmonic.phonons(np.zeros((1, 3))).frequencies[0, :3], "THz", "at q = 0"),
    }
    if dynamics.crystal.periodic.count(False) == 1:
        table["checks/flexural_exponent"] = (_flexural_exponent(harmonic), "1",
                                             "p of f ~ |q|^p of the ZA branch; not a number where it is unstable")
    if constants.found_second is not None:
        before = HarmonicCrystal(dynamics.crystal, constants.found_second).phonons(found.q).frequencies
        table["checks/lowest_frequency_before"] = (before.min(), "THz", "on the path, before projection")
    if settings.grueneisen and 3 in dynamics.force_constants:
        phonons = Phonons(found.q, found.frequencies, found.eigenvectors)
        tensors = gruneisen_tensors(harmonic, dynamics.third, phonons)
        table["dispersion/grueneisen"] = (of_volume(tensors, dynamics.crystal), "1",
                                          "of the modes, by volume (a sheet's: by area), from the third order")
    volumes = None
    if settings.grueneisen_volume_change_percent is not None and constants.relaxed is not None:
        volumes = harmonic_at_volumes(run, constants.relaxed, 0.01 * settings.grueneisen_volume_change_percent)
        phonons = Phonons(found.q, found.frequencies, found.eigenvectors)
        table["dispersion/grueneisen_by_volumes"] = (gruneisen_from_volumes(phonons, *volumes), "1",
                                                     "the same from force constants at two volumes")
    if settings.dos:
        table |= _mesh_quantities(run, harmonic, dynamics, settings, volumes)
    attributes: Attributes = {"dispersion": {"labels": json.dumps([[float(at), name] for at, name in found.ticks])}}
    return {name: Quantity(np.asarray(values), unit, text) for name, (values, unit, text) in table.items()}, attributes


def _flexural_exponent(harmonic: HarmonicCrystal) -> float:
    """Of the ZA branch of a sheet; not a number if it is unstable."""
    along = harmonic.crystal.periodic.index(True)
    length = 2.0 * np.pi * float(np.linalg.norm(harmonic.crystal.reciprocal[along]))
    try:
        return flexural_exponent(harmonic, np.eye(3)[along], (FLEXURAL_SPAN[0] / length, FLEXURAL_SPAN[1] / length))
    except InputError:
        return np.nan


def _mesh_quantities(run: ForceRun, harmonic: HarmonicCrystal, dynamics: LatticeDynamics, settings: PhononSection,
                     volumes: tuple[HarmonicCrystal, HarmonicCrystal] | None) -> dict[str, tuple[Any, str, str]]:
    """Densities of states and thermal properties on a mesh."""
    run.stage("densities of states")
    crystal, temperatures = dynamics.crystal, np.array(settings.temperatures_K)
    mesh = mesh_of(crystal, settings.mesh, None if settings.mesh is not None else settings.mesh_length_A)
    phonons = mesh_phonons(harmonic, mesh)
    shares = shares_of_atoms(phonons)
    elements = list(dict.fromkeys(crystal.symbols))
    of_element = np.repeat(np.array(crystal.symbols)[:, None] == np.array(elements), 3, axis=0).astype(float)
    dos = density_of_states(phonons.frequencies, mesh_tetrahedra(mesh), shares=shares @ of_element)
    thermal = thermal_properties(phonons.frequencies, temperatures)
    table: dict[str, tuple[Any, str, str]] = {
        "dos/frequency": (dos.frequencies, "THz", "middles of bins"),
        "dos/total": (dos.total, "1/THz", "per primitive cell"),
        "thermal/temperature": (temperatures, "K", ""),
        "thermal/heat_capacity": (JOULE_PER_MOL * thermal.heat_capacity, "J mol^-1 K^-1",
                                  "at constant volume, per mole of primitive cells"),
        "thermal/entropy": (JOULE_PER_MOL * thermal.entropy, "J mol^-1 K^-1", "per mole of primitive cells"),
        "thermal/free_energy": (1e-3 * JOULE_PER_MOL * thermal.free_energy, "kJ mol^-1",
                                "of the phonons, zero-point energy included"),
        "checks/mesh_lowest_frequency": (float(phonons.frequencies.min()), "THz", "on the mesh of the densities"),
    }
    for element, projected in zip(elements, dos.projected, strict=True):
        table[f"dos/element/{element}"] = (projected, "1/THz", "share of the element")
    points, weights = mesh.irreducible
    irreducible = phonons.at(points)
    capacities = heat_capacities(irreducible.frequencies, temperatures) * weights[:, None]
    if settings.grueneisen and 3 in dynamics.force_constants:
        parameters = of_volume(gruneisen_tensors(harmonic, dynamics.third, irreducible), crystal)
        table["thermal/grueneisen"] = (total_gruneisen(parameters, capacities), "1", "sum of C gamma by sum of C")
    if volumes is not None:
        table["thermal/grueneisen_by_volumes"] = (
            total_gruneisen(gruneisen_from_volumes(irreducible, *volumes), capacities), "1",
            "the same from force constants at two volumes")
    return table


def require_phonons(crystal: Crystal, settings: PhononSection) -> None:
    """Refuse a path or a mesh that is none of the crystal, before work.

    Raises
    ------
    InputError
        As of `path_of` and `mesh_of`.
    """
    path_of(crystal, settings.path)
    if settings.dos:
        mesh_of(crystal, settings.mesh, None if settings.mesh is not None else settings.mesh_length_A)


def path_of(crystal: Crystal, text: str) -> Path:
    """The standard path, or lines between its points.

    Raises
    ------
    InputError
        If a point is none of the standard path.
    """
    standard = standard_path(crystal)
    if text == "auto":
        return standard
    points = {name: end for ends, names in zip(standard.ends, standard.names, strict=True)
              for end, name in zip(ends, names, strict=True)}
    lines = [(a, b) for piece in text.split("|") for a, b in pairwise(piece.split("-"))]
    unknown = [name for line in lines for name in line if name not in points]
    if unknown or not lines:
        example = "-".join(standard.names[0])
        raise InputError(f"phonon.path: expected names of points out of {', '.join(points)}, as {example!r}, got "
                         f"{text[:60]!r}; correct it")
    return Path(np.array([[points[a], points[b]] for a, b in lines]), tuple(lines))


def crystal_quantities(crystal: Crystal) -> Quantities:
    """The primitive cell."""
    return {
        "crystal/cell": Quantity(crystal.cell, "A", "rows"),
        "crystal/positions": Quantity(crystal.positions, "1", "fractional"),
        "crystal/symbols": Quantity(np.array(crystal.symbols, dtype="S"), "1"),
        "crystal/masses": Quantity(crystal.masses, "amu"),
        "crystal/periodic": Quantity(np.array(crystal.periodic, dtype=np.int64), "1"),
    }


def sum_rule_quantities(constants: ForceConstants) -> Quantities:
    """Violations of the acoustic sum rules by order, and what is left of forces."""
    orders = sorted(constants.sums)
    found: Quantities = {
        "checks/sum_rule_orders": Quantity(np.array(orders), "1"),
        "checks/sum_rules": Quantity(np.array([constants.sums[n] for n in orders]), "1",
                                     "largest sum over an atom, by the largest element, of those used"),
        "checks/sum_rules_before": Quantity(np.array([constants.found_sums[n] for n in orders]), "1",
                                            "the same before projection"),
    }
    if "held_out_error_eV_per_A" in constants.facts:
        found["checks/held_out_error"] = Quantity(
            np.array(constants.facts["held_out_error_eV_per_A"] / constants.facts["held_out_force_eV_per_A"]), "1",
            "of forces in the cells held out of the fit, by their root mean square")
    if constants.relaxed is not None:
        found["checks/largest_force"] = Quantity(np.array(constants.relaxed.largest_force), "eV/A", "at rest")
        if np.isfinite(constants.relaxed.largest_stress):  # else the potential has none
            found["checks/largest_stress"] = Quantity(np.array(constants.relaxed.largest_stress), "GPa",
                                                      "deviation from the target, along periodic directions")
        found["checks/energy"] = Quantity(np.array(constants.relaxed.energy), "eV", "per primitive cell")
    return found


# ---- from results.h5 to summary.json -------------------------------------------------------------


def harmonic_checks(results: Results) -> Table:
    """Verdicts on force constants and frequencies."""
    found = {name: quantity.values for name, quantity in results.group("checks").items()}
    checks: Table = {}
    before = dict(zip(found["sum_rule_orders"], found["sum_rules_before"], strict=True))
    for order, violation in zip(found["sum_rule_orders"], found["sum_rules"], strict=True):
        checks[f"acoustic_sum_rule_{order}"] = {
            "passed": bool(violation <= SUM_RULE and before[order] <= SUM_RULE_BEFORE),
            "detail": f"largest sum {violation:.1e} of the largest force constant, limit {SUM_RULE:g}; "
                      f"{before[order]:.1e} before projection, limit {SUM_RULE_BEFORE:g}"}
    if "held_out_error" in found:
        error = float(found["held_out_error"])
        checks["fit"] = {"passed": error <= HELD_OUT_LIMIT,
                         "detail": f"forces in the cells held out of the fit are off by {100.0 * error:.2f} %, limit "
                                   f"{100.0 * HELD_OUT_LIMIT:g} %"}
    limit = float(results.job["phonon"]["imaginary_limit_THz"])
    lowest = min(float(values.min()) for values in (found.get("lowest_frequency"), found.get("mesh_lowest_frequency"),
                                                    _frequencies(results)) if values is not None)
    detail = f"lowest frequency {lowest:.4f} THz on path and mesh, limit -{limit:g}"
    if "lowest_frequency_before" in found:
        detail += f"; {float(found['lowest_frequency_before']):.4f} THz on the path before projection"
    checks["stability"] = {"passed": lowest >= -limit, "detail": detail}
    if "flexural_exponent" in found:
        exponent = float(found["flexural_exponent"])
        checks["flexural_branch"] = {
            "passed": FLEXURAL_LIMITS[0] <= exponent <= FLEXURAL_LIMITS[1],
            "detail": f"exponent {exponent:.3f} of the ZA branch, expected 2 (|q| from {FLEXURAL_SPAN[0]:g} to "
                      f"{FLEXURAL_SPAN[1]:g} 1/A, or as near as frequencies are above rounding)"}
    path = {name: quantity.values for name, quantity in results.group("dispersion").items()}
    if "grueneisen" in path and "grueneisen_by_volumes" in path:
        moving = np.abs(path["frequency"]) > SOFT_THZ
        by_volumes = path["grueneisen_by_volumes"][moving]
        apart = float(np.linalg.norm(path["grueneisen"][moving] - by_volumes) / np.linalg.norm(by_volumes))
        checks["grueneisen"] = {"passed": apart <= GRUENEISEN_AGREEMENT,
                                "detail": "parameters from the third order and from two volumes differ by "
                                          f"{100.0 * apart:.2f} % on the path, limit "
                                          f"{100.0 * GRUENEISEN_AGREEMENT:g} %"}
    if "acoustic_frequencies" in found:
        largest = float(np.abs(found["acoustic_frequencies"]).max())
        checks["acoustic_modes"] = {"passed": largest <= ACOUSTIC_LIMIT_THZ,
                                    "detail": f"at the centre of the zone within {largest:.1e} THz of zero"}
    return checks


def _frequencies(results: Results) -> np.ndarray | None:
    quantity = results.quantities.get("dispersion/frequency")
    return None if quantity is None else quantity.values


def analyze_phonon(results: Results) -> tuple[Table, Table]:
    """Extreme frequencies, heat capacity, Grueneisen parameters, and the checks."""
    table: Table = {}
    frequencies = _frequencies(results)
    if frequencies is not None:
        table["highest_frequency"] = entry(float(frequencies.max()), "THz")
        table["lowest_frequency"] = entry(float(frequencies.min()), "THz")
    thermal = results.group("thermal")
    for name, quantity in thermal.items():
        if name != "temperature":
            for temperature, value in zip(thermal["temperature"].values, quantity.values, strict=True):
                table[f"{name}_{temperature:g}K"] = entry(float(value), quantity.unit)
    return table, harmonic_checks(results)


def analyze_force_constants(results: Results) -> tuple[Table, Table]:
    """What the force constants are, after those of the phonons they give."""
    table, checks = analyze_phonon(results)
    for name in ("largest_force", "largest_stress", "energy"):
        quantity = results.quantities.get(f"checks/{name}")
        if quantity is not None:
            table[name] = entry(float(quantity.values), quantity.unit)
    return table, checks
