"""Sliding energy surface: energy of shifting layers over each other, its symmetry and barriers.

On a periodic grid the surface is the Fourier series through its points, E(s) = sum_k c_k exp(i k.s); extrema and the
barrier are read off a finer grid. The barrier is the lowest energy at which shifts connect a minimum with its periodic
image: what sliding over any distance costs at least.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.errors import InputError
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.run import Stop, finish_run
from hpcthermo.simulation import Simulation, on_first_rank
from hpcthermo.statics.layer_sweep import sweep_phase
from hpcthermo.statics.reference import read_grid

#: points of the fine grid along the longer edge
_FINE_POINTS = 160
#: largest difference of energies at both ends of an edge, meV/atom
_PERIODICITY_LIMIT = 0.01
_BISECTIONS = 40
#: wave numbers up to this times that of the strongest wave belong to the first shell
_SHELL_WIDTH = 1.2


def run_sliding_surface(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Energies at all shifts, to a report (collective)."""
    section = job.sliding_surface
    reference = on_first_rank(comm, lambda: read_grid(section.reference_file, section.points))
    simulation = Simulation(job, comm, folder, resume, job.seed, stop=stop)
    plane = simulation.engine.system.cell[:2, :2].copy()
    shifts = section.fractions @ plane
    phase, sweeps = sweep_phase("sliding surface", section.gap, shifts, None, section.relax,
                                section.force_tolerance_eV_per_A)
    simulation.run([phase])
    sweep, atoms = sweeps[0], simulation.engine.n_atoms
    energies = (sweep.energies - sweep.energies.min()).reshape(section.points) * 1e3 / atoms
    quantities = {
        "sliding_surface/energy": Quantity(energies, "meV", "per atom, above the lowest; first edge, second edge"),
        "sliding_surface/lowest_energy": Quantity(np.array(sweep.energies.min() / atoms), "eV", "per atom"),
        "sliding_surface/distance": Quantity(sweep.distances.reshape(section.points), "A"),
        "sliding_surface/shift": Quantity(shifts.reshape(*section.points, 2), "A"),
        "sliding_surface/edges": Quantity(np.array(section.edges) @ plane, "A"),
        "sliding_surface/force_calls": Quantity(np.array(sweep.calls), "1"),
    }
    if reference is not None:
        quantities["sliding_surface/reference"] = Quantity(reference - reference.min(), "meV", "per atom")
    finish_run(simulation, quantities)


def analyze_sliding_surface(results: Results) -> tuple[Table, Table]:
    """Corrugation, barrier, symmetry, and how far a reference is.

    Raises
    ------
    InputError
        If the results hold no sliding surface.
    """
    found = {name: quantity.values for name, quantity in results.group("sliding_surface").items()}
    if not {"energy", "lowest_energy", "distance", "edges"} <= set(found):
        raise InputError("results file: no sliding surface in it; run the job to its end")
    energy, edges = found["energy"], found["edges"]
    surface = Surface(energy[:-1, :-1], edges)
    fine = surface.fine()
    mismatch = float(max(np.abs(energy[0] - energy[-1]).max(), np.abs(energy[:, 0] - energy[:, -1]).max()))
    table: Table = {
        "lowest_energy": entry(float(found["lowest_energy"]), "eV/atom"),
        "corrugation": entry(float(np.ptp(fine)), "meV/atom"),
        "sliding_barrier": entry(sliding_barrier(fine), "meV/atom"),
        "largest_energy_of_the_points": entry(float(energy.max()), "meV/atom"),
        "distance_at_the_minimum": entry(float(found["distance"].ravel()[energy.argmin()]), "A"),
        "distance_at_the_maximum": entry(float(found["distance"].ravel()[energy.argmax()]), "A"),
        "threefold_asymmetry": entry(surface.asymmetry(), "meV/atom"),
    }
    checks: Table = {"periodic": {
        "passed": mismatch < _PERIODICITY_LIMIT,
        "detail": f"energies at both ends of the edges differ by up to {mismatch:.2g} meV/atom (limit "
                  f"{_PERIODICITY_LIMIT})"}}
    if "reference" in found:
        difference = energy - found["reference"]
        other = Surface(found["reference"][:-1, :-1], edges).fine()
        table |= {
            "rms_deviation_from_reference": entry(float(np.sqrt((difference**2).mean())), "meV/atom"),
            "largest_deviation_from_reference": entry(float(np.abs(difference).max()), "meV/atom"),
            "corrugation_of_reference": entry(float(np.ptp(other)), "meV/atom"),
            "sliding_barrier_of_reference": entry(sliding_barrier(other), "meV/atom"),
        }
    return table, checks


