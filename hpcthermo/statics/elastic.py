r"""``kind = "elastic"``: elastic constants from finite strains of a relaxed crystal.

Voigt components 1 ... 6 = xx, yy, zz, yz, xz, xy with eps_4 = 2 e_yz and so on. The relaxed cell is deformed by exp(e),
the ions relax (or follow, clamped), and with the Cauchy stress sigma = -W / V at each magnitude d

    C_ij(d) = (sigma_i(+d) - sigma_i(-d)) / (2 d) = C_ij + K_ij d^2 + O(d^4)

C_ij is the intercept of a straight line in d^2 through all magnitudes. Its error is the larger of the standard error
of that fit (two magnitudes: the distance to the value at the smallest) and |C_ij - C_ji| / 2, which is zero at zero
stress without rounding. The energy gives the diagonal once more, without stresses:

    C_jj(d) = (E(+d) + E(-d) - 2 E(0)) / (V d^2)

C_ij is averaged with C_ji, and over the rotations of the crystal if spglib finds them.

    bulk, shear:  K_V = (C_11 + C_22 + C_33 + 2 (C_12 + C_13 + C_23)) / 9          S = C^-1
                  G_V = (C_11 + C_22 + C_33 - C_12 - C_13 - C_23 + 3 (C_44 + C_55 + C_66)) / 15
                  K_R = 1 / (S_11 + S_22 + S_33 + 2 (S_12 + S_13 + S_23))
                  G_R = 15 / (4 (S_11 + S_22 + S_33 - S_12 - S_13 - S_23) + 3 (S_44 + S_55 + S_66))
                  Hill: the means (Hill, Proc. Phys. Soc. A 65, 349 (1952))

The crystal is stable if C has positive eigenvalues only (Born). With two periodic directions the area A takes the place
of V: constants are in N/m and mean the whole sheet; divided by a thickness they are in GPa.

The structure goes from one strain to the next, exp(-e_old) exp(e_new), so a checkpoint needs no copy of the relaxed
one, and ends unstrained.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.dynamics.cell import deform, exponential, periodic_components
from hpcthermo.dynamics.minimize import Minimizer
from hpcthermo.dynamics.relax import make_minimizer
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.results import Quantity, Results, Table, entry
from hpcthermo.run import Stop, finish_run, series_quantities, stage_phase
from hpcthermo.simulation import Phase, Simulation, on_first_rank
from hpcthermo.statics.relaxation import Outcome, convergence_series, relaxation_tables, write_relaxed
from hpcthermo.tensors import COMPONENTS, VOIGT
from hpcthermo.units import PRESSURE_GPA

if TYPE_CHECKING:
    from hpcthermo.domain.snapshot import Snapshot

#: 1 eV/A^2 in N/m
_NEWTON_PER_M = PRESSURE_GPA * 0.1
_NEVER = 2**62
#: component -1 for the unstrained crystal, strain, energy, largest force, virial (Voigt)
_COLUMNS = 10
#: positions of atoms that a rotation maps onto each other agree to this, A
_SYMMETRY_TOLERANCE = 1e-3
#: constants from stress and from energy differ by no more than this part of the largest, or by their errors
_AGREEMENT = 0.01


class StrainRecord:
    """What each strain has given; travels in checkpoints as an observer (`hpcthermo.dynamics.loop.Observer`)."""

    name, every, needs_virials = "strains", _NEVER, False

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def note(self, component: int, strain: float, engine: Engine, minimizer: Minimizer | None) -> None:
        """Add the present state (collective)."""
        virial = engine.virial_total()
        stress = [0.5 * (virial[a, b] + virial[b, a]) for a, b in COMPONENTS.values()]
        force = 0.0 if minimizer is None else minimizer.largest_force
        self.rows.append(np.array([component, strain, engine.potential_energy(), force, *stress]))

    def sample(self, step: int, engine: Engine, integrator: Any) -> None:
        """Never called."""

    def state(self) -> dict[str, np.ndarray]:
        """The rows so far, alike on all ranks."""
        return {"rows": np.array(self.rows).reshape(-1, _COLUMNS)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue from `state`."""
        self.rows = list(np.array(state["rows"], dtype=np.float64).reshape(-1, _COLUMNS))


