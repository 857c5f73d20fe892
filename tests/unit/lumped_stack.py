"""A stack of layers as lumped heat capacities with thermal noise: NEMD records with a known answer.

C dE_k = sum over links of g (T_l - T_k) dt + sqrt(2 kB T^2 g) dW, and the same towards each bath, so energy is
conserved exactly and fluctuates as it should.
"""

from __future__ import annotations

import numpy as np

from hpcthermo.transport.groups import FIXED, FREE, SINK, SOURCE
from hpcthermo.transport.record import NemdRecord
from hpcthermo.units import BOLTZMANN_EV_PER_K

ATOMS = 200
AREA = 500.0
SPACING = 3.4
BULK = 0.35  # eV/(ps K) between layers of one material
INTERFACE = 0.05
BATH = 1.0


def lumped_record(seed: int, rows: int = 400, row_ps: float = 0.5, drift: float = 0.0, leak: float = 0.0) -> NemdRecord:
    """Layers: fixed, sink, 3 free | 3 free, source; the interface lies between blocks 4 and 5."""
    rng = np.random.default_rng(seed)
    roles = np.array([FIXED, SINK, FREE, FREE, FREE, FREE, FREE, FREE, SOURCE])
    n = len(roles)
    link = np.full(n - 1, BULK)
    link[0], link[4] = 0.0, INTERFACE
    capacity = 3.0 * ATOMS * BOLTZMANN_EV_PER_K
    hot, cold, mean = 360.0, 240.0, 300.0
    temperature = steady_profile(link, hot, cold)
    substeps = round(row_ps / 0.05)
    step = row_ps / substeps
    into_below, flow_of = _couplings(link)
    noise = np.sqrt(2.0 * BOLTZMANN_EV_PER_K * mean**2 * step * np.append(link, [BATH, BATH]))
    source = sink = 0.0
    kinetic, energy, ledgers, currents = [], [], [], []
    for row in range(rows):
        mean_temperature, moved = np.zeros(n), np.zeros(n + 1)
        target = np.zeros(n + 1)
        target[-2:] = BATH * (hot + drift * row / rows), BATH * cold
        for random in noise * rng.standard_normal((substeps, n + 1)):
            transfer = (flow_of @ temperature + target) * step + random
            temperature = temperature + into_below @ transfer / capacity
            moved += transfer
            mean_temperature += temperature / substeps
        source, sink = source + moved[-2], sink + moved[-1] + leak * row_ps
        flow = moved[:-2] / row_ps
        measured = mean_temperature + mean * np.sqrt(2.0 / (3.0 * ATOMS * 20.0)) * rng.standard_normal(n)
        kinetic.append(0.5 * capacity * measured * (roles != FIXED))
        energy.append(capacity * temperature)
        ledgers.append((source, sink))
        padded = np.concatenate([[0.0], flow, [0.0]])
        currents.append(-0.5 * SPACING * (padded[:-1] + padded[1:]))
    z = np.arange(n) * SPACING
    return NemdRecord(
        time=np.arange(1, rows + 1) * row_ps, warmup=0.0, area=AREA, source_temperature=hot, sink_temperature=cold,
        interface=(4, 5), source_energy=np.array(ledgers)[:, 0], sink_energy=np.array(ledgers)[:, 1],
        group_kinetic_energy=np.array(kinetic), group_coordinate_sum=np.tile(z * ATOMS, (rows, 1)),
        group_energy=np.array(energy), group_heat_current=np.array(currents), group_block=np.arange(n),
        group_role=roles, group_atoms=np.full(n, ATOMS), group_composition=("BN",) * 5 + ("C",) * 4,
    )


def _couplings(link: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices: transfers (down each link, from source, from sink) to energies, and temperatures to transfers."""
    n = len(link) + 1
    into = np.zeros((n, n + 1))
    into[:-1, : n - 1] += np.eye(n - 1)
    into[1:, : n - 1] -= np.eye(n - 1)
    into[-1, -2] = into[1, -1] = 1.0
    strength = np.append(link, [BATH, BATH])
    return into, -strength[:, None] * into.T


def steady_profile(link: np.ndarray, hot: float, cold: float) -> np.ndarray:
    """Temperatures without noise."""
    resistance = np.concatenate([[1.0 / BATH], 1.0 / link[1:], [1.0 / BATH]])
    flow = (hot - cold) / resistance.sum()
    inner = cold + flow * np.cumsum(resistance)[:-1]
    return np.concatenate([[cold], inner])
