r"""L-BFGS on any number of ranks, with a line search that backtracks.

Nocedal, Math. Comp. 35, 773 (1980). With g = dH/dq and the last m pairs s = q_new - q_old, y = g_new - g_old, the
two-loop recursion gives the direction d = -B^-1 g as a combination of the 2 m + 1 vectors b = (s, y, g); all it needs
of them is their table of scalar products b_i.b_j (Chen, Wang, Zhou, NIPS 27, 1332 (2014)), one reduction over ranks per
step. The vectors travel with their atoms (`hpcthermo.dynamics.following_rows`).

A step goes to q + t d. It is kept if the enthalpy H has fallen as Armijo asks or, where rounding hides that, if the
slope along d has (Hager, Zhang, SIAM J. Optim. 16, 170 (2005), eqs. 22, 23):

    H(t) <= H(0) + c t d.g(0)        or    H(t) <= H(0) + noise  and  d.g(t) <= -(1 - 2 c) d.g(0)

Otherwise t is shortened by interpolation and the atoms go back. Every evaluation is one step of the mover. No atom
moves farther than 0.2 A and no strain component changes by more than 0.01 in a step.
"""

from __future__ import annotations

import math

import numpy as np

from hpcthermo.dynamics.cell import deform, exponential
from hpcthermo.dynamics.following_rows import FollowingRows
from hpcthermo.dynamics.minimize import FreeCell, Minimizer, State
from hpcthermo.engine import Engine

#: pairs (s, y) that are kept, m
_PAIRS = 12
#: force constant of the first step, eV/A^2
_FIRST_CURVATURE = 70.0
_LARGEST_MOVE, _LARGEST_STRAIN = 0.2, 0.01
_ARMIJO = 1e-4
#: a shortened step lies between these fractions of the one before
_SHORTEST, _LONGEST = 0.1, 0.5
#: a pair is kept if s.y > this |s| |y|
_LEAST_CURVATURE = 1e-10
#: displacement below which no step is tried any more, A
_SMALLEST_MOVE = 1e-9
#: rounding of an energy, relative to its size and for one atom
_ENERGY_NOISE = {"double": 1e-13, "mixed": 1e-6}


