r"""What every minimiser shares: the variables it moves, the cell among them, and when it has converged.

At a target pressure p the enthalpy is minimised over positions r_i and a strain e of the cell C (rows),

    H = U + p V        r_i <- (r_i + d_i) exp(e)        C <- C exp(e)

    -dH/dr_i = f_i     -dH/de_ab = W_ab - p V delta_ab     W = sum r (x) f, the virial

Every move starts from the present cell, so e = 0 there and the derivative is exact: the unit-cell filter of Tadmor,
Smith, Bernstein, Kaxiras, Phys. Rev. B 59, 235 (1999), with the deformation gradient kept as a product of
exponentials. Minimisers see one vector q = (r, kappa e_1 ... kappa e_k) of free components k with the forces
(f, (W_k - p V delta_k) / kappa). The length

    kappa = sqrt(N) (V / N)^(1/3)

gives strains and atoms force constants of one magnitude for any number of atoms N: V B / kappa^2 = B (V / N)^(1/3) is
about 1 eV/A^2 per 100 GPa of bulk modulus B. Frozen atoms stay where they are in the cell, and follow its strain.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpcthermo.dynamics.cell import deform, exponential, open_length, periodic_components, volume
from hpcthermo.engine import Engine
from hpcthermo.errors import InputError
from hpcthermo.tensors import COMPONENTS
from hpcthermo.units import PRESSURE_GPA

State = dict[str, np.ndarray]
AXES = ("x", "y", "z")


def components_to_relax(wanted: tuple[str, ...] | str, cell: np.ndarray, periodic: np.ndarray) -> tuple[str, ...]:
    """Cell components a relaxation frees: those wanted, or all along periodic directions for "periodic".

    Raises
    ------
    InputError
        If one is unknown or lies along a direction that is not periodic.
    """
    possible = periodic_components(cell, periodic)
    if wanted == "periodic":
        return possible
    for name in wanted:
        if name not in COMPONENTS:
            raise InputError(f"free_cell_components: expected names out of {', '.join(COMPONENTS)}, got {name!r}")
        if name not in possible:
            raise InputError(f"free_cell_components: {name} lies along a direction that is not periodic; expected "
                             f"some of {', '.join(possible) or 'none'} for this structure, leave {name} out")
    return tuple(name for name in COMPONENTS if name in wanted)


class FreeCell:
    """Strain of the cell as variables of a minimiser; the same on all ranks.

    Parameters
    ----------
    engine : Engine
    components : tuple of str, or "periodic"
        Free components out of xx, yy, zz, yz, xz, xy; none holds the cell.
    pressure_GPa : float
    isotropic : bool
        One variable, the same strain along all free axes.
    stress_tolerance_GPa : float
        Largest deviation of a free component of the pressure tensor from the target at the end.

    Attributes
    ----------
    components : tuple of str
    count : int
        Variables.
    largest_stress : float
        Deviation of the stress from the target when `force` was last called, GPa; in isotropic mode of the mean over
        the free axes.

    Raises
    ------
    InputError
        If a component cannot change, or a value makes no sense.
    """

    def __init__(self, engine: Engine, components: tuple[str, ...] | str = (), pressure_GPa: float = 0.0,
                 isotropic: bool = False, stress_tolerance_GPa: float = 0.01) -> None:
        if not stress_tolerance_GPa > 0.0:
            raise InputError(f"stress_tolerance_GPa: expected more than 0, got {stress_tolerance_GPa:g}")
        system = engine.system
        self.components = components_to_relax(components, system.cell, system.periodic)
        if isotropic and self.components:
            self.components = tuple(name for name in self.components if name[0] == name[1])
            if not self.components:
                raise InputError("isotropic: expected at least one of xx, yy, zz among free_cell_components")
        self.tolerance = stress_tolerance_GPa
        self.largest_stress = 0.0
        self._pressure = pressure_GPa / PRESSURE_GPA
        # (variables, 3, 3) strain of each variable
        self._modes = np.zeros((len(self.components), 3, 3))
        for mode, name in zip(self._modes, self.components, strict=True):
            a, b = COMPONENTS[name]
            mode[b, a] = 1.0
        if isotropic and self.components:
            self._modes = self._modes.sum(axis=0, keepdims=True) / math.sqrt(len(self.components))
        self.count = len(self._modes)
        self._open_length = open_length(engine) if self.count else 1.0
        per_atom = self.volume(engine) / max(engine.n_atoms, 1)
        self._scale = math.sqrt(max(engine.n_atoms, 1)) * per_atom ** (1.0 / 3.0)

    def volume(self, engine: Engine) -> float:
        """Volume, A^3; along directions without a cell vector the extent of the atoms at the start counts."""
        return volume(engine) * self._open_length

    def force(self, engine: Engine) -> np.ndarray:
        """(count,) generalised force -dH/dq_k, eV/A (collective, after `compute`)."""
        if self.count == 0:
            return np.zeros(0)
        virial = engine.virial_total()
        size = self.volume(engine)
        excess = 0.5 * (virial + virial.T) - self._pressure * size * np.eye(3)
        work = np.einsum("kab,ab->k", self._modes, excess)
        # a mode over n axes has entries 1/sqrt(n), so its work is sqrt(n) times their mean
        means = work * self._modes.max(axis=(1, 2))
        self.largest_stress = float(np.abs(means).max()) / size * PRESSURE_GPA
        return work / self._scale

    def strain(self, variables: np.ndarray) -> np.ndarray:
        """(3, 3) strain of a change of the variables (count,), A."""
        return np.tensordot(variables, self._modes, axes=1) / self._scale

    def enthalpy(self, engine: Engine) -> float:
        """U + p V, eV (collective)."""
        work = self._pressure * self.volume(engine) if self.count and self._pressure else 0.0
        return engine.potential_energy() + work

    @property
    def converged(self) -> bool:
        """Whether the stress was within its tolerance when last looked at."""
        return self.largest_stress <= self.tolerance

    def state(self) -> State:
        """What was measured at the start."""
        return {"open_length": np.array(self._open_length), "scale": np.array(self._scale),
                "largest_stress": np.array(self.largest_stress)}

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        self._open_length, self._scale = float(state["open_length"]), float(state["scale"])
        self.largest_stress = float(state["largest_stress"])


class Minimizer:
    """Relaxation with the face of an integrator (`hpcthermo.dynamics.loop.Mover`).

    Parameters
    ----------
    force_tolerance_eV_per_A : float
        Largest force on a mobile atom at the end.
    cell : FreeCell, optional
        By default the cell is held.
    atom_axes : str
        Cartesian directions along which atoms move, for example "z"; forces along others do not count.

    Attributes
    ----------
    largest_force : float
        At the start of the last step, eV/A.
    finished : bool
        Whether all tolerances were met, or nothing more can be gained; steps then do nothing.
    converged : bool
        Whether all tolerances were met.
    """

    def __init__(self, force_tolerance_eV_per_A: float, cell: FreeCell | None = None, atom_axes: str = "xyz") -> None:
        if not force_tolerance_eV_per_A > 0.0:
            raise InputError(f"force_tolerance_eV_per_A: expected more than 0, got {force_tolerance_eV_per_A:g}")
        if not atom_axes or set(atom_axes) - set(AXES):
            raise InputError(f"atom_axes: expected some of x, y, z, got {atom_axes!r}")
        self.tolerance = force_tolerance_eV_per_A
        self.cell = cell
        self.largest_force = math.inf
        self.finished = False
        self._axes = np.array([float(axis in atom_axes) for axis in AXES])
        self._begun = False
        self._mobile: Any = None
        self._tags: Any = None

    def step(self, engine: Engine, step: int, virials: bool = False, flag: int = 0) -> int:
        """One force call (collective); arguments and result as for `Integrator.step`."""
        raise NotImplementedError

    def state(self) -> State:
        """All that later steps depend on."""
        raise NotImplementedError

    def restore(self, state: State) -> None:
        """Continue from `state`."""
        raise NotImplementedError

    @property
    def converged(self) -> bool:
        """Whether force and stress were within their tolerances at the start of the last step."""
        return self.largest_force < self.tolerance and (self.cell is None or self.cell.converged)

    @property
    def largest_stress(self) -> float:
        """Largest deviation of a free stress component from its target at the start of the last step, GPa."""
        return 0.0 if self.cell is None else self.cell.largest_stress

    def finish(self, engine: Engine) -> None:
        """Leave the atoms at rest."""
        engine.system.velocities[...] = 0.0

    def conserved(self, engine: Engine) -> float:
        """The enthalpy, which is not conserved here but falls, eV (collective)."""
        return engine.potential_energy() if self.cell is None else self.cell.enthalpy(engine)

    def _mobile_coordinates(self, engine: Engine) -> Any:
        """(n_owned, 3) float64, 1 for coordinates that move."""
        system = engine.system
        if self._tags is not system.tags:  # a rebuild gives the system new arrays
            xp, n = engine.backend.xp, system.n_owned
            self._tags = system.tags
            self._mobile = xp.ones((n, 3)) * xp.asarray(self._axes)
            if system.frozen_groups:
                frozen = xp.isin(system.groups[:n], xp.asarray(sorted(system.frozen_groups), dtype=np.int32))
                self._mobile[frozen] = 0.0
        return self._mobile

    def _cell_force(self, engine: Engine) -> np.ndarray:
        return np.zeros(0) if self.cell is None else self.cell.force(engine)

    def _strain_cell(self, engine: Engine, variables: np.ndarray) -> None:
        """Strain cell and atoms by a change of the cell variables (count,)."""
        if self.cell is not None and self.cell.count:
            deform(engine, exponential(self.cell.strain(variables)))

    def _cell_state(self) -> State:
        return {} if self.cell is None else {f"cell/{name}": value for name, value in self.cell.state().items()}

    def _restore_cell(self, state: State) -> None:
        if self.cell is not None:
            self.cell.restore({k.removeprefix("cell/"): v for k, v in state.items() if k.startswith("cell/")})
