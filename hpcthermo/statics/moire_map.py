"""Moire map: a relaxed pair of layers with its local stacking, distance and interlayer energy.

The interlayer energy of atom i is counted from both sides of the gap: what the site energies at its place gain by the
other layer, and what those across gain, weighed with the numbers of atoms n of the layers,

    w_i = g(x_i, y_i) + (n' / n) g'(x_i, y_i)        g_i = 1/2 (G_i + 1/3 sum_j G_j),  G_i = U_i - U_i^apart

so that the sum of w over a layer is the whole interlayer energy. The mean with the three bonded neighbours j takes out
how a potential shares energy between the two sites of a honeycomb, which means nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.domain.snapshot import Snapshot
from hpcthermo.errors import InputError
from hpcthermo.preparation import load_job_potential
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.run import Stop, finish_run, relax_structure
from hpcthermo.simulation import Simulation, on_first_rank
from hpcthermo.statics.layer_sweep import energies_apart, site_energies
from hpcthermo.statics.relaxation import relaxation_tables
from hpcthermo.structure.registry_map import (
    RegistryMap,
    corrugation,
    find_honeycomb,
    map_registry,
    pattern_period,
    value_at,
)


def run_moire_map(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Relax and map, to a report (collective)."""
    section = job.moire_map

    def refuse_other_structures(snapshot: Snapshot) -> Snapshot:
        _map(snapshot, section.interface)
        return snapshot

    simulation = Simulation(job, comm, folder, resume, job.seed, mark=refuse_other_structures, stop=stop)
    quantities = relax_structure(simulation)
    engine = simulation.engine
    together = site_energies(engine)
    snapshot = engine.domain.gather(engine.system)
    apart = energies_apart(snapshot, section.interface[0], load_job_potential(job), engine)

    def mapped() -> dict[str, Quantity]:
        assert snapshot is not None
        assert together is not None
        assert apart is not None
        return _quantities(snapshot, together - apart, section.interface)

    # only rank 0 has a map and writes it
    found = on_first_rank(comm, mapped)
    finish_run(simulation, quantities | (found or {}))


def _map(snapshot: Snapshot, interface: tuple[int, int]) -> RegistryMap:
    return map_registry(snapshot.cell, _unwrapped(snapshot), np.array(snapshot.species)[snapshot.types],
                        snapshot.layers, interface)


def _unwrapped(snapshot: Snapshot) -> np.ndarray:
    return np.asarray(snapshot.positions + snapshot.images @ snapshot.cell)


def _quantities(snapshot: Snapshot, gained: np.ndarray, interface: tuple[int, int]) -> dict[str, Quantity]:
    found = _map(snapshot, interface)
    positions, symbols = _unwrapped(snapshot), np.array(snapshot.species)[snapshot.types]
    for side in (False, True):
        layer = find_honeycomb(snapshot.cell, positions, symbols, found.atoms[found.upper == side])
        gained[layer.atoms] = 0.5 * (gained[layer.atoms] + gained[layer.atoms][layer.neighbors].mean(axis=1))
    energy = interlayer_energies(snapshot.cell, positions[found.atoms], gained[found.atoms], found.upper)
    quantities = {
        "positions": Quantity(positions[found.atoms], "A"), "upper": Quantity(found.upper, "1"),
        "registry": Quantity(found.registry, "1", "fractions of the reference lattice"),
        "stacking": Quantity(found.stacking, "1", "index into names"),
        "names": Quantity(np.array(found.names, dtype="S8"), "1"),
        "departure": Quantity(found.departure, "A", "of the registry from that of the stacking"),
        "distance": Quantity(found.distance, "A", "to the other layer, along its normal"),
        "interlayer_energy": Quantity(energy, "eV", "counted from both sides of the gap"),
        "cell": Quantity(snapshot.cell, "A"),
    }
    return {f"moire_map/{name}": quantity for name, quantity in quantities.items()}


def interlayer_energies(cell: np.ndarray, positions: np.ndarray, gained: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Interlayer energy w of each atom, eV.

    Parameters
    ----------
    positions : (n, 3) float64
        Of the two layers, A.
    gained : (n,) float64
        Site energy less that of the layer alone, mean over the two sites, eV.
    upper : (n,) bool
    """
    total = gained.copy()
    for side in (False, True):
        own, other = upper == side, upper != side
        share = other.sum() / own.sum()
        total[own] += share * value_at(cell, positions[other, :2], gained[other], positions[own, :2])
    return total


def analyze_moire_map(results: Results) -> tuple[Table, Table]:
    """Energies and distances of the stackings, shares, corrugation and period; the relaxation's own tables.

    Raises
    ------
    InputError
        If the results hold no map.
    """
    table, checks = relaxation_tables(results)
    found = {name: quantity.values for name, quantity in results.group("moire_map").items()}
    if not {"positions", "stacking", "distance", "interlayer_energy"} <= set(found):
        raise InputError("results file: no moire map in it; run the job to its end")
    radius = float(results.job["moire_map"]["core_radius_A"])
    upper = found["upper"].astype(bool)
    names = [name.decode() for name in found["names"]]
    for k, name in enumerate(names):
        mine = found["stacking"] == k
        core = mine & (found["departure"] < radius)
        table[f"share_{name}"] = entry(100.0 * float(mine.mean()), "%")
        if core.any():
            for quantity, unit, factor in (("distance", "A", 1.0), ("interlayer_energy", "meV", 1e3)):
                values = factor * found[quantity][core & (upper if quantity == "interlayer_energy" else True)]
                if len(values):
                    table[f"{quantity}_{name}"] = entry(float(values.mean()), unit, float(values.std()))
    table["smallest_distance"] = entry(float(found["distance"].min()), "A")
    table["largest_distance"] = entry(float(found["distance"].max()), "A")
    energies = 1e3 * found["interlayer_energy"][upper]
    table["interlayer_energy_mean"] = entry(float(energies.mean()), "meV")
    table["interlayer_energy_lowest"] = entry(float(energies.min()), "meV")
    table["interlayer_energy_highest"] = entry(float(energies.max()), "meV")
    for name, side in (("lower", ~upper), ("upper", upper)):
        layer = found["positions"][side]
        peaks, deviation = corrugation(layer[:, 2])
        table[f"corrugation_{name}_peak_to_peak"] = entry(peaks, "A")
        table[f"corrugation_{name}_rms"] = entry(deviation, "A")
        if peaks > 1e-3:
            period = pattern_period(found["cell"], layer)
            table[f"moire_period_{name}"] = entry(0.1 * period.value, "nm")
    return table, checks