def run_elastic(job: Any, comm: Communicator, folder: Path, resume: bool, stop: Stop) -> None:
    """Relax, strain, relax each strain, and fit (collective).

    Raises
    ------
    InputError
        If fewer than two directions are periodic.
    """
    simulation = Simulation(job, comm, folder, resume, job.seed, stop=stop)
    series, record = convergence_series(simulation), StrainRecord()
    system = simulation.engine.system
    if int(system.periodic.sum()) < 2:
        simulation.close()
        raise InputError("elastic: expected a structure with two or three periodic directions, got "
                         f"{int(system.periodic.sum())}; set pbc in the structure file")
    first = stage_phase(job.stage[0], job.seed)
    components = [VOIGT.index(name) for name in periodic_components(system.cell, system.periodic)]
    steps = [(k, sign * d) for k in components for d in job.elastic.strains for sign in (1.0, -1.0)]
    phases, last = [first], (0, 0.0)
    for there in [*steps, (0, 0.0)]:
        phases.append(_strained(job.elastic, last, there, record))
        last = there
    outcome = Outcome(phases[-1])
    simulation.run(phases, [series, record])
    engine = simulation.engine
    quantities = outcome.quantities(engine, job.elastic, simulation.step)
    write_relaxed(simulation, folder)
    snapshot = engine.domain.gather(engine.system)
    rotations = on_first_rank(comm, lambda: rotations_of(snapshot))
    rows = np.array(record.rows)
    quantities |= {
        "elastic/component": Quantity(rows[:, 0], "1", "place in xx, yy, zz, yz, xz, xy; -1 without strain"),
        "elastic/strain": Quantity(rows[:, 1], "1", "Voigt: shear components are doubled"),
        "elastic/energy": Quantity(rows[:, 2], "eV"),
        "elastic/largest_force": Quantity(rows[:, 3], "eV/A"),
        "elastic/virial": Quantity(rows[:, 4:], "eV", "xx, yy, zz, yz, xz, xy"),
    }
    if rotations is not None:
        quantities["elastic/rotations"] = Quantity(rotations, "1", "rotations of the crystal")
    finish_run(simulation, quantities | series_quantities(series))


def strain_tensor(component: int, strain: float) -> np.ndarray:
    """(3, 3) symmetric e of one Voigt component; shear components are doubled."""
    a, b = COMPONENTS[VOIGT[component]]
    tensor = np.zeros((3, 3))
    tensor[a, b] = tensor[b, a] = strain if a == b else 0.5 * strain
    return tensor


def _strained(section: Any, here: tuple[int, float], there: tuple[int, float], record: StrainRecord) -> Phase:
    """From one strain of the relaxed crystal to another; the cell is held while ions relax."""
    returns = there[1] == 0.0
    options = section.minimizer_options
    if not returns:
        options |= {"free_cell_components": (), "isotropic": False}
    moves = returns or not section.clamped_ions

    def prepare(engine: Engine, _: int) -> None:
        deform(engine, exponential(-strain_tensor(*here)) @ exponential(strain_tensor(*there)))
        engine.compute()

    def finish(engine: Engine, minimizer: Minimizer) -> None:
        minimizer.finish(engine)
        record.note(-1 if returns else there[0], there[1], engine, minimizer if moves else None)

    name = "unstrained" if returns else f"strain {VOIGT[there[0]]} {there[1]:+g}"
    return Phase(name, section.steps if moves else 0, 0.0, lambda engine, _: make_minimizer(engine, **options),
                 prepare=prepare, finish=finish)


def rotations_of(snapshot: Snapshot | None) -> np.ndarray | None:
    """(n, 3, 3) Cartesian rotations of a crystal, by spglib; None without it, or without three periodic directions."""
    assert snapshot is not None
    try:
        import spglib
    except ImportError:
        return None
    if not snapshot.periodic.all():
        return None
    fractional = snapshot.positions @ np.linalg.inv(snapshot.cell)
    crystal = snapshot.cell.tolist(), fractional.tolist(), snapshot.types.tolist()
    found = spglib.get_symmetry(crystal, symprec=_SYMMETRY_TOLERANCE)
    if found is None:
        return None
    columns = snapshot.cell.T
    turns = [columns @ rotation @ np.linalg.inv(columns) for rotation in np.unique(found["rotations"], axis=0)]
    # the nearest orthogonal matrices: a relaxed cell has its symmetry only to the tolerances
    left, _, right = np.linalg.svd(np.array(turns))
    return left @ right


# ---- analysis --------------------------------------------------------------------------------------