class Surface:
    """Fourier series through energies on a periodic grid.

    Parameters
    ----------
    energies : (n, m) float64
        Without the repeated ends.
    edges : (2, 2) float64
        Of the periodic cell, in rows, A.
    """

    def __init__(self, energies: np.ndarray, edges: np.ndarray) -> None:
        self._coefficients = np.fft.fft2(energies) / energies.size
        self._orders = [np.fft.fftfreq(n, 1.0 / n) for n in energies.shape]
        self._shape, self._edges = energies.shape, edges

    def at(self, fractions: np.ndarray) -> np.ndarray:
        """Energy (P,) at shifts (P, 2) in fractions of the edges."""
        waves = [np.exp(2j * np.pi * np.outer(fractions[:, k], self._orders[k])) for k in (0, 1)]
        return np.einsum("pk,kl,pl->p", waves[0], self._coefficients, waves[1], optimize=True).real

    def fine(self) -> np.ndarray:
        """Energies on a finer grid of the same cell."""
        lengths = np.linalg.norm(self._edges, axis=1)
        counts = np.rint(_FINE_POINTS * lengths / lengths.max()).astype(int)
        grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in counts), indexing="ij"), axis=-1)
        return self.at(grid.reshape(-1, 2)).reshape(tuple(counts))

    def first_shell(self) -> Surface:
        """The surface of its longest waves alone: those not shorter than the strongest."""
        waves = np.stack(np.meshgrid(*self._orders, indexing="ij"), axis=-1) @ np.linalg.inv(self._edges).T
        lengths, strengths = np.linalg.norm(waves, axis=-1), np.abs(self._coefficients)
        strengths[0, 0] = 0.0
        strongest = lengths.ravel()[strengths.argmax()]
        kept = np.where((lengths > 0.0) & (lengths < _SHELL_WIDTH * strongest), self._coefficients, 0.0)
        return Surface(np.fft.ifft2(kept * kept.size).real, self._edges)

    def asymmetry(self) -> float:
        """Root mean square of E(s) - E(R s), R a turn by 120 degrees about the highest point of the first shell."""
        from scipy.optimize import minimize

        smooth = self.first_shell()
        fine = smooth.fine()
        highest = np.array(np.unravel_index(int(fine.argmax()), fine.shape)) / fine.shape
        centre = minimize(lambda place: -float(smooth.at(place[None])[0]), highest).x @ self._edges
        grid = np.stack(np.meshgrid(*(np.arange(n) / n for n in self._shape), indexing="ij"), axis=-1).reshape(-1, 2)
        cosine, sine = -0.5, 0.75**0.5
        turned = (grid @ self._edges - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
        difference = self.at(grid) - self.at(turned @ np.linalg.inv(self._edges))
        return float(np.sqrt((difference**2).mean()))


def sliding_barrier(energies: np.ndarray) -> float:
    """Lowest energy, above the minimum, at which a way leads from the minimum to one of its periodic images."""
    from scipy.ndimage import label

    tiled = np.tile(energies, (3, 3))
    n, m = energies.shape
    place = np.array(np.unravel_index(int(energies.argmin()), energies.shape))
    images = [tuple(place + np.array([i * n, j * m])) for i in range(3) for j in range(3)]
    centre = images[4]
    low, high = float(energies.min()), float(energies.max())
    for _ in range(_BISECTIONS):
        level = 0.5 * (low + high)
        regions, _ = label(tiled <= level)
        connected = any(regions[image] == regions[centre] for image in images if image != centre)
        low, high = (low, level) if connected and regions[centre] else (level, high)
    return high - float(energies.min())