class Lbfgs(Minimizer):
    """L-BFGS; parameters as for `Minimizer`."""

    def __init__(self, force_tolerance_eV_per_A: float, cell: FreeCell | None = None, atom_axes: str = "xyz") -> None:
        super().__init__(force_tolerance_eV_per_A, cell, atom_axes)
        # vectors s (m), y (m), g and d: of the atoms (FollowingRows), and of the cell
        self._rows: FollowingRows | None = None
        self._cell_rows = np.zeros((2 * _PAIRS + 2, 0 if cell is None else cell.count))
        # b_i.b_j of s, y and g
        self._products = np.zeros((2 * _PAIRS + 1, 2 * _PAIRS + 1))
        self._pairs: list[int] = []  # slots in use, oldest first
        self._length, self._slope, self._enthalpy, self._largest_move = 0.0, 0.0, 0.0, 0.0
        self._restored: State | None = None

    # ---- one step --------------------------------------------------------------------------------

    def step(self, engine: Engine, step: int, virials: bool = False, flag: int = 0) -> int:
        """One force call (collective); arguments and result as for `Integrator.step`."""
        rows = self._rows_of(engine)
        gradient = -engine.system.forces[:engine.system.n_owned, :3] * self._mobile_coordinates(engine)
        cell_gradient = -self._cell_force(engine)
        enthalpy = self.conserved(engine)
        squares = (gradient**2).sum(axis=1)
        slope, largest = self._slope_and_force(engine, rows, gradient, cell_gradient, squares)
        self.largest_force = largest
        if self.converged:
            self.finished = True
        elif self._begun and not self._acceptable(engine, enthalpy, slope):
            self._shorten(engine, rows, enthalpy, slope)
        else:
            self._note_pair(engine, rows, gradient, cell_gradient)
            self._enthalpy = enthalpy
            self._new_direction(engine, rows)
            self._begun = True
        return engine.compute(virials, flag)

    def _rows_of(self, engine: Engine) -> FollowingRows:
        """The vectors in the present order of the atoms; without history at the start."""
        if self._rows is None:
            engine.system.velocities[...] = 0.0
            self._rows = FollowingRows(engine, 2 * _PAIRS + 2)
            if self._restored is not None:
                if self._rows.matches(engine, self._restored["tags"]):
                    self._rows.values = engine.backend.from_host(np.array(self._restored["rows"], dtype=np.float64))
                else:  # written on other ranks: the history is not worth gathering
                    self._begun, self._pairs = False, []
                self._restored = None
        self._rows.follow(engine)
        return self._rows

    def _slope_and_force(self, engine: Engine, rows: FollowingRows, gradient: np.ndarray, cell_gradient: np.ndarray,
                         squares: np.ndarray) -> tuple[float, float]:
        """d.g at the present point and the largest force on an atom."""
        comm = engine.comm
        local = float((rows.values[-1] * gradient).sum())
        largest = comm.allreduce_max(float(squares.max()) if len(squares) else 0.0)
        return comm.allreduce_sum(local) + float(self._cell_rows[-1] @ cell_gradient), math.sqrt(largest)

    def _noise(self, engine: Engine, enthalpy: float) -> float:
        return _ENERGY_NOISE[engine.backend.precision] * abs(enthalpy) / math.sqrt(max(engine.n_atoms, 1)) + 1e-14

    def _acceptable(self, engine: Engine, enthalpy: float, slope: float) -> bool:
        rise = enthalpy - self._enthalpy
        if rise <= _ARMIJO * self._length * self._slope:
            return True
        return rise <= self._noise(engine, enthalpy) and slope <= -(1.0 - 2.0 * _ARMIJO) * self._slope

    def _shorten(self, engine: Engine, rows: FollowingRows, enthalpy: float, slope: float) -> None:
        """Go back along d to a shorter step; without hope, start anew from steepest descent, or give up."""
        old = self._length
        if old * self._largest_move < _SMALLEST_MOVE:
            if not self._pairs:  # not even downhill does H fall: rounding
                self.finished = True
                return
            self._pairs = []
            self._move(engine, rows, old, 0.0)
            self._new_direction(engine, rows)
            return
        rise = enthalpy - self._enthalpy
        if rise > self._noise(engine, enthalpy):  # the parabola through H(0), its slope and H(t)
            best = -0.5 * self._slope * old**2 / (rise - self._slope * old)
        else:  # the zero of the slope
            best = old * self._slope / (self._slope - slope)
        self._length = min(max(best, _SHORTEST * old), _LONGEST * old)
        self._move(engine, rows, old, self._length)

    def _note_pair(self, engine: Engine, rows: FollowingRows, gradient: np.ndarray, cell_gradient: np.ndarray) -> None:
        """Keep s and y of the step that has ended, take g, and bring the table of products up to date."""
        xp, m = engine.backend.xp, _PAIRS
        changed = [2 * m]
        if self._begun:
            slot = self._pairs[0] if len(self._pairs) == m else next(k for k in range(m) if k not in self._pairs)
            self._pairs = [k for k in self._pairs if k != slot]
            for values, new in ((rows.values, gradient), (self._cell_rows, cell_gradient)):
                values[slot] = self._length * values[-1]
                values[m + slot] = new - values[2 * m]
            changed = [slot, m + slot, 2 * m]
        rows.values[2 * m], self._cell_rows[2 * m] = gradient, cell_gradient
        vectors = rows.values[:2 * m + 1].reshape(2 * m + 1, -1)
        local = engine.backend.to_host(vectors @ vectors[xp.asarray(changed)].T)
        products = engine.comm.allreduce_sum(np.ascontiguousarray(local))
        products += self._cell_rows[:-1] @ self._cell_rows[changed].T
        self._products[:, changed], self._products[changed] = products, products.T
        if self._begun:
            table = self._products
            lengths = math.sqrt(table[slot, slot] * table[m + slot, m + slot])
            if table[slot, m + slot] > _LEAST_CURVATURE * lengths:
                self._pairs.append(slot)

    def _new_direction(self, engine: Engine, rows: FollowingRows) -> None:
        """Direction from the history, first length, and the move (collective)."""
        xp, m = engine.backend.xp, _PAIRS
        weights = self._two_loops()
        self._slope = float(weights @ self._products[:, 2 * m])
        if self._slope >= 0.0:
            self._pairs = []
            weights = self._two_loops()
            self._slope = float(weights @ self._products[:, 2 * m])
        vectors = rows.values[:2 * m + 1].reshape(2 * m + 1, -1)
        rows.values[-1] = (xp.asarray(weights)[None, :] @ vectors).reshape(-1, 3)
        self._cell_rows[-1] = weights @ self._cell_rows[:-1]
        squares = (rows.values[-1]**2).sum(axis=1)
        self._largest_move = math.sqrt(engine.comm.allreduce_max(float(squares.max()) if len(squares) else 0.0))
        strain = float(np.abs(self.cell.strain(self._cell_rows[-1])).max()) if self.cell is not None else 0.0
        # moves that are too long shorten t, so the slope along d is not touched
        self._length = min(1.0, _LARGEST_MOVE / max(self._largest_move, 1e-300), _LARGEST_STRAIN / max(strain, 1e-300))
        self._move(engine, rows, 0.0, self._length)

    def _two_loops(self) -> np.ndarray:
        """(2 m + 1,) weights of s, y and g in d = -B^-1 g."""
        m, table = _PAIRS, self._products
        weights, first = np.zeros(2 * m + 1), {}
        weights[2 * m] = -1.0
        for k in reversed(self._pairs):
            first[k] = float(weights @ table[:, k]) / table[k, m + k]
            weights[m + k] -= first[k]
        if self._pairs:
            newest = self._pairs[-1]
            weights *= table[newest, m + newest] / table[m + newest, m + newest]
        else:
            weights /= _FIRST_CURVATURE
        for k in self._pairs:
            second = float(weights @ table[:, m + k]) / table[k, m + k]
            weights[k] += first[k] - second
        return weights

    def _move(self, engine: Engine, rows: FollowingRows, old: float, new: float) -> None:
        """From (r + old d) exp(old e) to (r + new d) exp(new e)."""
        system = engine.system
        n, moves_cell = system.n_owned, self.cell is not None and self.cell.count > 0
        strain = self.cell.strain(self._cell_rows[-1]) if self.cell is not None else np.zeros((3, 3))
        if moves_cell and old != 0.0:
            deform(engine, exponential(-old * strain))
        system.positions[:n] += (new - old) * rows.values[-1]
        if moves_cell and new != 0.0:
            deform(engine, exponential(new * strain))

    # ---- continuation ----------------------------------------------------------------------------

    def state(self) -> State:
        """All that later steps depend on; the vectors are those of this rank's atoms."""
        if self._restored is not None:
            return self._restored
        numbers = [self._length, self._slope, self._enthalpy, self._largest_move, self.largest_force, self.finished,
                   self._begun]
        rows = self._rows
        return {"lbfgs": np.array(numbers, dtype=np.float64), "pairs": np.array(self._pairs, dtype=np.int64),
                "products": self._products.copy(), "cell_rows": self._cell_rows.copy(),
                "rows": np.zeros((0, 0, 3)) if rows is None else rows.host().copy(),
                "tags": np.zeros(0, np.int64) if rows is None else rows.tags.copy(), **self._cell_state()}

    def restore(self, state: State) -> None:
        """Continue from `state`; where the atoms are spread over the ranks in another way, without the history."""
        (self._length, self._slope, self._enthalpy, self._largest_move, self.largest_force, finished,
         begun) = (float(v) for v in state["lbfgs"])
        self.finished, self._begun = bool(finished), bool(begun)
        self._pairs = [int(k) for k in np.atleast_1d(state["pairs"])]
        self._products, self._cell_rows = np.array(state["products"]), np.array(state["cell_rows"])
        self._restored = state
        self._restore_cell(state)