def intercepts(magnitudes: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values at zero of straight lines in magnitude^2, and their errors (nan for one magnitude).

    Parameters
    ----------
    magnitudes : (n,) float64
    values : (n, ...) float64
    """
    n, flat = len(magnitudes), values.reshape(len(magnitudes), -1)
    if n == 1:
        return values[0], np.full(values.shape[1:], np.nan)
    design = np.stack([np.ones(n), magnitudes**2], axis=1)
    inverse = np.linalg.pinv(design)
    line = inverse @ flat
    if n == 2:
        error = np.abs(line[0] - flat[np.argmin(magnitudes)])
    else:
        scatter = ((flat - design @ line) ** 2).sum(axis=0) / (n - 2)
        error = np.sqrt(scatter) * np.linalg.norm(inverse[0])
    return line[0].reshape(values.shape[1:]), error.reshape(values.shape[1:])


def fit_constants(rows: dict[str, np.ndarray], size: float) -> dict[str, np.ndarray]:
    """Elastic constants from the rows of `StrainRecord`.

    Parameters
    ----------
    rows : dict
        component, strain, energy, virial as in results.h5 under ``elastic/``.
    size : float
        Volume (A^3) or area (A^2) of the unstrained crystal.

    Returns
    -------
    dict
        "components" (k,) int; "constants", "errors" (k, k), eV over the unit of `size`, not yet made symmetric;
        "from_energy", "energy_errors" (k,).
    """
    component, strain = rows["component"].astype(int), rows["strain"]
    present = [k for k in range(6) if (component == k).any()]
    magnitudes = np.unique(np.abs(strain[component >= 0]))
    energy0 = float(rows["energy"][component < 0][0])
    constants = np.zeros((len(magnitudes), len(present), len(present)))
    second = np.zeros((len(magnitudes), len(present)))
    for m, d in enumerate(magnitudes):
        for column, k in enumerate(present):
            plus, minus = (int(np.flatnonzero((component == k) & (strain == sign * d))[0]) for sign in (1.0, -1.0))
            # stress is -W over the size; that of a strained cell differs by exp(tr e)
            grown = np.exp(d if k < 3 else 0.0)
            change = rows["virial"][plus] / grown - rows["virial"][minus] * grown
            constants[m, :, column] = -change[present] / (2.0 * d * size)
            second[m, column] = (rows["energy"][plus] + rows["energy"][minus] - 2.0 * energy0) / (size * d**2)
    values, errors = intercepts(magnitudes, constants)
    from_energy, energy_errors = intercepts(magnitudes, second)
    return {"components": np.array(present), "constants": values, "errors": errors, "from_energy": from_energy,
            "energy_errors": energy_errors}


def diagonal_stresses(results: Results) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], list[float], str]:
    """Strains, stresses of the strained component and fitted C_jj by component name, and the unit, for a figure."""
    rows = {name: quantity.values for name, quantity in results.group("elastic").items()}
    size, unit, factor = _size_and_unit(results)
    fit = fit_constants(rows, size)
    strains, stresses, slopes = {}, {}, []
    for k, name in enumerate(VOIGT):
        chosen = rows["component"] == k
        strains[name] = rows["strain"][chosen]
        grown = np.exp(strains[name] if k < 3 else 0.0 * strains[name])
        stresses[name] = -rows["virial"][chosen, k] / (size * grown) * factor
        place = np.flatnonzero(fit["components"] == k)
        slopes.append(float(fit["constants"][place[0], place[0]]) * factor if len(place) else 0.0)
    return strains, stresses, slopes, unit


def _size_and_unit(results: Results) -> tuple[float, str, float]:
    """Volume (A^3) or area (A^2) of the unstrained crystal, unit of its constants, and the factor to it."""
    cell, periodic = results.quantities["minimize/cell"].values, results.quantities["minimize/periodic"].values
    if int(periodic.sum()) == 2:
        return float(np.linalg.norm(np.cross(*cell[periodic.astype(bool)]))), "N/m", _NEWTON_PER_M
    return abs(float(np.linalg.det(cell))), "GPa", PRESSURE_GPA


def symmetrized(constants: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """(6, 6) Voigt constants averaged over rotations (n, 3, 3) of the crystal."""
    place = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
    tensor = constants[place[:, :, None, None], place[None, None]]
    mean = np.mean([np.einsum("ai,bj,ck,dl,ijkl->abcd", r, r, r, r, tensor, optimize=True) for r in rotations], axis=0)
    a, b = np.array(list(COMPONENTS.values())).T
    return mean[a[:, None], b[:, None], a[None], b[None]]


def moduli(constants: np.ndarray) -> dict[str, float]:
    """Bulk and shear moduli of Voigt, Reuss and Hill, and Young's modulus and Poisson's ratio from Hill's."""
    c, s = constants, np.linalg.inv(constants)

    def parts(m: np.ndarray) -> tuple[float, float, float]:
        return float(np.trace(m[:3, :3])), float(m[0, 1] + m[0, 2] + m[1, 2]), float(np.trace(m[3:, 3:]))

    normal, mixed, shear = parts(c)
    bulk_voigt, shear_voigt = (normal + 2 * mixed) / 9, (normal - mixed + 3 * shear) / 15
    normal, mixed, shear = parts(s)
    bulk_reuss, shear_reuss = 1 / (normal + 2 * mixed), 15 / (4 * (normal - mixed) + 3 * shear)
    bulk, rigidity = 0.5 * (bulk_voigt + bulk_reuss), 0.5 * (shear_voigt + shear_reuss)
    return {"bulk_modulus_voigt": bulk_voigt, "bulk_modulus_reuss": bulk_reuss, "bulk_modulus_hill": bulk,
            "shear_modulus_voigt": shear_voigt, "shear_modulus_reuss": shear_reuss, "shear_modulus_hill": rigidity,
            "young_modulus_hill": 9 * bulk * rigidity / (3 * bulk + rigidity),
            "poisson_ratio_hill": (3 * bulk - 2 * rigidity) / (2 * (3 * bulk + rigidity))}


def propagated(constants: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """Errors of `moduli` from those of the constants, taken as independent."""
    base, squares = moduli(constants), dict.fromkeys(moduli(constants), 0.0)
    for i in range(6):
        for j in range(i, 6):
            moved = constants.copy()
            moved[i, j] = moved[j, i] = constants[i, j] + errors[i, j]
            for name, value in moduli(moved).items():
                squares[name] += (value - base[name]) ** 2
    return {name: float(np.sqrt(square)) for name, square in squares.items()}


def analyze_elastic(results: Results) -> tuple[Table, Table]:
    """Elastic constants, moduli and stability, before the tables of the relaxation."""
    relaxed, checks = relaxation_tables(results)
    rows = {name: quantity.values for name, quantity in results.group("elastic").items()}
    size, unit, factor = _size_and_unit(results)
    sheet = unit == "N/m"
    fit = fit_constants(rows, size)
    raw, components = fit["constants"] * factor, fit["components"]
    errors = np.maximum(fit["errors"] * factor, 0.5 * np.abs(raw - raw.T))
    errors = np.maximum(errors, errors.T)
    constants = 0.5 * (raw + raw.T)
    if "rotations" in rows and not sheet:
        constants = symmetrized(constants, rows["rotations"])
    table: Table = {}

    if not sheet:
        wrong = propagated(constants, errors)
        for name, value in moduli(constants).items():
            table[name] = entry(value, "1" if "ratio" in name else "GPa", wrong[name])
    thickness = results.job.get("elastic", {}).get("thickness_A")
    for row, i in enumerate(components):
        for column in range(row, len(components)):
            j = components[column]
            name = f"C_2d_{VOIGT[i]}_{VOIGT[j]}" if sheet else f"C_{i + 1}{j + 1}"
            value, error = float(constants[row, column]), float(errors[row, column])
            table[name] = entry(value, unit, error)
            if sheet and thickness:  # 1 N/m over 1 A is 10 GPa
                table[f"C_{i + 1}{j + 1}"] = entry(10.0 * value / thickness, "GPa", 10.0 * error / thickness)
    _check(checks, constants, raw, fit, factor, unit)
    return table | relaxed, checks


def _check(checks: Table, constants: np.ndarray, raw: np.ndarray, fit: dict[str, np.ndarray], factor: float,
           unit: str) -> None:
    """Born stability, and whether stress and energy agree on the diagonal."""
    lowest = float(np.linalg.eigvalsh(constants)[0])
    checks["born_stability"] = {"passed": lowest > 0.0, "detail": f"smallest eigenvalue of C {lowest:.4g} {unit}"}
    difference = np.abs(fit["from_energy"] * factor - np.diag(raw))
    errors = np.nan_to_num(np.hypot(np.diag(fit["errors"]), fit["energy_errors"]) * factor)
    limit = np.fmax(_AGREEMENT * float(np.abs(constants).max()), 3.0 * errors)
    checks["stress_and_energy_agree"] = {
        "passed": bool((difference <= limit).all()),
        "detail": f"diagonal constants from stress and from energy differ by up to {difference.max():.2g} {unit}",
    }
